"""A shard is tokenized while another runs: the same bytes, errors where they belong, and no thread that stays."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny import save_bert, save_cross_encoder

from evalharness.errors import ModelError, StoppedError
from evalharness.models.forward import pipeline
from evalharness.models.forward.ahead import Ahead
from evalharness.models.forward.pipeline import PipelineBackend
from evalharness.models.loading import ModelOptions, resolve_model
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution
from evalharness.models.rankers import Pair, join_pair
from evalharness.store import shards
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.storing import StoringEncoder
from evalharness.store.unstored import UnstoredEncoder
from evalharness.types import Dense, Embeddings, Emit, Encoding, TextsEncoded, ignore_event

# pairs are texts, too
TEXTS = [join_pair(Pair("q", f"{'word ' * (number % 23)}{number} of ferns")) for number in range(100)]
HOW = Encoding(pooling="cls", normalize=True, max_length=64, dtype="float32", prompt="")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_TEXTS", 16)


@pytest.fixture(scope="module", params=["dense", "cross-encoder"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PipelineBackend:
    folder = tmp_path_factory.mktemp("model") / "model"
    if request.param == "dense":
        resolved = resolve_model(str(save_bert(folder)), ModelOptions(pooling="cls"))
    else:
        resolved = resolve_model(str(save_cross_encoder(folder)), ModelOptions(backend="cross-encoder"))
    opened: PipelineBackend = open_backend(resolved, Execution(device="cpu", batch_tokens=64))
    return opened


class Plain:
    """The same encoder, which prepares nothing."""

    def __init__(self, below: PipelineBackend) -> None:
        self.below = below

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        return self.below.encode(texts, encoding, emit, journal)


def stored(below: Any, root: Path, emit: Emit = ignore_event) -> dict[str, bytes]:
    StoringEncoder(below, root, {"model": "a/b"}, "cosine").encode(TEXTS, HOW, emit)
    return {path.name: path.read_bytes() for path in root.rglob("*.shard")}


@pytest.fixture
def readers(backend: PipelineBackend, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that tokenize."""
    seen: list[str] = []
    reader = backend._kind.reader
    real = reader.tokenize

    def tokenize(texts: Sequence[str], encoding: Encoding) -> Any:
        seen.append(threading.current_thread().name)
        return real(texts, encoding)

    monkeypatch.setattr(reader, "tokenize", tokenize)
    return seen


def test_bytes_are_the_same(tmp_path: Path, backend: PipelineBackend, readers: list[str]) -> None:
    main = threading.current_thread().name
    whole = stored(Plain(backend), tmp_path / "plain")
    assert readers == [main] * 7
    readers.clear()
    assert stored(backend, tmp_path / "ahead") == whole
    assert len(readers) == 7
    assert main not in readers
    assert threading.active_count() == 1 + sum("ahead" not in item.name for item in threading.enumerate()[1:])
    without = UnstoredEncoder(backend).encode(TEXTS, HOW, ignore_event)
    assert isinstance(without, Dense)
    with_store = StoringEncoder(backend, tmp_path / "ahead", {"model": "a/b"}, "cosine").encode(
        TEXTS, HOW, ignore_event
    )
    np.testing.assert_array_equal(without.vectors, with_store.vectors)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StoppedError("time"), ModelError("no")])
def test_what_ends_a_run_ends_the_thread(tmp_path: Path, backend: PipelineBackend, error: BaseException) -> None:
    whole = stored(Plain(backend), tmp_path / "plain")

    def emit(event: object) -> None:
        if isinstance(event, TextsEncoded) and event.tokens:
            raise error

    with pytest.raises(type(error)):
        stored(backend, tmp_path / "ahead", emit)
    assert [item.name for item in threading.enumerate() if item.name.startswith("ahead")] == []
    assert stored(backend, tmp_path / "ahead") == whole


def test_errors_of_the_thread_come_where_the_shard_is_encoded(
    tmp_path: Path, backend: PipelineBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, texts = backend._kind.reader, 0
    real = reader.tokenize

    def tokenize(part: Sequence[str], encoding: Encoding) -> Any:
        nonlocal texts
        texts += len(part)
        if texts > 40:
            raise ModelError("the third")
        return real(part, encoding)

    monkeypatch.setattr(reader, "tokenize", tokenize)
    with pytest.raises(ModelError, match="the third"):
        stored(backend, tmp_path)
    assert len(list(tmp_path.rglob("*.shard"))) == 2


def test_more_texts_than_a_block_are_read_ahead_too(
    backend: PipelineBackend, readers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = backend.encode(TEXTS, HOW, ignore_event)
    monkeypatch.setattr(pipeline, "BLOCK", 30)
    monkeypatch.setattr("evalharness.models.forward.batches.BLOCK", 30)
    readers.clear()
    parts = backend.encode(TEXTS, HOW, ignore_event)
    assert [name.startswith("ahead") for name in readers] == [True] * 4
    assert isinstance(whole, Dense)
    assert isinstance(parts, Dense)
    np.testing.assert_allclose(parts.vectors, whole.vectors, atol=1e-5)


def test_what_nobody_asks_for_is_dropped() -> None:
    done: list[str] = []

    def work(text: str, how: int) -> int:
        done.append(text)
        return len(text) * how

    ahead = Ahead(work)
    texts = ["a", "bb", "ccc", "dddd"]
    for text in texts:
        ahead.begin(text, 2)
        ahead.begin(text, 2)
    assert ahead.take(texts[3], 2) == 8
    assert ahead.take(texts[3], 1) == 4
    assert ahead.take(texts[2], 2) == 6
    assert ahead.take(texts[0], 2) == 2
    ahead.forget()
    assert done.count("dddd") == 2
    assert done.count("ccc") == 1
    assert len(ahead._begun) == 0
