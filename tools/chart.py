"""`python -m tools.chart [--check]`: write what in the Helm chart follows from elsewhere.

The rules as data (alerts/), the dashboards (dashboards/), the names of the alerts in the values' schema, a copy of
values.yaml that templates can read, and the README's table of values.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from alerts.__main__ import rule_files, stale
from dashboards import board
from dashboards.book import BOARDS
from tools.docs import marked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHART: Final = Path(__file__).parent.parent / "charts/vgpu-tenant-exporter"
_DASHBOARDS: Final = CHART / "files/dashboards"
_BEGIN: Final = "# -- "


class Value(NamedTuple):
    """A row of the README's table: the value's path, its default as JSON, what its comment says."""

    key: str
    default: str
    meaning: str


def values(text: str) -> Iterator[Value]:
    """Yield each value of a values.yaml that has a comment `# --` above it, in its order."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    yield from _values(root, text.splitlines(), "")


def _values(node: yaml.Node | None, lines: Sequence[str], prefix: str) -> Iterator[Value]:
    """Yield the values below a node; one with a comment is a row as a whole, whatever it holds."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if meaning := _comment(lines, key.start_mark.line):
            yield Value(prefix + key.value, json.dumps(_plain(value), ensure_ascii=False), meaning)
        else:
            yield from _values(value, lines, f"{prefix}{key.value}.")


def _plain(node: yaml.Node) -> Any:  # noqa: ANN401  whatever YAML holds
    return yaml.SafeLoader("").construct_document(node)


def _comment(lines: Sequence[str], line: int) -> str:
    """Return what stands above a line from `# --` on, as one text; empty without."""
    said: list[str] = []
    for above in reversed(lines[:line]):
        text = above.strip()
        if not text.startswith("#"):
            return ""
        said.insert(0, text.removeprefix(_BEGIN).removeprefix("# "))
        if text.startswith(_BEGIN):
            return " ".join(said)
    return ""


def values_table(text: str) -> str:
    """Return the README's table of a values.yaml."""
    rows = (f"| `{value.key}` | `{_cell(value.default)}` | {_cell(value.meaning)} |" for value in values(text))
    return "\n".join(("| Value | Default | Meaning |", "| --- | --- | --- |", *rows))


def _cell(text: str) -> str:
    """Return a text as a table's cell: a pipe would end it."""
    return text.replace("|", r"\|")


def schema(text: str, rules: str) -> str:
    """Return the values' schema with the alerts of `rules`, the chart's data, as the only ones that can be changed."""
    root = json.loads(text)
    root["properties"]["prometheusRule"]["properties"]["rules"]["properties"] = {
        name: {"$ref": f"#/definitions/{'alertWithThreshold' if 'threshold' in defaults else 'alert'}"}
        for name, defaults in yaml.safe_load(rules)["alerts"].items()
    }
    return json.dumps(root, indent=2, ensure_ascii=False) + "\n"


def generated() -> dict[Path, str]:
    """Return every generated file of the chart; an empty text is one that must not be there."""
    written = (CHART / "values.yaml").read_text(encoding="utf-8")
    readme, limits = CHART / "README.md", CHART / "values.schema.json"
    rules = rule_files()["chart.yaml"]
    boards = {_DASHBOARDS / f"{one.uid}.json": board.text(one) for one in BOARDS}
    return {
        **dict.fromkeys(_DASHBOARDS.glob("*"), ""),
        **boards,
        CHART / "files/defaults.yaml": written,
        CHART / "files/rules.yaml": rules,
        limits: schema(limits.read_text(encoding="utf-8"), rules),
        readme: marked(readme.read_text(encoding="utf-8"), "values", values_table(written), str(readme)),
    }


def write(files: dict[Path, str]) -> None:
    """Write the files, and remove those without a text."""
    for path, text in files.items():
        if text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        else:
            path.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with --check print what would change and return 1 if anything would."""
    parser = argparse.ArgumentParser(prog="python -m tools.chart", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; print a diff and exit 1 if stale")
    if parser.parse_args(arguments).check:
        diff = stale(generated())
        sys.stdout.write(f"{diff}Out of date: run `python -m tools.chart`.\n" if diff else "The chart is up to date.\n")
        return 1 if diff else 0
    write(generated())
    return 0


if __name__ == "__main__":
    sys.exit(main())
