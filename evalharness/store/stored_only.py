"""Vectors that are in the store already, for whoever has no model: nothing is encoded, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import PrerequisiteError
from evalharness.store.folders import INFO, key_folders, read_note, shard_paths, storage_errors_of
from evalharness.store.index import VECTORS, Contents, Index, StoredParts, read_contents
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.shard_files import DamagedShardError, open_shard
from evalharness.store.shards import store_key, text_digests
from evalharness.store.uses import use_path
from evalharness.types import Dense, Embeddings, Emit, Encoding, ModelSpec, MultiPart

# what of a note is not part of the key
_BESIDE = ("models", "encoding")


class NotStoredError(PrerequisiteError):
    """The store lacks vectors that are wanted; the message says how many."""


class StoredOnlyEncoder:
    """A `TextEncoder` that has what one model's runs left in the store, and no model.

    A key also names what of a backend can change a vector, which nobody knows here. Where several keys are of the model
    and the encoding, the one counts that the task used last.
    """

    def __init__(self, root: Path, model: ModelSpec, task: str) -> None:
        """See the class.

        Args:
            root: folder of the store; need not be there.
            model: whose vectors.
            task: which task's run left them.
        """
        self._root = root
        self._model = model
        self._task = task

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """The stored vectors of the texts; row i belongs to text i.

        Raises:
            NotStoredError: no key has all of them.
            StorageError: the store cannot be read.
        """
        del emit, journal
        digests, most = text_digests(texts), 0
        for folder in self._folders(encoding):
            index = _index(folder, packed=encoding.outputs != ("dense",))
            places = _whole_places(index, digests)
            if (places >= 0).all():
                return self._embeddings(index, places, encoding)
            most = max(most, int((places >= 0).sum()))
        raise NotStoredError(f"the store {self._root} has vectors of {most:,} of {len(texts):,} texts")

    def _embeddings(self, index: Index, places: NDArray[np.int64], encoding: Encoding) -> Embeddings:
        rows, truncated, unknown = index.rows(places), index.truncated(places), index.unknown(places)
        if encoding.outputs != ("dense",):
            return MultiPart(StoredParts(rows), truncated=truncated, unknown=unknown, is_checked=True)
        return Dense(rows, self._model.similarity, truncated, unknown, is_checked=True)

    def _folders(self, encoding: Encoding) -> list[Path]:
        """Folders of this model and encoding, the one that the task used last first."""
        found = [folder for folder in key_folders(self._root) if self._is_of(folder, encoding)]
        return sorted(found, key=lambda folder: _used(folder, self._task), reverse=True)

    def _is_of(self, folder: Path, encoding: Encoding) -> bool:
        note = read_note(folder / INFO)
        identity = {name: value for name, value in note.items() if name not in _BESIDE}
        # the name is a digest of both, so that a note that is not what was written does not count
        return note.get("fingerprint") == self._model.fingerprint and folder.name == store_key(identity, encoding)


def _used(folder: Path, task: str) -> float:
    when = read_note(use_path(folder, task)).get("time")
    return float(when) if isinstance(when, int | float) else 0.0


def _index(folder: Path, *, packed: bool) -> Index:
    index = Index(packed=packed)
    if contents := list(_contents(folder, packed=packed)):
        index.add(contents)
    return index


def _contents(folder: Path, *, packed: bool) -> Iterator[Contents]:
    """The shards of a key that are whole; who writes mends the others."""
    with storage_errors_of(folder.parent):
        paths = shard_paths(folder)
    for path in paths:
        try:
            yield read_contents(path, packed=packed)
        except DamagedShardError:
            continue


def _whole_places(index: Index, digests: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Places of the texts in the index, -1 where a shard with a damaged vector is all there is."""
    while True:
        places = index.find(digests)
        rows = index.rows(places[places >= 0])
        damaged = [path for number in np.unique(rows.shard) if not _is_whole(path := rows.paths[int(number)])]
        if not damaged:
            return places
        for path in damaged:
            index.drop(path)


def _is_whole(path: Path) -> bool:
    try:
        open_shard(path).check(VECTORS)
    except DamagedShardError:
        return False
    return True
