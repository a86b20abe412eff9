"""The recorded cluster: a file of objects, cut down as those of a real one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from exporter.device_config import DeviceConfig
from exporter.errors import CaptureError, ManifestError
from exporter.quota_model import Namespace
from exporter.sources.recorded_cluster import RecordedCluster, load
from tests.quota_world import GPUMEM, MIB, container, namespace, pod, quota, slot

if TYPE_CHECKING:
    from pathlib import Path

OBJECTS = (
    namespace("team", owner="lab"),
    quota("gpu", {f"limits.{GPUMEM}": "3000"}),
    quota("cpu", {"limits.cpu": "3"}),
    pod("model", slot(2000) + ";"),
    pod("web", None, container("main", None, gpus=0)),
)


def test_every_kind_is_cut_down_by_its_parser() -> None:
    """Quotas, namespaces and pods are told by their kind; those that concern no GPU are left out, as in earnest."""
    state = RecordedCluster(OBJECTS, tenant_label="owner").current()

    assert state.holdings is not None
    assert state.quotas is not None
    assert {key: one.granted[GPUMEM] for key, one in state.holdings.items()} == {"team/model": 2000 * MIB}
    assert {key: one.hard[GPUMEM] for key, one in state.quotas.items()} == {"team/gpu": 3000 * MIB}
    assert state.namespaces == {"team": Namespace("team", "lab")}


def test_it_always_answers_and_never_changes() -> None:
    """Each reading is of this moment and has the very same objects, so that totals are made once."""
    clock = iter(range(10))
    cluster = RecordedCluster(OBJECTS, wall=lambda: float(next(clock)))

    first, second = cluster.current(), cluster.current()

    assert second.holdings is first.holdings
    assert [status.source for status in second.statuses] == ["quotas", "namespaces", "pods"]
    assert all(status.up and status.reads == 2 and not any(status.errors.values()) for status in second.statuses)
    assert [status.last_success for status in second.statuses] == [3.0, 4.0, 5.0]


def test_other_families_cut_otherwise() -> None:
    """What HAMi's owner says of the resources counts here, too."""
    cluster = RecordedCluster(OBJECTS)

    cluster.follow(DeviceConfig(memory_factor=2).families())

    quotas = cluster.current().quotas
    assert quotas is not None
    assert quotas["team/gpu"].hard == {GPUMEM: 6000 * MIB}


def test_an_object_that_cannot_be_is_refused() -> None:
    """A file of our own has no object without a name: nothing is left out in silence."""
    with pytest.raises(ManifestError):
        RecordedCluster([{"kind": "Namespace", "metadata": {}}])


def test_a_list_is_read(tmp_path: Path) -> None:
    """The items of a v1.List come back as they are written."""
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps({"kind": "List", "items": OBJECTS}), encoding="utf-8")

    assert load(path) == list(OBJECTS)


@pytest.mark.parametrize("text", [None, b"\xff", b"{", b"[]", b"{}", b'{"items": [1]}'])
def test_what_is_no_list_is_named(tmp_path: Path, text: bytes | None) -> None:
    """A file that is missing, no text, no JSON or no list is an error that says which."""
    path = tmp_path / "cluster.json"
    if text is not None:
        path.write_bytes(text)

    with pytest.raises(CaptureError, match=r"cluster\.json cannot be read"):
        load(path)
