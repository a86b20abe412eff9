"""How a setting is found: flag > environment > file > default; texts in, parsed values out.

Each setting is a flag `--name`, a variable `VGPU_EXPORTER_NAME` and a key `name` of the YAML file. Whatever cannot be
used raises ConfigError, which names the setting, where it came from and what was expected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from exporter import yaml_nodes
from exporter.errors import ConfigError, ParseError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: What a file or another origin says: name → (origin, texts).
Given: TypeAlias = "dict[str, tuple[str, tuple[str, ...]]]"


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


def resolve(
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


def from_file(text: str, settings: Sequence[Setting]) -> Given:
    """Return what the YAML file says: name → (origin, texts)."""
    try:
        root = yaml_nodes.root(text)
    except ParseError as error:
        raise ConfigError(f"the --config file is {error}") from None
    if root is None:
        return {}
    known = {setting.name: setting for setting in settings}
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"the --config file must map keys to values; keys are {', '.join(known)}")
    given: Given = {}
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
    if yaml_nodes.is_text(node):
        return (node.value,)
    if setting.repeatable and isinstance(node, yaml.SequenceNode) and all(map(yaml_nodes.is_text, node.value)):
        return tuple(item.value for item in node.value)
    what = "nothing" if isinstance(node, yaml.ScalarNode) else "this list or mapping"
    expected = "a text, a number or a list of those" if setting.repeatable else "one text or number"
    raise ConfigError(f"--config file, {setting.name}: {what} is not {expected}")
