"""The plan of shards without a store: the same texts go through the model together; their vectors stay in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import cast

import numpy as np
from numpy.typing import NDArray

from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.shards import PlannedShard, plan_shards
from evalharness.store.text_encoder import ShardMap, TextEncoder, one_by_one
from evalharness.types import Dense, Embeddings, Emit, Encoding, MultiPart


@dataclass(frozen=True, slots=True)
class PackedArrays:
    """Packed rows in memory."""

    arrays: Sequence[NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: slice | NDArray[np.integer] | Sequence[int]) -> PackedArrays:
        if isinstance(index, slice):
            return PackedArrays(self.arrays[index])
        return PackedArrays([self.arrays[number] for number in index])

    def load(self) -> list[NDArray[np.float32]]:
        """All rows."""
        return list(self.arrays)


class UnstoredEncoder:
    """A `TextEncoder` that keeps nothing; its batches, and so the last bits of vectors, are those of the store."""

    def __init__(self, below: TextEncoder, spread: ShardMap = one_by_one) -> None:
        self._below = below
        self._spread = spread

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """Encode texts; row i belongs to text i."""
        # there is no file that batches could be kept beside
        del journal
        shards = plan_shards(texts, "")
        if not shards:
            return self._below.encode(texts, encoding, emit)
        found = self._spread(_Encoded(encoding), shards, self._below, emit)
        return _in_order(len(texts), [shard.rows for shard in shards], found)


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A `ShardWork`: the vectors of a shard."""

    encoding: Encoding

    def __call__(self, shard: PlannedShard, below: TextEncoder, emit: Emit) -> Embeddings:
        return below.encode(shard.texts, self.encoding, emit)


def _in_order(count: int, rows: Sequence[NDArray[np.int64]], found: Iterable[Embeddings]) -> Embeddings:
    """Embeddings of parts as those of the whole.

    Args:
        count: of texts.
        rows: per part, places of its texts.
        found: per part, all of one kind.
    """
    parts = iter(found)
    first = next(parts)
    flags = _Flags(count)
    if isinstance(first, Dense):
        vectors = np.empty((count, first.source.shape[1]), dtype=np.float32)
        for places, part in zip(rows, chain([first], parts), strict=True):
            vectors[places] = part.vectors
            flags.take(places, part)
        return Dense(vectors, first.similarity, flags.truncated, flags.unknown)
    packed: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * count
    for places, several in zip(rows, cast("Iterator[MultiPart]", chain([first], parts)), strict=True):
        flags.take(places, several)
        for place, row in zip(places.tolist(), several.source.load(), strict=True):
            packed[place] = row
    return MultiPart(PackedArrays(packed), first.weights, flags.truncated, flags.unknown, first.similarity)


class _Flags:
    """Flags of all texts, part by part; those that a part lacks are known of none."""

    def __init__(self, count: int) -> None:
        self.truncated: NDArray[np.bool_] | None = np.zeros(count, dtype=bool)
        self.unknown: NDArray[np.bool_] | None = np.zeros(count, dtype=bool)

    def take(self, places: NDArray[np.int64], part: Embeddings) -> None:
        """Take over those of a part."""
        self.truncated = _with(self.truncated, places, part.truncated)
        self.unknown = _with(self.unknown, places, part.unknown)


def _with(
    flags: NDArray[np.bool_] | None, places: NDArray[np.int64], part: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    if flags is not None and part is not None:
        flags[places] = part
        return flags
    return None
