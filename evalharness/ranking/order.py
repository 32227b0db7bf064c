"""The one order of documents: score descending, then document id descending, as in trec_eval.

Scores are compared in float32, and ids by code point. -0.0 equals 0.0. A score and an id make one integer, a key, so
that a search can keep the best of each chunk by keys alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LOW = np.uint64(32)
_RANK = np.uint64(0xFFFFFFFF)


def id_ranks(ids: Sequence[str]) -> NDArray[np.int64]:
    """Position of each id in ascending string order (by code point, as strcmp on UTF-8)."""
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    return ranks


def best_order(scores: NDArray[np.float32], ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of documents, best first.

    Args:
        scores: one per document.
        ranks: of their ids (see `id_ranks`), among these or any more documents.

    >>> best_order(np.array([0.5, 1.0, 0.5], dtype=np.float32), id_ranks(["a", "b", "c"])).tolist()
    [1, 2, 0]
    """
    return np.argsort(keys(scores, ranks))[::-1]


def keys(scores: NDArray[np.float32], ranks: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One integer per (score, id): a larger score gives a larger key; among equal scores the larger id does."""
    bits = (scores + np.float32(0.0)).view(np.uint32)  # + 0.0 turns -0.0 into 0.0, which it equals
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000))
    return (ordered.astype(np.uint64) << _LOW) | ranks.astype(np.uint64)


def scores_of(found: NDArray[np.uint64]) -> NDArray[np.float32]:
    """The scores that are in keys."""
    ordered = (found >> _LOW).astype(np.uint32)
    bits = np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered)
    return bits.astype(np.uint32).view(np.float32)


def ranks_of(found: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The ranks of ids that are in keys."""
    return (found & _RANK).astype(np.int64)
