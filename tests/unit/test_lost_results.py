"""A folder of results that somebody removes or moves while a run goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.lookup import spec
from support.side_by_side import run, same_scores, scoring, stored
from support.small_runs import state

from evalharness.results.records import JobId, JobRecord, record_path, run_folder
from evalharness.run.job import JobEnded, RunEvent
from evalharness.types import Notice

# the tasks of all runs here; the first of them is done before
NAMES = [f"Pairs{number}" for number in range(6)]


def record_of(folder: Path, task: str) -> Path:
    return record_path(folder, JobId(task, "test", "default"))


WAYS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "removed": (shutil.rmtree, NAMES[:3]),
    "moved": (lambda folder: folder.rename(folder.with_name("elsewhere")), NAMES[:3]),
    "the newest removed": (lambda folder: record_of(folder, NAMES[2]).unlink(), NAMES[2:3]),
    "the oldest removed": (lambda folder: record_of(folder, NAMES[0]).unlink(), NAMES[:1]),
}


def told(events: Sequence[RunEvent]) -> list[str]:
    return [event.message.partition(" were")[0] for event in events if isinstance(event, Notice)]


def tasks(records: Sequence[JobRecord]) -> list[str]:
    return [record.job.task for record in records]


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("way", list(WAYS))
def test_what_is_gone_is_told_and_not_counted_as_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, overlap: bool
) -> None:
    choices, events = same_scores(tmp_path, len(NAMES)), list[RunEvent]()
    folder, whole = (run_folder(tmp_path / name, spec()) for name in ("out", "whole"))
    run(choices, tmp_path / "whole")
    run(choices[:1], tmp_path / "out")
    disturb, gone = WAYS[way]
    with monkeypatch.context() as patch:
        # where it is scored, nothing of the run is being written
        scoring(patch, lambda loaded: disturb(folder) if loaded.job.task == NAMES[3] else None)
        plan, records = run(choices, tmp_path / "out", watch=events.append, overlap=overlap)
    assert told(events) == [f"results of {len(gone)} of 6 jobs"]
    # what is said to be done is there, and nothing else
    assert tasks(records) == stored(plan) == [name for name in NAMES if name not in gone]
    assert [record.error for record in records] == [None] * len(records)
    again, records = run(choices, tmp_path / "out")
    assert [job.id.task for job in again.todo] == gone
    assert tasks(records) == NAMES
    assert state(folder) == state(whole)


def test_a_folder_that_goes_with_the_last_job(tmp_path: Path) -> None:
    choices, events = same_scores(tmp_path, 2), list[RunEvent]()

    def watch(event: RunEvent) -> None:
        events.append(event)
        if isinstance(event, JobEnded) and event.record.job.task == NAMES[1]:
            shutil.rmtree(tmp_path / "out")

    _, records = run(choices, tmp_path / "out", watch=watch, overlap=False)
    assert records == []
    assert told(events) == ["results of 2 of 2 jobs"]
