"""Runs whose jobs go side by side end as others do, whatever happens in which thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.lookup import spec
from support.side_by_side import (
    SECONDS,
    Backend,
    fails_at,
    no_thread_left,
    run,
    same_scores,
    scoring,
    stored,
    threads,
    wait_for,
)
from support.small_runs import state

from evalharness.errors import StoppedError, StorageError
from evalharness.results.records import JobRecord
from evalharness.run import job as job_module
from evalharness.run import plan as plan_module
from evalharness.run.events import JobEnded, RunEvent
from evalharness.run.limits import Limits
from evalharness.run.plan import make_plan
from evalharness.run.steps import Loaded
from evalharness.run.storing import store_attempt
from evalharness.types import Notice


@pytest.fixture(autouse=True)
def check_no_thread_is_left() -> Iterator[None]:
    with no_thread_left():
        yield


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("step", ["load", "encode", "score"])
def test_fail_fast_keeps_nothing_after_the_first_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, overlap: bool
) -> None:
    fails_at(monkeypatch, job_module, step, "Pairs1")
    choices = same_scores(tmp_path / "data", 5)
    plan, records = run(choices, tmp_path / "out", limits=Limits(fail_fast=True), overlap=overlap)
    assert [record.error for record in records] == [None, "KeyError: 'gone'"]
    assert stored(plan) == ["Pairs0", "Pairs1"]
    monkeypatch.undo()
    run(choices, tmp_path / "out", overlap=overlap)
    run(choices, tmp_path / "whole", overlap=overlap)
    assert state(tmp_path / "out") == state(tmp_path / "whole")


@pytest.mark.parametrize("overlap", [True, False])
def test_a_time_budget_keeps_what_was_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlap: bool) -> None:
    encodes, events = threading.Event(), list[RunEvent]()
    if overlap:
        scoring(monkeypatch, lambda loaded: wait_for(encodes) if loaded.spec.name == "Pairs1" else None)

    def act(texts: Sequence[str]) -> None:
        if texts[0].startswith("2 "):
            encodes.set()
            raise StoppedError("the time is up")

    plan, records = run(
        same_scores(tmp_path / "data", 4), tmp_path / "out", backend=Backend(act), watch=events.append, overlap=overlap
    )
    assert [record.job.task for record in records] == ["Pairs0", "Pairs1"] == stored(plan)
    assert events[-1] == Notice("the time is up")
    assert [event.record.job.task for event in events if isinstance(event, JobEnded)] == ["Pairs0", "Pairs1"]


@pytest.mark.parametrize("overlap", [True, False])
def test_a_full_disk_ends_the_run_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlap: bool
) -> None:
    def full(folder: Path, model: Any, attempt: Any, **options: Any) -> JobRecord:
        if attempt.record.job.task == "Pairs1":
            raise StorageError("the disk is full")
        return store_attempt(folder, model, attempt, **options)

    monkeypatch.setattr(plan_module, "store_attempt", full)
    choices = same_scores(tmp_path / "data", 5)
    with pytest.raises(StorageError, match="the disk is full"):
        run(choices, tmp_path / "out", overlap=overlap)
    assert stored(make_plan(choices, spec(), tmp_path / "out")) == ["Pairs0"]


@pytest.mark.parametrize("thread", ["loads", "scores"])
def test_a_thread_that_cannot_go_on_ends_the_run_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr(plan_module, {"loads": "data_of", "scores": "score_job"}[thread], broken)
    with pytest.raises(RuntimeError, match="a defect"):
        run(same_scores(tmp_path / "data", 5), tmp_path / "out")


def test_a_watch_that_fails_ends_the_run_and_fails_no_job(tmp_path: Path) -> None:
    def watch(event: RunEvent) -> None:
        if isinstance(event, JobEnded):
            raise ValueError("nobody watches")  # noqa: TRY004 -- any error will do

    choices = same_scores(tmp_path / "data", 4)
    with pytest.raises(ValueError, match="nobody watches"):
        run(choices, tmp_path / "out", watch=watch)
    plan, records = run(choices, tmp_path / "out")
    assert [record.error for record in records] == [None] * 4
    # at least the one whose end was told was kept
    assert len(plan.todo) < 4


def test_after_an_interrupt_nothing_is_kept_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begins, may_end, others = threading.Event(), threading.Event(), threads()

    def before(loaded: Loaded) -> None:
        begins.set()
        wait_for(may_end)

    def act(texts: Sequence[str]) -> None:
        if texts[0].startswith("1 "):
            wait_for(begins)
            raise KeyboardInterrupt

    scoring(monkeypatch, before)
    choices, started = same_scores(tmp_path / "data", 4), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(choices, tmp_path / "out", backend=Backend(act))
    # it waits for no scoring
    assert time.monotonic() - started < SECONDS
    before_threads_end = state(tmp_path)
    may_end.set()
    for thread in threads() - others:
        thread.join(SECONDS if thread.name.startswith("Thread-") else 0)
    assert state(tmp_path) == before_threads_end
    assert len(make_plan(choices, spec(), tmp_path / "out").todo) == 4
