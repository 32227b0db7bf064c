"""A corpus in parts of whole blocks, each of which may be searched elsewhere; who searches them changes no number.

A product of the same queries and the same block is the same to the last bit in any process on the same kind of machine
(see `exact.last_bits`), and the k best of the whole corpus are among the k best of its parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evalharness.ranking.best import Found
from evalharness.types import Dense


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Documents of a corpus that are searched together.

    Attributes:
        corpus: vectors of all documents; may be memory-mapped.
        ids: of all documents.
        places: of the documents of this part in the corpus, in the order in which they are read.
        width: documents in a block, which decides the last bits of products.
    """

    corpus: Dense
    ids: Sequence[str]
    places: NDArray[np.int64]
    width: int

    def __len__(self) -> int:
        return len(self.places)

    def cut(self, size: int) -> list[Part]:
        """Parts of this part, each of so many documents, filled up to whole blocks; the last has what is left."""
        size = -(-size // self.width) * self.width
        starts = range(0, len(self), size)
        return [Part(self.corpus, self.ids, self.places[first : first + size], self.width) for first in starts]

    def alone(self) -> Part:
        """The same documents without the others, to be pickled; numbered from 0 in the order of the places.

        Vectors in memory are copied; of those in shards there are only the places, and who has it reads the files.
        """
        vectors = Dense(self.corpus.source[self.places], self.corpus.similarity)
        ids = [self.ids[place] for place in self.places.tolist()]
        return Part(vectors, ids, np.arange(len(ids)), self.width)

    def from_alone(self, found: Found) -> Found:
        """What was found in `alone()`, by the numbers of the whole corpus."""
        return Found(self.places[found.documents].astype(np.int32), found.scores)


class PartMap(Protocol):
    """Has a corpus searched: here, or in parts in other processes, and on other machines."""

    def __call__(self, whole: Part, vectors: NDArray[np.float32], k: int) -> Iterator[Found]:
        """The k best of each part, in any order of the parts.

        Args:
            whole: the corpus.
            vectors: of the queries, comparable by their products.
            k: documents wanted per query.
        """
        ...


_MAP: ContextVar[PartMap | None] = ContextVar("who searches a corpus", default=None)


@contextmanager
def searched_by(spread: PartMap) -> Iterator[None]:
    """Have this search whatever corpus is searched in here."""
    before = _MAP.set(spread)
    try:
        yield
    finally:
        _MAP.reset(before)


def chosen_map(usual: PartMap) -> PartMap:
    """What `searched_by` says, or the usual one."""
    return _MAP.get() or usual
