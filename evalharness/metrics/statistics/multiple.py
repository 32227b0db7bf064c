"""Many tests at once: adjusted p values, in the order given; a NaN (there was no test) stays one and does not count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

# values as an array, and the places of those that are numbers, smallest first
_Sorted: TypeAlias = tuple[NDArray[np.float64], NDArray[np.int64]]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down: the chance of even one false alarm among all stays below alpha. For gates.

    Formula: of m sorted p values, adjusted p(i) = max over j <= i of min(1, (m - j + 1) p(j)). Assumes valid p values
    and nothing of how they depend. Reference: S. Holm, Scandinavian Journal of Statistics 6, 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values, order = _tested(p_values)
    m = len(order)
    steps = np.minimum(1.0, (m - np.arange(m)) * values[order])
    return _placed(values, order, np.maximum.accumulate(steps))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's step-up: of what is called a difference, a share of alpha is expected to be none.

    For exploring: it finds more than `holm` and promises less. Formula: adjusted p(i) = min over j >= i of
    min(1, m p(j) / j). Assumes p values that are independent or depend positively. Reference: Y. Benjamini,
    Y. Hochberg, Journal of the Royal Statistical Society B 57, 1995.

    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    values, order = _tested(p_values)
    m = len(order)
    steps = np.minimum(1.0, m * values[order] / (np.arange(m) + 1))
    return _placed(values, order, np.minimum.accumulate(steps[::-1])[::-1])


def _tested(p_values: Sequence[float]) -> _Sorted:
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")  # NaN comes last
    return values, order[: int((~np.isnan(values)).sum())]


def _placed(values: NDArray[np.float64], order: NDArray[np.int64], adjusted: NDArray[np.float64]) -> list[float]:
    placed = np.full(len(values), np.nan)
    placed[order] = adjusted
    return placed.tolist()
