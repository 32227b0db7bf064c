"""What an actor does, without Ray."""

from __future__ import annotations

import os
import pickle
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.lookup import smooth, spec, stack
from support.tiny import save_bert, save_sentence_model

from evalharness.errors import ModelError, StoppedError
from evalharness.models.config import FileFacts
from evalharness.models.loading import resolve_model
from evalharness.models.opening import open_here
from evalharness.models.options import Execution, ModelOptions
from evalharness.models.pool import worker
from evalharness.models.pool.worker import Order, Worker
from evalharness.models.registry import ResolvedModel
from evalharness.models.source import find_again, look
from evalharness.store.filing import Filing
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.marks import Mark
from evalharness.store.shards import plan_shards
from evalharness.store.unstored import Vectors
from evalharness.types import Dense, Emit, EncodeNote, Encoding, Notice, TextsEncoded, ignore_event

ENCODING = Encoding(pooling="own", normalize=False, max_length=None, dtype="float32", prompt="")
MODEL = ResolvedModel(spec(), FileFacts(), ModelOptions())
(SHARD,) = plan_shards(["a", "fern", "grows"], "key")
CPU = Execution(device="cpu")


@dataclass
class Telling:
    """A backend that tells of each text, slowly."""

    seconds: float = 0.0
    device: str = "cpu"
    identity: Mapping[str, Any] = field(default_factory=dict)

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        emit(Notice("begins"))
        for text in texts:
            time.sleep(self.seconds)
            emit(TextsEncoded(1, len(text)))
        emit(EncodeNote("batch_shrunk", "batch halved", 1))
        return Dense(stack(smooth, texts))


@pytest.fixture(autouse=True)
def own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_THREADS", ("EVALHARNESS_TEST_THREADS",))
    # put back in the end: programs that are forked for other tests need the environment as it was
    monkeypatch.setenv("EVALHARNESS_TEST_THREADS", "64")


def working(backend: Telling) -> Worker:
    found = Worker(3)
    found.open(Order(1, MODEL, CPU, lambda model, execution: backend))  # noqa: ARG005 -- called so
    return found


def test_threads_are_set_for_libraries_that_are_imported_later() -> None:
    assert os.environ["EVALHARNESS_TEST_THREADS"] == "64"
    Worker(3)
    assert os.environ["EVALHARNESS_TEST_THREADS"] == "3"
    assert Worker(3).where().process == os.getpid()


def test_what_is_told_is_merged_and_notes_come_with_the_result() -> None:
    done = working(Telling()).do("1-0", 1, Vectors(ENCODING), SHARD)
    assert isinstance(done.value, Dense)
    assert not done.is_encoded
    assert done.events == (Notice("begins"), TextsEncoded(3, 10), EncodeNote("batch_shrunk", "batch halved", 1))


def test_who_listens_hears_what_is_done_and_waits_no_longer_than_the_work() -> None:
    slow = working(Telling(seconds=0.1))
    with ThreadPoolExecutor(1) as other:
        done = other.submit(slow.do, "1-0", 1, Vectors(ENCODING), SHARD)
        heard: list[Any] = []
        while not done.done():
            started = time.monotonic()
            heard += slow.hear(0.15)
            assert time.monotonic() - started < 5
    events = [*heard, *done.result().events]
    assert sum(event.count for event in events if isinstance(event, TextsEncoded)) == 3
    assert any(isinstance(event, TextsEncoded) for event in heard)
    assert slow.hear(5) == []


def test_work_that_is_stopped_ends_at_its_next_batch_and_the_next_does_not() -> None:
    slow = working(Telling(seconds=0.05))
    many = replace(SHARD, texts=["a"] * 200)
    with ThreadPoolExecutor(1) as other:
        done = other.submit(slow.do, "1-0", 1, Vectors(ENCODING), many)
        while not slow.hear(0.01):
            pass
        slow.stop("1-0")
        with pytest.raises(StoppedError):
            done.result(timeout=10)
    # told too late, or of something else
    slow.stop("1-1")
    assert len(slow.do("1-1", 1, Vectors(ENCODING), SHARD).value) == 3


def test_the_store_is_written_by_whoever_sees_the_mark_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    mark = Mark(tmp_path)
    mark.add("key")
    filing = Filing(tmp_path / "key", ENCODING, patient=False, mark=mark.path)
    actor = working(Telling())
    # the store of another machine that has a folder of the same name
    elsewhere = actor.do("1-0", 1, replace(filing, mark=tmp_path / "in-use" / "7-0123abcd"), SHARD)
    assert elsewhere.is_encoded
    np.testing.assert_array_equal(elsewhere.value.vectors, stack(smooth, SHARD.texts))
    assert not filing.path(SHARD).exists()
    here = actor.do("1-0", 1, filing, SHARD)
    assert (here.value, here.is_encoded) == ("written", False)
    assert filing.path(SHARD).exists()


def test_an_order_arrives_as_it_is_and_a_model_is_opened_once(tmp_path: Path) -> None:
    model = resolve_model(str(save_sentence_model(tmp_path / "m")))
    order: Order = pickle.loads(pickle.dumps(Order(1, model, CPU, open_here)))  # noqa: S301 -- made here
    actor = Worker(1)
    first, again = actor.open(order), actor.open(order)
    assert first == again
    assert first.computing.engine.startswith("torch")
    assert first.size.parameters
    direct = open_here(model, CPU)
    assert first.identity == direct.identity
    encoding = Encoding(pooling="mean", normalize=True, max_length=64, dtype="float32", prompt="")
    actor.prepare("1-0", 1, Vectors(encoding), SHARD)
    other = pickle.loads(pickle.dumps(SHARD))  # noqa: S301 -- as above
    found = actor.do("1-0", 1, Vectors(encoding), other).value.vectors
    np.testing.assert_array_equal(found, direct.encode(SHARD.texts, encoding, ignore_event).vectors)
    actor.forget(1)
    with pytest.raises(KeyError):
        actor.do("1-1", 1, Vectors(encoding), SHARD)


def test_a_model_is_the_same_on_every_machine_or_it_is_refused(tmp_path: Path) -> None:
    model = resolve_model(str(save_sentence_model(tmp_path / "m")))
    facts = model.facts
    assert find_again(facts.folder, facts.files, model.spec.fingerprint) == facts.folder
    with (facts.folder / "config.json").open("a", encoding="utf-8") as handle:
        handle.write("\n")
    with pytest.raises(ModelError, match="has other files on this machine than where the run was started"):
        Worker(1).open(Order(1, model, CPU, open_here))
    shutil.rmtree(facts.folder)
    with pytest.raises(ModelError, match="is not on this machine; put the model where all of them see it"):
        Worker(1).open(Order(1, model, CPU, open_here))


def test_a_model_of_the_hub_is_fetched_at_its_commit_where_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "c" * 40
    folder = tmp_path / "hub" / "models--BAAI--bge-base-en-v1.5" / "snapshots" / commit
    here = save_sentence_model(tmp_path / "fetched")
    model = resolve_model(str(here))
    asked: list[Any] = []

    def fetch(repo: str, *, revision: str, allow_patterns: Sequence[str]) -> str:
        asked.append((repo, revision, sorted(allow_patterns)))
        return str(here)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    monkeypatch.setattr("evalharness.models.source.sound_snapshot", lambda fetch, *_: fetch())
    assert find_again(folder, model.facts.files, model.spec.fingerprint) == here
    assert asked == [("BAAI/bge-base-en-v1.5", commit, sorted(model.facts.files))]


@pytest.mark.parametrize("when", ["before it is opened", "while it is opened"])
def test_a_model_that_changes_on_the_drivers_own_machine_is_refused(tmp_path: Path, when: str) -> None:
    """An actor that takes the place of a dead one opens the model long after its fingerprint was taken."""
    model = resolve_model(str(save_sentence_model(tmp_path / "model")), ModelOptions())
    seen = look(model.facts.folder, model.facts.files)
    other = save_sentence_model(tmp_path / "other") and save_bert(tmp_path / "other", seed=1)

    def change() -> None:
        shutil.copy(other / "model.safetensors", model.facts.folder / "model.safetensors")

    def open_changed(model: ResolvedModel, execution: Execution) -> Any:
        change()
        return open_here(model, execution)

    if when == "before it is opened":
        change()
    order = Order(1, model, CPU, open_changed, is_near=True, seen=seen)
    with pytest.raises(ModelError, match=r"has other files|have changed"):
        Worker(1).open(order)


def test_weights_in_use_are_not_those_that_somebody_writes_over_them(tmp_path: Path) -> None:
    model = resolve_model(str(save_sentence_model(tmp_path / "model")), ModelOptions())
    opened = open_here(model, CPU.changed({"engine": "torch"}))
    encoding = ENCODING.model_copy(update={"pooling": "cls", "max_length": 64})
    texts = ["a", "fern", "grows"]
    before = np.asarray(opened.encode(texts, encoding, ignore_event).vectors).copy()
    shutil.copy(save_bert(tmp_path / "other", seed=1) / "model.safetensors", tmp_path / "model" / "model.safetensors")
    after = np.asarray(opened.encode(texts, encoding, ignore_event).vectors)
    assert np.array_equal(before, after)
