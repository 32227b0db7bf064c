"""Shard files to the byte, and the index of the texts in them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evalharness.store import index as index_module
from evalharness.store.index import Contents, Index, StoredRows, mapped, read_contents
from evalharness.store.shard_files import ArrayPlace, DamagedShardError, Shard, open_shard, write_shard
from evalharness.store.shards import shard_name, text_digests

KEY = "a" * 32
BLOCK = 1 << 20


def test_the_bytes_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.shard"
    numbers, flags = np.arange(17, dtype="<f4"), np.array([[True, False], [False, True]])
    write_shard(path, {"numbers": numbers, "flags": flags, "none": np.empty((0, 2), "<u8")})
    content = path.read_bytes()
    length = int.from_bytes(content[8:16], "little")
    header, rest = content[48 : 48 + length], content[48 + length :]
    described = {
        "arrays": {
            "numbers": {"dtype": "<f4", "shape": [17], "offset": 0, "sha256": sha256(numbers.tobytes()).hexdigest()},
            "flags": {"dtype": "|b1", "shape": [2, 2], "offset": 128, "sha256": sha256(flags.tobytes()).hexdigest()},
            "none": {"dtype": "<u8", "shape": [0, 2], "offset": 192, "sha256": sha256(b"").hexdigest()},
        },
        "bytes": 192,
    }
    assert content[:8] == b"EVHSHRD1"
    assert content[16:48] == sha256(header).digest()
    assert header.rstrip(b" ") == json.dumps(described, sort_keys=True).encode()
    assert (48 + length) % 64 == 0
    assert length - len(header.rstrip(b" ")) < 64
    assert rest == numbers.tobytes() + b"\0" * 60 + flags.tobytes() + b"\0" * 60


def test_an_opened_file_knows_its_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.shard"
    arrays: dict[str, NDArray[Any]] = {
        "rows": np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::-1],
        "none": np.empty((0, 2), dtype=np.uint64),
    }
    write_shard(path, arrays)
    shard = open_shard(path)
    assert (shard.path, shard.size) == (path, path.stat().st_size)
    place = shard.arrays["rows"]
    assert (place.dtype, place.shape, place.size) == ("<f4", (2, 3), 24)
    assert path.read_bytes()[place.offset : place.offset + place.size] == arrays["rows"].tobytes()
    for name, values in arrays.items():
        shard.check(name)
        np.testing.assert_array_equal(shard.read(name), values, strict=True)
        np.testing.assert_array_equal(shard.map(name), values, strict=True)
    assert not shard.map("rows").flags.writeable
    looks: list[Callable[[str], object]] = [shard.read, shard.check, shard.map]
    for look in looks:
        with pytest.raises(DamagedShardError, match="has no array vectors"):
            look("vectors")


def test_a_file_is_on_the_disk_when_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, real = [], os.fsync

    def seen(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    write_shard(tmp_path / "a.shard", {"rows": np.zeros(5)})
    assert sizes == [(tmp_path / "a.shard").stat().st_size]


@pytest.mark.parametrize("at", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 7])
def test_damage_in_any_part_of_a_large_array_is_noticed(tmp_path: Path, at: int) -> None:
    path = tmp_path / "a.shard"
    write_shard(path, {"first": np.zeros(3), "large": np.arange(2 * BLOCK + 8, dtype=np.uint8), "last": np.zeros(3)})
    shard = open_shard(path)
    shard.check("large")
    with path.open("r+b") as handle:
        handle.seek(shard.arrays["large"].offset + at)
        handle.write(b"\xaa")
    looks: list[Callable[[str], object]] = [shard.read, shard.check]
    for look in looks:
        with pytest.raises(DamagedShardError, match="the checksum of large is wrong"):
            look("large")
        look("first")
        look("last")


def test_an_array_that_is_cut_after_its_file_was_opened_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.shard"
    write_shard(path, {"rows": np.arange(100.0)})
    shard = open_shard(path)
    os.truncate(path, shard.arrays["rows"].offset + 8)
    looks: list[Callable[[str], object]] = [shard.read, shard.check]
    for look in looks:
        with pytest.raises(DamagedShardError, match="the checksum of rows is wrong"):
            look("rows")


def with_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Give a file another header, with the checksum of that."""
    content = path.read_bytes()
    length = int.from_bytes(content[8:16], "little")
    header = json.loads(content[48 : 48 + length])
    change(header)
    made = json.dumps(header).encode()
    made += b" " * (-(48 + len(made)) % 64)
    path.write_bytes(
        content[:8] + len(made).to_bytes(8, "little") + sha256(made).digest() + made + content[48 + length :]
    )


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ((0, 16), None),
        ((0, 15), "arrays overlap or end beyond the file"),
        ((0, 48), None),
        ((0, 49), "arrays overlap or end beyond the file"),
        ((-1, 16), "found dtype '<f4' at -1"),
    ],
)
def test_arrays_stand_one_after_another_within_the_file(
    tmp_path: Path, offsets: tuple[int, int], message: str | None
) -> None:
    path = tmp_path / "a.shard"
    write_shard(path, {"a": np.zeros(4, dtype=np.float32)})

    def two(header: dict[str, Any]) -> None:
        place = header["arrays"]["a"]
        header["arrays"] = {name: {**place, "offset": offset} for name, offset in zip("ab", offsets, strict=True)}

    with_header(path, two)
    if message is None:
        assert sorted(open_shard(path).arrays) == ["a", "b"]
    else:
        with pytest.raises(DamagedShardError, match=message):
            open_shard(path)


def test_an_alignment_of_zeros_is_no_padding(tmp_path: Path) -> None:
    path = tmp_path / "a.shard"
    write_shard(path, {"a": np.zeros(16, dtype=np.float32), "b": np.zeros(16, dtype=np.float32)})
    with_header(path, lambda header: header["arrays"].pop("b"))
    with pytest.raises(DamagedShardError, match="bytes between its arrays have changed"):
        open_shard(path)


def test_names_of_shards_and_digests_of_texts_stay() -> None:
    """Stores hold files under these names; another name would not be found."""
    digests = text_digests(["a", "", "\ud800"])
    wanted = [blake2b(text, digest_size=16).digest() for text in (b"a", b"", b"\xed\xa0\x80")]
    assert digests.tobytes() == b"".join(wanted)
    assert digests.shape == (3, 2)
    assert text_digests([]).shape == (0, 2)
    assert shard_name(KEY, digests) == blake2b(KEY.encode() + b"".join(wanted), digest_size=16).hexdigest()


def contents(name: str, digests: list[list[int]], flags: list[bool]) -> Contents:
    place = ArrayPlace("<f4", (len(digests), 4), 0, "")
    shard = Shard(Path("folder", name), {"vectors": place}, 0)
    return Contents(shard, np.array(digests, dtype=np.uint64), np.array(flags), ~np.array(flags))


@pytest.mark.parametrize("looked_up", [1, 4, 2**20])
def test_texts_whose_digests_begin_alike_are_told_apart(monkeypatch: pytest.MonkeyPatch, looked_up: int) -> None:
    monkeypatch.setattr(index_module, "_LOOKED_UP", looked_up)
    index = Index(packed=False)
    assert index.find(np.array([[1, 1]], dtype=np.uint64)).tolist() == [-1]
    # beyond the half of the numbers, where a sign would matter
    high = 2**64 - 1
    index.add([contents("a.shard", [[5, 3], [high, 1], [5, 1]], [True, False, False])])
    index.add([contents("b.shard", [[5, 2], [2, 9]], [False, True]), contents("c.shard", [[5, high]], [True])])
    assert index.dimensions == 4
    assert index.names == {"a.shard", "b.shard", "c.shard"}
    asked = [[5, 1], [5, 4], [2, 9], [high, 1], [5, 2], [0, 0], [5, 3], [high, high], [5, 0], [3, 1], [5, high]]
    places = index.find(np.array(asked, dtype=np.uint64))
    assert (places == -1).tolist() == [False, True, False, False, False, True, False, True, True, True, False]
    rows = index.rows(places[places >= 0])
    found = [
        (rows.paths[shard].name[0], row) for shard, row in zip(rows.shard.tolist(), rows.row.tolist(), strict=True)
    ]
    assert found == [("a", 2), ("b", 1), ("a", 1), ("b", 0), ("a", 0), ("c", 0)]
    assert index.truncated(places[places >= 0]).tolist() == [False, True, False, False, True, True]
    assert index.unknown(places[places >= 0]).tolist() == [True, False, True, True, False, False]


def test_a_shard_that_was_forgotten_is_taken_in_again() -> None:
    index = Index(packed=False)
    one, two = contents("a.shard", [[1, 1], [1, 2]], [True, True]), contents("b.shard", [[1, 3]], [True])
    asked = np.array([[1, 1], [1, 2], [1, 3]], dtype=np.uint64)
    index.add([one, two])
    for _ in range(2):
        index.drop(one.shard.path)
        assert index.names == {"b.shard"}
        assert (index.find(asked) >= 0).tolist() == [False, False, True]
        index.add([one])
        assert (index.find(asked) >= 0).tolist() == [True, True, True]
        assert [index.rows(index.find(asked)).paths[n] for n in index.rows(index.find(asked)).shard.tolist()] == [
            one.shard.path, one.shard.path, two.shard.path
        ]  # fmt: skip


def test_rows_come_from_many_shards_in_any_order(tmp_path: Path) -> None:
    mapped.cache_clear()
    paths = [tmp_path / f"{number}.shard" for number in range(3)]
    for number, path in enumerate(paths):
        write_shard(path, {"vectors": np.arange(8, dtype=np.float32).reshape(4, 2) + 100 * number})
    shard, row = np.array([2, 0, 2, 1, 0], dtype=np.int32), np.array([3, 1, 0, 2, 1], dtype=np.int32)
    rows = StoredRows(paths, shard, row, 2)
    wanted = [[206, 207], [2, 3], [200, 201], [104, 105], [2, 3]]
    assert (len(rows), rows.shape) == (5, (5, 2))
    assert np.asarray(rows).tolist() == wanted
    assert np.asarray(rows).dtype == np.float32
    assert np.asarray(rows[1:4]).tolist() == wanted[1:4]
    assert np.asarray(rows[np.array([4, 0])]).tolist() == [wanted[4], wanted[0]]
    assert np.asarray(rows[:0]).shape == (0, 2)


def written(root: Path, arrays: Mapping[str, NDArray[Any]]) -> Path:
    """A file under the right name."""
    path = root / KEY / "shards" / f"{shard_name(KEY, arrays['digests'])}.shard"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_shard(path, arrays)
    return path


WHOLE: dict[str, NDArray[Any]] = {
    "digests": text_digests(["a", "b"]), "truncated": np.array([True, False]), "vectors": np.ones((2, 3), np.float32)
}  # fmt: skip
PACKED = {**WHOLE, "vectors": np.ones(5, np.float32), "starts": np.array([0, 2, 5])}


def test_what_a_shard_says_of_its_texts(tmp_path: Path) -> None:
    found = read_contents(written(tmp_path, WHOLE), packed=False)
    np.testing.assert_array_equal(found.digests, WHOLE["digests"])
    assert found.truncated.tolist() == [True, False]
    assert found.unknown.tolist() == [False, False]
    assert found.dimensions == 3
    known = read_contents(written(tmp_path, {**WHOLE, "unknown": np.array([False, True])}), packed=False)
    assert known.unknown.tolist() == [False, True]
    packed = read_contents(written(tmp_path / "packed", PACKED), packed=True)
    assert packed.dimensions == 0


@pytest.mark.parametrize(
    ("packed", "changes"),
    [
        (False, {"truncated": np.array([True])}),
        (False, {"truncated": np.array([1, 0])}),
        (False, {"truncated": np.array([[True, False]])}),
        (False, {"unknown": np.array([True, False, True])}),
        (False, {"unknown": np.array([0, 1])}),
        (False, {"digests": np.zeros((2, 3), np.uint64)}),
        (False, {"digests": np.zeros((2, 2), np.int64)}),
        (False, {"vectors": np.ones((3, 3), np.float32)}),
        (False, {"vectors": np.ones((1, 3), np.float32)}),
        (False, {"vectors": np.ones((2, 3), np.float64)}),
        (False, {"vectors": np.ones(2, np.float32)}),
        (True, {"vectors": np.ones((5, 1), np.float32)}),
        (True, {"vectors": np.ones(6, np.float32)}),
        (True, {"starts": np.array([0, 2, 5], np.int32)}),
        (True, {"starts": np.array([0, 2, 2, 5])}),
        (True, {"starts": np.array([0, 5])}),
        (True, {"starts": np.array([1, 2, 5])}),
        (True, {"starts": np.array([0, 6, 5])}),
    ],
)
def test_other_arrays_than_one_for_each_text_are_damage(
    tmp_path: Path, packed: bool, changes: Mapping[str, NDArray[Any]]
) -> None:
    path = written(tmp_path, {**(PACKED if packed else WHOLE), **changes})
    with pytest.raises(DamagedShardError, match="has other arrays than a digest, a vector and flags for each text"):
        read_contents(path, packed=packed)


def test_texts_may_have_no_rows_of_any_length(tmp_path: Path) -> None:
    empty = {**PACKED, "vectors": np.empty(0, np.float32), "starts": np.array([0, 0, 0])}
    assert len(read_contents(written(tmp_path, empty), packed=True).digests) == 2
