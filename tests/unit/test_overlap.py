"""Jobs side by side: the same files, events in an order that makes sense, and an end whatever happens in a thread."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.local_tasks import ROWS, jsonl_task
from support.side_by_side import Backend, local_tasks, no_thread_left, run, same_scores, scoring, threads, wait_for
from support.small_runs import state
from support.synthetic import make_task, table_splits

from evalharness.catalog.selection import Selection, TaskChoice, select
from evalharness.catalog.tasks import TaskSpec
from evalharness.downloads import stand_apart, standing_in
from evalharness.errors import PrerequisiteError
from evalharness.run import job as job_module
from evalharness.run import plan as plan_module
from evalharness.run.events import JobEnded, JobStarted, RunEvent, TextsCounted
from evalharness.run.overlap import ALONE, Room
from evalharness.run.quiet import without_warnings
from evalharness.run.steps import Loaded
from evalharness.types import TextsEncoded


@pytest.fixture(autouse=True)
def check_no_thread_is_left() -> Iterator[None]:
    with no_thread_left():
        yield


def load_far(choice: TaskChoice, say: object) -> Any:
    if choice.spec.name == "Unreachable":
        raise PrerequisiteError("it cannot be had")
    kind = choice.spec.type
    rows = {"Regression": [{"text": f"text {n}", "value": float(n % 5)} for n in range(20)], "STS": ROWS["STS"]}[kind]
    return make_task(kind, table_splits({"train": rows, "test": rows} if kind == "Regression" else {"test": rows}))


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], TaskChoice]:
    """Tasks of mteb: one that it scores itself, and others."""
    monkeypatch.setattr(job_module, "load_mteb_task", load_far)

    def choice(kind: str, name: str = "") -> TaskChoice:
        task = TaskSpec(
            name=name or f"Far{kind}",
            type=kind,
            main_score={"Regression": "kendalltau"}.get(kind, "cosine_spearman"),
            revision="1" * 40,
            splits=("test",),
            languages={"default": ("eng-Latn",)},
        )
        return TaskChoice(task, ("test",), ("default",))

    return choice


def test_the_files_are_the_same(tmp_path: Path, far: Callable[..., TaskChoice]) -> None:
    good = local_tasks(tmp_path / "data")
    constant = [{**row, "score": 1} for row in ROWS["STS"]]
    wrong = [{**row, "score": 9} for row in ROWS["STS"]]
    bad = select(Selection(tasks=[
        str(jsonl_task(tmp_path / "data" / f"{name}.toml", "STS", rows))
        for name, rows in (("Constant", constant), ("Wrong", wrong))
    ]))  # fmt: skip
    choices = [*good[:2], far("Regression"), bad[0], good[2], far("STS", "Unreachable"), bad[1], far("STS"), *good[3:]]
    _, records = run(choices, tmp_path / "aside")
    _, others = run(choices, tmp_path / "alone", overlap=False)
    found, wanted = state(tmp_path / "aside"), state(tmp_path / "alone")
    assert found == wanted
    assert len(found) > 3 * len(good)
    names = {record.job.task: record.error for record in records}
    assert [name for name, error in names.items() if error] == ["Constant", "Unreachable", "Wrong"]
    assert names == {record.job.task: record.error for record in others}
    # nothing is left to do but the jobs that failed
    again, _ = run(choices, tmp_path / "aside")
    assert [job.id.task for job in again.todo] == ["Constant", "Unreachable", "Wrong"]


def test_events_come_in_order_and_in_the_thread_that_runs(tmp_path: Path) -> None:
    events: list[RunEvent] = []
    heard: set[int] = set()

    def watch(event: RunEvent) -> None:
        heard.add(threading.get_ident())
        events.append(event)

    choices = local_tasks(tmp_path / "data")
    run(choices, tmp_path / "out", watch=watch)
    assert heard == {threading.get_ident()}
    names = [choice.spec.name for choice in choices]
    started = [event for event in events if isinstance(event, JobStarted)]
    assert [(event.job.id.task, event.number, event.total) for event in started] == [
        (name, number, len(names)) for number, name in enumerate(names, start=1)
    ]
    ended = [event.record.job.task for event in events if isinstance(event, JobEnded)]
    assert ended == names
    for name, start in zip(names, started, strict=True):
        rest = events[events.index(start) + 1 :]
        end = next(n for n, event in enumerate(rest) if isinstance(event, JobEnded) and event.record.job.task == name)
        until = next((n for n, event in enumerate(rest) if isinstance(event, JobStarted)), len(rest))
        own = [event for event in rest[:until] if not isinstance(event, JobEnded)]
        # a job's texts are told between its start and the next one's
        assert isinstance(own[0], TextsCounted)
        assert sum(event.count for event in own[1:] if isinstance(event, TextsEncoded)) == own[0].texts
        assert end >= 0


def test_a_job_is_loaded_and_another_encoded_while_one_is_scored_and_not_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encodes, loads = threading.Event(), threading.Event()
    loaded: list[str] = []

    def load(job: Any, data: Any) -> None:
        loaded.append(job.planned.id.task)
        job_module.load_job(job, data)
        if len(loaded) == 3:
            loads.set()

    def before(found: Loaded) -> None:
        if found.spec.name == "Pairs0":
            wait_for(encodes)
            wait_for(loads)
            time.sleep(0.2)
            # those that are encoded and loaded, and no fourth
            assert loaded == ["Pairs0", "Pairs1", "Pairs2"]

    monkeypatch.setattr(plan_module, "load_job", load)
    scoring(monkeypatch, before)
    backend = Backend(lambda texts: encodes.set() if texts[0].startswith("1 ") else None)
    _, records = run(same_scores(tmp_path / "data", 5), tmp_path / "out", backend=backend)
    assert [record.error for record in records] == [None] * 5
    assert loaded == [f"Pairs{n}" for n in range(5)]


@pytest.mark.parametrize("apart", [True, False])
def test_where_data_of_the_hub_are_loaded_nobody_else_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: Callable[..., TaskChoice], apart: bool
) -> None:
    stands, encodes = threading.Event(), threading.Event()
    loaded: list[int] = []

    def load(choice: TaskChoice, say: Any) -> Any:
        (tmp_path / "empty").mkdir(exist_ok=True)
        with standing_in(tmp_path / "empty"):
            loaded.append(threading.get_ident())
            if apart and choice.spec.name == "B":
                stands.set()
                wait_for(encodes)
            return load_far(choice, say)

    def act(texts: Sequence[str]) -> None:
        if apart:
            wait_for(stands)
        encodes.set()
        assert Path.cwd() == tmp_path

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job_module, "load_mteb_task", load)
    if apart and not asked_in_a_thread(stand_apart):
        pytest.skip("threads have no working directory of their own here")
    if not apart:
        monkeypatch.setattr(plan_module, "stand_apart", lambda: False)
    choices = [far("STS", name) for name in "ABC"]
    _, records = run(choices, Path("out"), backend=Backend(act))
    assert [record.error for record in records] == [None] * 3
    assert (threading.get_ident() in loaded) is not apart
    assert len(list((tmp_path / "out").rglob("test.default.json"))) == 3
    assert list((tmp_path / "empty").iterdir()) == []


def asked_in_a_thread(ask: Callable[[], bool]) -> bool:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(ask()))
    thread.start()
    thread.join()
    return found[0]


def test_what_mteb_scores_runs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: Callable[..., TaskChoice]
) -> None:
    at_work: set[str] = set()
    seen: list[set[str]] = []

    def noted(name: str) -> None:
        step = getattr(job_module if name != "load_job" else plan_module, name)

        def done(*arguments: Any) -> Any:
            mark = f"{name} {threading.get_ident()}"
            at_work.add(mark)
            time.sleep(0.02)
            seen.append(set(at_work))
            try:
                return step(*arguments)
            finally:
                at_work.remove(mark)

        monkeypatch.setattr(job_module if name != "load_job" else plan_module, name, done)

    for name in ("load_job", "score", "encode_and_score_in_mteb"):
        noted(name)
    choices = same_scores(tmp_path / "data", 4)
    run([*choices[:2], far("Regression"), *choices[2:]], tmp_path / "out")
    by_mteb = [marks for marks in seen if any("mteb" in mark for mark in marks)]
    assert [len(marks) for marks in by_mteb] == [1]


def test_one_job_starts_no_thread(tmp_path: Path) -> None:
    before, seen = threads(), list[set[threading.Thread]]()
    run(same_scores(tmp_path / "data", 1), tmp_path / "out", backend=Backend(lambda _: seen.append(threads())))
    assert seen == [before]


def entered(room: Room, weight: float) -> threading.Event:
    inside = threading.Event()

    def enter() -> None:
        if room.enter(weight):
            inside.set()

    threading.Thread(target=enter, daemon=True).start()
    return inside


def test_a_room_is_full_by_number_and_by_size() -> None:
    room = Room(100)
    assert all(room.enter(10) for _ in range(3))
    fourth = entered(room, 10)
    assert not fourth.wait(0.1)
    room.leave()
    wait_for(fourth)
    # it turns out to be larger than was thought
    room.weigh(95)
    room.leave()
    large = entered(room, 0)
    assert not large.wait(0.1)
    room.leave()
    # the only one may be of any size
    wait_for(large)
    room.leave()
    alone = entered(room, ALONE)
    assert not alone.wait(0.1)
    room.leave()
    wait_for(alone)
    nobody = entered(room, 0)
    assert not nobody.wait(0.1)
    room.close()
    assert not nobody.wait(0.1)


def test_several_threads_are_quiet_and_filters_are_left_as_they_were() -> None:
    before = warnings.filters[:]
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with without_warnings():
            inside.set()
            wait_for(leave)

    thread = threading.Thread(target=other)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with without_warnings():
            thread.start()
            wait_for(inside)
            warnings.warn("one", stacklevel=1)
        warnings.warn("while another thread is quiet", stacklevel=1)
        leave.set()
        thread.join()
        warnings.warn("two", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["two"]
    assert warnings.filters == before
