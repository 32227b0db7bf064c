"""The embedding store: vectors on disk, found again by text and by all that can change them.

    <store>/<key>/info.json             what the key stands for: model, encoding
    <store>/<key>/in-use                locked (shared) by the processes that read or write below; never by a dead one
    <store>/<key>/shards/<name>.shard   immutable; see shards.py
    <store>/<key>/uses/<task>.json      which shards a task read, and when

A shard holds texts of similar length; its name is the hash of key and texts, so that two processes that encode the same
texts write the same file.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import ModelError, StorageError, clip
from evalharness.rows import STARTS, VECTORS, Contents, Index, StoredParts, mapped, text_digests
from evalharness.shards import DamagedShardError, open_shard, write_shard
from evalharness.storage import atomic_path, file_name, lock, storage_errors, write_json
from evalharness.types import (
    Dense,
    Embeddings,
    Emit,
    Encoding,
    MultiPart,
    Notice,
    Similarity,
    TextsEncoded,
    content_digest,
)

# raised when the same model, encoding and text would give other vectors
ENCODE_VERSION = 1
# a shard is work that a kill may cost: so many texts, or so many characters, whichever is less
SHARD_TEXTS = 4096
SHARD_CHARACTERS = 1_000_000
# encoding, then mending what was found damaged, then once more
_ROUNDS = 3
SHARDS, USES, IN_USE, INFO, DAMAGED = "shards", "uses", "in-use", "info.json", "damaged"


class TextEncoder(Protocol):
    """Anything that turns texts into embeddings under an encoding: each layer of the stack, and each backend."""

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit) -> Embeddings:
        """Encode texts; row i belongs to text i."""
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
        self._folders: dict[str, tuple[Path, Index, Any]] = {}
        self._checked: set[Path] = set()
        self._used: dict[Path, set[str]] = {}
        self._stop: Callable[[], None] = lambda: None

    def stop_with(self, stop: Callable[[], None]) -> None:
        """Call this after each shard; it may raise to end the run there."""
        self._stop = stop

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit) -> Embeddings:
        """Vectors of the texts, memory-mapped; row i belongs to text i.

        Raises:
            StorageError: the store cannot be read or written.
        """
        folder, index = self._open(encoding, emit)
        digests = text_digests(texts)
        places = self._found(index, digests, emit)
        emit(TextsEncoded(int((places >= 0).sum())))
        for _ in range(_ROUNDS):
            if not (missing := np.flatnonzero(places < 0)).size:
                break
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
        if encoding.outputs != ("dense",):
            return MultiPart(StoredParts(rows), truncated=index.truncated(places))
        return Dense(rows, self._similarity, index.truncated(places))

    def note_use(self, task: str) -> None:
        """Write down that a task used the shards that were read since the last call; for `store info` and `gc`."""
        for folder, names in self._used.items():
            with storage_errors_of(self._root):
                write_json(
                    folder / USES / f"{file_name(task)}.json",
                    {"task": task, "shards": sorted(names), "time": time.time()},
                )
                for name in names:
                    # one that was removed meanwhile is missed by whoever reads it, not here
                    with suppress(FileNotFoundError):
                        os.utime(folder / SHARDS / name)
        self._used.clear()

    def _open(self, encoding: Encoding, emit: Emit) -> tuple[Path, Index]:
        """Folder and index of an encoding; the folder stays marked as in use until the process ends."""
        key = store_key(self._identity, encoding)
        # a folder that somebody removed meanwhile is made and marked again
        if key not in self._folders or not (self._folders[key][0] / IN_USE).exists():
            folder = self._root / key
            with storage_errors_of(self._root):
                (folder / SHARDS).mkdir(parents=True, exist_ok=True)
                in_use = (folder / IN_USE).open("a")
                lock(in_use, shared=True)
                known = {name: value for name, value in self._identity.items() if name != "model"}
                _add_model(folder / INFO, str(self._identity["model"]), known | {"encoding": encoding.facts()})
            self._folders[key] = (folder, Index(), in_use)
        folder, index, _ = self._folders[key]
        self._take_in(folder, index, emit)
        return folder, index

    def _take_in(self, folder: Path, index: Index, emit: Emit) -> None:
        """Index the shards that are new since the last look."""
        fresh = []
        for path in sorted((folder / SHARDS).glob("*.shard")):
            if path.name not in index.names:
                try:
                    shard = open_shard(path)
                    fresh.append(Contents(shard, shard.read("digests"), shard.read("truncated")))
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
        target = path.parent.parent / DAMAGED / f"{path.name}.{time.time_ns()}"
        with storage_errors_of(self._root):
            target.parent.mkdir(exist_ok=True)
            try:
                path.rename(target)
            except FileNotFoundError:
                return  # another process was quicker
        mapped.cache_clear()
        message = f"the store's file {path.name} {error}; it was moved to {target} and its texts are encoded again"
        emit(Notice(message))

    def _encode_missing(self, folder: Path, wanted: _Wanted, emit: Emit) -> None:
        """Encode shard by shard; those that another process is busy with come last."""
        waiting = deque((rows, False) for rows in wanted.shards())
        while waiting:
            rows, patient = waiting.popleft()
            path = folder / SHARDS / f"{wanted.name(rows, folder.name)}.shard"
            with self._claimed(path, patient=patient) as mine:
                if not mine:
                    waiting.append((rows, True))
                elif path.exists():
                    emit(TextsEncoded(len(rows)))
                else:
                    self._encode_shard(path, wanted, rows, emit)
            self._stop()

    @contextmanager
    def _claimed(self, path: Path, *, patient: bool) -> Iterator[bool]:
        """Hold a shard's claim, so that other processes take another one first; a dead process holds none.

        Args:
            path: the shard.
            patient: whether to wait for a process that holds it.
        """
        claim = path.with_suffix(".claim")
        with storage_errors_of(self._root):
            claim.parent.mkdir(parents=True, exist_ok=True)
            handle = claim.open("a")
        with handle:
            if not lock(handle, wait=patient):
                yield False
                return
            try:
                yield True
            finally:
                claim.unlink(missing_ok=True)

    def _encode_shard(self, path: Path, wanted: _Wanted, rows: NDArray[np.int64], emit: Emit) -> None:
        texts = [wanted.texts[row] for row in rows]
        encoded = self._below.encode(texts, wanted.encoding, emit)
        truncated = encoded.truncated if encoded.truncated is not None else np.zeros(len(rows), dtype=bool)
        arrays = {"digests": wanted.digests[rows], "truncated": truncated, **_vector_arrays(encoded, texts)}
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

    def name(self, rows: NDArray[np.int64], key: str) -> str:
        """Name of the shard of these rows: the same for the same texts under the same key."""
        return blake2b(key.encode() + self.digests[rows].tobytes(), digest_size=16).hexdigest()


def store_key(identity: Mapping[str, Any], encoding: Encoding) -> str:
    """Folder name of all vectors that one model gives under one encoding; the model's name plays no part."""
    content = {name: value for name, value in identity.items() if name != "model"}
    return content_digest({"version": ENCODE_VERSION, **content, "encoding": encoding.facts()})[:32]


def _add_model(path: Path, model: str, facts: Mapping[str, Any]) -> None:
    """Note a model's name beside what its vectors depend on."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))["models"]
    except (OSError, ValueError, KeyError):
        known = []
    if model not in known:
        write_json(path, {**facts, "models": sorted({*known, model})})


def storage_errors_of(root: Path) -> AbstractContextManager[None]:
    """Turn what the operating system says of the store into a StorageError."""
    advice = "Free space or mend the folder, name another with --store, or do without with --no-store"
    return storage_errors(f"the embedding store {root} cannot be used", advice)
