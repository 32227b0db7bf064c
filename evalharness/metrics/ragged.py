"""Rows of different lengths in one array, so that what is done to each of millions of rows is done at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

# how many values are worked on at a time: several arrays of them stay in a core's cache
BLOCK = 2**16


@dataclass(frozen=True, slots=True, eq=False)
class Ragged(Sequence[NDArray[Any]]):
    """A sequence of rows, each an array.

    Attributes:
        values: of all rows, one after the other.
        starts: where each row starts, and at last where the last one ends; int64, shape (rows + 1,).

    >>> rows = Ragged.of([[3, 1], [], [2]])
    >>> rows.values.tolist(), rows.starts.tolist(), rows[0].tolist(), rows.take(np.array([2, 0])).values.tolist()
    ([3, 1, 2], [0, 2, 2, 3], [3, 1], [2, 3, 1])
    """

    values: NDArray[Any]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | NDArray[Any]], dtype: type[np.generic] = np.int64) -> Ragged:
        """Rows that may be lists or arrays; such as stand together already are taken as they are.

        Args:
            rows: any number.
            dtype: of the values, where they are brought together.
        """
        if isinstance(rows, Ragged):
            return rows
        starts = starts_of(np.fromiter(map(len, rows), dtype=np.int64, count=len(rows)))
        if all(isinstance(row, np.ndarray) for row in rows):
            return cls(np.concatenate([np.empty(0, dtype=dtype), *rows], dtype=dtype, casting="unsafe"), starts)
        return cls(np.fromiter(chain.from_iterable(rows), dtype=dtype, count=int(starts[-1])), starts)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many values each row has."""
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Ragged: ...
    def __getitem__(self, index: int | slice) -> NDArray[Any] | Ragged:
        if isinstance(index, slice):
            first, end, step = index.indices(len(self))
            if step != 1:
                return self.take(np.arange(len(self))[index])
            starts = self.starts[first : max(first, end) + 1]
            return Ragged(self.values[starts[0] : starts[-1]], starts - starts[0])
        place = range(len(self))[index]
        return self.values[self.starts[place] : self.starts[place + 1]]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        borders = self.starts.tolist()
        return (self.values[first:end] for first, end in pairwise(borders))

    def row_numbers(self) -> NDArray[np.int64]:
        """For each value, the number of its row."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def places(self) -> NDArray[np.int64]:
        """For each value, its place in its row."""
        return np.arange(len(self.values)) - np.repeat(self.starts[:-1], self.lengths)

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        """These rows, in this order."""
        lengths = self.lengths[rows]
        starts = starts_of(lengths)
        return Ragged(self.values[np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])], starts)

    def blocks(self, most: int | None = None) -> Iterator[slice]:
        """Rows one after the other, in parts of so many values (at least one row)."""
        most, first = most or BLOCK, 0
        while first < len(self):
            end = int(np.searchsorted(self.starts, self.starts[first] + most, side="right")) - 1
            end = min(len(self), max(first + 1, end))
            yield slice(first, end)
            first = end

    def matrices(self, most: int | None = None) -> Iterator[Even]:
        """Rows of the same length together, in parts of so many values (at least one row); none of empty rows."""
        lengths = self.lengths
        order = np.argsort(lengths, kind="stable")
        ordered = lengths[order]
        for length in np.unique(ordered[ordered > 0]).tolist():
            first, end = np.searchsorted(ordered, [length, length + 1]).tolist()
            step = max(1, (most or BLOCK) // length)
            for start in range(first, end, step):
                rows = order[start : min(end, start + step)]
                yield Even(rows, self.starts[rows][:, None] + np.arange(length))


@dataclass(frozen=True, slots=True, eq=False)
class Even:
    """Some rows that have the same length.

    Attributes:
        rows: their numbers.
        at: shape (rows, length); where their values are among those of all rows.
    """

    rows: NDArray[np.int64]
    at: NDArray[np.int64]


def starts_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where rows of these lengths start, and where the last one ends."""
    starts = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts
