"""Vectors of the last texts, in memory: what a run without a store has instead of one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalharness.store.shards import store_key
from evalharness.types import Dense, Embeddings, Encoding

REMEMBERED_BYTES = 256_000_000
# two entries of dictionaries, and the name that they share
_PER_TEXT = 400


@dataclass(frozen=True, slots=True)
class Part:
    """Embeddings of some of the texts.

    Attributes:
        places: where the texts stand among all.
        found: a row for each.
    """

    places: NDArray[np.int64]
    found: Embeddings


@dataclass(frozen=True, slots=True)
class _Entry:
    names: Sequence[bytes]
    found: Embeddings
    size: int


@dataclass(frozen=True, slots=True)
class _Place:
    entry: int
    row: int


class Memory:
    """Shards that were encoded last, as many as there is room for."""

    def __init__(self, room: int) -> None:
        """See the class.

        Args:
            room: bytes.
        """
        self._room = room
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._places: dict[bytes, _Place] = {}
        self._size = 0
        self._next = 0

    def knows_any(self, encoding: Encoding, digests: NDArray[np.uint64]) -> bool:
        """Whether any of these texts is known; see `find`, after which other texts are forgotten than after this."""
        return bool(self._entries) and any(name in self._places for name in _names(encoding, digests))

    def find(self, encoding: Encoding, digests: NDArray[np.uint64]) -> list[Part]:
        """What is known of texts, shard by shard.

        Args:
            encoding: what they are encoded under.
            digests: see `text_digests`.
        """
        if not self._entries:
            return []
        found: dict[int, list[tuple[int, int]]] = {}
        for number, name in enumerate(_names(encoding, digests)):
            if (place := self._places.get(name)) is not None:
                found.setdefault(place.entry, []).append((number, place.row))
        parts = []
        for entry, pairs in found.items():
            self._entries.move_to_end(entry)
            places, rows = np.array(pairs, dtype=np.int64).T
            parts.append(Part(places, self._entries[entry].found.rows(rows)))
        return parts

    def add(self, encoding: Encoding, digests: NDArray[np.uint64], found: Embeddings) -> None:
        """Remember texts, and forget those that were of use longest ago.

        Args:
            encoding: what they were encoded under.
            digests: see `text_digests`.
            found: a row for each.
        """
        size = _size(found)
        if size > self._room:
            return
        self._add(_Entry(_names(encoding, digests), found, size))

    def take(self, other: Memory) -> None:
        """Remember what another one of the same size does, as if this one had been told; the other forgets it."""
        while other._entries:
            self._add(other._forgotten())

    def _add(self, entry: _Entry) -> None:
        self._entries[self._next] = entry
        self._places.update((name, _Place(self._next, row)) for row, name in enumerate(entry.names))
        self._next += 1
        self._size += entry.size
        while self._size > self._room:
            self._forgotten()

    def _forgotten(self) -> _Entry:
        """Forget the oldest entry."""
        number, oldest = self._entries.popitem(last=False)
        self._size -= oldest.size
        for name in oldest.names:
            if self._places[name].entry == number:
                del self._places[name]
        return oldest


def _names(encoding: Encoding, digests: NDArray[np.uint64]) -> list[bytes]:
    before = store_key({}, encoding).encode()
    return [before + row.tobytes() for row in digests]


def _size(found: Embeddings) -> int:
    """Bytes of vectors and of what leads to them."""
    rows = [found.vectors] if isinstance(found, Dense) else found.source.load()
    return sum(row.nbytes for row in rows) + _PER_TEXT * len(found)
