"""The k best documents of some queries, kept while blocks of scores come in, in any order and from several threads.

Per query there is a least score: that of the k-th best so far. Of a block, only what is not below it is looked at,
which after a few blocks is hardly anything. What equals it is kept, for the ids decide between equal scores; they are
asked only where that matters. What was found in parts of a corpus is merged by the same rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from evalharness.ranking import order

# eight flags at a time are seen as one number
_FLAGS = 8
_ALL_SET = np.uint64(0x0101010101010101)
# queries whose parts are merged at a time
_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Found:
    """Documents of each query, best first, and their scores; both of shape (queries, documents)."""

    documents: NDArray[np.int32]
    scores: NDArray[np.float32]

    def rows(self, some: slice) -> Found:
        """What was found for these queries."""
        return Found(self.documents[some], self.scores[some])


class Best:
    """See the module."""

    def __init__(self, least: NDArray[np.float32], k: int, width: int, ranks: Callable[[], NDArray[np.int64]]) -> None:
        """Nothing is found yet.

        Args:
            least: per query, the score below which nothing is looked at; -inf where nothing is known.
            k: documents wanted per query, at least one.
            width: documents in a block of scores, a multiple of eight.
            ranks: gives the ranks of all ids; called only where more documents have equal scores than there is room.
        """
        self._k, self._width, self._ranks = k, width, ranks
        # of so many a block's worth of documents more has room
        self._full = k + width // 4
        self._room = self._full + max(k, width)
        self._scores = np.empty((len(least), self._room), dtype=np.float32)
        self._documents = np.empty((len(least), self._room), dtype=np.int32)
        self._count = np.zeros(len(least), dtype=np.int64)
        self._least = least.copy()
        self._lock = Lock()

    def offer(self, scores: NDArray[np.float32], documents: NDArray[np.int32]) -> None:
        """Take of a block what may be among the best.

        Args:
            scores: shape (queries, width); those beyond the documents are of nothing.
            documents: their numbers, in the order of the columns.
        """
        # not "at least": a product that is no number is kept, too
        below = scores < self._least[:, None]
        below[:, len(documents) :] = True
        flags = below.view(np.uint64).ravel()
        groups = np.flatnonzero(flags != _ALL_SET)
        if not len(groups):
            return
        inside, flag = np.divmod(np.flatnonzero(~flags[groups].view(bool)), _FLAGS)
        hits = groups[inside] * _FLAGS + flag
        query, column = np.divmod(hits, self._width)
        values, numbers = scores.ravel()[hits], documents[column]
        added = np.bincount(query, minlength=len(self._count))
        with self._lock:
            if (self._count + added > self._room).any():
                # those that will be full soon, too, so that their least score rises
                self._drop(np.flatnonzero(self._count > self._full))
            place = (self._count - np.cumsum(added) + added + self._room * np.arange(len(added)))[query]
            place += np.arange(len(query))
            self._scores.ravel()[place] = values
            self._documents.ravel()[place] = numbers
            self._count += added
            self._drop(np.flatnonzero((self._count >= self._k) & np.isneginf(self._least)))

    def _drop(self, rows: NDArray[np.int64]) -> None:
        """Leave of these queries' documents those whose score is that of the k-th at least."""
        if not len(rows):
            return
        width = int(self._count[rows].max())
        scores, documents = self._scores[rows, :width], self._documents[rows, :width]
        unused = np.arange(width) >= self._count[rows, None]
        scores[unused] = -np.inf
        least = _kth(scores, self._k)
        kept = ~((scores < least[:, None]) | unused)
        count = kept.sum(axis=1)
        for row in np.flatnonzero(count > self._room - self._width).tolist():
            there = np.flatnonzero(kept[row])
            keys = order.keys(scores[row, there], self._ranks()[documents[row, there]])
            kept[row] = False
            kept[row, there[np.argpartition(keys, len(keys) - self._k)[-self._k :]]] = True
            count[row] = self._k
        place = np.repeat(rows * self._room - np.cumsum(count) + count, count)
        place += np.arange(len(place))
        self._scores.ravel()[place] = scores[kept]
        self._documents.ravel()[place] = documents[kept]
        self._count[rows], self._least[rows] = count, least

    def least(self) -> NDArray[np.float32]:
        """Per query, the score of the k-th best document so far; -inf where there are fewer."""
        self._drop(np.flatnonzero(self._count >= self._k))
        return np.where(self._count < self._k, -np.inf, self._least).astype(np.float32)

    def lacking(self) -> NDArray[np.int64]:
        """Queries of which fewer than k documents were kept, since too much was expected of them at the start."""
        return np.flatnonzero(self._count < self._k)

    def found(self, ids: Sequence[str]) -> Found:
        """The best of what was offered, or of what was kept of it (see `lacking`).

        Args:
            ids: of all documents, by number.
        """
        self._drop(np.flatnonzero(self._count > self._k))
        width = max(self._k, int(self._count.max()))
        unused = np.arange(width) >= self._count[:, None]
        return _in_order(Found(self._documents[:, :width], self._scores[:, :width]), unused, ids, self._k)


def merge(parts: Sequence[Found], ids: Sequence[str], k: int) -> Found:
    """The best of what was found in parts of a corpus, each of which gave its k best, or all that it has.

    Args:
        parts: of the same queries, at least one.
        ids: of all documents, by number.
        k: documents wanted per query; fewer come back if the parts have fewer together.
    """
    k = min(k, sum(part.scores.shape[1] for part in parts))
    merged = [
        _merged([part.rows(slice(first, first + _ROWS)) for part in parts], ids, k)
        for first in range(0, len(parts[0].scores), _ROWS)
    ]
    return Found(np.concatenate([some.documents for some in merged]), np.concatenate([some.scores for some in merged]))


def _merged(parts: Sequence[Found], ids: Sequence[str], k: int) -> Found:
    every = Found(
        np.concatenate([part.documents for part in parts], axis=1),
        np.concatenate([part.scores for part in parts], axis=1),
    )
    return _in_order(every, every.scores < _kth(every.scores, k)[:, None], ids, k)


def _kth(scores: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Per row the score of which k are no smaller; what is no number is larger than all that is one."""
    place = scores.shape[1] - k
    least: NDArray[np.float32] = np.partition(scores, place, axis=1)[:, place]
    least[np.isnan(least)] = np.inf
    return least


def _in_order(some: Found, unused: NDArray[np.bool_], ids: Sequence[str], k: int) -> Found:
    """The k best of documents in any order.

    Args:
        some: documents of each query.
        unused: which of them do not count.
        ids: of all documents, by number.
        k: documents wanted per query.
    """
    # first by score and column, which a single sort of the keys gives; ids are asked only where scores are equal
    keys = order.keys(some.scores, np.arange(some.scores.shape[1]))
    keys[unused] = 0
    arranged = np.sort(keys, axis=1)[:, ::-1]
    best = np.ascontiguousarray(order.ranks_of(arranged))
    equal = np.diff(arranged >> np.uint64(32), axis=1) == 0
    equal &= np.arange(1, best.shape[1]) < best.shape[1] - unused.sum(axis=1)[:, None]
    _by_id(best, equal, some.documents, ids)
    best = best[:, :k]
    return Found(np.take_along_axis(some.documents, best, axis=1), np.take_along_axis(some.scores, best, axis=1))


def _by_id(
    columns: NDArray[np.int64], equal: NDArray[np.bool_], documents: NDArray[np.int32], ids: Sequence[str]
) -> None:
    """Put columns with equal scores, which stand side by side, into the order of their ids, the largest first.

    Args:
        columns: of each query, by score; changed in place.
        equal: per column but the last, whether the next one has the same score.
        documents: of each query, by column.
        ids: of all documents, by number.
    """
    is_tied = np.zeros(columns.shape, dtype=bool)
    is_tied[:, 1:] = equal
    is_tied[:, :-1] |= equal
    tied = np.flatnonzero(is_tied)
    if not len(tied):
        return
    begins = np.ones(columns.shape, dtype=bool)
    begins[:, 1:] = ~equal
    run, found = np.cumsum(begins.ravel()[tied]), columns.ravel()[tied]
    named, place = np.unique(documents[tied // columns.shape[1], found], return_inverse=True)
    ranks = order.id_ranks([ids[number] for number in named.tolist()])[place]
    columns.ravel()[tied] = found[np.lexsort((-ranks, run))]
