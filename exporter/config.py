"""The settings of each role as one table, and resolved as frozen values; how they are found: `settings.py`.

Whatever cannot be used raises ConfigError, which names the setting, where it came from and what was expected, before
anything starts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

from exporter import device_config
from exporter.errors import ConfigError, ParseError
from exporter.settings import Setting, from_file, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.device_config import DeviceConfig

_LAST_PORT: Final = 65535
#: A host as the resolver takes it: labels of at most 63 characters between single dots.
_HOST: Final = re.compile(r"[a-zA-Z0-9_-]{1,63}(\.[a-zA-Z0-9_-]{1,63})*\.?")


class Address(NamedTuple):
    """Where to listen; IPv6 without brackets."""

    host: str
    port: int


class ObjectName(NamedTuple):
    """An object in Kubernetes."""

    namespace: str
    name: str


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


def _factor(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 1 <= int(text) <= device_config.LARGEST_FACTOR:
        raise ValueError(f"a whole number from 1 to {device_config.LARGEST_FACTOR}")
    return int(text)


def _object_name(text: str) -> ObjectName:
    match = re.fullmatch(r"([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)/([a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?)", text)
    if match is None:
        raise ValueError("NAMESPACE/NAME of a ConfigMap")
    return ObjectName(match[1], match[2])


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


#: HAMi's directory, and that of Volcano's plugin by its own manifest (hami-contract.md 5.1). Not its /tmp/vgpu: whoever
#: may mount the host's /tmp could write there in another pod's name.
HAMI_CONTAINERS: Final = ("/usr/local/vgpu/containers", "/usr/local/vgpu/vgpu/containers")
LOGGING: Final = (
    Setting("log-format", _one_of("text", "json"), "text", "how log lines look", "text|json"),
    Setting(
        "log-level", _one_of("debug", "info", "warning", "error"), "info", "what is logged", "debug|info|warning|error"
    ),
)
_LISTEN: Final = (
    Setting("listen", address, ("0.0.0.0:9836",), "address of the endpoint; repeatable", "HOST:PORT", repeatable=True),
    Setting(
        "health-listen", address, ("0.0.0.0:9837",),
        "address of /healthz and /readyz alone, for the kubelet; empty = off", "HOST:PORT", repeatable=True,
    ),
)  # fmt: skip
_WEB_CONFIG: Final = Setting(
    "web-config", _path, None, "Prometheus's web configuration file: TLS and passwords of the endpoint", "FILE"
)
_KUBECONFIG: Final = Setting(
    "kubeconfig", _path, None, "kubeconfig file (default: in-cluster, else the usual one)", "PATH"
)
NODE: Final = (
    Setting("node-name", _node_name, None, "this node's Kubernetes name (also from NODE_NAME)", "NAME"),
    *_LISTEN,
    Setting("interval", _interval, "1s", "time between two samples", "DURATION"),
    Setting("procfs", _path, "/proc", "the host's procfs", "PATH"),
    Setting(
        "hami-containers", _path, HAMI_CONTAINERS,
        "where HAMi's or Volcano's device plugin keeps the containers' regions; empty = off", "PATH", repeatable=True,
    ),
    _KUBECONFIG,
    Setting("no-kubernetes", _switch, "false", "ask no API server: owners without names", switch=True),
    Setting(
        "pods-max-age", _positive, "15m", "how long the last known pods serve on without an API server", "DURATION"
    ),
    Setting(
        "tenant-pod-label", _label_key, None,
        "pod label whose value is published as tenant (whoever creates pods chooses it)", "KEY",
    ),
    Setting("pod-labels", _label_key, (), "pod labels to publish in vgpu_pod_labels", "A,B", repeatable=True),
    _WEB_CONFIG,
    *LOGGING,
)  # fmt: skip
QUOTA: Final = (
    *_LISTEN,
    _KUBECONFIG,
    Setting("tenant-label", _label_key, None, "namespace label whose value is the tenant (default: the name)", "KEY"),
    Setting(
        "resource-names", _path, None,
        "YAML file with NVIDIA's resource names, by the keys of HAMi's device-config.yaml (default: its chart's)",
        "FILE",
    ),
    Setting("memory-factor", _factor, None, "HAMi's memoryFactor: MiB in a unit of NVIDIA's memory (default: 1)", "N"),
    Setting(
        "hami-config", _object_name, None,
        "HAMi's ConfigMap, which says both, such as kube-system/hami-scheduler-device (default: not read)",
        "NAMESPACE/NAME",
    ),
    _WEB_CONFIG,
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
    hami_containers: tuple[str, ...]
    kubeconfig: str | None
    no_kubernetes: bool
    pods_max_age: float
    tenant_pod_label: str | None
    pod_labels: tuple[str, ...]
    web_config: str | None
    log_format: str
    log_level: str


@dataclass(frozen=True, slots=True)
class QuotaSettings:
    """The settings of `vgpu-exporter quota`, parsed; `device_config` is what they say of HAMi's resources."""

    listen: tuple[Address, ...]
    health_listen: tuple[Address, ...]
    kubeconfig: str | None
    tenant_label: str | None
    device_config: DeviceConfig
    hami_config: ObjectName | None
    web_config: str | None
    log_format: str
    log_level: str


def node_settings(flags: Mapping[str, Sequence[str]], environment: Mapping[str, str], file: str | None) -> NodeSettings:
    """Resolve the node role's settings; `flags` maps names to the texts given, `file` is the YAML text."""
    given = from_file(file, NODE) if file is not None else {}
    if "NODE_NAME" in environment:
        given["node-name"] = "NODE_NAME", (environment["NODE_NAME"],)
    values = {setting.name.replace("-", "_"): resolve(setting, flags, environment, given) for setting in NODE}
    if values["node_name"] is None:
        raise ConfigError("--node-name is not set: give it, or NODE_NAME (in a pod: from spec.nodeName)")
    settings = NodeSettings(**values)
    _check_listen(settings.listen)
    _check_label_names(settings.pod_labels)
    return settings


def quota_settings(
    flags: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    file: str | None,
    read: Callable[[str], str],
) -> QuotaSettings:
    """Resolve the quota role's settings, as `node_settings`; `read` returns the text of the file --resource-names."""
    given = from_file(file, QUOTA) if file is not None else {}
    values = {setting.name.replace("-", "_"): resolve(setting, flags, environment, given) for setting in QUOTA}
    path, factor = values.pop("resource_names"), values.pop("memory_factor")
    said = device_config.DeviceConfig(memory_factor=factor).over(_device_config(path, read))
    settings = QuotaSettings(**values, device_config=said)
    _check_listen(settings.listen)
    return settings


def _device_config(path: str | None, read: Callable[[str], str]) -> DeviceConfig:
    if path is None:
        return device_config.DeviceConfig()
    try:
        return device_config.parse(read(path))
    except ParseError as error:
        raise ConfigError(f"--resource-names: {path} is {error}") from None


def _check_listen(listen: Sequence[Address]) -> None:
    if not listen:
        raise ConfigError("--listen is empty: HOST:PORT was expected at least once")


def _check_label_names(keys: Sequence[str]) -> None:
    """Refuse two label keys that Prometheus would spell the same."""
    spelt: dict[str, str] = {}
    for key in keys:
        name = re.sub(r"[^a-zA-Z0-9]", "_", key)
        if spelt.get(name, key) != key:
            raise ConfigError(f"--pod-labels: {spelt[name]} and {key} would both be published as label_{name}")
        spelt[name] = key
