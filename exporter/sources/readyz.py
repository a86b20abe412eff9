"""What the exporter that runs beside us says of itself: its /readyz."""

from __future__ import annotations

from typing import TYPE_CHECKING

import urllib3

from exporter.doctor.endpoint import EndpointFound

if TYPE_CHECKING:
    from exporter.config import Address

_MOST = 512
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a listener on all addresses is reached


def ready(address: Address, seconds: float) -> EndpointFound:
    """GET /readyz at the address that an exporter was to listen at; never raises."""
    host = _EVERYWHERE.get(address.host, address.host)
    shown = f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"
    try:
        answer = urllib3.PoolManager(retries=False, timeout=seconds).request(
            "GET", f"http://{shown}/readyz", preload_content=False, redirect=False
        )
        return EndpointFound(shown, answer.status, answer.read(_MOST).decode("utf-8", "replace").strip())
    except urllib3.exceptions.HTTPError:
        return EndpointFound(shown)
