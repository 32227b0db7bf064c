"""Plan jobs and run them: load, encode, score, store. A failing job never stops the others."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import groupby, product
from pathlib import Path
from typing import Any

from evalharness.catalog.selection import TaskChoice
from evalharness.data.trec import write_run
from evalharness.errors import DataError, PrerequisiteError, StoppedError, StorageError
from evalharness.files import remove_stale_temporaries
from evalharness.results.records import (
    JobId,
    JobRecord,
    append_log,
    check_folder,
    check_task_files,
    model_meta,
    run_folder,
    task_folder,
    write_job,
    write_model_meta,
)
from evalharness.results.views import refresh_view, run_key
from evalharness.run.done import done_record, job_key
from evalharness.run.job import (
    Attempt,
    JobEnded,
    JobStarted,
    PlannedJob,
    RunEvent,
    TaskData,
    Watch,
    Work,
    attempt_job,
    data_of,
    draws_in_order,
)
from evalharness.run.steps import Model
from evalharness.store.uses import Uses
from evalharness.types import Frozen, ModelSpec, Notice, Protocol, ShardsUsed

# what else can be done where a file is not ours
_KEEP_THEM = "Name another folder with --output, or replace them with --overwrite"


@dataclass(frozen=True, slots=True)
class Plan:
    """All jobs of a run, in order.

    Attributes:
        folder: for their results.
        jobs: those of one task are neighbours.
        overwrite: whether done jobs are done again.
        save_rankings: whether what was retrieved is kept as a TREC run file, too.
    """

    folder: Path
    jobs: Sequence[PlannedJob]
    overwrite: bool = False
    save_rankings: bool = False

    @property
    def todo(self) -> list[PlannedJob]:
        """Jobs without a valid stored record."""
        return [job for job in self.jobs if job.record is None]


def make_plan(
    choices: Sequence[TaskChoice],
    spec: ModelSpec | None,
    output: Path,
    *,
    protocol: Protocol = "mteb",
    overwrite: bool = False,
    save_rankings: bool = False,
) -> Plan:
    """List the jobs of a run and see which are done.

    Args:
        choices: tasks with splits and subsets.
        spec: the model; None if its files are not at hand, then no job counts as done.
        output: root of all results.
        protocol: whose rules are followed.
        overwrite: whether done jobs are done again.
        save_rankings: whether a job whose type ranks is done only with its TREC run file.

    Raises:
        UsageError: the folder for the results holds another system's, or files that would be replaced.
    """
    folder = output
    if spec is not None:
        folder = run_folder(output, spec)
        check_folder(folder, model_meta(spec))
        if not overwrite:
            check_task_files(folder, dict.fromkeys(choice.spec.name for choice in choices), _KEEP_THEM)
    jobs = []
    for choice in choices:
        shared = job_key(spec, choice.spec, protocol) if spec else {}
        in_order = draws_in_order(choice.spec)
        places = list(product(choice.splits, choice.subsets))
        for number, (split, subset) in enumerate(places):
            job = JobId(choice.spec.name, split, subset)
            key = {**shared, "drawn_before": [list(place) for place in places[:number]]} if in_order else shared
            texts, characters = choice.spec.sizes.get(split, {}).get(subset) or (None, None)
            planned = PlannedJob(job, choice, key, texts, characters, None)
            done = None if overwrite or spec is None else done_record(folder, planned, save_rankings=save_rankings)
            jobs.append(replace(planned, record=done))
    return Plan(folder, jobs, overwrite, save_rankings)


class Limits(Frozen):
    """When a run ends before its time.

    Attributes:
        seconds: ends at the next batch after so many; None for no limit.
        ends: when that is, by `time.monotonic`; None if the seconds count from the first job on.
        fail_fast: whether the first failed job ends it.
    """

    seconds: float | None = None
    ends: float | None = None
    fail_fast: bool = False


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
    stop = _stop_after(limits)
    running = _Running(plan, model, watch, stop, {job.id: job.record for job in plan.jobs if job.record is not None})
    with _views_in_the_end(plan, model.spec):
        try:
            for number, (job, data) in enumerate(_with_data(plan.todo, watch, running.end_task), start=1):
                stop()
                # another process may have done it meanwhile
                if not plan.overwrite and (done := done_record(plan.folder, job, save_rankings=plan.save_rankings)):
                    running.records[job.id] = done
                elif running.attempt(job, data, number).error is not None and limits.fail_fast:
                    break
        except StoppedError as stopped:
            watch(Notice(str(stopped)))
        finally:
            running.note_uses()
        running.end()
    return [running.records[job.id] for job in plan.jobs if job.id in running.records]


@dataclass(frozen=True, slots=True)
class _Running:
    """A run as it goes.

    Attributes:
        records: what came of its jobs so far.
        unreachable: those whose data could not be had.
        uses: by task, the shards that it read and that are not noted yet.
    """

    plan: Plan
    model: Model
    watch: Watch
    stop: Callable[[], None]
    records: dict[JobId, JobRecord]
    unreachable: list[Attempt] = field(default_factory=list)
    uses: defaultdict[str, Uses] = field(default_factory=lambda: defaultdict(Uses))

    def attempt(self, job: PlannedJob, data: TaskData, number: int) -> JobRecord:
        """Do a job and store it."""
        self.watch(JobStarted(job, number, len(self.plan.todo)))
        attempt = attempt_job(job, data, self.model, partial(self._hear, job.id.task), self.stop)
        if attempt.out_of_reach:
            self.unreachable.append(attempt)
            record = attempt.record
        else:
            record = _store(self.plan, self.model.spec, attempt)
        self.records[job.id] = record
        self.watch(JobEnded(record))
        return record

    def _hear(self, task: str, event: RunEvent) -> None:
        if isinstance(event, ShardsUsed):
            self.uses[task].hear(event)
        else:
            self.watch(event)

    def note_uses(self) -> None:
        """Have the store know what was read so far."""
        while self.uses:
            task, uses = self.uses.popitem()
            uses.note(task)

    def end_task(self, jobs: Sequence[PlannedJob]) -> None:
        """Bring what is kept of the task up to date: once a task, not once a job."""
        self.note_uses()
        _refresh(self.plan.folder, jobs)

    def end(self) -> None:
        """Store the jobs whose data were out of reach as failed, unless that is true of all."""
        if len(self.unreachable) == len(self.plan.jobs) > 0:
            reasons = dict.fromkeys(attempt.record.error or "" for attempt in self.unreachable)
            raise PrerequisiteError("\n".join(reasons))
        for attempt in self.unreachable:
            self.records[attempt.record.job] = _store(self.plan, self.model.spec, attempt)


@contextmanager
def _views_in_the_end(plan: Plan, spec: ModelSpec) -> Iterator[None]:
    """However a run ends, what it did stands in the tasks' files, as far as the disk allows."""
    try:
        yield
    except BaseException:
        with suppress(StorageError):
            refresh_views(plan, spec)
        raise
    refresh_views(plan, spec)


def refresh_views(plan: Plan, spec: ModelSpec) -> None:
    """See that all files made from the records of a plan's tasks are there and say what the records say.

    Args:
        plan: see `make_plan`; nothing of it has to be left to do.
        spec: the model that it was made for.

    Raises:
        StorageError: one is not, and cannot be written.
    """
    if any(task_folder(plan.folder, name).is_dir() for name in {job.id.task for job in plan.jobs}):
        write_model_meta(plan.folder, model_meta(spec))
    for jobs in _by_task(plan.jobs):
        _refresh(plan.folder, jobs)


def _refresh(folder: Path, jobs: Sequence[PlannedJob]) -> None:
    last = jobs[-1]
    refresh_view(folder, last.id.task, run_key(last.id, last.key))


def _by_task(jobs: Sequence[PlannedJob]) -> Iterator[list[PlannedJob]]:
    return (list(group) for _, group in groupby(jobs, key=lambda job: job.id.task))


def _with_data(
    jobs: Sequence[PlannedJob], watch: Watch, ended: Callable[[Sequence[PlannedJob]], None]
) -> Iterator[tuple[PlannedJob, TaskData]]:
    """Each job with the data of its task, which neighbouring jobs share; `ended` is called after each task."""
    for members in _by_task(jobs):
        data = data_of(members, lambda message: watch(Notice(message)))
        yield from ((job, data) for job in members)
        ended(members)


def _stop_after(limits: Limits) -> Callable[[], None]:
    ends = limits.ends
    if ends is None and limits.seconds is not None:
        ends = time.monotonic() + limits.seconds

    def stop() -> None:
        if ends is not None and time.monotonic() >= ends:
            raise StoppedError(f"the time budget of {limits.seconds:g} s is used up")

    return stop


def _store(plan: Plan, spec: ModelSpec, attempt: Attempt) -> JobRecord:
    """Store what came of a job; a ranking that a TREC run file cannot hold makes it a failed one."""
    write_model_meta(plan.folder, model_meta(spec))
    scores, ranking = attempt.scores, None
    if plan.save_rankings and scores is not None and scores.retrieved is not None:
        ranking = partial(write_run, retrieved=scores.retrieved, tag=spec.name.replace(" ", "_"))
    try:
        record = write_job(plan.folder, attempt.record, scores.items if scores else None, ranking)
    except DataError as error:
        failed = replace(attempt.record, error=str(error), metrics={}, notes=())
        record = write_job(plan.folder, failed)
    append_log(plan.folder, _log_line(record, attempt.work))
    return record


def _log_line(record: JobRecord, work: Work) -> dict[str, Any]:
    """What a job cost; bytes are those of its texts, peak memory is the process's so far."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "job": asdict(record.job),
        "seconds": {name: round(value, 3) for name, value in work.seconds.items()},
        "texts": work.texts,
        "texts_encoded": work.encoded,
        "tokens": work.tokens,
        "bytes": work.bytes,
        "peak_memory_bytes": peak_memory(),
        "error": record.error,
    }


def peak_memory() -> int:
    """Bytes of memory that this process has had at most so far."""
    import psutil

    # known on Windows alone
    if peak := getattr(psutil.Process().memory_info(), "peak_wset", None):
        return int(peak)
    try:
        import resource
    except ImportError:
        return int(psutil.Process().memory_info().rss)
    # macOS counts bytes, others units of 1,024
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
