"""Plan jobs and run them: load, encode, score, store. A failing job never stops the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import groupby, product
from pathlib import Path
from typing import Any

from evalharness.catalog import TaskSpec
from evalharness.encoder import encoding
from evalharness.errors import PrerequisiteError, StoppedError
from evalharness.job import (
    Attempt,
    JobEnded,
    JobStarted,
    Model,
    PlannedJob,
    TaskData,
    Watch,
    attempt_job,
    draws_in_order,
)
from evalharness.rankers import pair_facts
from evalharness.results import (
    JobId,
    JobRecord,
    append_log,
    installed_version,
    model_meta,
    ranking_path,
    read_job,
    run_folder,
    write_job,
    write_model_meta,
)
from evalharness.selection import TaskChoice
from evalharness.storage import peak_memory, remove_stale_temporaries
from evalharness.tasks import is_native, task_type
from evalharness.trec import write_run
from evalharness.types import Frozen, ModelSpec, Notice, Protocol, Side


@dataclass(frozen=True, slots=True)
class Plan:
    """All jobs of a run, in order, and the folder for their results; `overwrite` does done jobs again."""

    folder: Path
    jobs: Sequence[PlannedJob]
    overwrite: bool = False

    @property
    def todo(self) -> list[PlannedJob]:
        """Jobs without a valid stored record."""
        return [job for job in self.jobs if job.record is None]


def job_key(spec: ModelSpec, task: TaskSpec, protocol: Protocol) -> dict[str, Any]:
    """All that can change a job's scores, apart from its split and subset."""
    context = task.context()
    sides: tuple[Side, ...] = (None, "query", "document")
    return {
        "model": spec.fingerprint,
        "encodings": {side or "none": encoding(spec, side, context).facts() for side in sides},
        "similarity": spec.similarity,
        "protocol": protocol,
        "dataset_revision": task.revision,
        **({"output_weights": spec.output_weights} if spec.output_weights else {}),
        **(pair_facts(spec) if spec.kind == "reranker" else {}),
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
        in_order = draws_in_order(choice.spec)
        places = list(product(choice.splits, choice.subsets))
        for number, (split, subset) in enumerate(places):
            job = JobId(choice.spec.name, split, subset)
            key = {**shared, "drawn_before": [list(place) for place in places[:number]]} if in_order else shared
            texts, characters = choice.spec.sizes.get(split, {}).get(subset) or (None, None)
            done = None if overwrite or spec is None else _done(folder, job, key)
            jobs.append(PlannedJob(job, choice, key, texts, characters, done))
    return Plan(folder, jobs, overwrite)


def _done(folder: Path, job: JobId, key: Mapping[str, Any]) -> JobRecord | None:
    """The stored record of a job, if it is still valid."""
    stored = read_job(folder, job)
    return stored if stored and stored.error is None and stored.key == key else None


class Limits(Frozen):
    """When a run ends before its time, and what it writes besides scores.

    Attributes:
        seconds: ends at the next batch after so many; None for no limit.
        ends: when that is, by `time.monotonic`; None if the seconds count from the first job on.
        fail_fast: whether the first failed job ends it.
        save_rankings: whether what was retrieved is written as a TREC run file, too.
    """

    seconds: float | None = None
    ends: float | None = None
    fail_fast: bool = False
    save_rankings: bool = False


_NO_LIMITS = Limits()


def run_plan(plan: Plan, model: Model, watch: Watch, limits: Limits = _NO_LIMITS) -> list[JobRecord]:
    """Run all jobs that are not done yet.

    Args:
        plan: see `make_plan`.
        model: the model that the plan was made for.
        watch: is told of progress.
        limits: see `Limits`.

    Returns:
        A record per job of the plan, in its order; failed ones have an error. Jobs that a limit left undone have none.

    Raises:
        StorageError: the disk is full, say; what was written before is kept.
        PrerequisiteError: nothing could be done, because the data of every task are out of reach. Nothing is written.
    """
    remove_stale_temporaries(plan.folder)
    records = {job.id: job.record for job in plan.jobs if job.record is not None}
    unreachable: list[Attempt] = []
    stop = _stop_after(limits)
    try:
        for number, (job, data) in enumerate(_with_data(plan.todo, watch), start=1):
            stop()
            # another process may have done it meanwhile
            if not plan.overwrite and (done := _done(plan.folder, job.id, job.key)):
                records[job.id] = done
                continue
            watch(JobStarted(job, number, len(plan.todo)))
            attempt = attempt_job(job, data, model, watch, stop)
            if attempt.out_of_reach:
                unreachable.append(attempt)
            else:
                _store(plan, model.spec, attempt, save_ranking=limits.save_rankings)
            records[job.id] = attempt.record
            watch(JobEnded(attempt.record))
            if limits.fail_fast and attempt.record.error is not None:
                break
    except StoppedError as stopped:
        watch(Notice(str(stopped)))
    if len(unreachable) == len(plan.jobs) > 0:
        raise PrerequisiteError("\n".join(dict.fromkeys(attempt.record.error or "" for attempt in unreachable)))
    for attempt in unreachable:
        _store(plan, model.spec, attempt, save_ranking=False)
    return [records[job.id] for job in plan.jobs if job.id in records]


def _with_data(jobs: Sequence[PlannedJob], watch: Watch) -> Iterator[tuple[PlannedJob, TaskData]]:
    """Each job with the data of its task, which neighbouring jobs share."""
    for _, group in groupby(jobs, key=lambda job: job.spec.name):
        members = list(group)
        data = TaskData(members, lambda message: watch(Notice(message)))
        yield from ((job, data) for job in members)


def _stop_after(limits: Limits) -> Callable[[], None]:
    ends = limits.ends
    if ends is None and limits.seconds is not None:
        ends = time.monotonic() + limits.seconds

    def stop() -> None:
        if ends is not None and time.monotonic() >= ends:
            raise StoppedError(f"the time budget of {limits.seconds:g} s is used up")

    return stop


def _store(plan: Plan, spec: ModelSpec, attempt: Attempt, *, save_ranking: bool) -> None:
    scores = attempt.scores
    write_model_meta(plan.folder, model_meta(spec))
    if save_ranking and scores is not None and scores.ranked is not None:
        write_run(ranking_path(plan.folder, attempt.record.job), scores.ranked(), tag=spec.name.replace(" ", "_"))
    write_job(plan.folder, attempt.record, scores.items if scores else None)
    append_log(plan.folder, _log_line(attempt))


def _log_line(attempt: Attempt) -> dict[str, Any]:
    """What a job cost; bytes are those of its texts, peak memory is the process's so far."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "job": asdict(attempt.record.job),
        "seconds": {name: round(value, 3) for name, value in attempt.work.seconds.items()},
        "texts": attempt.work.texts,
        "texts_encoded": attempt.work.encoded,
        "tokens": attempt.work.tokens,
        "bytes": attempt.work.bytes,
        "peak_memory_bytes": peak_memory(),
        "error": attempt.record.error,
    }
