"""The JSON document: its keys are an interface, and it is safe to print."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from exporter.top.document import document
from exporter.top.rows import Frame, Gpu, Nobodys, Use
from tests.top.pages import recorded

USE = Use("a", "p", "t", 4.0, None, 3.0, None, 0.5, 1.0, ("pending",), ("escape",))


def test_the_keys_have_their_units_and_stay() -> None:
    """Scripts read them; what is not known is null."""
    gpu = Gpu("c", "n", "u", "0", "H", "", True, 9.0, 8.0, 7.0, 0.5, None, (USE,), (Nobodys("host", 1.0, None),))  # noqa: FBT003

    assert json.loads(document(Frame((gpu,), 2.0, 1.0, ("pods",)), [gpu])) == {
        "data_age_seconds": 1.0,
        "core_window_seconds": 2.0,
        "blind_sources": ["pods"],
        "stale_exporters": [],
        "silent_exporters": [],
        "gpus": [
            {
                "cluster": "c",
                "node": "n",
                "device_uuid": "u",
                "device_index": "0",
                "device_name": "H",
                "parent_uuid": "",
                "up": True,
                "memory_total_bytes": 9,
                "memory_used_bytes": 8,
                "memory_granted_bytes": 7,
                "core_used_ratio": 0.5,
                "core_granted_ratio": None,
                "uses": [
                    {
                        "tenant": "t",
                        "namespace": "a",
                        "pod": "p",
                        "memory_used_bytes": 4,
                        "memory_granted_bytes": None,
                        "memory_uncounted_bytes": 3,
                        "core_used_ratio": None,
                        "core_granted_ratio": 0.5,
                        "processes": 1,
                        "grant_sources": ["pending"],
                        "marks": ["escape"],
                    }
                ],
                "unattributed": [{"reason": "host", "memory_used_bytes": 1, "core_used_ratio": None}],
            }
        ],
    }


def test_all_of_the_recorded_node_is_in_it() -> None:
    """Every pod and every reason."""
    _, gpus = recorded()
    [gpu] = json.loads(document(Frame(gpus, 30.0), gpus))["gpus"]

    assert (len(gpu["uses"]), len(gpu["unattributed"])) == (10, 5)


@given(st.text())
def test_no_name_brings_what_a_terminal_obeys(name: str) -> None:
    """ASCII without control characters but line ends, and the name is still the name."""
    text = document(Frame((), None, blind=(name,)), [])

    assert all(" " <= char <= "~" or char == "\n" for char in text)
    assert json.loads(text)["blind_sources"] == [name]
