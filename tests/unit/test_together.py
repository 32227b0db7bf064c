"""Jobs that are encoded at once for a pool: the same files as one after another, and each text once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.local_tasks import ROWS, jsonl_task
from support.pools import Company, Pool, alone, dawdle, own_texts, pooled
from support.side_by_side import no_thread_left
from support.small_runs import state

from evalharness.catalog.selection import Selection, TaskChoice, select
from evalharness.models.encoder import EmbeddingModel
from evalharness.results.records import JobRecord
from evalharness.run import job as job_module
from evalharness.run import plan as plan_module
from evalharness.run.cluster import scoring as elsewhere
from evalharness.run.job import JobEnded, JobStarted, RunEvent, TextsCounted, Watch
from evalharness.run.limits import Limits
from evalharness.run.plan import Plan, make_plan, run_plan
from evalharness.run.steps import Encoded, Loaded, score
from evalharness.run.storing import store_attempt
from evalharness.run.together import JobResumed
from evalharness.store import shards
from evalharness.types import Scores, TextsEncoded


@pytest.fixture(autouse=True)
def check_no_thread_is_left() -> Iterator[None]:
    with no_thread_left():
        yield


@pytest.fixture(autouse=True)
def many_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_TEXTS", 7)


def overlapping(folder: Path, number: int, seed: int = 0) -> list[TaskChoice]:
    """Tasks of pairs that have many of their texts in common with others, in any order."""
    chance = random.Random(seed)
    words = [f"{'long ' * (n % 5)}text {n}" for n in range(60)]
    paths = []
    for n in range(number):
        texts = chance.sample(words, 24)
        rows = [{"sentence1": texts[m], "sentence2": texts[m + 12], "score": m % 6} for m in range(12)]
        paths.append(jsonl_task(folder / f"Pairs{n}.toml", "STS", rows))
    return select(Selection(tasks=list(map(str, paths))))


def run(
    model: EmbeddingModel,
    choices: Sequence[TaskChoice],
    output: Path,
    watch: Watch = lambda _: None,
    limits: Limits | None = None,
) -> tuple[Plan, list[JobRecord]]:
    plan = make_plan(choices, model.spec, output, save_rankings=True)
    return plan, run_plan(plan, model, watch, limits or Limits())


@pytest.mark.parametrize("store", [True, False], ids=["store", "no store"])
@pytest.mark.parametrize("seed", range(3))
def test_the_files_are_those_of_one_job_after_another(tmp_path: Path, seed: int, store: bool) -> None:
    choices = overlapping(tmp_path / "data", 7, seed)
    wrong = [{**row, "score": 9} for row in ROWS["STS"]]
    bad = select(Selection(tasks=[str(jsonl_task(tmp_path / "data" / "Wrong.toml", "STS", wrong))]))
    rest = [jsonl_task(tmp_path / "data" / f"{kind}.toml", kind, ROWS[kind]) for kind in ("Clustering", "Reranking")]
    choices = [*choices[:3], *bad, *select(Selection(tasks=list(map(str, rest)))), *choices[3:]]
    one = Company()
    _, wanted = run(alone(one, tmp_path / "one" if store else None), choices, tmp_path / "serial")
    several = Company(dawdle)
    with Pool(several, engines=3, at_once=4) as pool:
        _, found = run(pooled(pool, tmp_path / "several" if store else None), choices, tmp_path / "at once")
    assert [record.error for record in found] == [record.error for record in wanted]
    assert state(tmp_path / "at once") == state(tmp_path / "serial")
    # each text went through the model once
    assert Counter(several.seen) == Counter(one.seen)
    assert set(Counter(several.seen).values()) == {1}


@pytest.mark.parametrize("room", [2_000, 6_000, 20_000])
def test_what_is_forgotten_without_a_store_is_forgotten_in_the_same_order(tmp_path: Path, room: int) -> None:
    choices = overlapping(tmp_path / "data", 8)
    one, several = Company(), Company(dawdle)
    run(alone(one, None, remember=room), choices, tmp_path / "serial")
    with Pool(several) as pool:
        run(pooled(pool, None, remember=room), choices, tmp_path / "at once")
    assert state(tmp_path / "at once") == state(tmp_path / "serial")
    assert Counter(several.seen) == Counter(one.seen)
    if room < 20_000:
        assert max(Counter(one.seen).values()) > 1


def test_so_many_are_encoded_at_once_and_not_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: set[str] = set()
    most: list[int] = []
    lock = threading.Lock()
    together = threading.Barrier(3, timeout=20)

    def act(texts: Sequence[str]) -> None:
        number = texts[0].split()[0]
        with lock:
            inside.add(number)
            most.append(len(inside))
        # the first shards of three jobs meet
        if number in "012" and not together.broken and len(most) <= 3:
            together.wait()
        time.sleep(0.01)
        with lock:
            inside.discard(number)

    # a shard a job
    monkeypatch.setattr(shards, "SHARD_TEXTS", 1000)
    with Pool(Company(act), engines=8, at_once=3) as pool:
        _, records = run(pooled(pool, tmp_path / "store"), own_texts(tmp_path / "data", 7), tmp_path / "out")
    assert [record.error for record in records] == [None] * 7
    assert max(most) == 3


def test_no_more_jobs_are_loaded_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    waits = threading.Event()

    def load(job: Any, data: Any) -> None:
        loaded.append(job.planned.id.task)
        job_module.load_job(job, data)

    def act(texts: Sequence[str]) -> None:
        if texts[0].startswith("0 "):
            # two are encoded, two more are scored, one is loaded; those are not kept before the first is
            deadline = time.monotonic() + 20
            while len(loaded) < 5 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.2)
            seen.append(len(loaded))
            waits.set()

    seen: list[int] = []
    monkeypatch.setattr(plan_module, "load_job", load)
    monkeypatch.setattr(shards, "SHARD_TEXTS", 1000)
    with Pool(Company(act), at_once=2) as pool:
        run(pooled(pool, tmp_path / "store"), own_texts(tmp_path / "data", 9), tmp_path / "out")
    assert seen == [5]
    assert waits.is_set()


def test_records_are_kept_in_the_order_of_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = threading.Semaphore(0)

    def act(texts: Sequence[str]) -> None:
        if texts[0].startswith("0 "):
            # until the others have been encoded
            for _ in range(2):
                assert others.acquire(timeout=20)
        else:
            others.release()

    events: list[RunEvent] = []
    monkeypatch.setattr(shards, "SHARD_TEXTS", 1000)
    with Pool(Company(act)) as pool:
        run(pooled(pool, tmp_path / "store"), own_texts(tmp_path / "data", 3), tmp_path / "out", events.append)
    assert [event.record.job.task for event in events if isinstance(event, JobEnded)] == ["Pairs0", "Pairs1", "Pairs2"]


def test_texts_are_of_the_job_that_was_named_last(tmp_path: Path) -> None:
    heard: set[int] = set()
    events: list[RunEvent] = []

    def watch(event: RunEvent) -> None:
        heard.add(threading.get_ident())
        events.append(event)

    choices = overlapping(tmp_path / "data", 6)
    with Pool(Company(dawdle)) as pool:
        run(pooled(pool, tmp_path / "store"), choices, tmp_path / "out", watch)
    assert heard == {threading.get_ident()}
    texts: Counter[str] = Counter()
    counted: dict[str, int] = {}
    name = ""
    started = []
    for event in events:
        if isinstance(event, JobStarted):
            name = event.job.id.task
            started.append(name)
        elif isinstance(event, JobResumed):
            assert event.job.task != name
            assert event.job.task in started
            name = event.job.task
        elif isinstance(event, TextsCounted):
            counted[name] = event.texts
        elif isinstance(event, TextsEncoded):
            texts[name] += event.count
    assert started == [choice.spec.name for choice in choices]
    assert any(isinstance(event, JobResumed) for event in events)
    assert texts == counted == dict.fromkeys(started, 24)


def test_seconds_of_encoding_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []

    def stored(folder: Path, model: Any, attempt: Any, **options: Any) -> JobRecord:
        spent.append(attempt.work.seconds["encode"])
        return store_attempt(folder, model, attempt, **options)

    monkeypatch.setattr(plan_module, "store_attempt", stored)
    monkeypatch.setattr(shards, "SHARD_TEXTS", 1000)
    with Pool(Company(lambda _: time.sleep(0.3)), engines=4) as pool:
        started = time.monotonic()
        run(pooled(pool, tmp_path / "store"), own_texts(tmp_path / "data", 4), tmp_path / "out")
        took = time.monotonic() - started
    # beside each other, so of 1.2 s no more than there were
    assert 0.3 < sum(spent) < took


def test_who_waits_to_be_scored_spends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []

    def stored(folder: Path, model: Any, attempt: Any, **options: Any) -> JobRecord:
        spent.append(attempt.work.seconds["score"])
        return store_attempt(folder, model, attempt, **options)

    def scored(loaded: Loaded, encoded: Encoded) -> Scores:
        time.sleep(0.5)
        return score(loaded, encoded)

    monkeypatch.setattr(plan_module, "store_attempt", stored)
    monkeypatch.setattr(elsewhere, "score", scored)
    started = time.monotonic()
    with Pool(Company(), engines=4) as pool:
        run(pooled(pool, tmp_path / "store"), own_texts(tmp_path / "data", 4), tmp_path / "out")
    assert sum(spent) < time.monotonic() - started


def test_libraries_score_one_job_at_a_time_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[int] = [0]
    most: list[int] = []

    def scored(loaded: Loaded, encoded: Encoded) -> Scores:
        inside[0] += 1
        most.append(inside[0])
        time.sleep(0.05)
        inside[0] -= 1
        return score(loaded, encoded)

    monkeypatch.setattr(elsewhere, "score", scored)
    with Pool(Company(), engines=4) as pool:
        run(pooled(pool, tmp_path / "store"), own_texts(tmp_path / "data", 5), tmp_path / "out")
    assert most == [1] * 5


def test_a_run_whose_vectors_are_stored_is_the_same(tmp_path: Path) -> None:
    choices = overlapping(tmp_path / "data", 5)
    with Pool(Company()) as pool:
        run(pooled(pool, tmp_path / "store"), choices, tmp_path / "first")
        seen = len(pool.engine.seen)
        run(pooled(pool, tmp_path / "store"), choices, tmp_path / "second")
        assert len(pool.engine.seen) == seen
    assert state(tmp_path / "first") == state(tmp_path / "second")
