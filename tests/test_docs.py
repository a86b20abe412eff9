"""Generated documentation: up to date, complete, and safe in a Markdown table."""

from __future__ import annotations

import pytest

from exporter import config
from exporter.catalogue import METRICS, Metric, Unit
from tests.hami.releases import RELEASES, Feature
from tools import docs


def test_generated_files_are_up_to_date() -> None:
    """README.md and docs/ are what catalogue, settings, recording and the releases' tests say today."""
    assert docs.stale() == "", "run `make generate`"


def test_the_reference_has_every_metric_once() -> None:
    """docs/metrics.md is the catalogue, in its order."""
    rows = [line for line in docs.reference().splitlines() if line.startswith("| `")]

    assert [row.split("`")[1] for row in rows] == [metric.name for metric in METRICS]


def test_every_section_starts_with_its_own_metric() -> None:
    """The sections cut the catalogue where they say."""
    assert [metrics[0] for _, metrics in docs.grouped()] == [section.first for section in docs.SECTIONS]


def test_the_readme_has_every_metric_once() -> None:
    """The README's table is the catalogue, in its order."""
    table = docs.readme_table()
    names = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]

    assert names == [metric.name for metric in METRICS]


def test_no_help_text_breaks_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe or a tag in a help text stays text."""
    hostile = Metric("x", Unit.NONE, METRICS[0].labels, "a|b <script>")
    monkeypatch.setattr(docs, "METRICS", (hostile,))

    assert r"| a\|b &lt;script> |" in docs.readme_table()


def test_only_the_part_between_the_markers_is_replaced() -> None:
    """What people wrote around a generated part stays, and writing twice changes nothing."""
    page = docs.marked("above\n<!-- x:begin -->\nold\n<!-- x:end -->\nbelow\n", "x", "new", "page.md")

    assert page == "above\n<!-- x:begin -->\nnew\n<!-- x:end -->\nbelow\n"
    assert docs.marked(page, "x", "new", "page.md") == page


@pytest.mark.parametrize("page", ["", "<!-- x:begin -->", "<!-- x:end --><!-- x:begin -->"])
def test_missing_markers_are_named(page: str) -> None:
    """A page without its markers ends the run with a sentence."""
    with pytest.raises(SystemExit, match=r"page\.md: expected <!-- x:begin -->"):
        docs.marked(page, "x", "new", "page.md")


def test_the_readmes_demo_has_the_ten_pods_and_the_remainder() -> None:
    """The table shows the recorded tenants, the escape, the ungranted pod and what is nobody's."""
    table = docs.demo_table()

    assert table.count("xinference-worker-") == 5
    assert "| research | ssh-lab-0 | 7,736 MiB | 2,000 MiB |" in table
    assert table.count("**over its grant**") == 1
    assert table.count("**no grant**") == 1
    assert "nobody's: `host` | 1,518 MiB" in table


def test_every_setting_is_documented() -> None:
    """docs/configuration.md has each flag with its variable, in the order of the program's help."""
    rows = [line.split("`") for line in docs.configuration().splitlines() if line.startswith("| `--")]

    settings = (*config.NODE, *config.QUOTA)
    assert [row[1].split()[0] for row in rows] == [f"--{setting.name}" for setting in settings]
    assert [row[3] for row in rows] == [setting.variable for setting in settings]


def test_every_release_is_documented_with_what_its_tests_prove() -> None:
    """docs/hami.md has each release with the word of each of its features, annotations as code."""
    head, _, *rows = [line.strip("| ").split(" | ") for line in docs.release_table().splitlines()]

    assert head == ["Release", *(feature.value for feature in Feature)]
    assert [[cell.strip("`") for cell in row] for row in rows] == [
        [release.name, *(release.cells[feature].outcome for feature in Feature)] for release in RELEASES
    ]


def test_every_word_of_the_releases_is_explained() -> None:
    """Whatever stands in docs/hami.md's table, layouts and forms apart, has a row in the list below it."""
    page = docs.generated()["docs/hami.md"]
    features = set(Feature) - {Feature.ANNOTATION, Feature.NODE, Feature.REGION}
    words = {release.cells[feature].outcome for release in RELEASES for feature in features}

    assert [word for word in words if f"\n| {word} | " not in page.partition("<!-- releases:end -->")[2]] == []


def test_check_prints_the_difference(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` says what is stale and fails."""
    monkeypatch.setattr(docs, "generated", lambda: {"docs/metrics.md": "# Something else\n"})

    assert docs.main(["--check"]) == 1
    assert "+# Something else" in capsys.readouterr().out
