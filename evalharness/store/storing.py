"""The embedding store: vectors on disk, found again by text and by all that can change them.

    <store>/in-use/                       who uses what; see marks.py
    <store>/<key>/info.json               what the key stands for: model, encoding
    <store>/<key>/shards/<name>.shard     immutable; see shard_files.py
    <store>/<key>/shards/<name>.partial   what a broken off run has of it; see journal.py
    <store>/<key>/uses/<task>.json        which shards a task read, and when

A shard holds texts of similar length; its name is the hash of key and texts, so that two processes that encode the same
texts write the same file. A store that has all that is wanted may be read-only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import StorageError
from evalharness.files import cache_folder
from evalharness.store.filing import Filing
from evalharness.store.folders import INFO, SHARDS, add_model, moved_aside, shard_paths, storage_errors_of
from evalharness.store.index import VECTORS, Index, StoredParts, mapped, read_contents
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.marks import Mark
from evalharness.store.shard_files import DamagedShardError, open_shard
from evalharness.store.shards import PlannedShard, missing_shards, store_key, text_digests
from evalharness.store.text_encoder import ShardMap, TextEncoder, one_by_one
from evalharness.types import (
    Dense,
    Embeddings,
    Emit,
    Encoding,
    MultiPart,
    Notice,
    ShardsUsed,
    Similarity,
    TextsEncoded,
)

# encoding, then mending what was found damaged, then once more
_ROUNDS = 3


def default_store() -> Path:
    """The store in the user's cache folder."""
    return cache_folder() / "store"


class StoringEncoder:
    """A `TextEncoder` that takes from the store what is there, and puts there what is not, shard by shard."""

    def __init__(
        self,
        below: TextEncoder,
        root: Path,
        identity: Mapping[str, Any],
        similarity: Similarity,
        spread: ShardMap = one_by_one,
    ) -> None:
        """See the class.

        Args:
            below: encodes what is not in the store.
            root: folder of the store.
            identity: all of the model and the backend that can change a vector, and its name under `model`.
            similarity: the model's own.
            spread: has the missing shards encoded.
        """
        self._below = below
        self._spread = spread
        self._root = root
        self._identity = identity
        self._similarity = similarity
        self._mark = Mark(root)
        self._indexes: dict[str, Index] = {}
        self._checked: set[Path] = set()

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """Vectors of the texts, memory-mapped; row i belongs to text i.

        Raises:
            StorageError: the store cannot be read, or it lacks some of them and cannot be written.
        """
        # each shard has its own
        del journal
        folder = self._root / store_key(self._identity, encoding)
        refused = self._prepare(folder, encoding)
        index = self._indexes[folder.name]
        self._take_in(folder, index, emit)
        digests = text_digests(texts)
        places = self._found(index, digests, emit)
        emit(TextsEncoded(int((places >= 0).sum())))
        for _ in range(_ROUNDS):
            if not (missing := places < 0).any():
                break
            if refused is not None:
                with storage_errors_of(self._root):
                    raise refused
            filing = Filing(folder, encoding, patient=False, mark=self._mark.path)
            self._take_in(folder, index, emit, self._file(missing_shards(texts, folder.name, missing), filing, emit))
            places = self._found(index, digests, emit)
        if (places < 0).any():
            raise StorageError(
                f"the embedding store {self._root} loses files as they are written; see who removes them"
            )
        rows = index.rows(places)
        emit(ShardsUsed(frozenset(rows.paths[number] for number in np.unique(rows.shard).tolist())))
        truncated, unknown = index.truncated(places), index.unknown(places)
        if encoding.outputs != ("dense",):
            return MultiPart(StoredParts(rows), truncated=truncated, unknown=unknown, is_checked=True)
        return Dense(rows, self._similarity, truncated, unknown, is_checked=True)

    def _prepare(self, folder: Path, encoding: Encoding) -> OSError | None:
        """Make a folder and mark it as in use until the process ends.

        Returns:
            What the system says against it; what is in the folder can be read nevertheless.
        """
        # one that somebody removed meanwhile begins anew
        if folder.name not in self._indexes or not folder.is_dir():
            self._indexes[folder.name] = Index(packed=encoding.outputs != ("dense",))
            self._checked = {path for path in self._checked if path.parent.parent != folder}
        try:
            (folder / SHARDS).mkdir(parents=True, exist_ok=True)
            self._mark.add(folder.name)
            known = {name: value for name, value in self._identity.items() if name != "model"}
            add_model(folder / INFO, str(self._identity["model"]), known | {"encoding": encoding.facts()})
        except OSError as error:
            return error
        return None

    def _take_in(self, folder: Path, index: Index, emit: Emit, filed: Sequence[Path] = ()) -> None:
        """Index the shards that are new since the last look.

        Args:
            folder: of the key.
            index: of that folder.
            emit: is told of damaged ones.
            filed: those that must be there, for a folder that other machines write to is listed late on some systems.
        """
        fresh = []
        with storage_errors_of(self._root):
            paths = dict.fromkeys([*shard_paths(folder), *(path for path in filed if path.exists())])
        for path in paths:
            if path.name not in index.names:
                try:
                    fresh.append(read_contents(path, packed=index.packed))
                except DamagedShardError as error:
                    self._set_aside(path, error, emit)
        if fresh:
            index.add(fresh)

    def _found(self, index: Index, digests: NDArray[np.uint64], emit: Emit) -> NDArray[np.int64]:
        """Places of the texts in the index, after checking the vectors that they lead to."""
        while True:
            places = index.find(digests)
            rows = index.rows(places[places >= 0])
            damaged = False
            for number in np.unique(rows.shard).tolist():
                path = rows.paths[number]
                if path in self._checked:
                    continue
                try:
                    open_shard(path).check(VECTORS)
                    self._checked.add(path)
                except DamagedShardError as error:
                    index.drop(path)
                    self._set_aside(path, error, emit)
                    damaged = True
            if not damaged:
                return places

    def _set_aside(self, path: Path, error: DamagedShardError, emit: Emit) -> None:
        # Windows moves no file that is mapped
        mapped.cache_clear()
        with storage_errors_of(self._root):
            if (target := moved_aside(path, path.parent.parent)) is None:
                return  # another process was quicker
        message = f"the store's file {path.name} {error}; it was moved to {target} and its texts are encoded again"
        emit(Notice(message))

    def _file(self, shards: Sequence[PlannedShard], filing: Filing, emit: Emit) -> list[Path]:
        """Have shards encoded and written, and give their files; those that another process is busy with come last."""
        paths, busy = [], []
        for shard, filed in zip(shards, self._spread(filing, shards, self._below, emit), strict=True):
            path = filing.path(shard)
            if filed == "busy":
                busy.append(shard)
                continue
            paths.append(path)
            if filed == "written":
                self._checked.add(path)
        return paths + (self._file(busy, replace(filing, patient=True), emit) if busy else [])
