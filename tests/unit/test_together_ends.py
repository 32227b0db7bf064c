"""Runs whose jobs are encoded at once end as others do, whatever happens in which thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.lookup import spec
from support.pools import Company, Pool, alone, dawdle, own_texts, pooled
from support.side_by_side import SECONDS, fails_at, no_thread_left, stored, threads, wait_for
from support.small_runs import state

from evalharness.errors import StoppedError, StorageError
from evalharness.results.records import JobRecord
from evalharness.run import job as job_module
from evalharness.run import plan as plan_module
from evalharness.run.cluster import scoring
from evalharness.run.events import JobEnded, RunEvent
from evalharness.run.limits import Limits
from evalharness.run.plan import Plan, make_plan, run_plan
from evalharness.run.steps import Encoded, Loaded, score
from evalharness.run.storing import store_attempt
from evalharness.types import Notice, Scores


@pytest.fixture(autouse=True)
def check_no_thread_is_left() -> Iterator[None]:
    with no_thread_left():
        yield


def run(
    folder: Path,
    number: int,
    act: Callable[[Sequence[str]], object] = lambda _: None,
    *,
    watch: Callable[[RunEvent], None] = lambda _: None,
    limits: Limits | None = None,
) -> tuple[Plan, list[JobRecord]]:
    """A run of so many tasks with a pool; the texts of the task n begin with n."""
    choices = own_texts(folder / "data", number)
    with Pool(Company(act), engines=3, at_once=3) as pool:
        model = pooled(pool, folder / "store")
        plan = make_plan(choices, model.spec, folder / "out")
        return plan, run_plan(plan, model, watch, limits or Limits())


def number_of(texts: Sequence[str]) -> int:
    """The task whose texts they are."""
    return int(texts[0].split()[0])


@pytest.mark.parametrize("step", ["load", "encode", "score"])
def test_fail_fast_keeps_nothing_after_the_first_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fails_at(monkeypatch, scoring if step == "score" else job_module, step, "Pairs1")
    plan, records = run(tmp_path, 6, dawdle, limits=Limits(fail_fast=True))
    assert [record.error for record in records] == [None, "KeyError: 'gone'"]
    assert stored(plan) == ["Pairs0", "Pairs1"]
    monkeypatch.undo()
    run(tmp_path, 6)
    choices = own_texts(tmp_path / "data", 6)
    run_plan(make_plan(choices, spec(), tmp_path / "whole"), alone(Company(), tmp_path / "other"), lambda _: None)
    assert state(tmp_path / "out") == state(tmp_path / "whole")


def test_the_end_of_the_time_keeps_what_is_encoded(tmp_path: Path) -> None:
    events: list[RunEvent] = []
    others = threading.Event()

    def act(texts: Sequence[str]) -> None:
        if number_of(texts) == 1:
            # it is still at it when the time is up
            wait_for(others)
            time.sleep(1.5)
        if number_of(texts) == 3:
            others.set()

    started = time.monotonic()
    plan, records = run(tmp_path, 4, act, watch=events.append, limits=Limits(seconds=1))
    assert time.monotonic() - started < SECONDS
    assert events[-1] == Notice("the time budget of 1 s is used up")
    names = [record.job.task for record in records]
    assert names == ["Pairs0", "Pairs2", "Pairs3"] == stored(plan)
    assert [event.record.job.task for event in events if isinstance(event, JobEnded)] == names
    # nothing is lost
    _, records = run(tmp_path, 4)
    assert [record.error for record in records] == [None] * 4


def test_an_engine_that_stops_ends_the_run(tmp_path: Path) -> None:
    events: list[RunEvent] = []

    def act(texts: Sequence[str]) -> None:
        if number_of(texts) == 2:
            raise StoppedError("it was told to")

    _, records = run(tmp_path, 5, act, watch=events.append)
    assert events[-1] == Notice("it was told to")
    assert "Pairs2" not in [record.job.task for record in records]


@pytest.mark.parametrize("where", ["engine", "keeping"])
def test_a_full_disk_ends_the_run_with_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def full(folder: Path, model: Any, attempt: Any, **options: Any) -> JobRecord:
        if attempt.record.job.task == "Pairs1":
            raise StorageError("the disk is full")
        return store_attempt(folder, model, attempt, **options)

    def act(texts: Sequence[str]) -> None:
        if number_of(texts) == 1:
            time.sleep(0.2)
            raise StorageError("the disk is full")

    if where == "keeping":
        monkeypatch.setattr(plan_module, "store_attempt", full)
    with pytest.raises(StorageError, match="the disk is full"):
        run(tmp_path, 6, act if where == "engine" else dawdle)
    kept = stored(make_plan(own_texts(tmp_path / "data", 6), spec(), tmp_path / "out"))
    assert "Pairs0" in kept
    assert "Pairs1" not in kept


@pytest.mark.parametrize("thread", ["loads", "scores", "encodes"])
def test_a_thread_that_cannot_go_on_ends_the_run_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr(
        plan_module, {"loads": "data_of", "scores": "score_job", "encodes": "encode_job"}[thread], broken
    )
    with pytest.raises(RuntimeError, match="a defect"):
        run(tmp_path, 5)


def test_a_watch_that_fails_ends_the_run_and_fails_no_job(tmp_path: Path) -> None:
    def watch(event: RunEvent) -> None:
        if isinstance(event, JobEnded):
            raise ValueError("nobody watches")  # noqa: TRY004 -- any error will do

    with pytest.raises(ValueError, match="nobody watches"):
        run(tmp_path, 5, watch=watch)
    plan, records = run(tmp_path, 5)
    assert [record.error for record in records] == [None] * 5
    assert len(plan.todo) < 5


def test_a_failure_of_one_fails_no_other(tmp_path: Path) -> None:
    def act(texts: Sequence[str]) -> None:
        if number_of(texts) == 1:
            raise KeyError("one engine")

    _, records = run(tmp_path, 5, act)
    assert [record.error for record in records] == [None, "KeyError: 'one engine'", None, None, None]


def test_after_an_interrupt_nothing_is_kept_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begins, may_end = threading.Event(), threading.Event()

    def slow(loaded: Loaded, encoded: Encoded) -> Scores:
        begins.set()
        wait_for(may_end)
        return score(loaded, encoded)

    def watch(event: RunEvent) -> None:
        if begins.is_set():
            raise KeyboardInterrupt

    def act(texts: Sequence[str]) -> None:
        # somebody is still encoding, and tells of it
        if number_of(texts) > 1:
            wait_for(begins)
            time.sleep(0.3)

    monkeypatch.setattr(scoring, "score", slow)
    started, others = time.monotonic(), threads()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 5, act, watch=watch)
    # it waits for no scoring
    assert time.monotonic() - started < SECONDS / 2
    before_threads_end = state(tmp_path)
    may_end.set()
    for thread in threads() - others:
        thread.join(SECONDS if thread.name.startswith("Thread-") else 0)
    assert state(tmp_path) == before_threads_end
    assert len(make_plan(own_texts(tmp_path / "data", 5), spec(), tmp_path / "out").todo) == 5
