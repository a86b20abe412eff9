"""Recording rules, alerts and the runbook, written from the metric catalogue: `python -m alerts`.

Each alert is one record (`rules.Alert`), each recording rule another (`rules.Recording`); metric names come from
`exporter.catalogue`, so that a renamed metric fails at import and not on call.
"""
