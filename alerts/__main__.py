"""`python -m alerts [--check] [--time-scale N] [--out DIR]`: write the rules, the runbook and the table of rules."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alerts import book
from alerts.rules import at
from alerts.runbook import runbook, with_table
from alerts.write import Addresses, chart_data, manifest, rule_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ROOT: Final = Path(__file__).parent.parent
_GENERATED: Final = _ROOT / "alerts/generated"
_HERE: Final = Addresses()
_GUIDE: Final = _ROOT / "docs/alerting.md"


def rule_files(scale: float = 1, addresses: Addresses = _HERE) -> dict[str, str]:
    """Return the files of rules by name, `scale` times as fast; `addresses`: where runbook and dashboards will be."""
    recordings = [at(group, scale) for group in book.RECORDINGS]
    alerts = [at(group, scale) for group in book.ALERTS]
    return {
        "recording.yaml": rule_file(recordings),
        "alerts.yaml": rule_file(alerts, addresses),
        "prometheusrule.yaml": manifest([*recordings, *alerts], addresses),
        "chart.yaml": chart_data([*recordings, *alerts]),
    }


def documents() -> dict[Path, str]:
    """Return the runbook and the guide, by path."""
    pages = runbook((group, book.alerts_of(group)) for group in book.ALERTS)
    guide = with_table(_GUIDE.read_text(encoding="utf-8"), book.recordings())
    return {_ROOT / "alerts/RUNBOOK.md": pages, _GUIDE: guide}


def stale(files: Mapping[Path, str]) -> str:
    """Return a unified diff from what stands on disk to what should; empty if all is up to date."""
    diffs: list[str] = []
    for path, wanted in files.items():
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = found.splitlines(keepends=True), wanted.splitlines(keepends=True)
        diffs += difflib.unified_diff(*lines, str(path), f"{path} (generated)")
    return "".join(diffs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with --check print what would change and return 1 if anything would."""
    asked = _parser().parse_args(arguments)
    if asked.time_scale != 1 and asked.out is None:
        sys.stderr.write("--time-scale needs --out DIR: the rules in the repository are those of real time\n")
        return 2
    out = asked.out or _GENERATED
    addresses = Addresses(asked.runbook_url, asked.grafana_url)
    files = {out / name: text for name, text in rule_files(asked.time_scale, addresses).items()}
    if asked.out is None:
        files |= documents()
    if asked.check:
        diff = stale(files)
        sys.stdout.write(f"{diff}Out of date: run `python -m alerts`.\n" if diff else "Rules are up to date.\n")
        return 1 if diff else 0
    out.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m alerts", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; print a diff and exit 1 if stale")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the rules alone, to DIR")
    parser.add_argument(
        "--time-scale", type=_scale, default=1, metavar="N",
        help="divide every for, look-back, offset, interval and threshold in seconds by N, for live tests",
    )  # fmt: skip
    parser.add_argument(
        "--runbook-url", default=_HERE.runbook, metavar="URL",
        help=f"what runbook_url begins with (default: {_HERE.runbook})",
    )  # fmt: skip
    parser.add_argument("--grafana-url", default=_HERE.grafana, metavar="URL", help="what dashboard_url begins with")
    return parser


def _scale(text: str) -> float:
    scale = float(text)
    if not scale >= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text}")
    return scale


if __name__ == "__main__":
    sys.exit(main())
