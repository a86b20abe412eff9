"""All dashboards."""

from __future__ import annotations

from typing import Final

from dashboards.fleet import FLEET
from dashboards.gpu import GPU
from dashboards.health import HEALTH
from dashboards.serving import SERVING
from dashboards.tenant import TENANT
from dashboards.workload import WORKLOAD

BOARDS: Final = (FLEET, TENANT, GPU, WORKLOAD, SERVING, HEALTH)
