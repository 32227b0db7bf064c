"""Fits in processes are those of one process to the last digit, and leave nothing behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from sklearn.linear_model import LogisticRegression
from support.fits import fail, fit_there, where

from evalharness.tasks import fitting, task_type
from evalharness.tasks.classification import Experiment, LabelledRecords
from evalharness.tasks.clustering import ClusteringRecords, Fit
from evalharness.tasks.fitting import fit_all
from evalharness.types import Dense, Embeddings

PROCESSES = 2


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever machine this is."""
    monkeypatch.setattr(fitting, "_processes", lambda *_: PROCESSES)


def test_results_have_the_order_of_their_arguments(two_processes: None) -> None:
    found = fit_all(where, [(number,) for number in range(8)], 1e9)
    assert [number for number, _ in found] == list(range(8))
    assert os.getpid() not in {process for _, process in found}


def test_what_goes_wrong_in_a_process_is_raised_here(two_processes: None) -> None:
    with pytest.raises(KeyError, match="3"):
        fit_all(fail, [(3,)], 1e9)


def test_a_machine_that_starts_no_process_fits_all_the_same(
    two_processes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> list[Any]:
        raise OSError("no room for processes")

    monkeypatch.setattr(fitting, "_in_processes", refuse)
    assert fit_all(where, [(1,)], 1e9) == [(1, os.getpid())]


def test_processes_are_started_where_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    assert [fitting._processes(10, seconds) for seconds in (0.1, 3.9, 4.1, 100)] == [1, 1, 4, 4]
    assert fitting._processes(2, 100) == 2
    assert fitting._processes(1, 100) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert fitting._processes(10, 100) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert fitting._processes(10, 100) == 1


def _classification() -> tuple[LabelledRecords, Mapping[str, Embeddings]]:
    rng = np.random.default_rng(0)
    labels = [f"label {n % 7}" for n in range(300)]
    drawn = [rng.permutation(300)[:60].tolist() for _ in range(5)]
    records = LabelledRecords(
        [f"train {n}" for n in range(300)],
        labels,
        [f"test {n}" for n in range(300)],
        labels,
        [Experiment(rows, range(300)) for rows in drawn],
        LogisticRegression(max_iter=100, random_state=42),
    )
    centres = rng.normal(size=(7, 24))
    sides = ("train", "test")
    vectors = {side: centres[np.arange(300) % 7] + 2 * rng.normal(size=(300, 24)) for side in sides}
    return records, {side: Dense(found.astype(np.float32)) for side, found in vectors.items()}


def _clustering(levels: int | None) -> tuple[ClusteringRecords, Mapping[str, Embeddings]]:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(900, 24)).astype(np.float32)
    fits = []
    for number in range(4):
        rows = rng.integers(900, size=700)
        fits.append(Fit(f"Level 0/{number}", rows, np.array(["a", "b", "c"])[rows % 3], 3))
    if levels is None:
        fits.append(Fit("4", np.array([], dtype=np.int64), np.array([]), 1))
    return ClusteringRecords([f"text {n}" for n in range(900)], fits, 128, levels), {"texts": Dense(vectors)}


CASES: Mapping[str, Any] = {
    "Classification": _classification,
    "Clustering": lambda: _clustering(1),
    "legacy Clustering": lambda: _clustering(None),
}


@pytest.mark.parametrize("case", CASES)
def test_scores_do_not_depend_on_processes(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    records, embeddings = CASES[case]()
    score = task_type(case.removeprefix("legacy ")).score
    found = []
    for processes in (1, PROCESSES):
        monkeypatch.setattr(fitting, "_processes", lambda *_, processes=processes: processes)
        found.append(repr(score(records, embeddings)))
    assert found[0] == found[1]


def test_fits_in_a_thread(two_processes: None) -> None:
    found: list[tuple[int, int]] = []
    thread = threading.Thread(target=lambda: found.extend(fit_all(where, [(1,), (2,)], 1e9)))
    thread.start()
    thread.join()
    assert [number for number, _ in found] == [1, 2]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_fits_in_a_process_that_may_start_none(method: str) -> None:
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert [number for number, _ in pool.apply(fit_there, ([1, 2],))] == [1, 2]


SCRIPT = """
import os, sys, time
from evalharness.tasks import fitting
fitting._processes = lambda count, seconds: 2
print(*fitting.fit_all(os.getppid, [(), ()], 1e9), os.getpid(), flush=True)
if "wait" in sys.argv:
    fitting.fit_all(time.sleep, [(60,), (60,)], 1e9)
"""


def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert len(set(done.stdout.split())) == 1


def test_nothing_outlives_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    started = subprocess.Popen([sys.executable, str(path), "wait"], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    started.stdout.readline()
    children = psutil.Process(started.pid).children(recursive=True)
    assert len(children) >= PROCESSES
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    for process in alive:
        process.kill()
    assert alive == []
