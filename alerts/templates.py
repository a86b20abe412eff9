"""Pieces of annotations: Go templates that ask Prometheus for what an alert's own value does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def matchers(names: Iterable[str]) -> str:
    """Return matchers to be filled by `asked` with the alert's labels; a label that it lacks matches none."""
    return "{" + ",".join(f"{name}='%s'" for name in names) + "}"


def asked(query: str, names: Iterable[str]) -> str:
    """Return a template's pipeline that runs `query`, each `%s` in it replaced by a label of the alert."""
    given = " ".join(f"$labels.{name}" for name in names)
    return f'printf "{query}" {given} | query'


def amount(query: str, names: Iterable[str], shown: str) -> str:
    """Return a template that says the value of `query` as `shown`, and nothing if there is none."""
    return f"{{{{ range {asked(query, names)} }}}}{shown}{{{{ end }}}}"


def sentence(intro: str, query: str, names: Iterable[str], item: str) -> str:
    """Return a template that lists the results of `query` behind `intro`, in a sentence; nothing without results."""
    return (
        f"{{{{ with {asked(query, names)} }}}} {intro} {{{{ range $i, $one := . }}}}{{{{ if $i }}}}, {{{{ end }}}}"
        f"{item}{{{{ end }}}}.{{{{ end }}}}"
    )
