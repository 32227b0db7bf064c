"""Which items depend on each other: those that share a text, as numbers that are equal where they do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from evalharness.metrics.measures import GROUP


def group_column(keys: Sequence[Hashable]) -> dict[str, list[float]]:
    """The column `group`, one number per different key, by first appearance; no column where all keys differ.

    >>> group_column(["a", "b", "a"]), group_column(["a", "b"])
    ({'group': [0.0, 1.0, 0.0]}, {})
    """
    numbers: dict[Hashable, float] = {}
    codes = [numbers.setdefault(key, float(len(numbers))) for key in keys]
    return {GROUP: codes} if len(numbers) < len(codes) else {}


def groups_of_pairs(first: Sequence[str], second: Sequence[str]) -> list[Hashable]:
    """Keys for `group_column`: pairs that share a text with each other, or with others between them.

    Where that makes one group of more than half of the pairs, they are grouped by the texts of one side alone: the
    side that has fewer different ones.

    >>> groups_of_pairs(["a", "b", "c", "d", "e"], ["b", "x", "y", "z", "v"])
    [0, 0, 1, 2, 3]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers: dict[str, int] = {}
    ends = [[numbers.setdefault(text, len(numbers)) for text in side] for side in (first, second)]
    links = coo_array((np.ones(len(first), dtype=np.int8), (ends[0], ends[1])), shape=(len(numbers), len(numbers)))
    found = connected_components(links, directed=False)[1][ends[0]].tolist()
    # a single pair is no majority
    if max(Counter(found).values(), default=0) * 2 <= max(len(found), 2):
        return list(found)
    return list(min(first, second, key=lambda side: len(set(side))))
