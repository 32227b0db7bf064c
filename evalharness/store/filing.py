"""How one shard gets into the store: claimed, encoded, written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evalharness.files import atomic_path, lock
from evalharness.store.folders import CLAIM, PARTIAL, SHARD, SHARDS, storage_errors_of
from evalharness.store.index import STARTS, VECTORS
from evalharness.store.journal import ShardJournal
from evalharness.store.shard_files import write_shard
from evalharness.store.shards import PlannedShard, text_digests
from evalharness.store.text_encoder import TextEncoder, check_finite
from evalharness.types import Dense, Embeddings, Emit, Encoding, TextsEncoded, Waiting

# whether another process is busy with a shard, had it done already, or it was done now
Filed: TypeAlias = Literal["busy", "there", "written"]

_SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True, slots=True)
class Filing:
    """A `ShardWork`: puts a shard into the store; a value, for other processes, too.

    Attributes:
        folder: of the key.
        encoding: of its vectors.
        patient: whether to wait for a process that is busy with the shard.
        mark: see `ShardWork`; whoever sees it has the folder, too.
    """

    folder: Path
    encoding: Encoding
    patient: bool
    mark: Path | None = None

    def path(self, shard: PlannedShard) -> Path:
        """The shard's file."""
        return self.folder / SHARDS / f"{shard.name}{SHARD}"

    def __call__(self, shard: PlannedShard, below: TextEncoder, emit: Emit) -> Filed:
        """Encode a shard and write it, unless another process is doing it or has done it.

        Args:
            shard: has the folder's key.
            below: encodes.
            emit: is told of progress, and that another process is waited for.

        Raises:
            ModelError: a number is not finite.
            StorageError: the store cannot be written.
        """
        path = self.path(shard)
        with _claimed(path, emit, patient=self.patient) as mine:
            if not mine:
                return "busy"
            if path.exists():
                emit(TextsEncoded(len(shard.texts)))
                return "there"
            self._write(path, shard, below, emit)
            return "written"

    def _write(self, path: Path, shard: PlannedShard, below: TextEncoder, emit: Emit) -> None:
        texts = shard.texts
        with ShardJournal(path.with_suffix(PARTIAL)) as journal:
            encoded = below.encode(texts, self.encoding, emit, journal)
            truncated = encoded.truncated if encoded.truncated is not None else np.zeros(len(texts), dtype=bool)
            arrays = {"digests": text_digests(texts), "truncated": truncated, **_vector_arrays(encoded, texts)}
            # hardly ever needed, and shards without it say the same
            if encoded.unknown is not None and encoded.unknown.any():
                arrays["unknown"] = encoded.unknown
            with storage_errors_of(self.folder.parent), atomic_path(path) as temporary:
                write_shard(temporary, arrays)


@contextmanager
def _claimed(path: Path, emit: Emit, *, patient: bool) -> Iterator[bool]:
    """Hold a shard's claim, so that other processes take another one first; a dead process holds none.

    Args:
        path: the shard.
        emit: is told while another process is waited for.
        patient: whether to wait for a process that holds it.
    """
    claim = path.with_suffix(CLAIM)
    with storage_errors_of(path.parent.parent.parent):
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


def _vector_arrays(encoded: Embeddings, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """What a shard keeps of the vectors: one per text, or packed rows of any length, end to end.

    Raises:
        ModelError: a number is not finite.
    """
    check_finite(encoded, texts)
    if isinstance(encoded, Dense):
        return {VECTORS: encoded.vectors}
    parts = encoded.source.load()
    starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return {STARTS: starts, VECTORS: np.concatenate(parts)}
