"""vgpu-tenant-exporter: who really uses the shared GPUs of a HAMi cluster, beside what they were granted."""

from __future__ import annotations

__version__ = "0.1.0"
