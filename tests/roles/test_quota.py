"""What SIGHUP changes in the quota role, and what it does not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from exporter import logs
from exporter.config import QuotaSettings, quota_settings
from exporter.errors import ConfigError
from exporter.roles.quota import _Reload
from exporter.sources.cluster import WatchedCluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Leave the log as it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


def settings(**given: str) -> QuotaSettings:
    """Return resolved settings."""
    return quota_settings({name.replace("_", "-"): [text] for name, text in given.items()}, {}, None, str)


class Cluster(WatchedCluster):
    """A cluster that asks nobody, and remembers its label."""

    label = ""

    @override
    def relabel(self, tenant_label: str) -> None:
        self.label = tenant_label


def test_the_tenants_label_and_the_log_level_are_taken_over(caplog: pytest.LogCaptureFixture) -> None:
    """What can change while it runs does, and nothing is said of a restart."""
    cluster = Cluster()

    _Reload(settings(), lambda: settings(tenant_label="team", log_level="error"), cluster)()

    assert cluster.label == "team"
    assert logging.getLogger().level == logging.ERROR
    assert "restart" not in caplog.text


@pytest.mark.parametrize(
    "given", [{"memory_factor": "2"}, {"listen": ":1"}, {"hami_config": "a/b"}, {"log_format": "json"}]
)
def test_anything_else_needs_a_restart(capsys: pytest.CaptureFixture[str], given: dict[str, str]) -> None:
    """What cannot change while it runs is said to need a restart, and stays."""
    logs.configure("text", "info")

    _Reload(settings(), lambda: settings(**given), Cluster())()

    assert "restart for the rest" in capsys.readouterr().err


def test_a_bad_file_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be used is named, and everything stays."""

    def refuse() -> QuotaSettings:
        raise ConfigError("--config: a.yaml cannot be read")

    cluster = Cluster()
    cluster.label = "team"

    _Reload(settings(tenant_label="team"), refuse, cluster)()

    assert cluster.label == "team"
    assert caplog.messages == ["reload: nothing changed: --config: a.yaml cannot be read"]
