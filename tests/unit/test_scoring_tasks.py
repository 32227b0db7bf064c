"""Jobs scored by Ray tasks: what a task gives is what would be scored here, and what it cannot do is done here."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.elsewhere import OddRows
from support.pools import Company, alone, own_texts
from support.side_by_side import wait_for

from evalharness.errors import StoppedError
from evalharness.results.records import JobId
from evalharness.run.cluster import scoring
from evalharness.run.cluster.scoring import Scorer, Threads, running_ray, scored
from evalharness.run.steps import Encoded, Loaded, encode, load, score
from evalharness.store.index import StoredRows
from evalharness.types import Dense, ignore_event


class TaskError(Exception):
    """Ray's RayError or RayTaskError."""


class DeadTaskError(TaskError):
    """Of a process that died."""


class Ray:
    """What is used of Ray: tasks in threads; those that are to die, do."""

    def __init__(self, dying: int = 0, cores: int = 8, *, broken: bool = False) -> None:
        self.dying, self.cores, self.broken = dying, cores, broken
        self.places: list[Any] = []
        self.options_of: dict[str, Any] = {}
        self.tries = 0
        self.inside = self.most = 0
        self.lock = threading.Lock()
        self.cancelled: list[Any] = []
        self.is_long = False
        self.exceptions = SimpleNamespace(RayError=TaskError, RayTaskError=type("RayTaskError", (TaskError,), {}))
        self.util = SimpleNamespace(
            scheduling_strategies=SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: (node, soft))
        )

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self.cores)}

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "here")

    def remote(self, **options: Any) -> Any:
        self.options_of = options
        return lambda function: SimpleNamespace(options=lambda **where: self._placed(function, where))

    def _placed(self, function: Any, where: dict[str, Any]) -> Any:
        self.places.append(where["scheduling_strategy"])

        def start(*arguments: Any) -> Any:
            # as another process would get them
            return function, pickle.loads(pickle.dumps(arguments))  # noqa: S301 -- made here

        return SimpleNamespace(remote=start)

    def wait(self, tasks: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        if self.is_long:
            time.sleep(0.01)
            return [], tasks
        return tasks, []

    def cancel(self, task: Any, *, force: bool) -> None:
        assert force
        self.cancelled.append(task)

    def get(self, task: Any) -> Any:
        self.tries += 1
        if self.broken:
            raise self.exceptions.RayTaskError
        if self.tries <= self.dying:
            raise DeadTaskError
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.1)
        with self.lock:
            self.inside -= 1
        function, arguments = task
        return function(*arguments)


class Workers:
    engines = 3
    at_once = 4

    def __init__(self, *, share_store: bool = True) -> None:
        self.share_store = share_store


@pytest.fixture
def job(tmp_path: Path) -> tuple[Loaded, Encoded]:
    choice = own_texts(tmp_path / "data", 1)[0]
    loaded = load(JobId(choice.spec.name, "test", "default"), choice)
    return loaded, encode(loaded, alone(Company(), tmp_path / "store"), ignore_event)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes' own threads that score, beside tasks, which are threads of the same."""
    found: list[int] = []

    def noted(loaded: Loaded, encoded: Encoded) -> Any:
        found.append(1)
        return score(loaded, encoded)

    monkeypatch.setattr(scoring, "score", noted)
    return found


def use(monkeypatch: pytest.MonkeyPatch, ray: Ray) -> Ray:
    monkeypatch.setitem(sys.modules, "ray", ray)
    return ray


def test_vectors_of_the_store_go_as_places_in_files(job: tuple[Loaded, Encoded]) -> None:
    _, encoded = job
    sources = [each.source for each in encoded.embeddings.values() if isinstance(each, Dense)]
    assert all(isinstance(source, StoredRows) for source in sources)
    vectors = sum(each.vectors.nbytes for each in encoded.embeddings.values())
    many = Encoded({name: each.rows(list(range(8)) * 500) for name, each in encoded.embeddings.items()})
    sent = pickle.dumps(many)
    assert len(sent) < 500 * vectors / 3
    again = pickle.loads(sent)  # noqa: S301 -- made here
    for name, each in many.embeddings.items():
        assert (again.embeddings[name].vectors == each.vectors).all()


def test_without_ray_it_is_scored_here(job: tuple[Loaded, Encoded], here: list[int]) -> None:
    assert running_ray() is None
    scorer = Scorer(Workers(), lambda: False)
    with scorer.turn():
        assert scorer(*job).metrics == score(*job).metrics
    assert here == [1]


def test_who_waits_for_a_turn_hears_of_the_end() -> None:
    ended = threading.Event()
    scorer = Scorer(Workers(), ended.is_set)
    said: list[str] = []

    def wait() -> None:
        try:
            with scorer.turn():
                said.append("a turn")
        except StoppedError:
            said.append("the end")

    with scorer.turn():
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.1)
        ended.set()
        thread.join()
    assert said == ["the end"]


@pytest.mark.parametrize(("dying", "tries", "by_task"), [(0, 1, True), (2, 3, True), (3, 3, False)])
def test_a_task_that_dies_is_tried_again_twice_and_scored_here_then(
    job: tuple[Loaded, Encoded], monkeypatch: pytest.MonkeyPatch, dying: int, tries: int, by_task: bool
) -> None:
    ray = use(monkeypatch, Ray(dying))
    ways: list[bool] = []
    of_task = scored

    def noted(loaded: Loaded, encoded: Encoded, threads: Threads) -> scoring.Outcome:
        ways.append(True)
        return of_task(loaded, encoded, threads)

    monkeypatch.setattr(scoring, "scored", noted)
    assert Scorer(Workers(), lambda: False)(*job).metrics == score(*job).metrics
    assert ray.tries == tries
    assert bool(ways) is by_task
    # never by Ray itself, which may try for ever
    assert ray.options_of == {"num_cpus": 0, "max_retries": 0}


def test_what_a_task_cannot_read_is_not_tried_again(
    job: tuple[Loaded, Encoded], monkeypatch: pytest.MonkeyPatch, here: list[int]
) -> None:
    ray = use(monkeypatch, Ray(broken=True))
    assert Scorer(Workers(), lambda: False)(*job).metrics == score(*job).metrics
    assert ray.tries == 1
    assert here == [1]


def test_tasks_stay_on_this_node_unless_all_share_the_store(
    job: tuple[Loaded, Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = use(monkeypatch, Ray())
    Scorer(Workers(share_store=True), lambda: False)(*job)
    Scorer(Workers(share_store=False), lambda: False)(*job)
    assert ray.places == ["SPREAD", ("here", False)]


@pytest.mark.parametrize(("cores", "most"), [(2, 1), (8, 2), (64, 6)])
def test_tasks_leave_cores_to_those_that_encode(
    job: tuple[Loaded, Encoded], monkeypatch: pytest.MonkeyPatch, cores: int, most: int
) -> None:
    ray = use(monkeypatch, Ray(cores=cores))
    monkeypatch.setattr(scoring, "scored", lambda *_: scoring.Outcome(score(*job)))
    scorer = Scorer(Workers(), lambda: False)

    def in_turn() -> None:
        with scorer.turn():
            scorer(*job)

    threads = [threading.Thread(target=in_turn) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (ray.tries, ray.most) == (6, most)


def test_a_run_that_has_ended_waits_for_no_task(job: tuple[Loaded, Encoded], monkeypatch: pytest.MonkeyPatch) -> None:
    ray = use(monkeypatch, Ray())
    ray.is_long = True
    ended = threading.Event()
    threading.Timer(0.1, ended.set).start()
    with pytest.raises(StoppedError):
        Scorer(Workers(), ended.is_set)(*job)
    wait_for(ended)
    assert len(ray.cancelled) == 1


@pytest.mark.parametrize("kind", ["fails", "fails oddly", "has no files"])
def test_errors_come_as_they_are_or_are_raised_again_here(
    job: tuple[Loaded, Encoded], tmp_path: Path, kind: str
) -> None:
    loaded, encoded = job
    odd = {
        name: Dense(OddRows(each.vectors, -1, kind, tmp_path / "tries")) for name, each in encoded.embeddings.items()
    }
    outcome = scored(loaded, Encoded(odd), Threads(os.environ.get("OMP_NUM_THREADS"), 1))
    assert outcome.is_true_here is (kind == "fails")
    if kind == "fails":
        with pytest.raises(KeyError, match="gone"):
            outcome.result()


def test_a_task_has_the_threads_of_the_process_that_asks(
    job: tuple[Loaded, Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    from threadpoolctl import threadpool_info

    seen: list[tuple[Any, set[int]]] = []

    def noted(loaded: Loaded, encoded: Encoded) -> Any:
        products = {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}
        seen.append((os.environ.get("OMP_NUM_THREADS"), products))
        return score(loaded, encoded)

    monkeypatch.setattr(scoring, "score", noted)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    scored(*job, Threads("2", 2))
    scored(*job, Threads(None, 1))
    assert seen == [("2", {2}), (None, {1})]
