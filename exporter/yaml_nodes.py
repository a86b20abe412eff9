"""A YAML text as nodes: a text stays as it was written (something may be called 0123), and nothing is built.

So neither a tag nor a nest of aliases in somebody's file costs anything.
"""

from __future__ import annotations

from typing import Final

import yaml

from exporter.errors import ParseError

_NULL: Final = "tag:yaml.org,2002:null"  # YAML's nothing


def root(text: str) -> yaml.Node | None:
    """Return the document's root, None if there is nothing in it; ParseError if it is no YAML."""
    try:
        node = yaml.SafeLoader(text).get_single_node()
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise ParseError(f"not YAML: {' '.join(str(error).split())[:300]}") from None
    return None if node is None or node.tag == _NULL else node


def is_text(node: yaml.Node) -> bool:
    """Tell whether a node is one text, number or truth value."""
    return isinstance(node, yaml.ScalarNode) and node.tag != _NULL
