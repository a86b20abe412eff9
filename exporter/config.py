"""Settings: flag > environment > file > default, from one table; texts in, frozen values out.

Each setting is a flag `--name`, a variable `VGPU_EXPORTER_NAME` and a key `name` of the YAML file. Whatever cannot be
used raises ConfigError, which names the setting, where it came from and what was expected, before anything starts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from exporter.errors import ConfigError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


_LAST_PORT: Final = 65535
_NULL: Final = "tag:yaml.org,2002:null"  # YAML's nothing
#: A host as the resolver takes it: labels of at most 63 characters between single dots.
_HOST: Final = re.compile(r"[a-zA-Z0-9_-]{1,63}(\.[a-zA-Z0-9_-]{1,63})*\.?")


class Address(NamedTuple):
    """Where to listen; IPv6 without brackets."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `parse` takes its text and raises ValueError("what was expected").

    A `repeatable` one is a list: the flag may be given several times, the variable is split at commas. A
    `switch` takes no value as a flag.
    """

    name: str
    parse: Callable[[str], object]
    default: str | tuple[str, ...] | None
    help: str
    metavar: str = ""
    repeatable: bool = False
    switch: bool = False

    @property
    def variable(self) -> str:
        """The environment variable's name."""
        return "VGPU_EXPORTER_" + self.name.upper().replace("-", "_")


def address(text: str) -> Address:
    """Parse `host:port` or `[ipv6]:port`."""
    match = re.fullmatch(r"(?:\[([0-9a-zA-Z:.%_-]+)\]|([^\[\]:]*)):([0-9]{1,5})", text)
    if match is None or int(match[3]) > _LAST_PORT or not _is_host(match[1], match[2]):
        raise ValueError("HOST:PORT or [IPV6]:PORT with a port of at most 65535")
    return Address(match[1] or match[2] or "0.0.0.0", int(match[3]))  # noqa: S104  ":9836" means everywhere


def _is_host(ipv6: str | None, name: str) -> bool:
    """Tell whether one can ask to listen there at all; whether it can be had shows only then."""
    if ipv6 is None:
        return name == "" or _HOST.fullmatch(name) is not None
    try:
        IPv6Address(ipv6)
    except AddressValueError:
        return False
    return True


def seconds(text: str) -> float:
    """Parse a Prometheus-style duration: `500ms`, `1s`, `15m`, `2h`, or a bare number of seconds."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)?", text)
    if match is None:
        raise ValueError("a duration such as 500ms, 1s, 15m or 2h")
    return float(match[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}[match[2]]


def _interval(text: str) -> float:
    value = seconds(text)
    if not 0.5 <= value <= 10:  # noqa: PLR2004  said in the sentence below
        raise ValueError("a duration from 500ms (the driver samples every 200ms) to 10s (it keeps 14s of them)")
    return value


def _positive(text: str) -> float:
    value = seconds(text)
    if value <= 0:
        raise ValueError("a duration above 0")
    return value


def _path(text: str) -> str:
    if not text:
        raise ValueError("a path")
    return text


def _node_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", text):
        raise ValueError("the node's Kubernetes name")
    return text


def _label_key(text: str) -> str:
    if not re.fullmatch(r"([a-zA-Z0-9.-]{1,253}/)?[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?", text):
        raise ValueError("a Kubernetes label key, such as app.kubernetes.io/name")
    return text


def _switch(text: str) -> bool:
    if text.lower() in ("true", "yes", "on", "1"):
        return True
    if text.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError("true or false")


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(" or ".join(choices))
        return text

    return parse


LOGGING: Final = (
    Setting("log-format", _one_of("text", "json"), "text", "how log lines look", "text|json"),
    Setting(
        "log-level", _one_of("debug", "info", "warning", "error"), "info", "what is logged", "debug|info|warning|error"
    ),
)
NODE: Final = (
    Setting("node-name", _node_name, None, "this node's Kubernetes name (also from NODE_NAME)", "NAME"),
    Setting("listen", address, ("0.0.0.0:9836",), "address of the endpoint; repeatable", "HOST:PORT", repeatable=True),
    Setting(
        "health-listen", address, ("0.0.0.0:9837",),
        "address of /healthz and /readyz alone, for the kubelet; empty = off", "HOST:PORT", repeatable=True,
    ),
    Setting("interval", _interval, "1s", "time between two samples", "DURATION"),
    Setting("procfs", _path, "/proc", "the host's procfs", "PATH"),
    Setting("kubeconfig", _path, None, "kubeconfig file (default: in-cluster, else the usual one)", "PATH"),
    Setting("no-kubernetes", _switch, "false", "ask no API server: owners without names", switch=True),
    Setting(
        "pods-max-age", _positive, "15m", "how long the last known pods serve on without an API server", "DURATION"
    ),
    Setting(
        "tenant-pod-label", _label_key, None,
        "pod label whose value is published as tenant (whoever creates pods chooses it)", "KEY",
    ),
    Setting("pod-labels", _label_key, (), "pod labels to publish in vgpu_pod_labels", "A,B", repeatable=True),
    *LOGGING,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """The settings of `vgpu-exporter node`, parsed; durations in seconds."""

    node_name: str
    listen: tuple[Address, ...]
    health_listen: tuple[Address, ...]
    interval: float
    procfs: str
    kubeconfig: str | None
    no_kubernetes: bool
    pods_max_age: float
    tenant_pod_label: str | None
    pod_labels: tuple[str, ...]
    log_format: str
    log_level: str


def node_settings(flags: Mapping[str, Sequence[str]], environment: Mapping[str, str], file: str | None) -> NodeSettings:
    """Resolve the node role's settings; `flags` maps names to the texts given, `file` is the YAML text."""
    given = _from_file(file, NODE) if file is not None else {}
    if "NODE_NAME" in environment:
        given["node-name"] = "NODE_NAME", (environment["NODE_NAME"],)
    values = {setting.name.replace("-", "_"): _resolve(setting, flags, environment, given) for setting in NODE}
    if values["node_name"] is None:
        raise ConfigError("--node-name is not set: give it, or NODE_NAME (in a pod: from spec.nodeName)")
    settings = NodeSettings(**values)
    if not settings.listen:
        raise ConfigError("--listen is empty: HOST:PORT was expected at least once")
    _check_label_names(settings.pod_labels)
    return settings


def _resolve(
    setting: Setting,
    flags: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    given: Mapping[str, tuple[str, tuple[str, ...]]],
) -> Any:  # noqa: ANN401  as many types as settings
    """Return a setting's value from the first origin that has it."""
    if setting.name in flags:
        return _parse(setting, f"--{setting.name}", flags[setting.name])
    if setting.variable in environment:
        text = environment[setting.variable]
        return _parse(setting, setting.variable, text.split(",") if setting.repeatable else (text,))
    if setting.name in given:
        return _parse(setting, *given[setting.name])
    if setting.default is None:
        return None
    return _parse(setting, "default", (setting.default,) if isinstance(setting.default, str) else setting.default)


def _parse(setting: Setting, origin: str, texts: Sequence[str]) -> object:
    """Parse the texts of one setting; an empty text among a repeatable one's means none."""
    try:
        if setting.repeatable:
            flat = [part.strip() for text in texts for part in text.split(",")]
            return tuple(setting.parse(text) for text in flat if text)
        return setting.parse(texts[-1].strip())
    except ValueError as error:
        raise ConfigError(f"{origin}: {shorten(','.join(texts))} is not {error}") from None


def _from_file(text: str, settings: Sequence[Setting]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return what the YAML file says: name → (origin, texts)."""
    try:
        # The nodes, not their values: a text stays as it was written (a node may be called 0123) and nothing is built.
        root = yaml.SafeLoader(text).get_single_node()
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise ConfigError(f"the --config file is not YAML: {' '.join(str(error).split())[:300]}") from None
    if root is None or root.tag == _NULL:
        return {}
    known = {setting.name: setting for setting in settings}
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"the --config file must map keys to values; keys are {', '.join(known)}")
    given: dict[str, tuple[str, tuple[str, ...]]] = {}
    for key, value in root.value:
        if not isinstance(key.value, str) or key.value not in known:
            shown = shorten(key.value) if isinstance(key.value, str) else "that is no text"
            raise ConfigError(f"the --config file has an unknown key {shown}; keys are {', '.join(known)}")
        if key.value in given:
            raise ConfigError(f"the --config file has the key {key.value} twice")
        given[key.value] = f"--config file, {key.value}", _texts(known[key.value], value)
    return given


def _texts(setting: Setting, node: yaml.Node) -> tuple[str, ...]:
    """Return a YAML value as the texts a flag would have had; what it holds instead is not shown: it may be endless."""
    if _is_text(node):
        return (node.value,)
    if setting.repeatable and isinstance(node, yaml.SequenceNode) and all(map(_is_text, node.value)):
        return tuple(item.value for item in node.value)
    what = "nothing" if isinstance(node, yaml.ScalarNode) else "this list or mapping"
    expected = "a text, a number or a list of those" if setting.repeatable else "one text or number"
    raise ConfigError(f"--config file, {setting.name}: {what} is not {expected}")


def _is_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag != _NULL


def _check_label_names(keys: Sequence[str]) -> None:
    """Refuse two label keys that Prometheus would spell the same."""
    spelt: dict[str, str] = {}
    for key in keys:
        name = re.sub(r"[^a-zA-Z0-9]", "_", key)
        if spelt.get(name, key) != key:
            raise ConfigError(f"--pod-labels: {spelt[name]} and {key} would both be published as label_{name}")
        spelt[name] = key
