"""What of the documentation is generated: `python -m tools.docs [--check]`.

The README's metric table and docs/metrics.md from the catalogue, docs/configuration.md from the settings, the README's
table of who uses the recorded GPU from playing the recording, docs/hami.md's of releases from their tests' data.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from exporter import catalogue, config
from exporter.catalogue import METRICS, Kind, Metric, Unit
from exporter.roles.demo import RECORDING
from exporter.sampler import Sampler, Sources
from exporter.sources.recorded import Player, load
from tests.hami.releases import RELEASES, Feature

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from exporter.settings import Setting
    from exporter.snapshot import PairUse, Snapshot

_ROOT: Final = Path(__file__).parent.parent
_SECOND: Final = 80
_TYPES: Final = {Kind.GAUGE: "gauge", Kind.COUNTER: "counter", Kind.SUMMARY: "summary (`_sum`, `_count`)"}


_CONFIGURATION: Final = """<!-- Written by `make generate` from exporter/config.py: do not edit. -->

# Settings

Each is a flag, an environment variable and a key of the YAML file that `--config FILE` (or `VGPU_EXPORTER_CONFIG`)
names; the key is the flag without its dashes. A flag beats the environment, that the file, that the default.
A repeatable flag may be given several times; its variable is a list with commas, its key a YAML list.

## `vgpu-exporter node`

{node}

## `vgpu-exporter quota`

{quota}

`--resource-names` and `--hami-config` read the keys `resourceCountName`, `resourceMemoryName`,
`resourceMemoryPercentageName`, `resourceCoreName` and `memoryFactor`, alone or in a section `nvidia`, as in the key
`device-config.yaml` of the ConfigMap that HAMi's chart writes. A flag wins over the file, and that over the ConfigMap,
which is read at the start and every 5 minutes. While it cannot be read, what it said last or HAMi's defaults serve on.

## TLS and passwords: the file `--web-config`

The format is that of Prometheus's exporters (exporter-toolkit 0.16, `docs/web-configuration.md` there). Paths in it
are relative to its own directory. All of it holds for `--listen`, `/healthz` there included, and none of it for
`--health-listen`: a kubelet has neither certificate nor password.

```yaml
tls_server_config:
  cert_file: tls.crt
  key_file: tls.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
basic_auth_users:
  prometheus: $2y$10$...   # htpasswd -nBC 10 prometheus
```

Every key is honoured, or refused in words; none is passed over. What differs from the toolkit:

| Key | Here |
| --- | --- |
| `client_auth_type` | `NoClientCert`, `VerifyClientCertIfGiven`, `RequireAndVerifyClientCert`; none unverified |
| `client_ca_file`, `client_ca` | one of them is needed to verify; the toolkit would trust all that the system does |
| `client_allowed_sans` | checked after the handshake: who is not listed is cut off without an answer |
| `min_version`, `max_version` | `TLS12` or `TLS13`; older versions are refused |
| `cipher_suites` | the suites of TLS 1.2 that Go calls secure; those of TLS 1.3 are always on, as in Go |
| `curve_preferences` | one curve; Python's TLS takes no list |
| `basic_auth_users` | bcrypt hashes up to a cost of 16; a higher one would outlast a scrape |
| `http2` | makes no difference: only HTTP/1.1 is spoken |
| `cert`, `key`, `client_ca` | refused beside the `_file` of the same name |

A client that TLS refuses is cut off without the alert that would tell it why: Python's asyncio sends none. With
`--log-level debug` our log does.

The files are looked at every 5 seconds. What has changed and then held still is taken over, within 10 seconds; on
SIGHUP at once. New connections meet the new certificate, and open ones stay. A file that cannot be used is named in the
log and the old goes on. No reload takes protection away: to drop TLS, the last password or the demand for certificates,
restart.

What clients may take: 64 connections in all, 10 seconds for TLS's handshake and as long for a request, 60 seconds for
the whole answer, 75 seconds idle; 8 KiB for the request's line and each of 64 headers, and no body. When all
connections are taken, whoever has waited longest without a request makes room, and the address that has the most of
them gives one up, even one that is being answered, to an address that has fewer. Passwords are checked in two threads,
at most 64 at a time and two of one address; whoever comes on top of that is answered 429. A password that was right is
known again at no cost. A `rate_limit` counts all requests, as the toolkit's does: whoever reaches the port can use it
up.

## Mistakes and signals

An unknown flag or key, a bad value or an unreadable file ends the program before anything starts, with one line that
names it and exit code 2. On SIGHUP the log level and what the web configuration says are taken over, of `node` the
label allow-lists, of `quota` the tenants' label; of everything else that changed, and of a file that cannot be used,
the log says so and the old stays.
SIGTERM and SIGINT let the scrapes in flight finish and end with code 0 within 5 seconds, whatever the driver or the
API server does.
"""


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
    """What stands between the README's markers: every metric."""
    rows = [(_code(m.name), m.kind.value, _code(", ".join(m.label_names)), _cell(m.help)) for m in METRICS]
    closing = "[docs/metrics.md](docs/metrics.md) has each with its unit."
    return f"{_table(('Name', 'Type', 'Labels', 'Meaning'), rows)}\n\n{closing}"


def reference() -> str:
    """The whole of docs/metrics.md."""
    head = (
        "<!-- Written by `make generate` from exporter/catalogue.py: do not edit. -->\n\n# Metrics\n\n"
        f"All {len(METRICS)} metrics of vgpu-tenant-exporter, in base units; a ratio of 1 is one whole GPU.\n\n"
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
            _cell(metric.help),
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


def demo_table() -> str:
    """Who uses the recorded GPU at its 80th second, as the program says it."""
    capture, now = load(RECORDING), [0.0]
    player = Player(capture, monotonic=lambda: now[0], wall=lambda: now[0])
    sampler = Sampler(
        capture.node, Sources(player, player, player, regions=player.regions), player.interval, wall=lambda: now[0]
    )
    snapshot = sampler.tick()
    while now[0] < _SECOND:
        now[0] = int(now[0]) + 1.01
        snapshot = sampler.tick()
    head = ("Namespace", "Pod", "Memory used", "granted", "Cores used (60 s)", "granted", "")
    return _table(head, [*(_tenant(snapshot, pair) for pair in snapshot.joined.pairs), *_remainder(snapshot)])


def _tenant(snapshot: Snapshot, pair: PairUse) -> tuple[str, ...]:
    share = snapshot.accounts.pairs[pair.uuid, pair.owner].utilization
    over = (pair.used or 0) > (pair.memory_granted or 0)
    remark = ("**no grant**" if pair.memory_granted == 0 else "**over its grant**") if over else ""
    return (
        pair.owner.namespace, pair.owner.pod, _mib(pair.used), _mib(pair.memory_granted), _percent(share),
        _percent(pair.core_granted) if pair.core_granted is not None else "not limited",
        remark or ("idle" if pair.processes == 0 else ""),
    )  # fmt: skip


def _remainder(snapshot: Snapshot) -> Iterable[tuple[str, ...]]:
    """The rows of what belongs to nobody."""
    for use in snapshot.joined.devices:
        for reason, used in (use.unattributed or {}).items():
            if used:
                yield ("-", f"nobody's: `{reason}`", _mib(used), "", "", "", "")


def _mib(value: int | None) -> str:
    return "unknown" if value is None else f"{value / 2**20:,.0f} MiB"


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0%}"


def configuration() -> str:
    """The whole of docs/configuration.md."""
    return _CONFIGURATION.format(node=_settings(config.NODE), quota=_settings(config.QUOTA))


def _settings(settings: Iterable[Setting]) -> str:
    """A role's settings as a table."""
    rows = [
        (
            _code(f"--{setting.name}{' ' + setting.metavar if setting.metavar else ''}"), _code(setting.variable),
            _code(_default(setting.default)) if setting.default else "-",
            _cell(setting.help) + (" (repeatable)" if setting.repeatable and "repeatable" not in setting.help else ""),
        )
        for setting in settings
    ]  # fmt: skip
    return _table(("Flag", "Environment", "Default", "Meaning"), rows)


def _default(default: str | tuple[str, ...] | None) -> str:
    return ", ".join(default) if isinstance(default, tuple) else default or ""


def release_table() -> str:
    """What stands between the markers of docs/hami.md: a row per group of releases, a column per feature."""
    rows = [(release.name, *(_outcome(release.cells[feature].outcome) for feature in Feature)) for release in RELEASES]
    return _table(("Release", *(feature.value for feature in Feature)), rows)


def _outcome(word: str) -> str:
    """A word of the table as a cell; annotations are code."""
    return _code(word) if "/" in word else _cell(word)


def marked(text: str, name: str, content: str, file: str) -> str:
    """The text of a file with what stands between the markers of that name replaced."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{file}: expected {begin} and, below it, {end}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def generated() -> dict[str, str]:
    """Every generated file: its path from the root, and what must stand in it."""
    return {
        "README.md": _filled("README.md", metrics=readme_table(), demo=demo_table()),
        "docs/metrics.md": reference(),
        "docs/configuration.md": configuration(),
        "docs/hami.md": _filled("docs/hami.md", releases=release_table()),
    }


def _filled(file: str, **tables: str) -> str:
    """The file with its tables as they must be, by the names of their markers."""
    text = (_ROOT / file).read_text(encoding="utf-8")
    for name, table in tables.items():
        text = marked(text, name, table, file)
    return text


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
