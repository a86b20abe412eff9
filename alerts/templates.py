"""Pieces of annotations: Go templates that ask Prometheus for what an alert's own value does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The value of a query's result, to the last digit: rounded, a little too much would read as just enough.
EXACT: Final = "{{ printf `%.12g` .Value }}"


def plural(value: str, one: str, many: str) -> str:
    """Return a template of the word for so many: `value` is what the template calls the number, e.g. `$value`."""
    return f"{{{{ if eq {value} 1.0 }}}}{one}{{{{ else }}}}{many}{{{{ end }}}}"


def chosen(label: str, texts: Mapping[str, str]) -> str:
    """Return a template that says the text of the label's value, and nothing for a value without one."""
    branches = (f'if eq $labels.{label} "{value}" }}}}{text}{{{{ ' for value, text in texts.items())
    return f"{{{{ {'else '.join(branches)}end }}}}"


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


def sentence(intro: str, query: str, names: Iterable[str], item: str, by: str = "") -> str:
    """Return a template that lists the results of `query` behind `intro`, in a sentence; nothing without results.

    `by` is a label to sort them by: in which order Prometheus gives equal ones is left to chance.
    """
    listed = asked(query, names) + (f' | sortByLabel "{by}"' if by else "")
    return (
        f"{{{{ with {listed} }}}} {intro} {{{{ range $i, $one := . }}}}{{{{ if $i }}}}, {{{{ end }}}}"
        f"{item}{{{{ end }}}}.{{{{ end }}}}"
    )
