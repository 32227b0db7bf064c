"""Shard files: named arrays in one immutable file, each with a checksum, readable through a memory map.

    magic (8 bytes) | length of the header (8) | sha256 of the header (32) | header (JSON) | arrays, 64-byte aligned

The header names each array with dtype, shape, offset and sha256, and the size of the whole file, so that any flipped
bit and any missing or added byte is noticed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"EVHSHRD1"
_ALIGNMENT = 64
_LENGTH = 8
_DIGEST = 32
_FIXED = len(MAGIC) + _LENGTH + _DIGEST


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
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


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
        """
        place = self.arrays[name]
        try:
            with self.path.open("rb") as handle:
                handle.seek(place.offset)
                content = handle.read(place.size)
        except OSError as error:
            raise DamagedShardError(f"cannot be read ({error.strerror})") from None
        if sha256(content).hexdigest() != place.digest:
            raise DamagedShardError(f"the checksum of {name} is wrong")
        return np.frombuffer(content, dtype=place.dtype).reshape(place.shape)

    def check(self, name: str) -> None:
        """Check an array without keeping it. Raises DamagedShardError."""
        found, place = sha256(), self.arrays[name]
        try:
            with self.path.open("rb") as handle:
                handle.seek(place.offset)
                left = place.size
                while left and (part := handle.read(min(left, 1 << 20))):
                    found.update(part)
                    left -= len(part)
        except OSError as error:
            raise DamagedShardError(f"cannot be read ({error.strerror})") from None
        if found.hexdigest() != place.digest:
            raise DamagedShardError(f"the checksum of {name} is wrong")

    def map(self, name: str) -> NDArray[Any]:
        """An array as a read-only memory map; check it first."""
        place = self.arrays[name]
        return np.memmap(self.path, dtype=place.dtype, mode="r", offset=place.offset, shape=place.shape)


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
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            start = handle.read(_FIXED)
            length = int.from_bytes(start[len(MAGIC) : len(MAGIC) + _LENGTH], "little")
            header = handle.read(length) if length <= size else b""
    except OSError as error:
        raise DamagedShardError(f"cannot be read ({error.strerror})") from None
    if start[: len(MAGIC)] != MAGIC:
        raise DamagedShardError("does not begin as a shard file")
    if sha256(header).digest() != start[-_DIGEST:] or len(start) < _FIXED:
        raise DamagedShardError("the checksum of the header is wrong")
    described = json.loads(header)
    base = _FIXED + length
    if size != base + described["bytes"]:
        raise DamagedShardError(f"has {size} bytes, expected {base + described['bytes']}")
    arrays = {
        name: ArrayPlace(place["dtype"], tuple(place["shape"]), base + place["offset"], place["sha256"])
        for name, place in described["arrays"].items()
    }
    _check_padding(path, arrays, size)
    return Shard(path, arrays, size)


def _check_padding(path: Path, arrays: Mapping[str, ArrayPlace], size: int) -> None:
    """The bytes between arrays are zero."""
    places = sorted(arrays.values(), key=lambda place: place.offset)
    starts = [*[place.offset for place in places][1:], size]
    try:
        with path.open("rb") as handle:
            for place, following in zip(places, starts, strict=True):
                handle.seek(place.offset + place.size)
                if any(handle.read(following - place.offset - place.size)):
                    raise DamagedShardError("bytes between its arrays have changed")
    except OSError as error:
        raise DamagedShardError(f"cannot be read ({error.strerror})") from None
