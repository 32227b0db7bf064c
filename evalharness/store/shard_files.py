"""Shard files: named arrays in one immutable file, each with a checksum, readable through a memory map.

    magic (8 bytes) | length of the header (8) | sha256 of the header (32) | header (JSON) | arrays, 64-byte aligned

The header names each array with dtype, shape, offset and sha256, and the size of the whole file, so that any flipped
bit and any missing or added byte is noticed.

Wrong content is damage, which the store mends; what the operating system refuses says nothing of the content, so it is
an error of the store, and the file stays as it is.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import DataError, StorageError
from evalharness.reading import NoJsonError, checked, parse_json

MAGIC = b"EVHSHRD1"
_ALIGNMENT = 64
_LENGTH = 8
_DIGEST = 32
_FIXED = len(MAGIC) + _LENGTH + _DIGEST
# there is no such file, or something else than a file
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
# numbers and booleans
_KINDS = "fiub"


class DamagedShardError(Exception):
    """A shard file is not what was written; the message says how. Caught by the store, which encodes again."""


@dataclass(frozen=True, slots=True)
class ArrayPlace:
    """Where an array stands in its file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    digest: str

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Shard:
    """An opened shard file, its header checked.

    Attributes:
        path: the file.
        arrays: by name.
        size: bytes of the file.
    """

    path: Path
    arrays: Mapping[str, ArrayPlace]
    size: int

    def read(self, name: str) -> NDArray[Any]:
        """An array, in memory and checked.

        Raises:
            DamagedShardError: it is not what was written.
            StorageError: the system does not let it be read.
        """
        place = self._place(name)
        with _reading(self.path), self.path.open("rb") as handle:
            handle.seek(place.offset)
            content = handle.read(place.size)
        if sha256(content).hexdigest() != place.digest:
            raise DamagedShardError(f"the checksum of {name} is wrong")
        return np.frombuffer(content, dtype=place.dtype).reshape(place.shape)

    def check(self, name: str) -> None:
        """Check an array without keeping it; errors as `read`."""
        found, place = sha256(), self._place(name)
        with _reading(self.path), self.path.open("rb") as handle:
            handle.seek(place.offset)
            left = place.size
            while left and (part := handle.read(min(left, 1 << 20))):
                found.update(part)
                left -= len(part)
        if found.hexdigest() != place.digest:
            raise DamagedShardError(f"the checksum of {name} is wrong")

    def map(self, name: str) -> NDArray[Any]:
        """An array as a read-only memory map; check it first. Errors as `read`."""
        place = self._place(name)
        # NumPy maps no empty array
        if not place.size:
            return np.empty(place.shape, dtype=place.dtype)
        with _reading(self.path):
            return np.memmap(self.path, dtype=place.dtype, mode="r", offset=place.offset, shape=place.shape)

    def _place(self, name: str) -> ArrayPlace:
        if name not in self.arrays:
            raise DamagedShardError(f"has no array {name}")
        return self.arrays[name]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell a file that is gone, which is damage, from one that the system does not let be read."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_FILE:
            raise DamagedShardError(f"cannot be read ({error.strerror})") from None
        raise StorageError(
            f"the store's file {path} cannot be read ({error.strerror or error}), which says nothing of its content. "
            "Mend that, name another store with --store, or do without with --no-store"
        ) from error


def write_shard(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a shard file and flush it to the disk; for a file under a temporary name.

    Raises:
        OSError: it cannot be written.
    """
    contents = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # offsets count from the end of the header, whose own length depends on them
    places: dict[str, dict[str, Any]] = {}
    end = 0
    for name, array in contents.items():
        places[name] = {
            "dtype": array.dtype.str,
            "shape": list(array.shape),
            "offset": end,
            "sha256": sha256(array.data.cast("B") if array.size else b"").hexdigest(),
        }
        end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    header = json.dumps({"arrays": places, "bytes": end}, sort_keys=True).encode()
    header += b" " * (-(_FIXED + len(header)) % _ALIGNMENT)
    with path.open("wb") as handle:
        handle.write(MAGIC + len(header).to_bytes(_LENGTH, "little") + sha256(header).digest() + header)
        for array in contents.values():
            handle.write(array.data.cast("B") if array.size else b"")
            handle.write(b"\0" * (-array.nbytes % _ALIGNMENT))
        handle.flush()
        os.fsync(handle.fileno())


def open_shard(path: Path) -> Shard:
    """Open a shard file and check its header and length; arrays are checked by `read` and `check`.

    Raises:
        DamagedShardError: it is not what was written.
        StorageError: the system does not let it be read.
    """
    with _reading(path):
        status = path.stat()
        # a pipe would be waited for
        if not stat.S_ISREG(status.st_mode):
            raise DamagedShardError("is no file")
        size = status.st_size
        with path.open("rb") as handle:
            start = handle.read(_FIXED)
            length = int.from_bytes(start[len(MAGIC) : len(MAGIC) + _LENGTH], "little")
            header = handle.read(length) if length <= size else b""
    if start[: len(MAGIC)] != MAGIC:
        raise DamagedShardError("does not begin as a shard file")
    if sha256(header).digest() != start[-_DIGEST:] or len(start) < _FIXED:
        raise DamagedShardError("the checksum of the header is wrong")
    arrays = _places(header, size - _FIXED - length, base=_FIXED + length)
    _check_padding(path, arrays, size)
    return Shard(path, arrays, size)


def _places(header: bytes, size: int, *, base: int) -> dict[str, ArrayPlace]:
    """What a header says of the arrays after it, which have so many bytes and begin at `base`."""
    try:
        described = checked(parse_json(header), dict, "its header")
        expected = checked(described.get("bytes"), int, "its header, bytes")
        if size != expected:
            raise DamagedShardError(f"has {base + size} bytes, expected {base + expected}")
        arrays = checked(described.get("arrays"), dict, "its header, arrays")
        places = {name: _place(name, value, base) for name, value in arrays.items()}
    except (NoJsonError, DataError) as error:
        raise DamagedShardError(f"its header is odd: {error}") from None
    end = base
    for place in sorted(places.values(), key=lambda place: (place.offset, place.size)):
        if place.offset < end or place.offset + place.size > base + size:
            raise DamagedShardError("its header is odd: arrays overlap or end beyond the file")
        end = place.offset + place.size
    return places


def _place(name: str, value: object, base: int) -> ArrayPlace:
    where = f"its header, array {name}"
    described = checked(value, dict, where)
    shape = checked(described.get("shape"), list, f"{where}, shape")
    for number in shape:
        checked(number, int, f"{where}, shape")
    offset = checked(described.get("offset"), int, f"{where}, offset")
    dtype = checked(described.get("dtype"), str, f"{where}, dtype")
    digest = checked(described.get("sha256"), str, f"{where}, sha256")
    try:
        kind = np.dtype(dtype).kind
    except (TypeError, ValueError, SyntaxError):
        kind = ""
    if not kind or kind not in _KINDS or offset < 0 or any(number < 0 for number in shape):
        raise DataError(f"{where}: expected numbers in rows, found dtype {dtype!r} at {offset}")
    return ArrayPlace(dtype, tuple(shape), base + offset, digest)


def _check_padding(path: Path, arrays: Mapping[str, ArrayPlace], size: int) -> None:
    """The bytes between arrays are zero."""
    places = sorted(arrays.values(), key=lambda place: (place.offset, place.size))
    starts = [*[place.offset for place in places][1:], size]
    with _reading(path), path.open("rb") as handle:
        for place, following in zip(places, starts, strict=True):
            handle.seek(place.offset + place.size)
            # no more than an alignment is padding
            if following - place.offset - place.size >= _ALIGNMENT or any(
                handle.read(following - place.offset - place.size)
            ):
                raise DamagedShardError("bytes between its arrays have changed")
