"""Plan jobs and run them: load, encode, score, store. A failing job never stops the others."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, product
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

from evalharness import __version__
from evalharness.catalog import TaskSpec
from evalharness.data import load_mteb_task
from evalharness.encoder import EmbeddingModel, encoding
from evalharness.errors import DataError, EvalHarnessError, PrerequisiteError, shorten
from evalharness.results import (
    installed_version,
    model_meta,
    ranking_path,
    read_job,
    run_folder,
    write_job,
    write_model_meta,
)
from evalharness.selection import TaskChoice
from evalharness.tasks import is_native, task_type
from evalharness.tasks.mteb_bridge import score_with_mteb
from evalharness.trec import write_run
from evalharness.types import (
    Dense,
    EncodeEvent,
    EncodeNote,
    JobId,
    JobRecord,
    ModelSpec,
    Protocol,
    Scores,
    Side,
    TaskContext,
    TextColumn,
    TextsEncoded,
)

PACKAGES = ("mteb", "torch", "transformers", "datasets", "numpy", "scikit-learn", "scipy")


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job to do or done.

    Attributes:
        id: which.
        choice: its task, with all splits and subsets that the run wants of it.
        key: all that can change its scores.
        texts, characters: size, where known.
        record: the stored record if it is valid, so that there is nothing to do.
    """

    id: JobId
    choice: TaskChoice
    key: Mapping[str, Any]
    texts: int | None
    characters: int | None
    record: JobRecord | None

    @property
    def spec(self) -> TaskSpec:
        """Its task."""
        return self.choice.spec


@dataclass(frozen=True, slots=True)
class Plan:
    """All jobs of a run, in order, and the folder for their results."""

    folder: Path
    jobs: Sequence[PlannedJob]

    @property
    def todo(self) -> list[PlannedJob]:
        """Jobs without a valid stored record."""
        return [job for job in self.jobs if job.record is None]


@dataclass(frozen=True, slots=True)
class JobStarted:
    """Progress: a job begins; `number` counts from 1 among `total` jobs to do."""

    job: PlannedJob
    number: int
    total: int


@dataclass(frozen=True, slots=True)
class TextsCounted:
    """Progress: the data are loaded, so many texts are to be encoded."""

    texts: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """Progress: a job is done or has failed."""

    record: JobRecord


RunEvent: TypeAlias = JobStarted | TextsCounted | TextsEncoded | JobEnded
Watch: TypeAlias = Callable[[RunEvent], None]
EncodeColumns: TypeAlias = Callable[[Sequence[TextColumn]], Mapping[str, Dense]]


def job_key(spec: ModelSpec, task: TaskSpec, protocol: Protocol) -> dict[str, Any]:
    """All that can change a job's scores, apart from its split and subset."""
    context = TaskContext(name=task.name, type=task.type)
    sides: tuple[Side, ...] = (None, "query", "document")
    return {
        "model": spec.fingerprint,
        "encodings": {side or "none": encoding(spec, side, context).model_dump() for side in sides},
        "similarity": spec.similarity,
        "protocol": protocol,
        "dataset_revision": task.revision,
        **_scored_by(task),
        **({} if task.data is None else {"settings": task.settings, "columns": dict(task.data.columns)}),
    }


def _scored_by(task: TaskSpec) -> dict[str, Any]:
    """What computes a task's scores: one of our types in its version, or mteb in its version."""
    if is_native(task):
        return {"score_version": task_type(task.scoring).score_version}
    return {"runner": "mteb", "mteb": installed_version("mteb")}


def make_plan(
    choices: Sequence[TaskChoice],
    spec: ModelSpec | None,
    output: Path,
    *,
    protocol: Protocol = "mteb",
    overwrite: bool = False,
) -> Plan:
    """List the jobs of a run and see which are done.

    Args:
        choices: tasks with splits and subsets.
        spec: the model; None if its files are not at hand, then no job counts as done.
        output: root of all results.
        protocol: whose rules are followed.
        overwrite: whether done jobs are done again.
    """
    folder = run_folder(output, spec) if spec else output
    jobs = []
    for choice in choices:
        shared = job_key(spec, choice.spec, protocol) if spec else {}
        draws_in_order = _draws_in_order(choice.spec)
        places = list(product(choice.splits, choice.subsets))
        for number, (split, subset) in enumerate(places):
            job = JobId(choice.spec.name, split, subset)
            key = {**shared, "drawn_before": [list(place) for place in places[:number]]} if draws_in_order else shared
            texts, characters = choice.spec.sizes.get(split, {}).get(subset) or (None, None)
            stored = None if overwrite or spec is None else read_job(folder, job)
            valid = stored if stored and stored.error is None and stored.key == key else None
            jobs.append(PlannedJob(job, choice, key, texts, characters, valid))
    return Plan(folder, jobs)


def run_plan(plan: Plan, model: EmbeddingModel, watch: Watch, *, save_rankings: bool = False) -> list[JobRecord]:
    """Run all jobs that are not done yet.

    Args:
        plan: see `make_plan`.
        model: the model that the plan was made for.
        watch: is told of progress.
        save_rankings: whether what was retrieved is written as a TREC run file, too.

    Returns:
        A record per job of the plan, in its order; failed ones have an error.

    Raises:
        PrerequisiteError: nothing could be done, because the data of every task are out of reach. Nothing is written.
    """
    records = {job.id: job.record for job in plan.jobs if job.record is not None}
    unreachable: list[_Attempt] = []
    numbered = enumerate(plan.todo, start=1)
    for _, group in groupby(numbered, key=lambda item: item[1].spec.name):
        jobs = list(group)
        data = _TaskData([job for _, job in jobs])
        for number, job in jobs:
            watch(JobStarted(job, number, len(plan.todo)))
            attempt = _attempt(job, data, model, watch)
            if attempt.out_of_reach:
                unreachable.append(attempt)
            else:
                _store(plan, model.spec, attempt, save_ranking=save_rankings)
            records[job.id] = attempt.record
            watch(JobEnded(attempt.record))
    if len(unreachable) == len(plan.jobs) > 0:
        raise PrerequisiteError("\n".join(dict.fromkeys(attempt.record.error or "" for attempt in unreachable)))
    for attempt in unreachable:
        _store(plan, model.spec, attempt, save_ranking=False)
    return [records[job.id] for job in plan.jobs]


def _store(plan: Plan, spec: ModelSpec, attempt: _Attempt, *, save_ranking: bool) -> None:
    scores = attempt.scores
    write_model_meta(plan.folder, model_meta(spec))
    if save_ranking and scores is not None and scores.ranked is not None:
        write_run(ranking_path(plan.folder, attempt.record.job), scores.ranked(), tag=spec.name.replace(" ", "_"))
    write_job(plan.folder, attempt.record, scores.items if scores else None)


class _TaskData:
    """The data of a task's jobs, loaded on first use and only once, also where loading fails."""

    def __init__(self, jobs: Sequence[PlannedJob]) -> None:
        whole, ids = jobs[0].choice, [job.id for job in jobs]
        needed = replace(
            whole,
            splits=tuple(dict.fromkeys(i.split for i in ids)),
            subsets=tuple(dict.fromkeys(i.subset for i in ids)),
        )
        self._choice = whole if _draws_in_order(whole.spec) else needed
        self._task: Any = None
        self._error: EvalHarnessError | None = None

    def task(self) -> Any:  # noqa: ANN401 -- mteb's own class
        """The mteb task object with its data."""
        if self._error is not None:
            raise self._error
        if self._task is None:
            try:
                self._task = load_mteb_task(self._choice)
            except EvalHarnessError as error:
                self._error = error
                raise
        return self._task


def _draws_in_order(spec: TaskSpec) -> bool:
    return is_native(spec) and task_type(spec.scoring).draws_in_order


@dataclass(frozen=True, slots=True)
class _Attempt:
    record: JobRecord
    scores: Scores | None
    out_of_reach: bool


def _attempt(job: PlannedJob, data: _TaskData, model: EmbeddingModel, watch: Watch) -> _Attempt:
    """Run one job, whatever happens."""
    started = time.monotonic()
    try:
        scores = _run_job(job, data, model, watch)
    except Exception as error:  # noqa: BLE001 -- the one place that keeps a job's failure from stopping the others
        known = isinstance(error, EvalHarnessError)
        message = str(error) if known else f"{type(error).__name__}: {error}"
        record = replace(_blank_record(job, model, started), error=message)
        return _Attempt(record, None, isinstance(error, PrerequisiteError))
    record = replace(_blank_record(job, model, started), metrics=scores.metrics, notes=list(scores.notes))
    return _Attempt(record, scores, out_of_reach=False)


def _run_job(job: PlannedJob, data: _TaskData, model: EmbeddingModel, watch: Watch) -> Scores:
    notes: Counter[str] = Counter()

    def listen(event: EncodeEvent) -> None:
        if isinstance(event, EncodeNote):
            notes[event.message] += event.count
        else:
            watch(event)

    encode = partial(model.encode_columns, task=TaskContext(name=job.spec.name, type=job.spec.type), emit=listen)
    if is_native(job.spec):
        kind = task_type(job.spec.scoring)
        is_local = job.spec.data is not None
        split, subset = job.id.split, job.id.subset
        records = kind.from_files(job.spec, split) if is_local else kind.from_mteb(data.task(), split, subset)
        columns = kind.columns(records)
        watch(TextsCounted(sum(len(column.texts) for column in columns)))
        scores = kind.score(records, encode(columns))
    else:
        scores = _bridged(job, data.task(), model.spec, encode)
    _check_main_score(job.spec, scores)
    precision = [f"weights and activations in {model.spec.dtype}"] if model.spec.dtype != "float32" else []
    counted = [f"{count} {message}" for message, count in sorted(notes.items())]
    return replace(scores, notes=(*scores.notes, *precision, *counted))


def _bridged(job: PlannedJob, task: Any, spec: ModelSpec, encode: EncodeColumns) -> Scores:  # noqa: ANN401
    def encode_one(column: TextColumn) -> Dense:
        return encode([column])[column.name]

    return score_with_mteb(task, job.id.split, job.id.subset, spec, encode_one)


def _check_main_score(spec: TaskSpec, scores: Scores) -> None:
    if spec.main_score not in scores.metrics:
        numbers = [name for name, value in scores.metrics.items() if isinstance(value, float)]
        raise DataError(f"{spec.name}: has no metric {spec.main_score!r} to rank by; there are {shorten(numbers, 20)}")
    if not isfinite(scores.metrics[spec.main_score]):
        raise DataError(
            f"{spec.name}: {spec.main_score} is not a number, so this is no score: all similarities or all gold values "
            "are equal. Check that the model gives different texts different vectors"
        )


def _blank_record(job: PlannedJob, model: EmbeddingModel, started: float) -> JobRecord:
    facts = {
        "evalharness": __version__,
        "python": platform.python_version(),
        "device": model.device,
        "model": model.spec.model_dump(mode="json"),
        "packages": {name: installed_version(name) for name in PACKAGES},
    }
    return JobRecord(
        job=job.id,
        key=job.key,
        main_score=job.spec.main_score,
        languages=list(job.spec.languages[job.id.subset]),
        dataset_revision=job.spec.revision,
        seconds=time.monotonic() - started,
        facts=facts,
    )
