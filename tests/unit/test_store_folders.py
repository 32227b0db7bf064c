"""What lies beside the shards to the byte: notes, marks, journals; and what those see and remove who clean up."""

from __future__ import annotations

import gc
import json
import os
import time
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from support.lookup import LookupBackend, smooth

from evalharness.errors import UsageError
from evalharness.store import journal as journal_module
from evalharness.store import shards as plan_module
from evalharness.store.folders import add_model, key_folders, models_of, moved_aside, read_note, shard_paths
from evalharness.store.journal import ShardJournal
from evalharness.store.keeping import KeyUse, collect, describe_store, verify_store
from evalharness.store.marks import Mark, used_folders
from evalharness.store.storing import StoringEncoder
from evalharness.types import Encoding, ignore_event

ENCODING = Encoding(pooling="cls", normalize=True, max_length=64, dtype="float32", prompt="Q: ")
DAY = 86_400


def filled(root: Path, model: str = "a/b", texts: int = 20, prompt: str = "Q: ") -> Path:
    """A folder of a key, with shards of 8 texts each."""
    before = set(root.glob("*"))
    encoding = Encoding(pooling="cls", normalize=True, max_length=64, dtype="float32", prompt=prompt)
    storing = StoringEncoder(LookupBackend(smooth), root, {"model": model, "fingerprint": model}, "cosine")
    storing.encode([f"text {number:02}" for number in range(texts)], encoding, ignore_event)
    (made,) = {path for path in root.iterdir() if path.name != "in-use"} - before
    return made


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "SHARD_TEXTS", 8)


def test_folders_of_keys_are_named_by_32_digits(tmp_path: Path) -> None:
    for name in ("b" * 32, "0123456789abcdef" * 2, "c" * 31, "c" * 33, "C" * 32, "g" * 32, "in-use"):
        (tmp_path / name).mkdir()
    (tmp_path / ("d" * 32)).touch()
    assert key_folders(tmp_path) == [tmp_path / ("0123456789abcdef" * 2), tmp_path / ("b" * 32)]
    assert key_folders(tmp_path / "nowhere") == []


def test_shards_are_listed_in_order(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for name in ("b.shard", "a.shard", "c.claim", "a.partial", ".x.shard.abc.tmp"):
        (tmp_path / "shards" / name).touch()
    assert shard_paths(tmp_path) == [tmp_path / "shards" / "a.shard", tmp_path / "shards" / "b.shard"]
    assert shard_paths(tmp_path / "nowhere") == []


def test_names_of_models_in_a_note() -> None:
    assert models_of({"models": ["b/c", "a/b", 3, None, "b/c"]}) == ["a/b", "b/c"]
    assert models_of({"models": "a/b"}) == models_of({}) == models_of({"models": None}) == []


def test_a_note_collects_the_names_of_a_model_and_is_written_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "info.json"
    add_model(path, "b/c", {"pooling": "cls"})
    add_model(path, "a/b", {"pooling": "cls"})
    assert read_note(path) == {"pooling": "cls", "models": ["a/b", "b/c"]}
    os.utime(path, (1000, 1000))
    add_model(path, "b/c", {"pooling": "cls"})
    assert path.stat().st_mtime == 1000
    add_model(path, "b/c", {"pooling": "mean"})
    assert read_note(path) == {"pooling": "mean", "models": ["a/b", "b/c"]}


def test_what_is_odd_is_moved_aside_and_nothing_is_lost(tmp_path: Path) -> None:
    for content in ("one", "two"):
        (tmp_path / "x.shard").write_text(content)
        target = moved_aside(tmp_path / "x.shard", tmp_path)
        assert target is not None
        assert target.parent == tmp_path / "damaged"
        assert target.name.startswith("x.shard.")
        assert target.read_text() == content
    assert len(list((tmp_path / "damaged").iterdir())) == 2
    assert moved_aside(tmp_path / "x.shard", tmp_path) is None


def test_a_mark_names_each_folder_once_behind_its_locked_byte(tmp_path: Path) -> None:
    mark = Mark(tmp_path / "store")
    for name in ("one", "two", "one"):
        mark.add(name)
    (path,) = [path for path in (tmp_path / "store" / "in-use").iterdir() if path.name != "gate"]
    assert path.name.startswith(f"{os.getpid()}-")
    assert path.read_bytes() == b"\none\ntwo\n"
    with used_folders(tmp_path / "store") as used:
        assert used == {"one", "two"}
    path.unlink()
    mark.add("one")
    with used_folders(tmp_path / "store") as used:
        assert used == {"one", "two"}
    del mark
    gc.collect()
    assert [path.name for path in (tmp_path / "store" / "in-use").iterdir()] == ["gate"]


def test_marks_of_the_dead_are_removed_and_those_of_the_living_are_joined(tmp_path: Path) -> None:
    marks = [Mark(tmp_path), Mark(tmp_path)]
    for mark, name in zip(marks, ("one", "two"), strict=True):
        mark.add(name)
    dead = tmp_path / "in-use" / "1-0"
    dead.write_bytes(b"\nthree\n")
    with used_folders(tmp_path) as used:
        assert used == {"one", "two"}
    assert not dead.exists()
    assert len(list((tmp_path / "in-use").iterdir())) == 3


def test_what_is_in_a_store(tmp_path: Path) -> None:
    small = filled(tmp_path, "c/d", texts=3, prompt="")
    large = filled(tmp_path)
    shards = shard_paths(large)
    sizes = [path.stat().st_size for path in shards]
    uses = {
        "a.json": {"task": "Task", "shards": [path.name for path in shards]},
        "b.json": {"task": "Other", "shards": [shards[0].name, "gone.shard", 3]},
        "odd.json": [1],
    }
    (large / "uses").mkdir()
    for name, use in uses.items():
        (large / "uses" / name).write_text(json.dumps(use))
    (large / "shards" / "folder.shard").mkdir()
    first, second = describe_store(tmp_path)
    assert first == KeyUse(
        folder=large,
        models=["a/b"],
        prompt="Q: ",
        max_length=64,
        dtype="float32",
        shards=3,
        texts=20,
        bytes=sum(sizes),
        tasks={"Task": sum(sizes), "Other": sizes[0]},
    )
    assert (second.folder, second.models, second.prompt, second.shards, second.texts) == (small, ["c/d"], "", 1, 3)
    (large / "info.json").unlink()
    shards[0].write_bytes(b"damaged")
    first, _ = describe_store(tmp_path)
    assert (first.models, first.prompt, first.max_length, first.shards, first.texts) == ([], "", 0, 3, 12)
    assert verify_store(tmp_path) == (3, {
        shards[0]: "does not begin as a shard file",
        large / "shards" / "folder.shard": "is no file",
    })  # fmt: skip


def test_what_can_go_is_that_of_one_model_old_or_left_over(tmp_path: Path) -> None:
    kept, other = filled(tmp_path), filled(tmp_path, "c/d", texts=9)
    gc.collect()
    now = time.time()
    for days, path in zip((4.9, 5.1, 0), shard_paths(kept), strict=True):
        os.utime(path, (now - days * DAY, now - days * DAY))
    old = shard_paths(kept)[1]
    size, others = old.stat().st_size, [path.stat().st_size for path in shard_paths(other)]
    (kept / "damaged").mkdir()
    (kept / "damaged" / "x.shard.1").touch()
    for name in ("y.claim", "y.partial", ".y.shard.abc.tmp"):
        (kept / "shards" / name).touch()
    (kept / "shards" / "folder.partial").mkdir()
    found = collect(tmp_path, keep_days=5, model="a/b")
    assert (found.shards, found.bytes, found.temporaries, found.in_use) == (1, size, 1, [])
    assert not old.exists()
    assert not (kept / "damaged").exists()
    assert {path.suffix for path in (kept / "shards").iterdir()} == {".shard", ".partial"}
    assert (kept / "shards" / "folder.partial").is_dir()
    found = collect(tmp_path, model="c/d")
    assert (found.shards, found.bytes) == (2, sum(others))
    assert len(shard_paths(kept)) == 2
    with pytest.raises(UsageError, match="unknown model in the store 'x/y'"):
        collect(tmp_path, model="x/y")
    found = collect(tmp_path / "nowhere")
    assert (found.shards, found.bytes, found.temporaries, found.in_use) == (0, 0, 0, [])
    assert not (tmp_path / "nowhere").exists()


def test_shards_are_kept_up_to_the_last_byte_that_fits(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    gc.collect()
    size = sum(path.stat().st_size for path in shard_paths(folder))
    assert collect(tmp_path, max_bytes=size).shards == 0
    assert collect(tmp_path, max_bytes=size - 1).shards == 1


def test_what_is_in_use_is_neither_removed_nor_tidied(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    (folder / "shards" / "y.partial").touch()
    mark = Mark(tmp_path)
    mark.add(folder.name)
    found = collect(tmp_path, max_bytes=0)
    assert (found.shards, found.in_use) == (0, [folder])
    assert (folder / "shards" / "y.partial").exists()
    del mark
    gc.collect()
    assert collect(tmp_path, max_bytes=0).shards == 3
    assert not (folder / "shards" / "y.partial").exists()


def test_the_bytes_of_a_journal(tmp_path: Path) -> None:
    """A run that was broken off under an earlier version goes on under this one."""
    path = tmp_path / "key" / "shards" / "name.partial"
    path.parent.mkdir(parents=True)
    rows, none = np.arange(6, dtype="<f4").reshape(2, 3), np.empty((0, 4), "<i8")
    journal = ShardJournal(path)
    journal.add({"texts": ["a", "\u4e2d"], "ids": [7, [1, 2]]}, {"rows": rows, "none": none, "one": np.array(3.0)})
    journal.__exit__(KeyboardInterrupt, None, None)

    def counted(part: bytes) -> bytes:
        return len(part).to_bytes(8, "little") + part

    def number(*values: int) -> bytes:
        return counted(b"".join(value.to_bytes(8, "little") for value in values))

    named = counted(b"key/name") + b"ids 2 " + number(7) + number(1, 2)
    named += b"texts 2 " + counted(b"a") + counted("\u4e2d".encode())
    header = json.dumps([["rows", "<f4", [2, 3]], ["none", "<i8", [0, 4]], ["one", "<f8", []]]).encode()
    content = blake2b(named, digest_size=16).digest() + len(header).to_bytes(4, "little") + header
    content += rows.tobytes() + np.array(3.0).tobytes()
    checked = len(content).to_bytes(8, "little") + blake2b(content, digest_size=16).digest()
    assert path.read_bytes() == checked + content


def test_a_journal_is_written_when_its_time_has_come_and_removed_when_the_shard_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    path, sizes = tmp_path / "a.partial", []
    with ShardJournal(path) as journal:
        for number, moment in enumerate((101.0, 109.9, 110.0, 119.9, 120.0)):
            now[0] = moment
            journal.add({"texts": [str(number)]}, {"rows": np.zeros(1)})
            sizes.append(path.stat().st_size if path.exists() else 0)
    entry = sizes[2] // 3
    assert sizes == [0, 0, 3 * entry, 3 * entry, 5 * entry]
    assert not path.exists()


def test_a_journal_that_changes_while_it_is_read_is_not_believed(tmp_path: Path) -> None:
    path, batches = tmp_path / "a.partial", [{"texts": [str(number)]} for number in range(2)]
    journal = ShardJournal(path)
    for batch in batches:
        journal.add(batch, {"rows": np.arange(4)})
    journal.__exit__(KeyboardInterrupt, None, None)
    journal = ShardJournal(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    found = journal.find(batches[0])
    assert found is not None
    assert found["rows"].tolist() == [0, 1, 2, 3]
    assert journal.find(batches[1]) is None
    path.unlink()
    assert journal.find(batches[0]) is None


def test_what_was_written_bit_by_bit_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "FLUSH_SECONDS", 0.0)
    path = tmp_path / "a.partial"
    for first in (0, 4):
        journal = ShardJournal(path)
        for number in range(first, first + 4):
            journal.add({"texts": [str(number)]}, {"rows": np.array([number])})
        journal.__exit__(KeyboardInterrupt, None, None)
    found = [ShardJournal(path).find({"texts": [str(number)]}) for number in range(8)]
    assert [arrays["rows"].tolist() if arrays else None for arrays in found] == [[number] for number in range(8)]
