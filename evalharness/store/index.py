"""Finding texts in shards: an index of their digests, and rows that stay on disk until NumPy asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import StorageError
from evalharness.store.shard_files import DamagedShardError, Shard, open_shard
from evalharness.store.shards import shard_name
from evalharness.types import Dense

# names of arrays in a shard: a vector per text; or packed rows end to end, with where each begins
VECTORS, STARTS = "vectors", "starts"
# maps kept open at a time; each holds a file descriptor
_OPEN_MAPS = 16
# digests looked up at a time, which takes forty bytes of each on the way
_LOOKED_UP = 2**16


@lru_cache(maxsize=_OPEN_MAPS)
def mapped(shard: Path, name: str) -> NDArray[Any]:
    """An array of a shard as a memory map; of files that are already checked. Raises StorageError."""
    try:
        return open_shard(shard).map(name)
    except DamagedShardError as error:
        raise StorageError(
            f"the store's file {shard} {error}: it was changed or removed while it was in use. Run the same command "
            "again; what is missing is encoded anew"
        ) from None


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows of memory-mapped shards, in any order; NumPy turns it into an array in memory when it needs one.

    Attributes:
        paths: the shards.
        shard: per row, which shard.
        row: per row, which row of that shard.
        dimensions: of a vector.
    """

    paths: Sequence[Path]
    shard: NDArray[np.int32]
    row: NDArray[np.int32]
    dimensions: int

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, dimensions)."""
        return len(self), self.dimensions

    def __reduce__(self) -> tuple[type[StoredRows], tuple[object, ...]]:
        """Pickled as places in the shards that are needed; who unpickles it reads the files."""
        needed, shard = np.unique(self.shard, return_inverse=True)
        paths = tuple(self.paths[number].absolute() for number in needed.tolist())
        return StoredRows, (paths, shard.astype(np.int32), self.row, self.dimensions)

    def __getitem__(self, index: Any) -> StoredRows:  # noqa: ANN401 -- whatever NumPy takes
        return StoredRows(self.paths, self.shard[index], self.row[index], self.dimensions)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float32]:  # noqa: ANN401, FBT001
        del dtype, copy
        gathered = np.empty(self.shape, dtype=np.float32)
        order = np.argsort(self.shard, kind="stable")
        borders = np.flatnonzero(np.diff(self.shard[order])) + 1
        for places in np.split(order, borders) if len(order) else []:
            gathered[places] = mapped(self.paths[self.shard[places[0]]], VECTORS)[self.row[places]]
        return gathered


def reading_order(vectors: Dense) -> NDArray[np.int64]:
    """Places of all vectors, in an order in which they are read fast part by part: file by file, if they are stored."""
    source = vectors.source
    if not isinstance(source, StoredRows):
        return np.arange(len(vectors))
    # the two numbers as one, since a sort by one is several times faster
    return np.argsort((source.shard.astype(np.int64) << 32) | source.row, kind="stable")


@dataclass(frozen=True, slots=True)
class StoredParts:
    """Packed rows of memory-mapped shards; see `types.PackedRows`."""

    rows: StoredRows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> StoredParts:  # noqa: ANN401 -- whatever NumPy takes
        return StoredParts(self.rows[index])

    def load(self) -> list[NDArray[np.float32]]:
        """The row of each text, in memory."""
        found: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(self)
        # shard by shard, since few maps are open at a time
        for place in np.argsort(self.rows.shard, kind="stable").tolist():
            path, row = self.rows.paths[self.rows.shard[place]], int(self.rows.row[place])
            first, end = mapped(path, STARTS)[row : row + 2].tolist()
            found[place] = np.array(mapped(path, VECTORS)[first:end])
        return found


@dataclass(frozen=True, slots=True)
class Contents:
    """A shard and what it says of its texts.

    Attributes:
        shard: the file.
        digests: of the texts, shape (texts, 2).
        truncated, unknown: per text, whether it was cut, and whether it is mostly tokens that the model does not know.
    """

    shard: Shard
    digests: NDArray[np.uint64]
    truncated: NDArray[np.bool_]
    unknown: NDArray[np.bool_]

    @property
    def dimensions(self) -> int:
        """Of a vector; packed rows have no common width, so they have 0."""
        return int((*self.shard.arrays[VECTORS].shape, 0)[1])


def read_contents(path: Path, *, packed: bool) -> Contents:
    """Open a shard and read all but its vectors; its name says which texts it has, and under which key.

    Args:
        path: the file.
        packed: whether its rows are of any length.

    Raises:
        DamagedShardError: it is not what was written.
        StorageError: the system does not let it be read.
    """
    shard = open_shard(path)
    digests, truncated = shard.read("digests"), shard.read("truncated")
    count = len(digests) if digests.shape[1:] == (2,) and digests.dtype == np.uint64 else -1
    unknown = shard.read("unknown") if "unknown" in shard.arrays else np.zeros(max(count, 0), dtype=bool)
    flags = all(array.shape == (count,) and array.dtype == np.bool_ for array in (truncated, unknown))
    if not flags or not _has_vectors(shard, count, packed=packed):
        raise DamagedShardError("has other arrays than a digest, a vector and flags for each text")
    check_name(path, digests)
    return Contents(shard, digests, truncated, unknown)


def check_name(path: Path, digests: NDArray[np.uint64]) -> None:
    """See that a shard is where it was written: the vectors of a copy in another key's folder are another model's.

    Args:
        path: the file, in its folder of a key.
        digests: of the texts in it.

    Raises:
        DamagedShardError: it is not.
    """
    if path.stem != shard_name(path.parent.parent.name, digests):
        raise DamagedShardError("is not named by its folder and its texts: it was renamed, or is another folder's")


def _has_vectors(shard: Shard, count: int, *, packed: bool) -> bool:
    """Whether there is a vector for each of so many texts."""
    place = shard.arrays.get(VECTORS)
    if place is None or np.dtype(place.dtype) != np.float32 or len(place.shape) != (1 if packed else 2):
        return False
    if not packed:
        return place.shape[0] == count
    starts = shard.read(STARTS)
    in_order = starts.dtype == np.int64 and starts.shape == (count + 1,) and bool((np.diff(starts) >= 0).all())
    return in_order and starts[0] == 0 and bool(starts[-1] == place.shape[0])


class Index:
    """Where the texts of one key are: digests in order, each with its shard and row.

    Attributes:
        packed: whether rows are of any length.
        paths, names: the shards.
        dimensions: of their vectors.
    """

    def __init__(self, *, packed: bool) -> None:
        self.packed = packed
        self.paths: list[Path] = []
        self.dimensions = 0
        self.names: set[str] = set()
        self._digests = np.empty((0, 2), dtype=np.uint64)
        self._shard = np.empty(0, dtype=np.int32)
        self._row = np.empty(0, dtype=np.int32)
        self._truncated = np.empty(0, dtype=bool)
        self._unknown = np.empty(0, dtype=bool)

    def add(self, contents: Sequence[Contents]) -> None:
        """Take in shards."""
        first = len(self.paths)
        for content in contents:
            self.paths.append(content.shard.path)
            self.names.add(content.shard.path.name)
            self.dimensions = content.dimensions
        counts = [len(content.digests) for content in contents]
        numbers = np.repeat(np.arange(first, first + len(counts), dtype=np.int32), counts)
        self._digests = np.concatenate([self._digests, *(content.digests for content in contents)])
        self._shard = np.concatenate([self._shard, numbers])
        self._row = np.concatenate([self._row, *(np.arange(count, dtype=np.int32) for count in counts)])
        self._truncated = np.concatenate([self._truncated, *(content.truncated for content in contents)])
        self._unknown = np.concatenate([self._unknown, *(content.unknown for content in contents)])
        self._take(np.lexsort((self._digests[:, 1], self._digests[:, 0])))

    def _take(self, kept: NDArray[Any]) -> None:
        self._digests = self._digests[kept]
        self._shard, self._row = self._shard[kept], self._row[kept]
        self._truncated, self._unknown = self._truncated[kept], self._unknown[kept]

    def drop(self, path: Path) -> None:
        """Forget a shard."""
        self.names.discard(path.name)
        self._take(self._shard != len(self.paths) - 1 - self.paths[::-1].index(path))

    def find(self, digests: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Per digest its place in the index, or -1."""
        places = np.full(len(digests), -1, dtype=np.int64)
        # in one piece, or each look-up would make it one
        halves = np.ascontiguousarray(self._digests[:, 0])
        for first in range(0, len(digests) if len(halves) else 0, _LOOKED_UP):
            some = slice(first, first + _LOOKED_UP)
            places[some] = self._find(halves, digests[some])
        return places

    def _find(self, halves: NDArray[np.uint64], digests: NDArray[np.uint64]) -> NDArray[np.int64]:
        place = np.searchsorted(halves, digests[:, 0])
        found = np.full(len(digests), -1, dtype=np.int64)
        left = np.arange(len(digests))
        # equal first halves are next to each other; hardly ever more than one
        while len(left):
            at = place[left]
            inside = at < len(self._digests)
            left, at = left[inside], at[inside]
            same = halves[at] == digests[left, 0]
            left, at = left[same], at[same]
            hit = self._digests[at, 1] == digests[left, 1]
            found[left[hit]] = at[hit]
            left = left[~hit]
            place[left] += 1
        return found

    def rows(self, places: NDArray[np.int64]) -> StoredRows:
        """The vectors at these places."""
        return StoredRows(tuple(self.paths), self._shard[places], self._row[places], self.dimensions)

    def truncated(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the texts at these places were cut."""
        return self._truncated[places]

    def unknown(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the texts at these places are mostly tokens that the model does not know."""
        return self._unknown[places]
