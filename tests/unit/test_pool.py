"""Shards in several actors, which are threads here: what comes of them, and of those who die."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.actor_threads import ON_RAY, Cluster, Letters, at_once
from support.actors import Fate, places
from support.lookup import smooth, stack
from support.small_runs import contents, save_small_tasks
from support.tiny import save_sentence_model

from evalharness import RunOptions, evaluate
from evalharness.errors import ModelError, PrerequisiteError, StoppedError
from evalharness.models.computing import Computing
from evalharness.models.options import Execution
from evalharness.models.pool import asked, roster
from evalharness.models.pool import backend as pool_backend
from evalharness.models.pool.staff import ActorGoneError, Place
from evalharness.store.filing import Filing
from evalharness.store.shards import plan_shards
from evalharness.store.storing import StoringEncoder
from evalharness.store.text_encoder import one_by_one
from evalharness.store.unstored import UnstoredEncoder, Vectors
from evalharness.types import (
    Dense,
    Embeddings,
    EncodeEvent,
    EncodeNote,
    Encoding,
    Notice,
    TextsEncoded,
    Waiting,
    ignore_event,
)

ENCODING = Encoding(pooling="own", normalize=False, max_length=None, dtype="float32", prompt="")
TEXTS = ["fern " * n for n in range(1, 30)]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalharness.store.shards.SHARD_TEXTS", 4)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.delenv("EVALHARNESS_BATCH_TOKENS")
    monkeypatch.setattr(pool_backend, "_crews", {})
    monkeypatch.setattr("evalharness.models.pool.worker._THREADS", ())
    return Cluster(monkeypatch)


def dies(*moments: tuple[str, str, int]) -> Fate:
    """The fate of actors on some machines: the machine, and of which call of which method they die there."""
    counts: dict[tuple[str, str], int] = {}
    lock = threading.Lock()

    def decide(place: Place, method: str) -> None:
        with lock:
            counts[place.title, method] = counts.get((place.title, method), 0) + 1
            number = counts[place.title, method]
        if (place.title, method, number) in moments or (place.title, method, 0) in moments:
            raise ActorGoneError("its process was killed")

    return decide


def by(events: Sequence[EncodeEvent]) -> set[str]:
    return {event.by for event in events if isinstance(event, TextsEncoded) and event.tokens}


def vectors(found: Embeddings) -> list[list[float]]:
    values: list[list[float]] = found.vectors.tolist()
    return values


@pytest.mark.parametrize("count", [1, 3])
def test_results_stand_in_the_order_of_the_shards_and_are_those_of_one_process(cluster: Cluster, count: int) -> None:
    employer = cluster.start(places(count))
    pool, events = cluster.pool(), list[EncodeEvent]()
    assert (pool.device, pool.identity, pool.computing) == ("cpu", {"backend": "letters"}, Computing("letters 1", 77))
    found = UnstoredEncoder(pool).encode(TEXTS, ENCODING, events.append)
    assert vectors(found) == vectors(Dense(stack(smooth, TEXTS)))
    assert sum(event.count for event in events if isinstance(event, TextsEncoded)) == len(TEXTS)
    assert sum(event.tokens for event in events if isinstance(event, TextsEncoded)) == sum(map(len, TEXTS))
    notes = [event for event in events if isinstance(event, EncodeNote)]
    assert len(notes) == len(plan_shards(TEXTS, ""))
    assert 1 <= len(by(events)) <= count
    # nobody is hired for nothing
    assert len(employer.hired) <= count


def test_all_actors_have_shards_and_the_batches_that_the_first_found_best(cluster: Cluster) -> None:
    employer = cluster.start(places(3, threads=2))
    meet = threading.Barrier(3, timeout=20)
    cluster.hold = lambda text: None if len(text) < 100 else _met(meet)
    pool = cluster.pool(Execution(ray="local", threads=2, ends=time.monotonic() + 60))
    assert [len(employer.hired), len(cluster.executions)] == [1, 1]
    (first,) = cluster.executions
    assert (first.ray, first.ends, first.batch_tokens, first.threads) == (None, None, None, 2)
    # three at a time, or none
    found = list(pool.spread(Vectors(ENCODING), plan_shards(["fern " * 30] * 12, ""), ignore_event))
    assert len(found) == 3
    assert len(employer.hired) == 3
    assert [execution.batch_tokens for execution in cluster.executions[1:]] == [77, 77]


def test_a_batch_that_is_asked_for_by_the_environment_counts_in_actors_too(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.start(places(1))
    monkeypatch.setenv("EVALHARNESS_BATCH_TOKENS", "123")
    assert cluster.pool().computing.batch_tokens == 123


def test_a_few_texts_and_none_go_to_one_actor(cluster: Cluster) -> None:
    cluster.start(places(2))
    pool = cluster.pool()
    assert vectors(pool.encode(["a", "b"], ENCODING, ignore_event)) == vectors(Dense(stack(smooth, ["a", "b"])))
    assert pool.encode([], ENCODING, ignore_event).vectors.shape[0] == 0


def _met(meet: threading.Barrier) -> None:
    meet.wait()


def files(root: Path) -> dict[str, bytes]:
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.shard")}
    assert len(found) == 8
    return found


def test_the_store_gets_the_same_files_from_one_process_from_actors_and_from_actors_without_it(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.start(places(3))
    identity = {"model": "a/b", "backend": "letters"}
    StoringEncoder(Letters(Execution(), at_once, {}), tmp_path / "one", identity, "cosine").encode(
        TEXTS, ENCODING, ignore_event
    )
    write = Filing._write

    def noted(self: Filing, *arguments: Any) -> None:
        writers.append(threading.current_thread() is threading.main_thread())
        write(self, *arguments)

    monkeypatch.setattr(Filing, "_write", noted)
    for number, sees in enumerate([True, False]):
        monkeypatch.setattr("evalharness.models.pool.worker._is_seen", lambda mark, sees=sees: sees and mark.exists())
        writers: list[bool] = []
        events: list[EncodeEvent] = []
        root = tmp_path / f"pool{number}"
        found = StoringEncoder(cluster.pool(), root, identity, "cosine").encode(TEXTS, ENCODING, events.append)
        assert vectors(found) == vectors(Dense(stack(smooth, TEXTS)))
        assert files(root) == files(tmp_path / "one")
        assert writers == [not sees] * 8
        assert sum(event.count for event in events if isinstance(event, TextsEncoded)) == len(TEXTS)


# no shard can meet three deaths, after which it would be given up
@pytest.mark.parametrize(
    "moments",
    [
        [("machine 0", "do", 2)],
        [("machine 0", "do", 1), ("machine 1", "do", 2), ("machine 2", "where", 1)],
        [("machine 1", "where", 1), ("machine 2", "open", 1)],
        [("machine 0", "hear", 1)],
        [("machine 0", "do", 0)],
    ],
    ids=str,
)
def test_what_an_actor_dies_of_is_done_by_another_and_counted_once(
    cluster: Cluster, moments: list[tuple[str, str, int]]
) -> None:
    cluster.start(places(3), dies(*moments))
    # so that no actor does all of it before the others are there
    cluster.hold = lambda _: time.sleep(0.02)
    events: list[EncodeEvent] = []
    found = UnstoredEncoder(cluster.pool()).encode(TEXTS, ENCODING, events.append)
    assert vectors(found) == vectors(Dense(stack(smooth, TEXTS)))
    assert sum(event.count for event in events if isinstance(event, TextsEncoded)) == len(TEXTS)


def test_the_user_is_told_of_the_dead(cluster: Cluster) -> None:
    cluster.start(places(1), dies(("machine 0", "do", 1)))
    events: list[EncodeEvent] = []
    UnstoredEncoder(cluster.pool()).encode(TEXTS, ENCODING, events.append)
    assert Notice("an actor ended on machine 0: its process was killed; what it was at is done over") in events


def test_a_shard_that_kills_three_actors_is_given_up_and_named_and_others_are_not(cluster: Cluster) -> None:
    cluster.start(places(4))

    def hold(text: str) -> None:
        if len(text) == 5:
            raise ActorGoneError("its process was killed for memory")

    cluster.hold = hold
    pool = cluster.pool()
    with pytest.raises(
        ModelError, match=r"a shard of 1 texts of 5 to 5 characters was tried 3 times.*machine \d: its process was kill"
    ):
        UnstoredEncoder(pool).encode(TEXTS, ENCODING, ignore_event)
    # the pool is as good as before
    assert len(UnstoredEncoder(pool).encode(TEXTS[1:], ENCODING, ignore_event)) == len(TEXTS) - 1


def test_an_error_of_the_model_is_the_callers(cluster: Cluster) -> None:
    cluster.start(places(2))

    def hold(text: str) -> None:
        raise ModelError("a/b: does not like fern")

    cluster.hold = hold
    with pytest.raises(ModelError, match="does not like fern"):
        UnstoredEncoder(cluster.pool()).encode(TEXTS, ENCODING, ignore_event)


def test_a_model_that_cannot_be_opened_is_an_error_at_once_and_nobody_stays(cluster: Cluster) -> None:
    employer = cluster.start(places(2))

    def refuse(number: int) -> Mapping[str, Any]:
        raise ModelError("a/b: has no tokenizer")

    cluster.identity = refuse
    with pytest.raises(ModelError, match="has no tokenizer"):
        cluster.pool()
    wait_until(lambda: employer.is_closed)
    assert all(actor.is_dead for actor in employer.hired)


def wait_until(what: Callable[[], bool], seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_actors_whose_vectors_would_be_others_do_nothing_and_are_named(cluster: Cluster) -> None:
    cluster.start(places(2))
    cluster.identity = lambda number: {"backend": "letters", "version": number}
    cluster.hold = lambda _: time.sleep(0.02)
    events: list[EncodeEvent] = []
    pool = cluster.pool()
    UnstoredEncoder(pool).encode(TEXTS, ENCODING, events.append)
    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert "does nothing for" in notice.message
    assert "its vectors would be others (version 2 and not 1)" in notice.message
    assert len(by(events)) == 1


def test_where_nobody_can_be_had_for_a_minute_the_run_ends_and_says_so(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    employer = cluster.start(places(1))
    monkeypatch.setattr(roster, "PATIENCE_SECONDS", 0.5)
    pool, events = cluster.pool(), list[EncodeEvent]()

    def hold(text: str) -> None:
        employer.there.clear()
        raise ActorGoneError("its node died")

    # the one that is there goes, and no other comes
    cluster.hold = hold
    pool = cluster.pool()
    with pytest.raises(
        StoppedError, match=r"has no device for test/lookup \(machine 0: its node died\); what is done is kept"
    ):
        UnstoredEncoder(pool).encode(TEXTS, ENCODING, events.append)
    assert Waiting() in events


def test_no_room_at_all_is_told_when_the_model_is_opened(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "PATIENCE_SECONDS", 0.2)
    cluster.start(places(1), lambda *_: time.sleep(1))
    with pytest.raises(PrerequisiteError, match="others have all of it"):
        cluster.pool()


def test_opening_ends_with_the_time_of_the_run(cluster: Cluster) -> None:
    cluster.start(places(1), lambda *_: time.sleep(1))
    with pytest.raises(StoppedError, match="the model was not open yet"):
        cluster.pool(Execution(ray="local", ends=time.monotonic()))


def test_places_where_every_actor_dies_are_not_waited_for(cluster: Cluster) -> None:
    cluster.start(places(2), dies(("machine 0", "where", 0), ("machine 1", "where", 0)))
    started = time.monotonic()
    with pytest.raises(PrerequisiteError, match=r"machine \d: its process was killed"):
        cluster.pool()
    assert time.monotonic() - started < 20


def test_a_caller_that_has_enough_ends_the_work_of_others_at_their_next_batch(cluster: Cluster) -> None:
    cluster.start(places(2))
    batches: list[str] = []

    def hold(text: str) -> None:
        batches.append(text)
        time.sleep(0.05)

    cluster.hold = hold
    pool = cluster.pool()

    def stop(event: EncodeEvent) -> None:
        if len(batches) > 3:
            raise StoppedError("the time budget is used up")

    many = [f"{word}{n}" for n in range(200) for word in TEXTS[:3]]
    with pytest.raises(StoppedError, match="time budget"):
        UnstoredEncoder(pool).encode(many, ENCODING, stop)
    seen = len(batches)
    time.sleep(0.3)
    assert len(batches) == seen < 100
    assert len(UnstoredEncoder(pool).encode(["a"], ENCODING, ignore_event)) == 1


def test_several_callers_share_the_actors(cluster: Cluster) -> None:
    cluster.start(places(3), dies(("machine 1", "do", 2)))
    cluster.hold = lambda _: time.sleep(0.005)
    pool = cluster.pool()
    groups = [[f"{text}{n}" for text in TEXTS] for n in range(5)]
    with ThreadPoolExecutor(5) as callers:
        all_found = list(callers.map(lambda texts: UnstoredEncoder(pool).encode(texts, ENCODING, ignore_event), groups))
    for texts, found in zip(groups, all_found, strict=True):
        assert vectors(found) == vectors(Dense(stack(smooth, texts)))


def test_two_models_share_the_actors_which_end_with_the_last(cluster: Cluster) -> None:
    employer = cluster.start(places(1))
    one, other = cluster.pool(), cluster.pool()
    for pool in (one, other, one):
        assert len(pool.encode(["a"], ENCODING, ignore_event)) == 1
    del one, pool
    assert not employer.is_closed
    assert len(other.encode(["a"], ENCODING, ignore_event)) == 1
    del other
    wait_until(lambda: employer.is_closed)
    assert len(employer.hired) == 1
    assert employer.hired[0].is_dead


def test_shards_are_handed_over_whole_to_what_stands_for_several(cluster: Cluster) -> None:
    cluster.start(places(2))
    pool, shards = cluster.pool(), plan_shards(TEXTS, "")
    found = list(one_by_one(Vectors(ENCODING), shards, pool, ignore_event))
    assert [len(dense) for dense in found] == [len(shard.texts) for shard in shards]


def test_a_run_whose_vectors_are_stored_hires_nobody_and_opens_nothing(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    employer = cluster.start(places(2))
    monkeypatch.setattr(asked, "_is_installed", lambda: True)
    model, tasks = save_sentence_model(tmp_path / "model"), save_small_tasks(tmp_path / "tasks")

    def scores(name: str, execution: Execution) -> dict[str, str]:
        run = RunOptions(store=tmp_path / name / "store")
        evaluate(str(model), tasks, output=tmp_path / name / "results", execution=execution, run=run)
        return contents(tmp_path / name / "results")

    alone = scores("alone", Execution(device="cpu", threads=1))
    assert scores("pool", ON_RAY) == alone
    (record, *_) = (tmp_path / "pool" / "results").rglob("jobs/**/*.json")
    facts = json.loads(record.read_text(encoding="utf-8"))["facts"]
    assert (facts["nodes"] >= 1, facts["actors"] >= 1, facts["threads"]) == (True, True, 1)
    hired = len(employer.hired)
    assert hired
    shutil.rmtree(tmp_path / "pool" / "results")
    assert scores("pool", ON_RAY) == alone
    assert len(employer.hired) == hired
    assert "actors" not in json.loads(record.read_text(encoding="utf-8"))["facts"]
