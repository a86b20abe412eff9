"""The own Node: one GET every 5 min ± 20 %, of which only what device plugins registered there is kept.

That much can be old (a plugin registers anew when it starts, or a GPU breaks), so nothing is watched. What the API
server answers, or does not, never ends the program: it is counted by reason, and the registration known last serves on.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from exporter.errors import AnnotationError, ApiError
from exporter.hami.node_register import KEYS, NodeState, choose, decode
from exporter.sources import kube_api
from exporter.sources.health import Health
from exporter.sources.kube_api import KubeApi, RefusedError, Resource, metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.hami.node_register import RegisteredDevice
    from exporter.sources.kube_api import Pace

_log = logging.getLogger(__name__)

PACE: Final = replace(kube_api.PACE, backoff=(1, 60))

_NOBODY: Final = "there is no Node of that name: it was deleted, or --node-name is wrong"


class _Known(NamedTuple):
    """What the last Node that could be read said, and when (monotonic seconds)."""

    devices: tuple[RegisteredDevice, ...]
    at: float


class NodeWatch:
    """What is registered on one node, kept current by one daemon thread."""

    def __init__(self, node: str, *, kubeconfig: str | None = None, max_age: float = 900, pace: Pace = PACE) -> None:
        """Nothing is asked before `start`.

        `kubeconfig` None: the service account of the pod we run in, else the usual kubeconfig (KUBECONFIG,
        ~/.kube/config). After `max_age` seconds without a Node that can be read its devices count as unknown.
        """
        self._node, self._kubeconfig, self._max_age, self._pace = node, kubeconfig, max_age, pace
        path = f"/api/v1/nodes/{quote(node, safe='')}"
        self._resource = Resource(path, "the own Node", "the rule `nodes: get`", ("gone", _NOBODY))
        self._health = Health("node", pace.wall)
        self._stop = threading.Event()
        # What `current` reads: each swapped in whole, never changed in place.
        self._known: _Known | None = None
        self._problems: frozenset[str] = frozenset()
        self._answers = False

    def start(self) -> None:
        """Start the thread; call it once."""
        threading.Thread(target=self._run, name="node", daemon=True).start()

    def current(self) -> NodeState:
        """Return what is known now: a few attribute reads, never a wait.

        Up as long as the last reading worked and is not older than two rounds (a GET may hang).
        """
        known, answers, problems = self._known, self._answers, self._problems
        age = self._pace.monotonic() - known.at if known else 0
        up = answers and age <= 2 * self._pace.every[1]
        devices = known.devices if known and (up or age <= self._max_age) else None
        return NodeState(devices, self._health.status(up=up), problems)

    def close(self) -> None:
        """Stop asking; the thread ends by itself, nobody waits for it."""
        self._stop.set()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        """Ask until `close`: at the pace while the API server answers, with growing waits while it does not."""
        failures = 0
        while not self._stop.is_set():
            error = self._attempt()
            failures = failures + 1 if error else 0
            self._stop.wait(self._after(error, failures))

    def _after(self, error: ApiError | None, failures: int) -> float:
        """Return how long to wait: never shorter than the server asks for, within our patience."""
        if error is None:
            return self._pace.pause()
        asked = error.wait if isinstance(error, RefusedError) else 0
        return max(min(asked, self._pace.patience), self._pace.delay(failures))

    def _attempt(self) -> ApiError | None:
        """Read once; returns the error after which it is worth asking again soon."""
        try:
            self._read()
        except ApiError as error:
            return self._failed(error)
        except AnnotationError as error:  # the same text would come again
            self._failed(ApiError("malformed", f"What is registered on Node {self._node} cannot be used: {error}."))
        except Exception as error:  # noqa: BLE001 - the thread must outlive our mistakes
            _log.exception("reading the own Node failed in a way nobody thought of")
            return self._failed(ApiError("malformed", f"The own Node could not be used: {error!r}."))
        return None

    def _failed(self, error: ApiError) -> ApiError:
        if not self._stop.is_set():
            self._answers = False
            self._health.failed(error.reason, str(error))
        return error

    def _read(self) -> None:
        """GET the Node; ApiError if there is none to be had, AnnotationError if its registration means nothing."""
        began = self._pace.monotonic()
        annotations = self._annotations()
        key, unused = choose(annotations)
        try:
            devices = decode(annotations[key]) if key else ()
        except AnnotationError as error:
            self._problems = unused | ({key} if key else set())
            raise AnnotationError(f"{key}: {error}") from error
        now = self._pace.monotonic()
        self._known, self._problems, self._answers = _Known(devices, now), unused, True
        self._health.succeeded(now - began)

    def _annotations(self) -> Mapping[str, str]:
        """Return the registering annotations, with credentials read anew: they change, and it is rarely done."""
        api = KubeApi(self._kubeconfig, self._pace, self._resource)
        try:
            raw = api.get()
        finally:
            api.close()
        return _registering(raw, self._node)


def _registering(raw: Mapping[str, object], node: str) -> dict[str, str]:
    """Return those annotations of the Node; ApiError `malformed` if the object is not that Node."""
    body = raw.get("metadata")
    annotations = body.get("annotations") or {} if isinstance(body, dict) else None
    if metadata(raw, "name") != node or not isinstance(annotations, dict):
        raise ApiError("malformed", f"The API server's answer is not the Node {node}.")
    found = {key: annotations[key] for key in KEYS if key in annotations}
    if not all(isinstance(text, str) for text in found.values()):
        raise ApiError("malformed", f"An annotation of the Node {node} is no text.")
    return found
