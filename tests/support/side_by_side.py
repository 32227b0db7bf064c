"""Runs of small local tasks whose jobs go side by side, and what is asked of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from evalharness.catalog.selection import Selection, TaskChoice, select
from evalharness.models.encoder import EmbeddingModel
from evalharness.results.records import JobRecord
from evalharness.run import job as job_module
from evalharness.run.events import RunEvent
from evalharness.run.limits import Limits
from evalharness.run.plan import Plan, make_plan, run_plan
from evalharness.run.steps import Encoded, Loaded, score
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Dense, Emit, Encoding, Scores
from support.local_tasks import ROWS, jsonl_task
from support.lookup import LookupBackend, smooth, spec

KINDS = ("STS", "PairClassification", "Clustering", "Reranking", "BitextMining", "Summarization")
SECONDS = 30


def local_tasks(folder: Path, kinds: Sequence[str] = KINDS) -> list[TaskChoice]:
    paths = [jsonl_task(folder / f"{number}{kind}.toml", kind, ROWS[kind]) for number, kind in enumerate(kinds)]
    return select(Selection(tasks=list(map(str, paths))))


def same_scores(folder: Path, number: int) -> list[TaskChoice]:
    """Tasks of pairs, each with texts of its own."""
    rows = [[{"sentence1": f"{n} {m}", "sentence2": f"{m} {n}", "score": m % 6} for m in range(8)]
            for n in range(number)]  # fmt: skip
    paths = [jsonl_task(folder / f"Pairs{n}.toml", "STS", found) for n, found in enumerate(rows)]
    return select(Selection(tasks=list(map(str, paths))))


class Backend(LookupBackend):
    """A backend that does something before it encodes."""

    def __init__(self, act: Callable[[Sequence[str]], object] = lambda _: None) -> None:
        super().__init__(smooth)
        self.act = act

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        self.act(texts)
        return super().encode(texts, encoding, emit, journal)


def run(
    choices: Sequence[TaskChoice],
    output: Path,
    *,
    backend: LookupBackend | None = None,
    watch: Callable[[RunEvent], None] = lambda _: None,
    limits: Limits | None = None,
    overlap: bool = True,
) -> tuple[Plan, list[JobRecord]]:
    model = EmbeddingModel(spec(), backend or Backend(), device="cpu")
    plan = make_plan(choices, model.spec, output, save_rankings=True)
    return plan, run_plan(plan, model, watch, limits or Limits(), overlap=overlap)


def wait_for(event: threading.Event) -> None:
    assert event.wait(SECONDS)


def stored(plan: Plan) -> list[str]:
    return sorted(path.parent.name for path in plan.folder.rglob("test.default.json"))


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread is not threading.current_thread()}


@contextmanager
def no_thread_left() -> Iterator[None]:
    """See that threads that began in here end soon."""
    before = threads()
    yield
    deadline = time.monotonic() + SECONDS
    while threads() - before:
        assert time.monotonic() < deadline, threads() - before
        time.sleep(0.01)


def scoring(monkeypatch: pytest.MonkeyPatch, before: Callable[[Loaded], object]) -> None:
    def scored(loaded: Loaded, encoded: Encoded) -> Scores:
        before(loaded)
        return score(loaded, encoded)

    monkeypatch.setattr(job_module, "score", scored)


def fails_at(monkeypatch: pytest.MonkeyPatch, module: ModuleType, step: str, task: str) -> None:
    """Have a step of a task's job fail, after the next ones have got as far as they can."""
    of_step = getattr(module, step)

    def failing(*arguments: Any) -> Any:
        name = arguments[0].task if step == "load" else arguments[0].spec.name
        if name == task:
            time.sleep(0.1)
            raise KeyError("gone")
        return of_step(*arguments)

    monkeypatch.setattr(module, step, failing)
