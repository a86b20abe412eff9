"""HAMi's own configuration: what its one ConfigMap says of NVIDIA's resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from exporter import device_config
from exporter.errors import DeviceConfigError
from exporter.sources.kube_api import Resource
from exporter.sources.poll import PACE, Poll

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.config import ObjectName
    from exporter.device_config import DeviceConfig
    from exporter.sources.kube_api import Pace

#: The ConfigMap's key, as HAMi's chart writes it.
KEY: Final = "device-config.yaml"

_NOBODY: Final = "there is no ConfigMap of that name: HAMi lies in another namespace, or --hami-config is wrong"


def hami_config(name: ObjectName, *, kubeconfig: str | None = None, pace: Pace = PACE) -> Poll[DeviceConfig]:
    """Return the source of that ConfigMap; nothing is asked before its `start`."""
    path = f"/api/v1/namespaces/{quote(name.namespace, safe='')}/configmaps/{quote(name.name, safe='')}"
    word = f"the ConfigMap {name.namespace}/{name.name}"
    resource = Resource(path, word, "the rule `configmaps: get`", ("gone", _NOBODY))
    return Poll("hami_config", resource, _said, kubeconfig=kubeconfig, pace=pace)


def _said(raw: Mapping[str, object]) -> DeviceConfig:
    """Return what the ConfigMap says; DeviceConfigError if it says nothing."""
    data = raw.get("data")
    text = data.get(KEY) if isinstance(data, dict) else None
    if not isinstance(text, str):
        raise DeviceConfigError(f"it has no text under the key {KEY}")
    return device_config.parse(text)
