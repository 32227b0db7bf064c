"""How well a system's own confidence tells its good answers from its bad ones (nAUC)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from heapq import heappush

import numpy as np
from numpy.typing import NDArray

from evalharness.metrics.measures import Confidence

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


def confidences(scores: Sequence[NDArray[np.floating]]) -> dict[Confidence, Values]:
    """Three confidences per query from the scores of its retrieved documents.

    Args:
        scores: per query, in mteb's order (see `heap_order`); may be empty.

    Returns:
        `max`: highest score; `std`: standard deviation; `diff1`: highest minus second highest (0 without one).
    """
    best, spread, lead = (np.zeros(len(scores)) for _ in range(3))
    for query, values in enumerate(scores):
        exact = np.asarray(values, dtype=np.float64)
        ordered = np.sort(exact)[::-1]
        if len(ordered):
            best[query], spread[query] = ordered[0], exact.std()
        if len(ordered) > 1:
            lead[query] = ordered[0] - ordered[1]
    return {"max": best, "std": spread, "diff1": lead}


def _kept_means(confidence: Values, metric: Values) -> Values:
    """Mean of the metric after refusing the least confident queries, at each rate.

    Queries of equal confidence count with their common mean, so that their order does not matter.
    """
    order = np.argsort(confidence, stable=True)
    ordered_confidence, ordered_metric = confidence[order], metric[order]
    starts = np.flatnonzero(np.r_[True, ordered_confidence[1:] != ordered_confidence[:-1]])
    sizes = np.diff(np.r_[starts, len(order)])
    levelled = np.repeat(np.add.reduceat(ordered_metric, starts) / sizes, sizes)
    refused = [min(round(rate * len(order)), len(order) - 1) for rate in RATES]
    return np.array([levelled[n:].mean() for n in refused])


def nauc(confidence: Values, metric: Values) -> float:
    """Normalised area under the abstention curve.

    0: confidence does not help; 1: refusing by confidence is as good as refusing by the metric itself.
    Reference: Gisserot-Boukhlef et al. 2024, arXiv 2402.12997; ties as in mteb.

    Args:
        confidence: shape (queries,).
        metric: shape (queries,).

    Returns:
        NaN without queries, where even an oracle gains nothing, or where a confidence is no number.

    >>> nauc(np.array([0.1, 0.5, 0.9]), np.array([0.0, 0.5, 1.0]))
    1.0
    """
    from sklearn.metrics import auc

    if not len(metric) or not np.isfinite(confidence).all():
        return float("nan")
    curve, oracle = _kept_means(confidence, metric), _kept_means(metric, metric)
    flat = oracle[0] * (RATES[-1] - RATES[0])
    gain = auc(RATES, oracle) - flat
    return float("nan") if gain == 0 else float((auc(RATES, curve) - flat) / gain)
