"""What runs left in the store is found again without a model, bit by bit, and nothing is written or mended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.lookup import LookupBackend, smooth, spec

from evalharness.store import shards as plan_module
from evalharness.store.folders import INFO, SHARDS
from evalharness.store.stored_only import NotStoredError, StoredOnlyEncoder
from evalharness.store.storing import StoringEncoder
from evalharness.store.unstored import PackedArrays
from evalharness.store.uses import Uses
from evalharness.types import Dense, Embeddings, Encoding, MultiPart, ignore_event

MODEL = spec(fingerprint="f" * 64)
FACTS: dict[str, Any] = {"pooling": "cls", "normalize": True, "max_length": 64, "dtype": "float32", "prompt": ""}
ENCODING = Encoding(**FACTS)
TEXTS = [f"text {number:02}" for number in range(20)]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "SHARD_TEXTS", 8)


def store(root: Path, below: Any, encoding: Encoding = ENCODING, task: str = "T", **identity: str) -> Embeddings:
    known = {"model": MODEL.name, "fingerprint": MODEL.fingerprint, **identity}
    uses = Uses()
    found = StoringEncoder(below, root, known, MODEL.similarity).encode(TEXTS, encoding, uses.hear)
    uses.note(task)
    return found


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def only(root: Path, task: str = "T") -> StoredOnlyEncoder:
    return StoredOnlyEncoder(root, MODEL, task)


def test_vectors_are_those_that_were_stored(tmp_path: Path) -> None:
    stored = store(tmp_path, LookupBackend(smooth), backend="b")
    before = contents(tmp_path)
    order = [*TEXTS[5:], TEXTS[3], TEXTS[3]]
    found = only(tmp_path).encode(order, ENCODING, ignore_event)
    assert isinstance(found, Dense)
    assert found.similarity == MODEL.similarity
    np.testing.assert_array_equal(found.vectors, stored.vectors[[*range(5, 20), 3, 3]])
    assert contents(tmp_path) == before


def test_rows_of_any_length_are_those_that_were_stored(tmp_path: Path) -> None:
    class Packed:
        def encode(self, texts: list[str], *_: object) -> MultiPart:
            return MultiPart(PackedArrays([np.full(1 + TEXTS.index(t) % 5, TEXTS.index(t), np.float32) for t in texts]))

    encoding = Encoding(**FACTS, outputs=("dense", "sparse"))
    store(tmp_path, Packed(), encoding)
    found = only(tmp_path).encode(TEXTS[::-1], encoding, ignore_event)
    assert isinstance(found, MultiPart)
    assert [row.tolist() for row in found.source.load()] == [[n] * (1 + n % 5) for n in range(19, -1, -1)]


@pytest.mark.parametrize("changes", [{"prompt": "query: "}, {"max_length": 8}, {"dtype": "float16"}], ids=str)
def test_another_encoding_is_not_taken_for_it(tmp_path: Path, changes: dict[str, Any]) -> None:
    store(tmp_path, LookupBackend(smooth))
    with pytest.raises(NotStoredError, match=r"has vectors of 0 of 20 texts"):
        only(tmp_path).encode(TEXTS, Encoding(**{**FACTS, **changes}), ignore_event)


def test_another_model_is_not_taken_for_it(tmp_path: Path) -> None:
    store(tmp_path, LookupBackend(smooth))
    other = StoredOnlyEncoder(tmp_path, spec(fingerprint="0" * 64), "T")
    with pytest.raises(NotStoredError):
        other.encode(TEXTS, ENCODING, ignore_event)


def test_a_note_that_says_something_else_than_the_folder_does_not_count(tmp_path: Path) -> None:
    store(tmp_path, LookupBackend(smooth))
    (note,) = tmp_path.glob(f"*/{INFO}")
    value = json.loads(note.read_text())
    note.write_text(json.dumps({**value, "backend": "another"}))
    with pytest.raises(NotStoredError):
        only(tmp_path).encode(TEXTS, ENCODING, ignore_event)


def test_what_is_missing_is_counted(tmp_path: Path) -> None:
    store(tmp_path, LookupBackend(smooth))
    with pytest.raises(NotStoredError, match=r"has vectors of 20 of 22 texts"):
        only(tmp_path).encode([*TEXTS, "a", "b"], ENCODING, ignore_event)
    with pytest.raises(NotStoredError, match=r"has vectors of 0 of 20 texts"):
        only(tmp_path / "nowhere").encode(TEXTS, ENCODING, ignore_event)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("place", ["header", "vectors"])
def test_a_damaged_shard_is_left_alone_and_not_read(tmp_path: Path, place: str) -> None:
    store(tmp_path, LookupBackend(smooth))
    shard = min(tmp_path.glob(f"*/{SHARDS}/*.shard"))
    content = bytearray(shard.read_bytes())
    content[60 if place == "header" else -70] ^= 1
    shard.write_bytes(content)
    before = contents(tmp_path)
    with pytest.raises(NotStoredError, match=r"has vectors of (12|16) of 20 texts"):
        only(tmp_path).encode(TEXTS, ENCODING, ignore_event)
    assert contents(tmp_path) == before


def test_of_several_keys_the_one_counts_that_the_task_used_last(tmp_path: Path) -> None:
    def opposite(text: str) -> Any:
        return -smooth(text)

    first = store(tmp_path, LookupBackend(smooth), task="T", backend="one")
    second = store(tmp_path, LookupBackend(opposite), task="U", backend="two")
    assert (first.vectors != second.vectors).any()
    for task, wanted in (("T", first), ("U", second)):
        np.testing.assert_array_equal(
            only(tmp_path, task).encode(TEXTS, ENCODING, ignore_event).vectors, wanted.vectors
        )
