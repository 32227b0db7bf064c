"""What comes back from the store is all that the encoder below gave, and what others do to it meanwhile is seen."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.lookup import LookupBackend, smooth, spec, stack

from evalharness.errors import ModelError
from evalharness.models.encoder import EmbeddingModel
from evalharness.store import shards as plan_module
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.storing import StoringEncoder, default_store
from evalharness.store.text_encoder import TextEncoder, check_finite
from evalharness.store.unstored import PackedArrays, UnstoredEncoder
from evalharness.store.uses import Uses
from evalharness.types import (
    Dense,
    Embeddings,
    Emit,
    EncodeEvent,
    Encoding,
    MultiPart,
    Notice,
    ShardsUsed,
    Similarity,
    TextColumn,
    ignore_event,
)

IDENTITY = {"model": "a/b", "fingerprint": "f" * 64}
FACTS: dict[str, Any] = {"pooling": "cls", "normalize": True, "max_length": 64, "dtype": "float32", "prompt": ""}
ENCODING = Encoding(**FACTS)
TEXTS = [f"text {number:02}" for number in range(20)]
# of each text, whether it was cut, and whether it is mostly tokens that the model does not know
TRUNCATED, UNKNOWN = (np.array([number % divisor == 0 for number in range(20)]) for divisor in (3, 4))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "SHARD_TEXTS", 8)


class Flagging:
    """A `TextEncoder` that tells of its texts what a model may tell, with one vector each or rows of any length."""

    def __init__(self, *, packed: bool) -> None:
        self.packed = packed

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        del encoding, emit, journal
        numbers = [TEXTS.index(text) for text in texts]
        truncated, unknown = TRUNCATED[numbers], UNKNOWN[numbers]
        if not self.packed:
            return Dense(stack(smooth, texts), "dot", truncated, unknown)
        rows = [np.full(1 + number % 5, number, dtype=np.float32) for number in numbers]
        return MultiPart(PackedArrays(rows), truncated=truncated, unknown=unknown)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_vectors_come_back_with_the_similarity_of_the_model_and_with_flags(
    tmp_path: Path, similarity: Similarity
) -> None:
    for _ in ("encoded", "found"):
        found = StoringEncoder(Flagging(packed=False), tmp_path, IDENTITY, similarity).encode(
            TEXTS, ENCODING, ignore_event
        )
        assert isinstance(found, Dense)
        assert found.similarity == similarity
        np.testing.assert_array_equal(found.vectors, stack(smooth, TEXTS))
        np.testing.assert_array_equal(found.truncated, TRUNCATED)
        np.testing.assert_array_equal(found.unknown, UNKNOWN)


def test_rows_of_any_length_come_back_with_flags(tmp_path: Path) -> None:
    encoding = Encoding(**FACTS, outputs=("dense", "sparse"))
    for _ in ("encoded", "found"):
        found = StoringEncoder(Flagging(packed=True), tmp_path, IDENTITY, "dot").encode(TEXTS, encoding, ignore_event)
        assert isinstance(found, MultiPart)
        assert [row.tolist() for row in found.source.load()] == [[n] * (1 + n % 5) for n in range(20)]
        np.testing.assert_array_equal(found.truncated, TRUNCATED)
        np.testing.assert_array_equal(found.unknown, UNKNOWN)


def test_damage_in_what_another_process_wrote_meanwhile_is_said_and_mended(tmp_path: Path) -> None:
    StoringEncoder(LookupBackend(smooth), tmp_path / "theirs", IDENTITY, "cosine").encode(TEXTS, ENCODING, ignore_event)
    theirs = sorted((tmp_path / "theirs").rglob("*.shard"))

    class Meddled(LookupBackend):
        def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
            for path in theirs if not self.seen else []:
                content = bytearray(path.read_bytes())
                # in the vectors, which are the last array
                content[-1] ^= 1
                (tmp_path / "ours" / path.relative_to(tmp_path / "theirs")).write_bytes(content)
            return super().encode(texts, encoding, emit, journal)

    backend, events = Meddled(smooth), list[EncodeEvent]()
    found = StoringEncoder(backend, tmp_path / "ours", IDENTITY, "cosine").encode(TEXTS, ENCODING, events.append)
    np.testing.assert_array_equal(found.vectors, stack(smooth, TEXTS))
    # our own took the place of one of them
    assert len(backend.seen) == len(TEXTS)
    assert sum(isinstance(event, Notice) for event in events) == len(theirs) - 1


def test_the_store_is_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_store() == tmp_path / "cache" / "evalharness" / "store"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_store() == tmp_path / ".cache" / "evalharness" / "store"


def test_the_first_text_whose_vector_is_no_number_is_named() -> None:
    vectors = np.ones((4, 3), dtype=np.float32)
    # their sum is infinite, they are not
    vectors[0] = 3e38
    check_finite(Dense(vectors), TEXTS[:4])
    vectors[2, 1], vectors[3, 0] = np.nan, -np.inf
    with pytest.raises(ModelError, match=r"^2 of 4 texts got a vector with NaN .* the first is text 2: .*text 02"):
        check_finite(Dense(vectors), TEXTS[:4])


def test_what_is_noted_of_a_use(tmp_path: Path) -> None:
    paths = [tmp_path / key / "shards" / f"{name}.shard" for key in "ab" for name in "21"]
    uses = Uses()
    uses.hear(ShardsUsed(frozenset(paths[:3])))
    uses.hear(ShardsUsed(frozenset(paths[2:])))
    uses.hear(Notice("nothing of shards"))
    for folder in ("a", "b"):
        (tmp_path / folder / "shards").mkdir(parents=True)
    before = time.time()
    uses.note("A task")
    for folder in ("a", "b"):
        (note,) = (tmp_path / folder / "uses").iterdir()
        use = json.loads(note.read_text(encoding="utf-8"))
        assert before <= use.pop("time") <= time.time()
        assert use == {"task": "A task", "shards": ["1.shard", "2.shard"]}


class Broken(Flagging):
    """Gives one text a number that is none."""

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        found = super().encode(texts, encoding, emit, journal)
        rows = found.source.load() if isinstance(found, MultiPart) else list(found.vectors)
        for text, row in zip(texts, rows, strict=True):
            row[-1] = np.nan if text == TEXTS[9] else row[-1]
        return found


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layer", ["none", "in memory", "store"])
def test_a_number_that_is_none_is_an_error_in_every_layer(tmp_path: Path, layer: str, packed: bool) -> None:
    def model(backend: TextEncoder) -> EmbeddingModel:
        if layer == "store":
            backend = StoringEncoder(backend, tmp_path, IDENTITY, "dot")
        elif layer == "in memory":
            backend = UnstoredEncoder(backend)
        outputs = ("dense", "sparse") if packed else ("dense",)
        weights = {"dense": 1.0, "sparse": 1.0} if packed else {}
        return EmbeddingModel(spec(outputs=outputs, output_weights=weights), backend, device="cpu")

    columns = [TextColumn("corpus", TEXTS, "document")]
    message = r"1 of \d+ texts got a vector with NaN or infinite numbers, the first is text \d+: 'text 09'\. Expected"
    with pytest.raises(ModelError, match=message):
        model(Broken(packed=packed)).encode_columns(columns, None, ignore_event)
    found = model(Flagging(packed=packed)).encode_columns(columns, None, ignore_event)["corpus"]
    assert found.is_checked == (layer == "store")
    assert found.rows([3, 1]).is_checked == found.is_checked
