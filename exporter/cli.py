"""The command `vgpu-exporter`: words in, one role started, an exit code out (0 done, 1 failed, 2 wrong use)."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from typing_extensions import override

from exporter import __version__, config, logs
from exporter.errors import CaptureError, ConfigError, ExporterError
from exporter.top import flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.settings import Setting

_FAILED, _WRONG_USE = 1, 2


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    @override
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        given = _parser().parse_args(arguments)
        given.run(given)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads, as `head` does, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except (ConfigError, CaptureError) as error:
        return _say(error, _WRONG_USE)
    except ExporterError as error:
        return _say(error, _FAILED)
    return 0


def _say(error: ExporterError, code: int) -> int:
    """Tell in one line what is wrong, whatever characters it was said with, and return the exit code."""
    print(f"vgpu-exporter: {logs.printable(str(error))}", file=sys.stderr)  # noqa: T201
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="vgpu-exporter", description="Who really uses the shared GPUs of a HAMi cluster.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"vgpu-exporter {__version__} ({_revision()})")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    _add_node(commands.add_parser("node", help="measure this node and serve /metrics", allow_abbrev=False))
    _add_quota(commands.add_parser("quota", help="watch this cluster's quotas and serve /metrics", allow_abbrev=False))
    _add_demo(
        commands.add_parser("demo", help="the same on a recorded node: no GPU or cluster needed", allow_abbrev=False)
    )
    _add_capture(commands.add_parser("capture", help="record this node for a bug report or a test", allow_abbrev=False))
    _add_top(commands.add_parser("top", help="watch who uses the GPUs, in a terminal", allow_abbrev=False))
    _add_doctor(commands.add_parser("doctor", help="find out why data is missing, and what to do", allow_abbrev=False))
    return parser


def _add_node(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser, config.NODE)
    parser.set_defaults(run=_node)


def _add_quota(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser, config.QUOTA)
    parser.set_defaults(run=_quota)


def _add_settings(parser: argparse.ArgumentParser, settings: Sequence[Setting]) -> None:
    """Add a flag for each setting, and that of the file which may have them all."""
    parser.add_argument("--config", metavar="FILE", help="YAML file with the same names as these flags")
    for setting in settings:
        text = setting.help + (f" [{_shown(setting.default)}]" if _shown(setting.default) else "")
        if setting.switch:
            parser.add_argument(
                f"--{setting.name}", action="append_const", const="true", default=argparse.SUPPRESS, help=text
            )
        else:
            parser.add_argument(
                f"--{setting.name}", action="append", metavar=setting.metavar, default=argparse.SUPPRESS, help=text
            )


def _shown(default: str | tuple[str, ...] | None) -> str:
    return ", ".join(default) if isinstance(default, tuple) else default or ""


def _node(given: argparse.Namespace) -> None:
    def resolve() -> config.NodeSettings:
        return config.node_settings(_flags(given), os.environ, _config_file(given))

    settings = resolve()
    from exporter.roles.node import serve  # noqa: PLC0415  demo needs neither driver nor cluster

    serve(settings, _revision(), resolve)


def _quota(given: argparse.Namespace) -> None:
    def resolve() -> config.QuotaSettings:
        read = partial(_read, "--resource-names")
        return config.quota_settings(_flags(given), os.environ, _config_file(given), read)

    settings = resolve()
    from exporter.roles.quota import serve  # noqa: PLC0415  no other command needs it

    serve(settings, _revision(), resolve)


def _flags(given: argparse.Namespace, *others: str) -> dict[str, Sequence[str]]:
    """Return the texts given, by the names of the settings; `others` are flags that are none."""
    none = {"run", "config", *others}
    return {name.replace("_", "-"): texts for name, texts in vars(given).items() if name not in none}


def _config_file(given: argparse.Namespace) -> str | None:
    """Return the text of the YAML file, None without one."""
    path = given.config or os.environ.get("VGPU_EXPORTER_CONFIG")
    return _read("--config", path) if path else None


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--capture", metavar="FILE", type=Path, help="another recording")
    parser.add_argument("--speed", metavar="N", type=_factor, default=1.0, help="play so many times as fast [1]")
    parser.add_argument("--loop", action="store_true", help="begin again at the end")
    parser.add_argument("--hold", metavar="SECOND", type=_second, help="play to that second and stay there [the end]")
    parser.add_argument(
        "--listen", metavar="HOST:PORT", action="append", help="address of the endpoint [localhost:9836]"
    )
    parser.set_defaults(run=_demo)


def _demo(given: argparse.Namespace) -> None:
    from exporter.roles.demo import RECORDING, DemoSettings, play  # noqa: PLC0415  only where it is needed

    logs.configure("text", "warning")
    listen = tuple(_address(text) for text in given.listen or ["127.0.0.1:9836"])
    play(DemoSettings(given.capture or RECORDING, given.speed, given.loop, given.hold, listen), _revision(), _announce)


def _announce(urls: list[str]) -> None:
    """Tell people where to look."""
    print(  # noqa: T201
        f"Playing a recorded node. Open {urls[0]} in a browser; Prometheus reads {urls[0]}metrics\nCtrl-C ends it.",
        flush=True,
    )


def _add_capture(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="the file to write, .jsonl.gz")
    parser.add_argument("--seconds", metavar="N", type=_factor, default=60.0, help="how long to record [60]")
    parser.add_argument("--no-redact", action="store_true", help="keep the names of node, namespaces, pods, containers")
    parser.add_argument("--node-name", metavar="NAME", default=os.environ.get("NODE_NAME"), help="this node's name")
    parser.add_argument("--procfs", metavar="PATH", default="/proc", help="the host's procfs [/proc]")
    parser.add_argument(
        "--hami-containers",
        metavar="PATH",
        action="append",
        help=f"where HAMi's regions are; repeatable, empty = off [{', '.join(config.HAMI_CONTAINERS)}]",
    )
    parser.add_argument("--kubeconfig", metavar="PATH", help="kubeconfig file")
    parser.add_argument("--no-kubernetes", action="store_true", help="ask no API server")
    parser.set_defaults(run=_capture)


def _capture(given: argparse.Namespace) -> None:
    from exporter.roles.capture import CaptureSettings, record  # noqa: PLC0415

    logs.configure("text", "warning")
    if not given.node_name:
        raise ConfigError("--node-name is not set: give it, or NODE_NAME")
    _check_node_name(given.node_name)
    record(
        CaptureSettings(
            out=given.out,
            seconds=given.seconds,
            redact=not given.no_redact,
            node=given.node_name,
            procfs=given.procfs,
            hami_containers=_paths(given.hami_containers),
            kubeconfig=given.kubeconfig,
            kubernetes=not given.no_kubernetes,
        )
    )


def _add_top(parser: argparse.ArgumentParser) -> None:
    flags.add(parser)
    parser.set_defaults(run=_top)


def _top(given: argparse.Namespace) -> None:
    settings = flags.settings(given, os.environ, _read)
    from exporter.roles.top import show  # noqa: PLC0415  no other command needs it

    show(settings)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser, tuple(dict.fromkeys((*config.NODE, *config.QUOTA))))
    parser.add_argument("--role", choices=("node", "quota"), default="node", help="whose settings and sources [node]")
    parser.add_argument("--prometheus", metavar="URL", type=_url, help="a Prometheus that is to have the data")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_factor, default=10.0, help="how long a step may take [10]"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.epilog = "Exit code: 0 nothing failed (warnings may be), 1 something failed, 2 wrong use."
    parser.set_defaults(run=_doctor)


def _doctor(given: argparse.Namespace) -> None:
    texts = _flags(given, "role", "prometheus", "timeout", "json")
    known = {setting.name for setting in (config.NODE if given.role == "node" else config.QUOTA)}
    for name in sorted(texts.keys() - known):
        raise ConfigError(f"--{name} is no flag of the role {given.role}")
    role: config.NodeSettings | config.QuotaSettings
    if given.role == "node":
        role = config.node_settings(texts, os.environ, _config_file(given))
    else:
        role = config.quota_settings(texts, os.environ, _config_file(given), partial(_read, "--resource-names"))
    from exporter.roles.doctor import DoctorSettings, diagnose  # noqa: PLC0415  no other command needs it

    if not diagnose(DoctorSettings(role, given.prometheus, given.timeout, given.json)):
        raise SystemExit(_FAILED)


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} is not an address such as http://prometheus:9090")
    return text


def _paths(given: Sequence[str] | None) -> tuple[str, ...]:
    """Return where the regions are, said as for `node`: several by flag or by comma, an empty one is none."""
    if given is None:
        return config.HAMI_CONTAINERS
    return tuple(path.strip() for text in given for path in text.split(",") if path.strip())


def _check_node_name(text: str) -> None:
    """Refuse what `node` refuses: it goes into a query."""
    [setting] = (setting for setting in config.NODE if setting.name == "node-name")
    try:
        setting.parse(text)
    except ValueError as error:
        raise ConfigError(f"--node-name: {text!r} is not {error}") from None


def _factor(text: str) -> float:
    value = _second(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _second(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:  # noqa: PLR2004  also refuses nan
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return value


def _address(text: str) -> config.Address:
    try:
        return config.address(text)
    except ValueError as error:
        raise ConfigError(f"--listen: {text!r} is not {error}") from None


def _read(flag: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{flag}: {path} cannot be read: {error}") from error


def _revision() -> str:
    """Return the source revision that the image was built from."""
    return os.environ.get("VGPU_EXPORTER_REVISION", "unknown")
