"""Generated documentation: up to date, complete, and safe in a Markdown table."""

from __future__ import annotations

import pytest

from exporter.catalogue import METRICS, Metric, Unit
from tools import docs


def test_generated_files_are_up_to_date() -> None:
    """README.md and docs/metrics.md are what the catalogue says today."""
    assert docs.stale() == "", "run `make generate`"


def test_the_reference_has_every_metric_once_and_marks_the_unpublished() -> None:
    """docs/metrics.md is the catalogue, in its order."""
    rows = [line for line in docs.reference().splitlines() if line.startswith("| `")]

    assert [row.split("`")[1] for row in rows] == [metric.name for metric in METRICS]
    assert ["Not published yet" not in row for row in rows] == [metric.filled for metric in METRICS]


def test_every_section_starts_with_its_own_metric() -> None:
    """The sections cut the catalogue where they say."""
    assert [metrics[0] for _, metrics in docs.grouped()] == [section.first for section in docs.SECTIONS]


def test_the_readme_has_every_published_metric_once_and_counts_the_rest() -> None:
    """The README promises nothing that is not published."""
    table = docs.readme_table()
    names = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]

    assert names == [metric.name for metric in METRICS if metric.filled]
    planned = len(METRICS) - len(names)
    assert (f"and {planned} more that are planned." in table) == (planned > 0)


def test_no_help_text_breaks_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe or a tag in a help text stays text."""
    hostile = Metric("x", Unit.NONE, METRICS[0].labels, "a|b <script>")
    monkeypatch.setattr(docs, "METRICS", (hostile,))

    assert r"| a\|b &lt;script> |" in docs.readme_table()


def test_only_the_part_between_the_markers_is_replaced() -> None:
    """What people wrote around the table stays, and writing twice changes nothing."""
    page = docs.with_table(f"above\n{docs.BEGIN}\nold\n{docs.END}\nbelow\n")

    assert page == f"above\n{docs.BEGIN}\n{docs.readme_table()}\n{docs.END}\nbelow\n"
    assert docs.with_table(page) == page


@pytest.mark.parametrize("page", ["", docs.BEGIN, docs.END + docs.BEGIN])
def test_missing_markers_are_named(page: str) -> None:
    """A README without its markers ends the run with a sentence."""
    with pytest.raises(SystemExit, match=r"README\.md: expected <!-- metrics:begin -->"):
        docs.with_table(page)


def test_check_prints_the_difference(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` says what is stale and fails."""
    monkeypatch.setattr(docs, "generated", lambda: {"docs/metrics.md": "# Something else\n"})

    assert docs.main(["--check"]) == 1
    assert "+# Something else" in capsys.readouterr().out
