"""The own Node: one GET every 5 min ± 20 %, of which only what device plugins registered there is kept.

A plugin registers anew when it starts, or when a GPU breaks, so a registration of some minutes ago will do.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from exporter.errors import AnnotationError, ApiError
from exporter.hami.node_register import KEYS, NodeState, choose, decode
from exporter.sources.kube_api import Resource, metadata
from exporter.sources.poll import PACE, Poll

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.hami.node_register import RegisteredDevice
    from exporter.sources.kube_api import Pace

_NOBODY: Final = "there is no Node of that name: it was deleted, or --node-name is wrong"


def own_node(name: str) -> Resource:
    """Return the Node of that name, as what the API server is asked for."""
    path = f"/api/v1/nodes/{quote(name, safe='')}"
    return Resource(path, "the own Node", "the rule `nodes: get`", ("gone", _NOBODY))


class NodeWatch:
    """What is registered on one node, kept current by one daemon thread."""

    def __init__(self, node: str, *, kubeconfig: str | None = None, max_age: float = 900, pace: Pace = PACE) -> None:
        """Nothing is asked before `start`; `kubeconfig`, `max_age` and `pace` are `Poll`'s."""
        cut = partial(_devices, node=node)
        self._poll = Poll("node", own_node(node), cut, kubeconfig=kubeconfig, max_age=max_age, pace=pace)

    def start(self) -> None:
        """Start the thread; call it once."""
        self._poll.start()

    def current(self) -> NodeState:
        """Return what is known now; never waits for the API server."""
        return NodeState(*self._poll.known())

    def close(self) -> None:
        """Stop asking."""
        self._poll.close()


def _devices(raw: Mapping[str, object], node: str) -> tuple[RegisteredDevice, ...]:
    """Return what is registered on the Node.

    ApiError `malformed` if the object is not that Node, AnnotationError if its registration means nothing.
    """
    annotations = _registering(raw, node)
    key = choose(annotations)
    try:
        return decode(annotations[key]) if key else ()
    except AnnotationError as error:
        raise AnnotationError(f"{key}: {error}") from error


def _registering(raw: Mapping[str, object], node: str) -> dict[str, str]:
    """Return those annotations of the Node by which plugins register."""
    body = raw.get("metadata")
    annotations = body.get("annotations") or {} if isinstance(body, dict) else None
    if metadata(raw, "name") != node or not isinstance(annotations, dict):
        raise ApiError("malformed", f"The API server's answer is not the Node {node}.")
    found = {key: annotations[key] for key in KEYS if key in annotations}
    if not all(isinstance(text, str) for text in found.values()):
        raise ApiError("malformed", f"An annotation of the Node {node} is no text.")
    return found
