"""A YAML file that holds secrets, read section by section: each key known, there once, and of the kind expected.

Whatever is wrong is a ParseError that names the line and the key. It never quotes what may be a secret in the wrong
place: no value where a secret belongs, no key that is no plain name, and nothing of a text that is not YAML.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from exporter import yaml_nodes
from exporter.errors import ParseError, shorten


def root(text: str) -> yaml.Node | None:
    """Return the document's root, None if there is nothing in it."""
    try:
        return yaml.SafeLoader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ParseError(f"not YAML at line {mark.line + 1}, column {mark.column + 1}" if mark else "no YAML") from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):
        raise ParseError("no YAML: a character that it cannot have, or nested too deep") from None


class Section:
    """One mapping of the file, each key known (`None` knows any) and there once; a key without a value is not there."""

    def __init__(self, name: str, node: yaml.Node | None, known: tuple[str, ...] | None) -> None:
        self._name = name
        self._nodes: dict[str, yaml.Node] = {}
        if node is None or not _is_there(node):
            return
        if not isinstance(node, yaml.MappingNode):
            raise ParseError(f"line {_line(node)}: {name or 'the file'} must map keys to values")
        for key, value in node.value:
            self._add(key, value, known)

    def _add(self, key: yaml.Node, value: yaml.Node, known: tuple[str, ...] | None) -> None:
        place = f"line {_line(key)}: " + (f"{self._name}: " if self._name else "")
        if not yaml_nodes.is_text(key):
            raise ParseError(f"{place}a key is no text")
        if known is not None and key.value not in known:
            raise ParseError(f"{place}unknown key {_shown(key.value)}; keys are {', '.join(known)}")
        if key.value in self._nodes:
            raise ParseError(f"{place}the key {_shown(key.value)} is there twice")
        self._nodes[key.value] = value

    def refusal(self, key: str, why: str) -> ParseError:
        """Return the error that says what is wrong with a key's value."""
        name = f"{self._name}, {key}" if self._name else key
        return ParseError(f"line {_line(self._nodes[key])}: {name}: {why}")

    def lines(self) -> dict[str, int]:
        """Return all keys, with a value or without, and where each stands."""
        return {key: _line(node) for key, node in self._nodes.items()}

    def given(self) -> list[str]:
        """Return the keys that have a value."""
        return [key for key, node in self._nodes.items() if _is_there(node)]

    def section(self, key: str, known: tuple[str, ...] | None) -> Section:
        """Return a key's mapping."""
        return Section(key, self._nodes.get(key), known)

    def text(self, key: str) -> str:
        """Return a key's text, empty if it is not there."""
        node = self._nodes.get(key)
        if node is None or not _is_there(node):
            return ""
        if not yaml_nodes.is_text(node):
            raise ParseError(f"line {_line(node)}: {self._name}: {_shown(key)} must be one text")
        return str(node.value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a key's list of texts, empty if it is not there."""
        node = self._nodes.get(key)
        if node is None or not _is_there(node):
            return ()
        if not isinstance(node, yaml.SequenceNode) or not all(map(yaml_nodes.is_text, node.value)):
            raise self.refusal(key, "a list of texts was expected")
        return tuple(item.value for item in node.value)

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a key's truth value."""
        text = self.text(key).lower()
        if text not in ("", "true", "yes", "on", "false", "no", "off"):
            raise self.refusal(key, f"{shorten(text)} is not true or false")
        return text in ("true", "yes", "on") if text else default

    def choice(self, key: str, choices: tuple[str, ...], remark: str = "") -> str:
        """Return a key's text, one of the choices, by default the first."""
        text = self.text(key)
        if text and text not in choices:
            raise self.refusal(key, f"{shorten(text)} is not {' or '.join(choices)}{remark}")
        return text or choices[0]


def _is_there(node: yaml.Node) -> bool:
    """Tell whether somebody gave a value: the toolkit, too, takes an empty text for none."""
    return not isinstance(node, yaml.ScalarNode) or (yaml_nodes.is_text(node) and node.value != "")


def _shown(key: str) -> str:
    """Return a key for a message, unless it is something else in the wrong place: a password's hash, say."""
    return shorten(key) if re.fullmatch(r"[\w.-]{1,60}", key) else "(which is no name)"


def _line(node: yaml.Node) -> int:
    """Return where a node begins."""
    mark: Any = node.start_mark
    return int(mark.line) + 1
