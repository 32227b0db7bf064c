"""How well a system's own confidence tells its good answers from its bad ones (nAUC)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from heapq import heappush

import numpy as np
from numpy.typing import NDArray

from evalharness.metrics.measures import Confidence
from evalharness.metrics.ragged import Ragged, starts_of

Values = NDArray[np.float64]

# 0 %, 10 %, ..., 90 % of the queries refused, as in mteb
RATES: Values = np.linspace(0, 1, 11)[:-1]


@cache
def heap_order(count: int) -> NDArray[np.int64]:
    """Where mteb keeps the best, second best ... of a query's documents: the layout of a heap they were pushed into.

    The standard deviation of the scores depends on their order in its last bit, and that bit decides which queries
    are equally confident.

    >>> heap_order(7).tolist()
    [6, 3, 5, 0, 2, 1, 4]
    """
    heap: list[int] = []
    for place in range(count):
        heappush(heap, -place)
    return -np.array(heap, dtype=np.int64)


def heap_places(lengths: NDArray[np.int64]) -> Ragged:
    """`heap_order` of rows of these lengths."""
    starts = starts_of(lengths)
    places = Ragged(np.empty(starts[-1], dtype=np.int64), starts)
    for part in places.matrices():
        places.values[part.at] = heap_order(part.at.shape[1])
    return places


def confidences(
    scores: Sequence[NDArray[np.floating]], order: Sequence[NDArray[np.int64]] | None = None
) -> dict[Confidence, Values]:
    """Three confidences per query from the scores of its retrieved documents.

    Args:
        scores: per query, descending; may be empty.
        order: per query, places of the scores in mteb's order, which decides the last bit of a standard deviation;
            None for `heap_order`.

    Returns:
        `max`: highest score; `std`: standard deviation; `diff1`: highest minus second highest (0 without one).
    """
    rows = Ragged.of(scores, np.float32)
    places = None if order is None else Ragged.of(order).values
    best, spread, lead = (np.zeros(len(rows)) for _ in range(3))
    for part in rows.matrices():
        length = part.at.shape[1]
        exact = rows.values[part.at].astype(np.float64)
        best[part.rows] = exact[:, 0]
        if length > 1:
            lead[part.rows] = exact[:, 0] - exact[:, 1]
        if places is None:
            arrived = exact.take(heap_order(length), axis=1)
        else:
            arrived = np.take_along_axis(exact, places[part.at], axis=1)
        spread[part.rows] = arrived.std(axis=1)
    return {"max": best, "std": spread, "diff1": lead}


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Queries by confidence, those of equal confidence together; made once for all metrics.

    Attributes:
        order: numbers of the queries, least confident first.
        starts: where in it each level starts.
        is_finite: whether every confidence is a number.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    is_finite: bool

    @classmethod
    def of(cls, confidence: Values) -> Levels:
        """Levels of one confidence per query."""
        order = np.argsort(confidence, stable=True)
        ordered = confidence[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        return cls(order, starts, bool(np.isfinite(confidence).all()))

    def kept_means(self, metric: Values) -> Values:
        """Mean of the metric after refusing the least confident queries, at each rate.

        Queries of equal confidence count with their common mean, so that their order does not matter.
        """
        count, ordered = len(self.order), metric[self.order]
        sizes = np.diff(np.r_[self.starts, count])
        levelled = np.repeat(np.add.reduceat(ordered, self.starts) / sizes, sizes)
        refused = [min(round(rate * count), count - 1) for rate in RATES]
        return np.array([levelled[n:].mean() for n in refused])


def naucs(confidence: Sequence[Levels], metric: Values) -> list[float]:
    """Normalised areas under the abstention curves of several confidences.

    0: confidence does not help; 1: refusing by confidence is as good as refusing by the metric itself.
    Reference: Gisserot-Boukhlef et al. 2024, arXiv 2402.12997; ties as in mteb.

    Args:
        confidence: of the queries.
        metric: shape (queries,).

    Returns:
        NaN without queries, where even an oracle gains nothing, or where a confidence is no number.

    >>> naucs([Levels.of(np.array([0.1, 0.5, 0.9]))], np.array([0.0, 0.5, 1.0]))
    [1.0]
    """
    if not len(metric):
        return [float("nan")] * len(confidence)
    oracle = Levels.of(metric).kept_means(metric)
    flat = oracle[0] * (RATES[-1] - RATES[0])
    gain = np.trapezoid(oracle, RATES) - flat
    if gain == 0:
        return [float("nan")] * len(confidence)
    return [
        float((np.trapezoid(levels.kept_means(metric), RATES) - flat) / gain) if levels.is_finite else float("nan")
        for levels in confidence
    ]
