"""The edges: the only rooms that import pynvml, kubernetes, os or open files.

A source reads and hands out values of `model.py`; it wraps whatever goes wrong into `errors.py`,
counts it by closed-list reason and goes on. The Protocols are all the sampler knows, so a recorded node
(`sources/recorded.py`) can stand in for the driver, /proc and the API server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from exporter.hami.node_register import NodeState
    from exporter.hami.region import RegionState
    from exporter.model import DriverState, PodState, ProcessState


class Gpus(Protocol):
    """The driver's edge."""

    def read(self, timeout: float) -> DriverState:
        """Ask every GPU that is not busy answering, wait at most `timeout` s, return the newest of each.

        A GPU whose last reading came too late to be returned is not asked: that reading is handed out first.
        """
        ...

    def close(self) -> None:
        """Stop asking; never waits for a call that is stuck in the driver."""
        ...


class Processes(Protocol):
    """The edge to /proc."""

    def look_up(self, pids: Collection[int]) -> ProcessState:
        """Return who the PIDs are right now; forgets PIDs that are no longer asked about."""
        ...


class Regions(Protocol):
    """The edge to HAMi-core's regions."""

    def read(self, physical: Mapping[str, int]) -> RegionState:
        """Return the node's regions as they are now; `physical` has the most bytes a process can have, by GPU."""
        ...


class Node(Protocol):
    """The edge to the own Node."""

    def current(self) -> NodeState:
        """Return what is registered on it as last known; never waits for the API server."""
        ...

    def close(self) -> None:
        """Stop asking."""
        ...


class Pods(Protocol):
    """The edge to Kubernetes."""

    def current(self) -> PodState:
        """Return the node's pods as last known; never waits for the API server."""
        ...

    def close(self) -> None:
        """Stop watching."""
        ...
