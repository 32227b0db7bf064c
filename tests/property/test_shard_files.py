"""Any flipped bit and any cut in a shard file is noticed, mended, and changes no vector."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lookup import LookupBackend, smooth, stack

from evalharness.store.shard_files import DamagedShardError, open_shard, write_shard
from evalharness.store.storing import StoringEncoder
from evalharness.types import EncodeEvent, Encoding, Notice, ignore_event

ENCODING = Encoding(pooling="cls", normalize=True, max_length=64, dtype="float32", prompt="")
IDENTITY = {"model": "a/b", "fingerprint": "f" * 64}
TEXTS = [f"text {number}" for number in range(5)]
WANTED = stack(smooth, TEXTS)


def encode(root: Path, backend: LookupBackend) -> tuple[list[EncodeEvent], np.ndarray]:
    events: list[EncodeEvent] = []
    return events, StoringEncoder(backend, root, IDENTITY, "cosine").encode(TEXTS, ENCODING, events.append).vectors


def with_damage(damage: bytes) -> None:
    """Put a damaged file in the place of the right one, and look."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        StoringEncoder(LookupBackend(smooth), root, IDENTITY, "cosine").encode(TEXTS, ENCODING, ignore_event)
        path = next(root.rglob("*.shard"))
        path.write_bytes(damage)
        backend = LookupBackend(smooth)
        events, vectors = encode(root, backend)
        np.testing.assert_array_equal(vectors, WANTED)
        assert any(isinstance(event, Notice) for event in events)
        assert len(backend.seen) == len(TEXTS)


def right_file() -> bytes:
    with TemporaryDirectory() as folder:
        StoringEncoder(LookupBackend(smooth), Path(folder), IDENTITY, "cosine").encode(TEXTS, ENCODING, ignore_event)
        return next(Path(folder).rglob("*.shard")).read_bytes()


RIGHT = right_file()


@settings(max_examples=300, deadline=None)
@given(bit=st.integers(0, 8 * len(RIGHT) - 1))
def test_a_flipped_bit(bit: int) -> None:
    damaged = bytearray(RIGHT)
    damaged[bit // 8] ^= 1 << (bit % 8)
    with_damage(bytes(damaged))


@settings(max_examples=100, deadline=None)
@given(length=st.integers(0, len(RIGHT) - 1))
def test_a_cut(length: int) -> None:
    with_damage(RIGHT[:length])


def test_added_bytes() -> None:
    with_damage(RIGHT + b"\0")


@settings(max_examples=50, deadline=None)
@given(order=st.permutations(["digests", "starts", "truncated", "vectors"]), damaged=st.integers(0, 3))
def test_arrays_may_stand_in_any_order(order: list[str], damaged: int) -> None:
    arrays = {name: np.arange(3 + number, dtype=np.float32) for number, name in enumerate(order)}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.shard"
        write_shard(path, arrays)
        for name, values in arrays.items():
            np.testing.assert_array_equal(open_shard(path).read(name), values)
        # a byte between two arrays
        place = open_shard(path).arrays[order[damaged]]
        content = bytearray(path.read_bytes())
        content[place.offset + place.size] ^= 1
        path.write_bytes(content)
        with pytest.raises(DamagedShardError, match="bytes between its arrays have changed"):
            open_shard(path)
