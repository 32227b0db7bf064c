"""Average precision from counts, to the last digit as sklearn's `average_precision_score`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def average_precision(hits: ArrayLike, taken: ArrayLike) -> float:
    """The mean precision over the steps in which recall grows.

    Args:
        hits: at each threshold, from the highest down, how many positive items are at or above it; the last is all.
        taken: how many items are.

    >>> average_precision([1, 1, 2], [1, 2, 4])
    0.75
    """
    found = np.asarray(hits, dtype=np.float64)
    precision, recall = found / np.asarray(taken, dtype=np.float64), found / found[-1]
    # from the lowest threshold up, as sklearn adds them: the order decides the last digit
    steps = np.diff(np.append(recall[::-1], 0.0))
    return float(max(0.0, -np.sum(steps * precision[::-1])))
