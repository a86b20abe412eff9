"""The step of the exporter that runs beside the doctor."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from exporter.doctor import passed, warned

if TYPE_CHECKING:
    from exporter.doctor import Step

ENDPOINT = "exporter"


class EndpointFound(NamedTuple):
    """What /readyz at `address` answered; `status` 0: nothing."""

    address: str
    status: int = 0
    words: str = ""


def endpoint(found: EndpointFound) -> Step:
    """Judge whether the exporter itself has data."""
    if found.status == HTTPStatus.OK:
        return passed(ENDPOINT, f"{found.address}/readyz: ready")
    if found.status:
        return warned(
            ENDPOINT,
            f"{found.address}/readyz: {found.words}",
            "The steps that fail say why. If none does, wait a moment, or restart the exporter's pod.",
        )
    return warned(
        ENDPOINT,
        f"no exporter answers at {found.address}",
        "In the exporter's own pod: its log says why. Elsewhere none runs beside the doctor, and nothing is wrong.",
    )
