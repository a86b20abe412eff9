"""What HAMi's device-config.yaml says of NVIDIA's resources: their names, and `memoryFactor`.

HAMi's chart writes it into one ConfigMap, with a section for each vendor; the names in the section `nvidia` are a
user's choice. A file with only the keys of that section is read, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

import yaml

from exporter import yaml_nodes
from exporter.errors import DeviceConfigError, ParseError, shorten
from exporter.hami.families import FAMILIES, NVIDIA, Family

#: HAMi reads it as an int32.
LARGEST_FACTOR: Final = 2**31 - 1

_MIB: Final = 2**20
_KEYS: Final = {
    "resourceCountName": "count",
    "resourceMemoryName": "memory",
    "resourceMemoryPercentageName": "memory_percentage",
    "resourceCoreName": "cores",
}
_FACTOR: Final = "memoryFactor"
_RESOURCE: Final = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/[a-zA-Z0-9](?:[-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """NVIDIA's resources by name, "" where nothing is said, and MiB per unit of memory, None where nothing is said."""

    count: str = ""
    memory: str = ""
    memory_percentage: str = ""
    cores: str = ""
    memory_factor: int | None = None

    def over(self, other: DeviceConfig) -> DeviceConfig:
        """Return this, and what the other says where this says nothing."""
        return DeviceConfig(
            count=self.count or other.count,
            memory=self.memory or other.memory,
            memory_percentage=self.memory_percentage or other.memory_percentage,
            cores=self.cores or other.cores,
            memory_factor=self.memory_factor or other.memory_factor,
        )

    def families(self) -> tuple[Family, ...]:
        """Return all of HAMi's families; whoever writes for NVIDIA's own names goes by these."""
        return tuple(self._named(family) if family.count == NVIDIA.count else family for family in FAMILIES)

    def _named(self, family: Family) -> Family:
        return replace(
            family,
            count=self.count or family.count,
            memory=self.memory or family.memory,
            memory_percentage=self.memory_percentage or family.memory_percentage,
            cores=self.cores or family.cores,
            asked_memory_unit=(self.memory_factor or 1) * _MIB,
        )


def parse(text: str) -> DeviceConfig:
    """Return what a device-config.yaml says; DeviceConfigError ("not …") if it says nothing that can be used."""
    try:
        root = yaml_nodes.root(text)
    except ParseError as error:
        raise DeviceConfigError(str(error)) from None
    said = _texts(root)
    if nvidia := said.get("nvidia"):
        said = _texts(nvidia)
    names = {field: _resource(key, said[key]) for key, field in _KEYS.items() if key in said}
    factor = _whole(said[_FACTOR]) if _FACTOR in said else None
    if not names and factor is None:
        raise DeviceConfigError(f"not a device-config.yaml: it has none of {', '.join((*_KEYS, _FACTOR))}")
    return DeviceConfig(**names, memory_factor=factor)


def _texts(node: yaml.Node | None) -> dict[str, yaml.Node]:
    """Return what a mapping has by text, without what is empty."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {
        key.value: value
        for key, value in node.value
        if yaml_nodes.is_text(key) and not (isinstance(value, yaml.ScalarNode) and _is_empty(value))
    }


def _is_empty(node: yaml.ScalarNode) -> bool:
    return not yaml_nodes.is_text(node) or node.value == ""


def _resource(key: str, node: yaml.Node) -> str:
    if not (yaml_nodes.is_text(node) and _RESOURCE.fullmatch(node.value)):
        raise DeviceConfigError(f"not usable: {key} ({_shown(node)}) is not a resource's name, such as nvidia.com/gpu")
    return str(node.value)


def _whole(node: yaml.Node) -> int:
    """Return the factor; 0 means 1 to HAMi."""
    if not (yaml_nodes.is_text(node) and re.fullmatch("[0-9]{1,10}", node.value) and int(node.value) <= LARGEST_FACTOR):
        raise DeviceConfigError(
            f"not usable: {_FACTOR} ({_shown(node)}) is not a whole number of at most {LARGEST_FACTOR}"
        )
    return max(int(node.value), 1)


def _shown(node: yaml.Node) -> str:
    return shorten(node.value) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
