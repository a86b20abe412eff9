"""What the tests of the API server's edges share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kube_server import KubeServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep whatever proxy this machine uses out of the way to 127.0.0.1."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.fixture
def server() -> Iterator[KubeServer]:
    """Return a running API server without any object."""
    with KubeServer() as server:
        yield server
