"""Shards are a function of the texts: each text once, in parts of a bounded size, whatever a store holds."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.lookup import JournaledLookup, LookupBackend, smooth, stack
from support.tiny import save_bert, save_cross_encoder, save_m3

from evalharness.models.encoder import EmbeddingModel
from evalharness.models.loading import ModelOptions, System, open_embedder, open_model, resolve_model
from evalharness.models.options import Execution
from evalharness.models.rankers import Pair, RankingModel
from evalharness.store import shards as plan
from evalharness.store.shards import PlannedShard, missing_shards, plan_shards, store_key
from evalharness.store.storing import StoringEncoder
from evalharness.store.text_encoder import Result, ShardMap, ShardWork, TextEncoder, one_by_one
from evalharness.store.unstored import UnstoredEncoder
from evalharness.types import Embeddings, Emit, EncodeEvent, Encoding, MultiPart, TextColumn, TextsEncoded, ignore_event

IDENTITY = {"model": "a/b", "fingerprint": "f" * 64}
ENCODING = Encoding(pooling="cls", normalize=True, max_length=64, dtype="float32", prompt="Q: ")
TEXTS = st.lists(st.text(max_size=30), max_size=40, unique=True)
LIMITS = st.tuples(st.integers(1, 9), st.integers(1, 60))


def limited(limits: tuple[int, int]) -> Any:
    texts, characters = limits
    return patch.multiple(plan, SHARD_TEXTS=texts, SHARD_CHARACTERS=characters)


def contents(shards: Sequence[PlannedShard]) -> list[tuple[str, list[int], list[str]]]:
    return [(shard.name, shard.rows.tolist(), list(shard.texts)) for shard in shards]


@settings(max_examples=200, deadline=None)
@given(texts=TEXTS, limits=LIMITS)
def test_each_text_is_in_one_shard_and_no_shard_is_too_large(texts: list[str], limits: tuple[int, int]) -> None:
    with limited(limits):
        shards = plan_shards(texts, "key")
        assert contents(shards) == contents(plan_shards(list(texts), "key"))
    rows = [row for shard in shards for row in shard.rows.tolist()]
    assert sorted(rows) == list(range(len(texts)))
    assert [len(texts[row]) for row in rows] == sorted(map(len, texts), reverse=True)
    for shard in shards:
        assert [texts[row] for row in shard.rows] == list(shard.texts)
        assert 1 <= len(shard.texts) <= limits[0]
        # a text longer than a shard is one by itself
        assert len(shard.texts) == 1 or sum(map(len, shard.texts)) <= limits[1]
    assert len({shard.name for shard in shards}) == len(shards)


@settings(max_examples=200, deadline=None)
@given(texts=TEXTS, limits=LIMITS, data=st.data())
def test_what_is_present_takes_texts_out_of_shards_and_moves_none(
    texts: list[str], limits: tuple[int, int], data: st.DataObject
) -> None:
    flags = data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts)))
    missing = np.array(flags, dtype=bool)
    with limited(limits):
        left, whole = missing_shards(texts, "key", missing), plan_shards(texts, "key")
    wanted = [[row for row in shard.rows.tolist() if flags[row]] for shard in whole]
    assert [shard.rows.tolist() for shard in left] == [rows for rows in wanted if rows]
    names = {tuple(shard.rows.tolist()): shard.name for shard in whole}
    assert all(names.get(tuple(shard.rows.tolist()), shard.name) == shard.name for shard in left)
    assert contents(left) == contents(pickle.loads(pickle.dumps(left)))  # noqa: S301 -- made here


# as the store had named them before there was a plan: 20 texts of different lengths, and odd ones
FIXED = [f"text number {number}" + " long" * (number % 7) for number in range(20)] + [
    "über",
    "日本語 " * 5,
    "",
    "\ud800",
]
KEY = "3097d217bd7e7852f1383080bb37a166"
NAMES = [
    "7f158d37c04d68b2b99595e263f3463e",
    "b0ac840b8fdc9c91fa7f4e30cdf3e9c3",
    "d0347bf515d356ce1536735d299295f5",
    "f63c77dc9986b4009e86d6c713527e92",
]


def vector(text: str) -> np.ndarray:
    return smooth(text.encode("utf-8", "surrogatepass").hex())


def test_names_of_files_are_those_of_stores_of_before(tmp_path: Path) -> None:
    with limited((8, 1_000_000)):
        assert store_key(IDENTITY, ENCODING) == KEY
        (early,) = plan_shards(FIXED[:5], KEY)
        missing = np.array([number >= 5 for number in range(len(FIXED))])
        assert sorted([early.name, *(shard.name for shard in missing_shards(FIXED, KEY, missing))]) == NAMES
        for texts in (FIXED[:5], FIXED):
            StoringEncoder(LookupBackend(vector), tmp_path, IDENTITY, "cosine").encode(texts, ENCODING, ignore_event)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.shard")) == [
        f"{KEY}/shards/{name}.shard" for name in NAMES
    ]


class Recording(LookupBackend):
    """Notes which texts come together."""

    def __init__(self) -> None:
        super().__init__(vector)
        self.calls: list[list[str]] = []

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, *rest: Any) -> Any:
        self.calls.append(list(texts))
        return super().encode(texts, encoding, emit, *rest)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=TEXTS.filter(len), limits=LIMITS)
def test_the_same_texts_come_together_with_and_without_a_store(texts: list[str], limits: tuple[int, int]) -> None:
    stored, unstored = Recording(), Recording()
    with limited(limits), TemporaryDirectory() as folder:
        first = StoringEncoder(stored, Path(folder), IDENTITY, "cosine").encode(texts, ENCODING, ignore_event)
        second = UnstoredEncoder(unstored).encode(texts, ENCODING, ignore_event)
        np.testing.assert_array_equal(first.vectors, second.vectors)
    np.testing.assert_array_equal(second.vectors, stack(vector, ["Q: " + text for text in texts]))
    assert stored.calls == unstored.calls


WORDS = ["fern", "shade", "How do ferns grow?", "", "bread and yeast", "in shade, " * 60, "snow " * 20, "tide"]
LINES = [f"{word} {number}" for number in range(6) for word in WORDS]


@pytest.mark.parametrize("kind", ["bert", "m3"])
def test_a_models_vectors_are_equal_with_and_without_a_store(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SHARD_TEXTS", 7)
    if kind == "bert":
        folder, options = save_bert(tmp_path / "model", max_length=64), ModelOptions(pooling="cls")
    else:
        folder = save_m3(tmp_path / "model")
        options = ModelOptions(like="BAAI/bge-m3", max_length=64, mode="dense+sparse+multi-vector")
    found: list[Embeddings] = []
    for store in (tmp_path / "store", None):
        model = open_embedder(resolve_model(str(folder), options), Execution(device="cpu"), store=store)
        events: list[EncodeEvent] = []
        found.append(model.encode_columns([TextColumn("a", LINES, None)], None, events.append)["a"])
        assert sum(event.count for event in events if isinstance(event, TextsEncoded)) == len(LINES)
    first, second = found
    for flags in ("truncated", "unknown"):
        np.testing.assert_array_equal(getattr(first, flags), getattr(second, flags))
    assert first.truncated is not None
    assert first.truncated.any()
    if isinstance(first, MultiPart):
        assert isinstance(second, MultiPart)
        assert first.weights == second.weights
        for one, other in zip(first.source.load(), second.source.load(), strict=True):
            np.testing.assert_array_equal(one, other)
    else:
        np.testing.assert_array_equal(first.vectors, second.vectors)


def pickled_by_two(
    work: ShardWork[Result], shards: Sequence[PlannedShard], below: TextEncoder, emit: Emit
) -> Iterator[Result]:
    """A map over two encoders, which get all work pickled, as on other machines."""
    del below
    backends = [LookupBackend(vector), LookupBackend(vector)]
    for number, shard in enumerate(shards):
        sent_work, sent = pickle.loads(pickle.dumps((work, shard)))  # noqa: S301 -- made here
        yield sent_work(sent, backends[number % 2], emit)


class Nowhere:
    """An encoder that has no model here."""

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Any = None) -> Embeddings:
        raise AssertionError("the map has encoders of its own")


def test_another_map_gives_the_same_files_and_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SHARD_TEXTS", 5)
    here = StoringEncoder(JournaledLookup(vector), tmp_path / "here", IDENTITY, "cosine")
    there = StoringEncoder(Nowhere(), tmp_path / "there", IDENTITY, "cosine", pickled_by_two)
    wanted = here.encode(FIXED, ENCODING, ignore_event).vectors
    np.testing.assert_array_equal(there.encode(FIXED, ENCODING, ignore_event).vectors, wanted)
    unstored = UnstoredEncoder(Nowhere(), pickled_by_two).encode(FIXED, ENCODING, ignore_event)
    np.testing.assert_array_equal(unstored.vectors, wanted)
    files = [
        {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.shard")}
        for root in (tmp_path / "here", tmp_path / "there")
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "unstored"])
@pytest.mark.parametrize("stages", ["embedder", "reranker", "both"])
def test_whoever_opens_a_model_says_how_its_shards_are_spread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: str, stored: bool
) -> None:
    monkeypatch.setattr(plan, "SHARD_TEXTS", 5)
    spread: list[str] = []

    def noting(
        work: ShardWork[Result], shards: Sequence[PlannedShard], below: TextEncoder, emit: Emit
    ) -> Iterator[Result]:
        for shard in shards:
            spread.extend(shard.texts)
            yield work(shard, below, emit)

    embedder = resolve_model(str(save_bert(tmp_path / "model")), ModelOptions(pooling="cls"))
    reranker = resolve_model(str(save_cross_encoder(tmp_path / "pairs")), ModelOptions(backend="cross-encoder"))
    system = System(embedder, reranker) if stages == "both" else System(embedder if stages == "embedder" else reranker)
    found: list[np.ndarray] = []
    maps: dict[str, ShardMap] = {"here": one_by_one, "there": noting}
    for folder, each in maps.items():
        store = tmp_path / folder if stored else None
        model = open_model(system, Execution(device="cpu"), store=store, spread=each)
        first = model if isinstance(model, EmbeddingModel) else model._first
        second = model._reranker if isinstance(model, RankingModel) else None
        assert (first is not None, second is not None) == (stages != "reranker", stages != "embedder")
        if isinstance(first, EmbeddingModel):
            found.append(first.encode_columns([TextColumn("a", LINES, None)], None, ignore_event)["a"].vectors)
        if second is not None:
            found.append(second.model.score_pairs([Pair("how", line) for line in LINES], None, ignore_event))
    half = len(found) // 2
    for here, there in zip(found[:half], found[half:], strict=True):
        np.testing.assert_array_equal(here, there)
    assert len(spread) == half * len(LINES)
