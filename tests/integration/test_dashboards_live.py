"""Every query of every panel, on a real Prometheus that scraped the demo and the serving stacks: each returns data.

Left out of the default run: `make test-live`.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from dashboards.book import BOARDS
from tests.dashboards import grafana
from tests.monitored import demo_scraped, job
from tests.rules.checkers import running
from tests.second_node import INSTANCE, SHARED, second_node, trouble
from tests.serving_stub import scrape_configs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.monitored import Prometheus

pytestmark = pytest.mark.live

TIME_SCALE: Final = 20
#: How long all is scraped first: an hour's accounts are three minutes at this speed, and true from the first on.
SECONDS: Final = 45
#: What Grafana fills in by itself, for scrapes twice a second.
BUILT_IN: Final = {"__rate_interval": "4s", "__range": f"{SECONDS}s", "__interval": "1s", "__range_s": str(SECONDS)}
RECORDED: Final = "GPU-11cf3a2c-5320-be5a-c26f-88e189a03e14"
#: Choices, where the first options would show little: the pod from which a process escaped; each GPU.
CHOICES: Final[dict[str, list[dict[str, str]]]] = {
    "vgpu-workload": [{"namespace": "research", "pod": "ssh-lab-0"}],
    "vgpu-tenant": [{}, {"namespace": "rag"}],
    "vgpu-gpu": [{"device_uuid": uuid} for uuid in (RECORDED, SHARED, INSTANCE)],
}

#: One Prometheus for one cluster sets no label; one for many does.
CLUSTERS: Final = ("", "east")

#: Panels that rightly show nothing on the demo: (dashboard, panel, query) and why.
EMPTY: Final[dict[tuple[str, str, str], str]] = {
    **{
        ("vgpu-tenant", panel, letter): "no namespace of the demo has a quota of a number of GPUs"
        for panel, letters in (("vGPUs", "D"), ("vGPUs: as others read it", "ACDEFG"), ("vGPUs: each quota", "ABC"))
        for letter in letters
    },
    **{
        ("vgpu-tenant", "Cores, in GPUs: as others read it", letter): "the demo's quota of cores is one of nothing"
        for letter in "EF"
    },
    **{
        ("vgpu-tenant", panel, "C"): "speaks only where there is no quota role"
        for panel in ("Memory", "Cores, in GPUs", "vGPUs")
    },
    **{
        ("vgpu-serving", panel, letter): "embedding and reranking models generate no tokens, and cache no prefixes"
        for panel, letters in (("vLLM: time between tokens", "AB"), ("vLLM: prefix cache hits", "A"))
        for letter in letters
    },
    ("vgpu-health", "Namespaces overwritten, by job", "A"): "all jobs here honour the exporter's labels",
}


@pytest.fixture(name="prometheus", scope="module")
def _prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Give a Prometheus that scraped all twice: as a cluster without a name, and as `east`."""
    directory = tmp_path_factory.mktemp("prometheus")
    stub = [sys.executable, "-u", "-m", "tests.serving_stub", "--listen", "127.0.0.1:0"]
    with ExitStack() as stack:
        address = stack.enter_context(running(stub, directory / "stub.log", "http://([^/ ]+)"))
        node = stack.enter_context(second_node(tmp_path_factory.mktemp("node")))
        second = job("vgpu-tenant-exporter-2", f"127.0.0.1:{node.port}")
        others = [in_cluster(one, name) for one in (*scrape_configs(address), second) for name in CLUSTERS]
        prometheus = stack.enter_context(
            demo_scraped(directory, time_scale=TIME_SCALE, others=others, clusters=CLUSTERS)
        )
        time.sleep(SECONDS / 2)
        trouble(node)
        time.sleep(SECONDS / 2)
        yield prometheus


def in_cluster(scraped: dict[str, Any], cluster: str) -> dict[str, Any]:
    """Return a scrape configuration whose series bear the label `cluster`."""
    groups = [group | {"labels": group["labels"] | {"cluster": cluster}} for group in scraped["static_configs"]]
    return scraped | {"job_name": scraped["job_name"] + cluster, "static_configs": groups}


@pytest.mark.parametrize("cluster", CLUSTERS, ids=["no cluster", "a cluster"])
@pytest.mark.parametrize("board", [board.json() for board in BOARDS], ids=[board.uid for board in BOARDS])
def test_every_query_of_every_panel_returns_data(prometheus: Prometheus, board: dict[str, Any], cluster: str) -> None:
    """With the other variables as they are at first, or as in CHOICES; what shows nothing is listed, and only that."""
    now, seen, asked_for = time.time(), set(), set()
    for choice in CHOICES.get(board["uid"], [{}]):
        values = grafana.chosen(prometheus, board, {"cluster": cluster} | choice, BUILT_IN)
        for asked in grafana.queries(board, values, TIME_SCALE):
            asked_for.add((asked.panel, asked.letter))
            if grafana.answer(prometheus, asked, now, SECONDS):
                seen.add((asked.panel, asked.letter))

    assert sorted(asked_for - seen) == sorted((panel, letter) for uid, panel, letter in EMPTY if uid == board["uid"])


@pytest.mark.parametrize("board", [board.json() for board in BOARDS], ids=[board.uid for board in BOARDS])
def test_every_variable_has_something_to_choose(prometheus: Prometheus, board: dict[str, Any]) -> None:
    """Each list of choices, narrowed by those before it, has an entry; that of clusters has the one with a name."""
    values = dict(BUILT_IN)
    for variable in board["templating"]["list"][1:]:
        offered = grafana.options(prometheus, variable, values)
        assert offered, variable["name"]
        values[variable["name"]] = "east" if variable["name"] == "cluster" else offered[0]
