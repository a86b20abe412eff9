"""One browser for all tests of a process, a tab for each, and the demo's page at its 80th second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.roles.demo import QUOTA_NOTE, BothRoles, quota_sampler, renderer
from tests.browser.chromium import Browser
from tests.replay import Replay
from tests.served import Running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser.chromium import Tab


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Yield a browser."""
    with Browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """Yield an empty tab."""
    with browser.tab() as opened:
        yield opened


@pytest.fixture(scope="session")
def demo() -> Iterator[str]:
    """Yield the URL of both roles' page, with an escape and a waiting pod on it."""
    replay = Replay()
    quotas = quota_sampler(replay.capture)
    replay.until(80.5)
    quotas.tick()
    with Running(note=QUOTA_NOTE, renderer=renderer(BothRoles(replay.sampler, quotas), "test")) as server:
        yield server.url
