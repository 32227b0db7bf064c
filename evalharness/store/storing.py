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

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import StorageError
from evalharness.files import cache_folder
from evalharness.store.filing import Filing
from evalharness.store.folders import INFO, SHARDS, add_model, moved_aside, shard_paths, storage_errors_of
from evalharness.store.index import VECTORS, Index, StoredParts, StoredRows, mapped, read_contents
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.marks import Mark
from evalharness.store.planning import Claim, Encode, Plan, UnderWay, Wanted
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


@dataclass(frozen=True, slots=True)
class _Found:
    """What the store has of texts.

    Attributes:
        there: per text, whether it is there.
        rows, truncated, unknown: of those that are, in their order.
    """

    there: NDArray[np.bool_]
    rows: StoredRows
    truncated: NDArray[np.bool_]
    unknown: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Begun:
    """A plan of texts.

    Attributes:
        wanted: the texts.
        claim: of all of them.
        mine: per text, whether no older plan is at it.
        folder: of their key.
        refused: what the system says against writing there.
        found: what was there.
    """

    wanted: Wanted
    claim: Claim
    mine: NDArray[np.bool_]
    folder: Path
    refused: OSError | None
    found: _Found


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
        self._under_way = UnderWay()
        self._indexes: dict[str, Index] = {}
        self._checked: set[Path] = set()

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """Vectors of the texts, memory-mapped; row i belongs to text i. Several threads may ask.

        Raises:
            StorageError: the store cannot be read, or it lacks some of them and cannot be written.
        """
        # each shard has its own
        del journal
        with self.plan([Wanted(texts, encoding)], emit) as (encode,):
            return encode(emit)

    @contextmanager
    def plan(self, wanted: Sequence[Wanted], emit: Emit) -> Iterator[Sequence[Encode]]:
        """See `Planning`; errors as `encode`."""
        claims = [Claim(store_key(self._identity, each.encoding), text_digests(each.texts)) for each in wanted]
        # claims first, then the look: what an older plan has ended with is found
        with self._under_way.plan(claims) as plan:
            try:
                yield [
                    partial(self._encoded, self._begun(each, claim, mine, emit), plan)
                    for each, claim, mine in zip(wanted, claims, plan.mine, strict=True)
                ]
            finally:
                plan.release_all()

    def _begun(self, wanted: Wanted, claim: Claim, mine: NDArray[np.bool_], emit: Emit) -> _Begun:
        folder = self._root / claim.key
        refused = self._prepare(folder, wanted.encoding)
        return _Begun(wanted, claim, mine, folder, refused, self._found(folder, claim.digests, emit))

    def _encoded(self, begun: _Begun, plan: Plan, emit: Emit) -> Embeddings:
        wanted, folder, claim = begun.wanted, begun.folder, begun.claim
        mine, found, rounds = begun.mine, begun.found, _ROUNDS
        emit(TextsEncoded(int(found.there.sum())))
        while (missing := ~found.there).any():
            if begun.refused is not None:
                with storage_errors_of(self._root):
                    raise begun.refused
            if not rounds:
                raise StorageError(
                    f"the embedding store {self._root} loses files as they are written; see who removes them"
                )
            others = missing & ~mine
            shards = missing_shards(wanted.texts, claim.key, missing & mine)
            filing = Filing(folder, wanted.encoding, patient=False, mark=self._mark.path)
            filed = self._file(shards, filing, emit)
            plan.release(claim.key)
            plan.wait_for(Claim(claim.key, claim.digests[others]), emit)
            mine, found = plan.claim(claim), self._found(folder, claim.digests, emit, filed)
            if others.any():
                emit(TextsEncoded(int((others & found.there).sum())))
            else:
                # those who are waited for may fail, which is no fault of the store
                rounds -= 1
        plan.release(claim.key)
        emit(ShardsUsed(frozenset(found.rows.paths[number] for number in np.unique(found.rows.shard).tolist())))
        if wanted.encoding.outputs != ("dense",):
            return MultiPart(StoredParts(found.rows), truncated=found.truncated, unknown=found.unknown, is_checked=True)
        return Dense(found.rows, self._similarity, found.truncated, found.unknown, is_checked=True)

    def _prepare(self, folder: Path, encoding: Encoding) -> OSError | None:
        """Make a folder and mark it as in use until the process ends.

        Returns:
            What the system says against it; what is in the folder can be read nevertheless.
        """
        with self._under_way.lock:
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

    def _found(self, folder: Path, digests: NDArray[np.uint64], emit: Emit, filed: Sequence[Path] = ()) -> _Found:
        """What the store has of the texts, after checking the vectors that they lead to; see `_take_in`."""
        while True:
            with self._under_way.lock:
                index = self._indexes[folder.name]
                self._take_in(folder, index, emit, filed)
                places = index.find(digests)
                there = places[places >= 0]
                found = _Found(places >= 0, index.rows(there), index.truncated(there), index.unknown(there))
                used = [found.rows.paths[number] for number in np.unique(found.rows.shard).tolist()]
                unchecked = [path for path in used if path not in self._checked]
            # reading whole files takes its time
            if not any(self._is_dropped(path, index, emit) for path in unchecked):
                return found

    def _is_dropped(self, path: Path, index: Index, emit: Emit) -> bool:
        """Check a shard's vectors; whether the index has it no longer, for they are damaged."""
        if _damage(path) is None:
            with self._under_way.lock:
                self._checked.add(path)
            return False
        with self._under_way.lock:
            # another thread may have seen to it meanwhile
            if path.name in index.names and (error := _damage(path)) is not None:
                index.drop(path)
                self._set_aside(path, error, emit)
        return True

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
                with self._under_way.lock:
                    self._checked.add(path)
        return paths + (self._file(busy, replace(filing, patient=True), emit) if busy else [])


def _damage(path: Path) -> DamagedShardError | None:
    """What is wrong with a shard's vectors."""
    try:
        open_shard(path).check(VECTORS)
    except DamagedShardError as error:
        return error
    return None
