"""Without a store, texts that come again are not encoded again, and their vectors are those that the store has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.lookup import LookupBackend, constant, smooth, stack
from support.tiny import save_bert, save_m3

from evalharness.models.loading import ModelOptions, load_model, open_embedder, resolve_model
from evalharness.models.options import Execution
from evalharness.store import shards
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.memory import Memory
from evalharness.store.shards import text_digests
from evalharness.store.storing import StoringEncoder
from evalharness.store.unstored import PackedArrays, UnstoredEncoder
from evalharness.types import Dense, Embeddings, Emit, Encoding, MultiPart, TextColumn, TextsEncoded, ignore_event

HOW = Encoding(pooling="cls", normalize=True, max_length=64, dtype="float32", prompt="")
FIRST = [f"{'word ' * (number % 9)}{number}" for number in range(60)]
# some of the first, some new ones between them
SECOND = [text for number in range(40) for text in (FIRST[number], f"new {'word ' * (number % 7)}{number}")]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_TEXTS", 16)


class ByCompany(LookupBackend):
    """Its vectors tell which texts went through together."""

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        found = super().encode(texts, encoding, emit, journal)
        return Dense(found.vectors + np.float32(len(texts)), truncated=np.array([len(text) > 30 for text in texts]))


def encoded(encoder: StoringEncoder | UnstoredEncoder, texts: list[str], how: Encoding = HOW) -> Embeddings:
    events: list[TextsEncoded] = []
    found = encoder.encode(texts, how, lambda event: events.append(event) if isinstance(event, TextsEncoded) else None)
    assert sum(event.count for event in events) == len(texts)
    return found


def test_vectors_are_those_of_the_store(tmp_path: Path) -> None:
    below, stored_below = ByCompany(smooth), ByCompany(smooth)
    memory, store = UnstoredEncoder(below), StoringEncoder(stored_below, tmp_path, {"model": "a/b"}, "cosine")
    for texts in (FIRST, SECOND, FIRST[10:20], SECOND[::-1]):
        here, there = encoded(memory, texts), encoded(store, texts)
        assert isinstance(here, Dense)
        assert isinstance(there, Dense)
        np.testing.assert_array_equal(here.vectors, there.vectors)
        assert here.truncated is not None
        assert there.truncated is not None
        np.testing.assert_array_equal(here.truncated, there.truncated)
    assert below.seen == stored_below.seen
    assert len(below.seen) == len(FIRST) + 40


def test_another_encoding_is_another_vector() -> None:
    below = LookupBackend(smooth)
    encoder = UnstoredEncoder(below)
    encoded(encoder, FIRST)
    found = encoded(encoder, FIRST, HOW.changed({"prompt": "q: "}))
    assert isinstance(found, Dense)
    np.testing.assert_array_equal(found.vectors, stack(smooth, [f"q: {text}" for text in FIRST]))
    assert len(below.seen) == 2 * len(FIRST)


def test_it_has_so_much_room_and_no_more() -> None:
    below = LookupBackend(smooth)
    # a shard of 16 texts takes 16 * (64 + 400) bytes
    encoder = UnstoredEncoder(below, remember=16_000)
    for _ in range(3):
        found = encoded(encoder, FIRST)
        assert isinstance(found, Dense)
        np.testing.assert_array_equal(found.vectors, stack(smooth, FIRST))
        assert encoder._memory._size <= 16_000
        assert len(encoder._memory._places) <= 34
    assert len(FIRST) < len(below.seen) < 3 * len(FIRST)
    nothing = UnstoredEncoder(LookupBackend(smooth), remember=0)
    encoded(nothing, FIRST)
    assert nothing._memory._entries == {}


def test_what_is_of_use_stays() -> None:
    memory = Memory(2000)
    texts = ["a", "b", "c", "d", "e"]
    for text in texts:
        if text != "a":
            assert memory.find(HOW, text_digests(["a"])) != []
        memory.add(HOW, text_digests([text]), Dense(stack(constant, [text])))
    known = [text for text in texts if memory.find(HOW, text_digests([text]))]
    assert known == ["a", "c", "d", "e"]


def test_a_text_that_is_in_two_entries_outlives_one() -> None:
    memory = Memory(1700)
    for names in (["a", "b"], ["a"], ["c"]):
        memory.add(HOW, text_digests(names), Dense(stack(smooth, names)))
    (part,) = memory.find(HOW, text_digests(["b", "a"]))
    assert part.places.tolist() == [1]


def test_several_vectors_of_a_text_are_remembered_too() -> None:
    class Several(LookupBackend):
        def encode(  # type: ignore[override]
            self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL
        ) -> MultiPart:
            found = super().encode(texts, encoding, emit, journal)
            return MultiPart(
                PackedArrays([row[: 1 + len(text) % 5] for row, text in zip(found.vectors, texts, strict=True)])
            )

    below = Several(smooth)
    encoder = UnstoredEncoder(below)
    for texts in (FIRST, SECOND):
        found = encoded(encoder, texts)
        assert isinstance(found, MultiPart)
        for row, text in zip(found.source.load(), texts, strict=True):
            np.testing.assert_array_equal(row, smooth(text)[: 1 + len(text) % 5])
    assert len(below.seen) == len(set(FIRST + SECOND))


@pytest.mark.parametrize("kind", ["bert", "m3"])
def test_models_without_a_store(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "bert":
        options, folder = ModelOptions(pooling="cls"), save_bert(tmp_path / "model")
    else:
        options = ModelOptions(backend="m3", mode="dense+sparse", like="BAAI/bge-m3", max_length=64)
        folder = save_m3(tmp_path / "model")
    execution = Execution(device="cpu", batch_tokens=64)
    model = open_embedder(resolve_model(str(folder), options), execution)
    tokens = [0, 0]

    def count(event: object) -> None:
        tokens[1] += event.tokens if isinstance(event, TextsEncoded) else 0

    first = model.encode_columns([TextColumn("a", FIRST, None)], None, count)["a"]
    tokens = [tokens[1], 0]
    again = model.encode_columns([TextColumn("b", FIRST[::-1], None)], None, count)["b"]
    assert tokens[0] > 0
    assert tokens[1] == 0
    if isinstance(first, Dense) and isinstance(again, Dense):
        np.testing.assert_array_equal(first.vectors, again.vectors[::-1])
        loaded = load_model(str(folder), options, execution=execution)
        np.testing.assert_array_equal(loaded.encode(FIRST), loaded.encode(FIRST))


def test_what_may_change_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "growing.py").write_text(
        "import numpy as np\n"
        "class Growing:\n"
        "    calls = 0\n"
        "    def encode(self, texts, **options):\n"
        "        self.calls += 1\n"
        "        return np.full((len(texts), 2), self.calls, dtype=np.float32)\n"
        "growing = Growing()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = open_embedder(resolve_model("python:growing:growing", ModelOptions()), Execution())
    column = TextColumn("a", ["a", "b"], None)
    first, again = (model.encode_columns([column], None, ignore_event)["a"] for _ in range(2))
    assert isinstance(first, Dense)
    assert isinstance(again, Dense)
    assert (first.vectors != again.vectors).all()
