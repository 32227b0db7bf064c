"""The plan of shards without a store: the same texts go through the model together; their vectors stay in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import cast

import numpy as np
from numpy.typing import NDArray

from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.memory import REMEMBERED_BYTES, Memory, Part
from evalharness.store.shards import PlannedShard, missing_shards, text_digests
from evalharness.store.text_encoder import ShardMap, TextEncoder, one_by_one
from evalharness.types import Dense, Embeddings, Emit, Encoding, MultiPart, TextsEncoded


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
    """A `TextEncoder` that keeps nothing on disk; its batches, and so the last bits of vectors, are those of the store.

    The last texts are remembered: those that come again in another task do not go through the model twice.
    """

    def __init__(self, below: TextEncoder, spread: ShardMap = one_by_one, *, remember: int = REMEMBERED_BYTES) -> None:
        """See the class.

        Args:
            below: encodes.
            spread: has shards encoded.
            remember: bytes of vectors that are kept; 0 where the same text may get another vector the next time.
        """
        self._below = below
        self._spread = spread
        self._memory = Memory(remember)

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """Encode texts; row i belongs to text i."""
        # there is no file that batches could be kept beside
        del journal
        if not len(texts):
            return self._below.encode(texts, encoding, emit)
        digests = text_digests(texts)
        known = self._memory.find(encoding, digests)
        missing = np.ones(len(texts), dtype=bool)
        for part in known:
            missing[part.places] = False
        emit(TextsEncoded(int((~missing).sum())))
        shards = missing_shards(texts, "", missing)
        fresh = zip(shards, self._spread(Vectors(encoding), shards, self._below, emit), strict=True)
        return _in_order(len(texts), chain(known, self._remembered(encoding, digests, fresh)))

    def _remembered(
        self, encoding: Encoding, digests: NDArray[np.uint64], fresh: Iterable[tuple[PlannedShard, Embeddings]]
    ) -> Iterator[Part]:
        for shard, found in fresh:
            self._memory.add(encoding, digests[shard.rows], found)
            yield Part(shard.rows, found)


@dataclass(frozen=True, slots=True)
class Vectors:
    """A `ShardWork`: the vectors of a shard."""

    encoding: Encoding
    mark: None = None

    def __call__(self, shard: PlannedShard, below: TextEncoder, emit: Emit) -> Embeddings:
        """Encode the shard's texts."""
        return below.encode(shard.texts, self.encoding, emit)


def _in_order(count: int, parts: Iterable[Part]) -> Embeddings:
    """Embeddings of parts, all of one kind, as those of so many texts."""
    whole = iter(parts)
    start = next(whole)
    first, flags = start.found, _Flags(count)
    if isinstance(first, Dense):
        vectors = np.empty((count, first.source.shape[1]), dtype=np.float32)
        for part in chain([start], whole):
            vectors[part.places] = part.found.vectors
            flags.take(part.places, part.found)
        return Dense(vectors, first.similarity, flags.truncated, flags.unknown)
    packed: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * count
    for part in chain([start], whole):
        several = cast("MultiPart", part.found)
        flags.take(part.places, several)
        for place, row in zip(part.places.tolist(), several.source.load(), strict=True):
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
