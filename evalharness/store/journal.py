"""What a broken off run has done of a shard: results of single batches in a file beside it.

    length of the content (8) | BLAKE2b of the content (16) | content: key (16), header (4 + JSON), arrays

The entries stand one after another. The same shard is cut into the same batches, so the next run finds those that are
done and computes the others as an undisturbed run would: in the same company, to the same bytes.
"""

from __future__ import annotations

import json
import os
import threading
import time
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

# so much work a kill may cost; a quick model is done before, and never writes the file
FLUSH_SECONDS = 10.0
_LENGTH, _DIGEST, _HEADER = 8, 16, 4
_START = _LENGTH + _DIGEST


class Journal(Protocol):
    """Remembers what came of a batch; a batch is known by all that goes into it, except the encoding."""

    def find(self, batch: Mapping[str, Sequence[Any]]) -> Arrays | None:
        """What an earlier run got for this batch."""
        ...

    def add(self, batch: Mapping[str, Sequence[Any]], arrays: Arrays) -> None:
        """Remember what came of a batch."""
        ...


@dataclass(frozen=True, slots=True)
class NoJournal:
    """Remembers nothing."""

    def find(self, batch: Mapping[str, Sequence[Any]]) -> None:
        """Nothing."""

    def add(self, batch: Mapping[str, Sequence[Any]], arrays: Arrays) -> None:
        """Nothing."""


NO_JOURNAL = NoJournal()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the content of an entry stands in the file."""

    offset: int
    size: int


class ShardJournal:
    """The journal of one shard, whose claim this process holds; a file that cannot be used costs work, nothing else.

    An entry is of the shard and the folder of a key that it was written for: the file of another model finds nothing.

    Use it as a context: the file is brought up to date if the block fails, and removed if not. Threads may share it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owner = f"{path.parent.parent.name}/{path.stem}".encode()
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._flushed = time.monotonic()
        self._places, self._end = _scanned(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if kind is not None:
                self._flush()
            else:
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)

    def find(self, batch: Mapping[str, Sequence[Any]]) -> Arrays | None:
        """See `Journal`."""
        if not self._places or (place := self._places.get(_key(self._owner, batch))) is None:
            return None
        with self._lock:
            content = _content(self._path, place)
        return None if content is None else _unpacked(content)

    def add(self, batch: Mapping[str, Sequence[Any]], arrays: Arrays) -> None:
        """See `Journal`."""
        entry = _packed(_key(self._owner, batch), arrays)
        with self._lock:
            self._waiting.append(entry)
            if time.monotonic() - self._flushed >= FLUSH_SECONDS:
                self._flush()

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        entries, self._waiting = b"".join(self._waiting), []
        if not entries:
            return
        try:
            with self._path.open("r+b" if self._path.exists() else "w+b") as handle:
                # behind the last whole entry, over what a kill left half written
                handle.truncate(self._end)
                handle.seek(self._end)
                handle.write(entries)
            self._end += len(entries)
        except OSError:
            # a full disk will stop the shard, too, which says so; half an entry is of no use and takes room
            with suppress(OSError):
                os.truncate(self._path, self._end)


def _key(owner: bytes, batch: Mapping[str, Sequence[Any]]) -> bytes:
    """A digest of a batch of a shard: by name, a text, a number or some numbers for each of its members."""
    found = blake2b(len(owner).to_bytes(_LENGTH, "little") + owner, digest_size=_DIGEST)
    for name in sorted(batch):
        found.update(f"{name} {len(batch[name])} ".encode())
        for value in batch[name]:
            part = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else _numbers(value)
            found.update(len(part).to_bytes(_LENGTH, "little") + part)
    return found.digest()


def _numbers(value: Any) -> bytes:  # noqa: ANN401 -- a number, or some
    if isinstance(value, np.ndarray):
        return value.astype(np.int64, copy=False).tobytes()
    return array("q", [value] if isinstance(value, int) else value).tobytes()


def _packed(key: bytes, arrays: Arrays) -> bytes:
    whole = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    # a scalar keeps its shape, which ascontiguousarray changes
    header = json.dumps([[name, values.dtype.str, arrays[name].shape] for name, values in whole.items()]).encode()
    content = b"".join(
        [key, len(header).to_bytes(_HEADER, "little"), header, *(values.tobytes() for values in whole.values())]
    )
    return len(content).to_bytes(_LENGTH, "little") + blake2b(content, digest_size=_DIGEST).digest() + content


def _unpacked(content: bytes) -> Arrays:
    """The arrays of an entry whose checksum is right."""
    first = _DIGEST + _HEADER
    end = first + int.from_bytes(content[_DIGEST:first], "little")
    found: dict[str, NDArray[Any]] = {}
    for name, dtype, shape in json.loads(content[first:end]):
        count = int(np.prod(shape))
        found[name] = np.frombuffer(content, dtype=dtype, count=count, offset=end).reshape(shape)
        end += found[name].nbytes
    return found


def _scanned(path: Path) -> tuple[dict[bytes, _Place], int]:
    """The whole entries of a file, by key, and where they end."""
    places: dict[bytes, _Place] = {}
    end = 0
    if not path.is_file():
        return places, end
    try:
        with path.open("rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            while len(start := handle.read(_START)) == _START:
                length = int.from_bytes(start[:_LENGTH], "little")
                content = handle.read(length) if length <= size else b""
                if len(content) < _DIGEST or blake2b(content, digest_size=_DIGEST).digest() != start[_LENGTH:]:
                    break
                places[content[:_DIGEST]] = _Place(end + _START, length)
                end += _START + length
    except OSError:
        return {}, 0
    return places, end


def _content(path: Path, place: _Place) -> bytes | None:
    try:
        with path.open("rb") as handle:
            handle.seek(place.offset - _DIGEST)
            digest = handle.read(_DIGEST)
            content = handle.read(place.size)
    except OSError:
        return None
    return content if blake2b(content, digest_size=_DIGEST).digest() == digest else None
