"""How hypothesis searches: at a desk new examples each time, in CI the same ones, widely with `-m property`.

No deadline: how long one example takes says more about what else the machine does than about the code.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("desk", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("wide", deadline=None, max_examples=1000)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the profile, before a test is imported."""
    wide = config.getoption("markexpr") == "property"
    settings.load_profile("wide" if wide else "ci" if os.environ.get("CI") == "true" else "desk")


@pytest.fixture(scope="module", params=["", pytest.param("wide", marks=pytest.mark.property)])
def search(request: pytest.FixtureRequest) -> str:
    """Have a property searched twice: in the default run, and more widely with `-m property`."""
    return str(request.param)
