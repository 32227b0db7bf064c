"""The plan of shards without a store: the same texts go through the model together; their vectors stay in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import cast

import numpy as np
from numpy.typing import NDArray

from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.memory import REMEMBERED_BYTES, Memory, Part
from evalharness.store.planning import Claim, Encode, Plan, UnderWay, Wanted
from evalharness.store.shards import PlannedShard, missing_shards, store_key, text_digests
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
        self._room = remember
        self._memory = Memory(remember)
        self._under_way = UnderWay()

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """Encode texts; row i belongs to text i. Several threads may ask."""
        # there is no file that batches could be kept beside
        del journal
        with self.plan([Wanted(texts, encoding)], emit) as (encode,):
            return encode(emit)

    @contextmanager
    def plan(self, wanted: Sequence[Wanted], emit: Emit) -> Iterator[Sequence[Encode]]:
        """See `Planning`."""
        claims = [Claim(store_key({}, each.encoding), text_digests(each.texts)) for each in wanted]
        # of what comes while older plans are under way: it is remembered, and others forgotten for it, in their order
        held = Memory(self._room)
        with self._under_way.plan(claims, lambda: self._memory.take(held)) as plan:
            if self._room and self._has_in_common(plan, wanted, claims):
                # which of them will be remembered then, the sizes of vectors decide
                plan.wait_for_all(emit)
                for claim in claims:
                    plan.claim(claim)
            with self._under_way.lock:
                known = [
                    self._memory.find(each.encoding, claim.digests) for each, claim in zip(wanted, claims, strict=True)
                ]
            remembering = _Remembering(self._under_way, plan, self._memory, held)
            yield [
                partial(self._encoded, _Begun(each, claim.digests, parts), remembering)
                for each, claim, parts in zip(wanted, claims, known, strict=True)
            ]

    def _has_in_common(self, plan: Plan, wanted: Sequence[Wanted], claims: Sequence[Claim]) -> bool:
        """Whether a text is remembered, or is one of an older plan, while there are older ones."""
        with self._under_way.lock:
            if plan.is_oldest:
                return False
            pairs = zip(wanted, claims, strict=True)
            return not all(mine.all() for mine in plan.mine) or any(
                self._memory.knows_any(each.encoding, claim.digests) for each, claim in pairs
            )

    def _encoded(self, begun: _Begun, remembering: _Remembering, emit: Emit) -> Embeddings:
        texts, encoding = begun.wanted.texts, begun.wanted.encoding
        if not len(texts):
            return self._below.encode(texts, encoding, emit)
        missing = np.ones(len(texts), dtype=bool)
        for part in begun.known:
            missing[part.places] = False
        emit(TextsEncoded(int((~missing).sum())))
        shards = missing_shards(texts, "", missing)
        fresh = zip(shards, self._spread(Vectors(encoding), shards, self._below, emit), strict=True)
        return _in_order(len(texts), chain(begun.known, remembering.added(encoding, begun.digests, fresh)))


@dataclass(frozen=True, slots=True)
class _Begun:
    """A plan of texts: their digests, and what was known of them."""

    wanted: Wanted
    digests: NDArray[np.uint64]
    known: Sequence[Part]


@dataclass(frozen=True, slots=True)
class _Remembering:
    """Where a plan's vectors are kept: the common memory, or one of its own until older plans have ended."""

    under_way: UnderWay
    plan: Plan
    memory: Memory
    held: Memory

    def added(
        self, encoding: Encoding, digests: NDArray[np.uint64], fresh: Iterable[tuple[PlannedShard, Embeddings]]
    ) -> Iterator[Part]:
        """The same shards, remembered."""
        for shard, found in fresh:
            with self.under_way.lock:
                memory = self.memory if self.plan.is_oldest else self.held
                memory.add(encoding, digests[shard.rows], found)
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
