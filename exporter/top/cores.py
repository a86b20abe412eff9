"""Cores in use: SM time over the time in which it was observed, never a gauge that looks back for a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from exporter import catalogue as c
from exporter.top.samples import BUSY, of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.catalogue import Metric
    from exporter.top.samples import Labels, Samples

#: How many labels name the GPU.
_OF_GPU: Final = 3


def between(history: Sequence[Samples]) -> Samples:
    """Return the shares of a GPU since the first of these moments, by the counters' names; the last is now.

    A series that began meanwhile, or began anew, counts from then on; one that has no past yet is absent.
    """
    return _shares(history[-1], lambda metric, labels: _increases(history, metric, labels))


def of_rates(rates: Samples) -> Samples:
    """Return the shares of a GPU from what the counters grew by in a second."""

    def increases(metric: Metric[Any], labels: Labels) -> tuple[float, float]:
        return of(rates, metric)[labels], of(rates, c.DEVICE_OBSERVED).get(labels[:_OF_GPU], 0.0)

    return _shares(rates, increases)


def _shares(now: Samples, increases: Callable[[Metric[Any], Labels], tuple[float, float]]) -> Samples:
    shares: dict[str, dict[Labels, float]] = {}
    for metric in BUSY:
        for labels in of(now, metric):
            busy, observed = increases(metric, labels)
            if observed > 0:
                shares.setdefault(metric.name, {})[labels] = busy / observed
    return shares


def _increases(history: Sequence[Samples], metric: Metric[Any], labels: Labels) -> tuple[float, float]:
    """Return by how much a counter and the observed time grew, as far back as neither was missing or went back."""
    now = then = (of(history[-1], metric)[labels], of(history[-1], c.DEVICE_OBSERVED).get(labels[:_OF_GPU], 0.0))
    for samples in reversed(history[:-1]):
        busy, observed = of(samples, metric).get(labels), of(samples, c.DEVICE_OBSERVED).get(labels[:_OF_GPU])
        if busy is None or observed is None or busy > then[0] or observed > then[1]:
            break
        then = (busy, observed)
    return now[0] - then[0], now[1] - then[1]
