"""The embedding store: vectors on disk, found again by text and by all that can change them.

    <store>/in-use/                       who uses what; see marks.py
    <store>/<key>/info.json               what the key stands for: model, encoding
    <store>/<key>/shards/<name>.shard     immutable; see shards.py
    <store>/<key>/shards/<name>.partial   what a broken off run has of it; see journal.py
    <store>/<key>/uses/<task>.json        which shards a task read, and when

A shard holds texts of similar length; its name is the hash of key and texts, so that two processes that encode the same
texts write the same file. A store that has all that is wanted may be read-only.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import ModelError, StorageError, clip
from evalharness.journal import NO_JOURNAL, Journal, ShardJournal
from evalharness.marks import Mark
from evalharness.rows import STARTS, VECTORS, Index, StoredParts, mapped, read_contents, shard_name, text_digests
from evalharness.shards import DamagedShardError, open_shard, write_shard
from evalharness.storage import atomic_path, file_name, lock, write_json
from evalharness.storefolders import (
    CLAIM,
    INFO,
    PARTIAL,
    SHARD,
    SHARDS,
    USES,
    add_model,
    moved_aside,
    shard_paths,
    storage_errors_of,
)
from evalharness.types import (
    Dense,
    Embeddings,
    Emit,
    Encoding,
    MultiPart,
    Notice,
    Similarity,
    TextsEncoded,
    Waiting,
    content_digest,
)

# raised when the same model, encoding and text would give other vectors
ENCODE_VERSION = 1
# a shard is work that a kill may cost: so many texts, or so many characters, whichever is less
SHARD_TEXTS = 4096
SHARD_CHARACTERS = 1_000_000
# encoding, then mending what was found damaged, then once more
_ROUNDS = 3
_SECONDS_BETWEEN_LOOKS = 0.1
# a file's name has 255 bytes at most
_LONGEST_NAME = 200


class TextEncoder(Protocol):
    """Anything that turns texts into embeddings under an encoding: each layer of the stack, and each backend."""

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """Encode texts; row i belongs to text i.

        Args:
            texts: any number.
            encoding: all that can change their vectors.
            emit: is told of each batch, and may raise to end it there.
            journal: is asked for each batch before it is computed, and told of it before `emit` is.
        """
        ...


def check_finite(vectors: NDArray[np.float32], texts: Sequence[str]) -> None:
    """See that vectors are numbers.

    Raises:
        ModelError: one is not; the message names the first such text.
    """
    # the sum is finite only if every element is (or the sum overflows, which the slow path below tells apart)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(vectors.sum(axis=1)).all():
            return
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise ModelError(
            f"{len(wrong)} of {len(texts)} texts got a vector with NaN or infinite numbers, the first is text "
            f"{wrong[0]}: {clip(texts[wrong[0]])}. Expected finite numbers: try --dtype float32, or check the weights"
        )


def default_store() -> Path:
    """The store in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "evalharness" / "store"


class StoringEncoder:
    """A `TextEncoder` that takes from the store what is there, and puts there what is not, shard by shard."""

    def __init__(self, below: TextEncoder, root: Path, identity: Mapping[str, Any], similarity: Similarity) -> None:
        """See the class.

        Args:
            below: encodes what is not in the store.
            root: folder of the store.
            identity: all of the model and the backend that can change a vector, and its name under `model`.
            similarity: the model's own.
        """
        self._below = below
        self._root = root
        self._identity = identity
        self._similarity = similarity
        self._mark = Mark(root)
        self._indexes: dict[str, Index] = {}
        self._checked: set[Path] = set()
        self._used: dict[Path, set[str]] = {}

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
            if not (missing := np.flatnonzero(places < 0)).size:
                break
            if refused is not None:
                with storage_errors_of(self._root):
                    raise refused
            self._encode_missing(folder, _Wanted(texts, digests, encoding, missing), emit)
            self._take_in(folder, index, emit)
            places = self._found(index, digests, emit)
        if (places < 0).any():
            raise StorageError(
                f"the embedding store {self._root} loses files as they are written; see who removes them"
            )
        rows = index.rows(places)
        used = {rows.paths[number].name for number in np.unique(rows.shard).tolist()}
        self._used.setdefault(folder, set()).update(used)
        truncated, unknown = index.truncated(places), index.unknown(places)
        if encoding.outputs != ("dense",):
            return MultiPart(StoredParts(rows), truncated=truncated, unknown=unknown)
        return Dense(rows, self._similarity, truncated, unknown)

    def note_use(self, task: str) -> None:
        """Write down that a task used the shards that were read since the last call; for `store info` and `gc`."""
        name = file_name(task) if len(file_name(task).encode()) <= _LONGEST_NAME else content_digest(task)
        for folder, names in self._used.items():
            # a store that is read-only or full serves vectors all the same, and no number depends on this
            with suppress(OSError):
                use = {"task": task, "shards": sorted(names), "time": time.time()}
                write_json(folder / USES / f"{name}.json", use)
            for shard in sorted(names):
                # and one that was removed meanwhile is missed by whoever reads it, not here
                with suppress(OSError):
                    os.utime(folder / SHARDS / shard)
        self._used.clear()

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

    def _take_in(self, folder: Path, index: Index, emit: Emit) -> None:
        """Index the shards that are new since the last look."""
        fresh = []
        with storage_errors_of(self._root):
            paths = shard_paths(folder)
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

    def _encode_missing(self, folder: Path, wanted: _Wanted, emit: Emit) -> None:
        """Encode shard by shard; those that another process is busy with come last."""
        waiting = deque((rows, False) for rows in wanted.shards())
        while waiting:
            rows, patient = waiting.popleft()
            path = folder / SHARDS / f"{shard_name(folder.name, wanted.digests[rows])}{SHARD}"
            with self._claimed(path, emit, patient=patient) as mine:
                if not mine:
                    waiting.append((rows, True))
                elif path.exists():
                    emit(TextsEncoded(len(rows)))
                else:
                    self._encode_shard(path, wanted, rows, emit)

    @contextmanager
    def _claimed(self, path: Path, emit: Emit, *, patient: bool) -> Iterator[bool]:
        """Hold a shard's claim, so that other processes take another one first; a dead process holds none.

        Args:
            path: the shard.
            emit: is told while another process is waited for.
            patient: whether to wait for a process that holds it.
        """
        claim = path.with_suffix(CLAIM)
        with storage_errors_of(self._root):
            claim.parent.mkdir(parents=True, exist_ok=True)
            handle = claim.open("a")
        with handle:
            while not (mine := lock(handle, wait=False)) and patient:
                emit(Waiting())
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            try:
                yield mine
            finally:
                # Windows removes no file that is open; the empty file stays for `gc`
                with suppress(OSError):
                    if mine:
                        claim.unlink()

    def _encode_shard(self, path: Path, wanted: _Wanted, rows: NDArray[np.int64], emit: Emit) -> None:
        texts = [wanted.texts[row] for row in rows]
        with ShardJournal(path.with_suffix(PARTIAL)) as journal:
            encoded = self._below.encode(texts, wanted.encoding, emit, journal)
            truncated = encoded.truncated if encoded.truncated is not None else np.zeros(len(rows), dtype=bool)
            arrays = {"digests": wanted.digests[rows], "truncated": truncated, **_vector_arrays(encoded, texts)}
            # hardly ever needed, and shards without it say the same
            if encoded.unknown is not None and encoded.unknown.any():
                arrays["unknown"] = encoded.unknown
            with storage_errors_of(self._root), atomic_path(path) as temporary:
                write_shard(temporary, arrays)
        self._checked.add(path)


def _vector_arrays(encoded: Embeddings, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """What a shard keeps of the vectors: one per text, or packed rows of any length, end to end.

    Raises:
        ModelError: a number is not finite.
    """
    if isinstance(encoded, Dense):
        check_finite(encoded.vectors, texts)
        return {VECTORS: encoded.vectors}
    parts = encoded.source.load()
    for number, row in enumerate(parts):
        if not np.isfinite(row).all():
            raise ModelError(f"text {number} got a vector with NaN or infinite numbers: {clip(texts[number])}")
    starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return {STARTS: starts, VECTORS: np.concatenate(parts)}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Texts of which some are missing in the store."""

    texts: Sequence[str]
    digests: NDArray[np.uint64]
    encoding: Encoding
    missing: NDArray[np.int64]

    def shards(self) -> Iterator[NDArray[np.int64]]:
        """The missing rows, longest texts first, in parts that are one shard each.

        All texts are cut into parts, present or not, so that a text has the same neighbours in a batch whatever is
        there already; a batch decides the last bits of a vector.
        """
        missing = set(self.missing.tolist())
        for part in self._parts():
            if rows := [row for row in part if row in missing]:
                yield np.array(rows)

    def _parts(self) -> Iterator[list[int]]:
        part: list[int] = []
        characters = 0
        for row in sorted(range(len(self.texts)), key=lambda row: (-len(self.texts[row]), row)):
            if part and (len(part) == SHARD_TEXTS or characters + len(self.texts[row]) > SHARD_CHARACTERS):
                yield part
                part, characters = [], 0
            part.append(row)
            characters += len(self.texts[row])
        if part:
            yield part


def store_key(identity: Mapping[str, Any], encoding: Encoding) -> str:
    """Folder name of all vectors that one model gives under one encoding; the model's name plays no part."""
    content = {name: value for name, value in identity.items() if name != "model"}
    return content_digest({"version": ENCODE_VERSION, **content, "encoding": encoding.facts()})[:32]
