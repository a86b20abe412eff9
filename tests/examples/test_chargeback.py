"""docs/examples/chargeback.md: every query is PromQL over series that exist, and a month's sum is a month's."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Final

import promql_parser as promql
import pytest
import yaml

from alerts import book
from exporter.catalogue import METRICS
from tests.examples.stacks import EXAMPLES
from tests.monitored import demo_scraped
from tests.rules.checkers import PROMTOOLS, answer, running
from tests.serving_stub import scrape_configs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.monitored import Prometheus

SHEET: Final = (EXAMPLES / "chargeback.md").read_text()
#: By what the sheet says of each, the line above it.
QUERIES: Final[dict[str, str]] = dict(re.findall(r"^([^\n]+)\n\n```promql\n(.*?)```", SHEET, re.DOTALL | re.MULTILINE))
PROOF: Final = next(title for title in QUERIES if title.startswith("The proof"))
#: Prometheus's time runs so much faster in the live tests, and after so many seconds an hour has passed.
TIME_SCALE, SECONDS = 120, 45


def test_every_block_is_a_query_with_a_line_of_its_own() -> None:
    """None is left out below, and none is there twice."""
    assert len(set(QUERIES.values())) == SHEET.count("```promql")


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_each_query_asks_for_series_that_there_are(query: str) -> None:
    """It parses, and names recording rules, metrics of ours, vLLM's or Xinference's."""
    ours = {rule.name for rule in book.recordings()} | {metric.name for metric in METRICS}
    names = list(_selected(promql.parse(query)))

    assert names
    assert [name for name in names if name not in ours and not name.startswith(("vllm:", "xinference:"))] == []


def _selected(expression: object) -> Iterator[str]:
    """Yield the names of the metrics that an expression selects."""
    if isinstance(expression, promql.VectorSelector):
        yield str(expression.name)
    for part in ("expr", "lhs", "rhs", "vector_selector"):
        if (inner := getattr(expression, part, None)) is not None:
            yield from _selected(inner)
    for argument in getattr(expression, "args", []):
        yield from _selected(argument)


@pytest.mark.parametrize("promtool", PROMTOOLS)
def test_a_months_sum_has_each_hour_once(promtool: str, tmp_path: Path) -> None:
    """Asked a second after the hour: 720 hours of a quarter of a GPU are 180 in either Prometheus, 450 in money."""
    hours = {
        'tenant:vgpu_billable_gpu_hours:increase1h{tenant="t"}': 0.25,
        "cluster:vgpu_unbilled_gpu_hours:increase1h": 0.75,
        "cluster:vgpu_up_seconds:increase1h": 3600,
    }
    expected = [
        ("GPU-hours of each tenant:", 180, '{tenant="t"}'),
        ("In money, at 2.50 a GPU-hour:", 450, '{tenant="t"}'),
        ("Hours that GPUs were there and nobody is billed for:", 540, "{}"),
        (PROOF, 1, "{}"),
    ]
    case = {
        "interval": "5m",
        "input_series": [{"series": name, "values": f"{value}+0x{12 * 745}"} for name, value in hours.items()],
        "promql_expr_test": [
            {
                "expr": QUERIES[title], "eval_time": "744h1s",
                "exp_samples": [{"labels": labels, "value": value}],
            }
            for title, value, labels in expected
        ],
    }  # fmt: skip
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump({"tests": [case]}))

    assert "SUCCESS" in answer(promtool, "test", "rules", str(path))


# ---------------------------------------------------------------- on a real Prometheus


@pytest.fixture(name="prometheus", scope="module")
def _prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    stub = [sys.executable, "-u", "-m", "tests.serving_stub", "--listen", "127.0.0.1:0"]
    with running(stub, directory / "stub.log", "http://([^/ ]+)") as address:
        others = scrape_configs(address)
        with demo_scraped(directory, time_scale=TIME_SCALE, others=others) as prometheus:
            time.sleep(SECONDS)
            yield prometheus


@pytest.mark.live
@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_each_query_has_an_answer(query: str, prometheus: Prometheus) -> None:
    """On the demo beside made-up serving stacks, with an hour and a month of some seconds."""
    short = re.sub(r"\[3\dd:1h\]", "[10s:1s]", query).replace("[1h]", "[20s]")

    assert "[1h]" not in short != query
    found = prometheus.series(short)
    assert found
    assert min(float(sample["value"][1]) for sample in found) > -1e-9  # of a card that is all billed 0 is left, rounded


@pytest.mark.live
def test_the_proof_holds(prometheus: Prometheus) -> None:
    """Billed and unbilled hours are all hours, within 1 %."""
    assert prometheus.value(QUERIES[PROOF].replace("[30d:1h]", "[10s:1s]")) == pytest.approx(1, rel=0.01)
