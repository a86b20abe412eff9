"""Grafana dashboards, written from the catalogue with grafanalib: `python -m dashboards` writes generated/*.json."""
