"""The README's metric table and docs/metrics.md, written from the catalogue: `python -m tools.docs [--check]`."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from exporter import catalogue
from exporter.catalogue import METRICS, Kind, Metric, Unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BEGIN: Final = "<!-- metrics:begin -->"
END: Final = "<!-- metrics:end -->"
_ROOT: Final = Path(__file__).parent.parent
_TYPES: Final = {Kind.GAUGE: "gauge", Kind.COUNTER: "counter", Kind.SUMMARY: "summary (`_sum`, `_count`)"}


class Section(NamedTuple):
    """A chapter of docs/metrics.md: from its first metric to the next chapter's, in the catalogue's order."""

    first: Metric[Any]
    title: str
    about: str


SECTIONS: Final = (
    Section(catalogue.DEVICE_INFO, "A GPU", "One series per GPU, or per MIG instance. Published by `node`."),
    Section(
        catalogue.NAMESPACE_CORE_BUSY, "A namespace on a GPU",
        "The accounts to bill from: they live as long as the exporter; what gone pods used stays. Published by `node`.",
    ),
    Section(
        catalogue.CONTAINER_MEMORY_USED, "A container on a GPU",
        "One series per container and GPU, gone with the container. Published by `node`.",
    ),
    Section(
        catalogue.NAMESPACE_QUOTA_MEMORY, "Quotas",
        "Once per cluster; `resource` is the bare name of the Kubernetes resource. Published by `quota`.",
    ),
    Section(
        catalogue.SOURCE_UP, "The exporter itself",
        "How well the sources answer, so that a missing series can be told from a blind exporter. Published by both.",
    ),
)  # fmt: skip


def readme_table() -> str:
    """What stands between the README's markers: every published metric, and how many are planned."""
    filled = [metric for metric in METRICS if metric.filled]
    rows = [(_code(m.name), m.kind.value, _code(", ".join(m.label_names)), _cell(m.help)) for m in filled]
    planned = len(METRICS) - len(filled)
    more = f", and {planned} more that are planned" if planned else ""
    closing = f"[docs/metrics.md](docs/metrics.md) has each with its unit{more}."
    return f"{_table(('Name', 'Type', 'Labels', 'Meaning'), rows)}\n\n{closing}"


def reference() -> str:
    """The whole of docs/metrics.md."""
    later = sum(not metric.filled for metric in METRICS)
    note = f" {later} of them are **not published yet**; their names, types and labels are fixed." if later else ""
    head = (
        "<!-- Written by `make generate` from exporter/catalogue.py: do not edit. -->\n\n# Metrics\n\n"
        f"All {len(METRICS)} metrics of vgpu-tenant-exporter, in base units; a ratio of 1 is one whole GPU.{note}\n\n"
        "The process's own `process_*` and `python_info` come as prometheus-client gives them.\n"
    )
    return "\n".join([head, *(_chapter(section, metrics) for section, metrics in grouped())])


def grouped() -> list[tuple[Section, list[Metric[Any]]]]:
    """The catalogue cut into its sections, each metric once."""
    starts = [METRICS.index(section.first) for section in SECTIONS]
    spans = zip(SECTIONS, starts, [*starts[1:], len(METRICS)], strict=True)
    return [(section, list(METRICS[start:end])) for section, start, end in spans]


def _chapter(section: Section, metrics: Iterable[Metric[Any]]) -> str:
    rows = [
        (
            _code(metric.name), _TYPES[metric.kind], _unit(metric.unit), _code(", ".join(metric.label_names)),
            _cell(metric.help) + ("" if metric.filled else " **Not published yet.**"),
        )
        for metric in metrics
    ]  # fmt: skip
    return f"## {section.title}\n\n{section.about}\n\n{_table(('Name', 'Type', 'Unit', 'Labels', 'Help'), rows)}\n"


def _unit(unit: Unit) -> str:
    return unit.value[0].replace("_", " ") or "none"


def _code(text: str) -> str:
    return f"`{text}`"


def _cell(text: str) -> str:
    """Plain text as a table cell: a pipe would end the cell, an angle bracket would be taken for HTML."""
    return text.replace("|", r"\|").replace("<", "&lt;")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def with_table(readme: str) -> str:
    """The README's text with what stands between its markers replaced."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"README.md: expected {BEGIN} and, below it, {END}")
    return f"{before}{BEGIN}\n{readme_table()}\n{END}{after}"


def generated() -> dict[str, str]:
    """Every generated file: its path from the root, and what must stand in it."""
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    return {"README.md": with_table(readme), "docs/metrics.md": reference()}


def stale() -> str:
    """A unified diff from what stands on disk to what should; empty if all is up to date."""
    diffs: list[str] = []
    for name, wanted in generated().items():
        path = _ROOT / name
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = found.splitlines(keepends=True), wanted.splitlines(keepends=True)
        diffs += difflib.unified_diff(*lines, name, f"{name} (generated)")
    return "".join(diffs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with --check: print what would change and return 1 if anything would."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; print a diff and exit 1 if stale")
    if parser.parse_args(arguments).check:
        diff = stale()
        sys.stdout.write(f"{diff}Out of date: run `make generate`.\n" if diff else "Generated files are up to date.\n")
        return 1 if diff else 0
    for name, text in generated().items():
        (_ROOT / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
