"""Plan jobs and run them: load, encode, score, store. A failing job never stops the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from evalharness.catalog.selection import TaskChoice
from evalharness.catalog.tasks import needs_hub
from evalharness.downloads import stand_apart
from evalharness.errors import PrerequisiteError, StoppedError
from evalharness.files import remove_stale_temporaries
from evalharness.models.workers import Workers
from evalharness.results.records import (
    JobId,
    JobRecord,
    check_folder,
    check_task_files,
    model_meta,
    run_folder,
)
from evalharness.run.cluster.scoring import Scorer, score_here
from evalharness.run.done import done_record, job_key
from evalharness.run.events import JobEnded, JobStarted, PlannedJob, RunEvent, Watch
from evalharness.run.job import Attempt, JobUnderWay, TaskData, data_of, draws_in_order, encode_job, load_job, score_job
from evalharness.run.limits import NO_LIMITS, Limits, stop_after
from evalharness.run.overlap import ALONE, EnoughError, Line
from evalharness.run.steps import Model
from evalharness.run.storing import lost, store_attempt
from evalharness.run.together import OfJob, Teller, Together
from evalharness.run.views import by_task, refresh, views_in_the_end
from evalharness.store.uses import Uses
from evalharness.tasks import is_native
from evalharness.types import ModelSpec, Notice, Protocol, ShardsUsed, TextsPlanned

# a text with its vector takes this beside its own bytes, about
_BYTES_OF_TEXT = 2_400
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


def run_plan(
    plan: Plan, model: Model, watch: Watch, limits: Limits = NO_LIMITS, *, overlap: bool = True
) -> list[JobRecord]:
    """Run all jobs that are not done yet.

    Args:
        plan: see `make_plan`.
        model: the model that the plan was made for.
        watch: is told of progress.
        limits: see `Limits`.
        overlap: whether a job is loaded and encoded while those before it are scored; the files are the same. Then a
            job may start before the one before it has ended, and texts are of the one that started last.

    Returns:
        A record per job of the plan, in its order; failed ones have an error. Jobs that a limit left undone have none,
        nor have those whose results somebody removed meanwhile.

    Raises:
        StorageError: the disk is full, say; what was written before is kept.
        PrerequisiteError: nothing could be done, because the data of every task are out of reach. Nothing is written.
    """
    remove_stale_temporaries(plan.folder)
    # wherever another thread stands meanwhile
    plan = replace(plan, folder=plan.folder.absolute())
    done = {job.id: job.record for job in plan.jobs if job.record is not None}
    running = _Running(plan, model, watch, stop_after(limits), limits.fail_fast, done)
    with views_in_the_end(plan.folder, plan.jobs, model.spec):
        try:
            if overlap and len(plan.todo) > 1 and model.workers is not None:
                running.at_once(model.workers)
            elif overlap and len(plan.todo) > 1:
                running.side_by_side()
            else:
                running.one_by_one()
        except EnoughError:
            pass
        except StoppedError as stopped:
            watch(Notice(str(stopped)))
        finally:
            running.note_uses()
        running.end()
        running.forget_lost(watch)
    return [running.records[job.id] for job in plan.jobs if job.id in running.records]


def _nobody_waits() -> None: ...


def _tell_nothing(tell: Watch) -> None:
    del tell


def _tell_of(job: JobId, tell: Callable[[OfJob], None], event: RunEvent) -> None:
    tell(OfJob(job, event))


@dataclass(slots=True)
class _Turn:
    """A job to do.

    Attributes:
        data: of its task.
        ends: all jobs of its task, if it is the last of them; else empty.
        done: the record, if another process has done it meanwhile.
        aside: what a thread of its own makes of it; None where it has none.
    """

    job: JobUnderWay
    data: TaskData
    ends: Sequence[PlannedJob]
    done: JobRecord | None = None
    aside: Future[Attempt | None] | None = None


@dataclass(frozen=True, slots=True)
class _Running:
    """A run as it goes; the `Stages` of its jobs.

    Attributes:
        records: what came of its jobs so far.
        unreachable: those whose data could not be had.
        uses: by task, the shards that it read and that are not noted yet.
    """

    plan: Plan
    model: Model
    watch: Watch
    stop: Callable[[], None]
    fail_fast: bool
    records: dict[JobId, JobRecord]
    unreachable: list[Attempt] = field(default_factory=list)
    uses: dict[str, Uses] = field(default_factory=dict)

    def one_by_one(self) -> None:
        """Do each job before the next one begins."""
        for number, turn in enumerate(self._turns(self.watch), start=1):
            self.stop()
            turn.done = self._begin(turn.job.planned, number)
            self._encode(turn, self.stop, self.watch)
            self.score(turn)(self.watch)

    def side_by_side(self) -> None:
        """Load and encode jobs while those before them are scored."""
        with Line(self._turns, self, self.watch) as line:

            def stop() -> None:
                self.stop()
                line.hear()

            for number, job in enumerate(self.plan.todo, start=1):
                stop()
                done = self._begin(job, number)
                turn = line.take()
                turn.done = done
                self._encode(turn, stop, self.watch)
                line.give(turn)
                if self.fail_fast and turn.job.failure is not None:
                    break
                # it is not to stay in memory for as long as the next one
                del turn

    def at_once(self, workers: Workers) -> None:
        """Load, encode and score several jobs at once, which several engines encode."""
        tell = Teller(self.watch)
        # those that are encoded, as many that are scored, and one that is loaded
        with Line[Any](self._turns, self, tell, lambda: 2 * workers.at_once + 1) as line:
            scorer = Scorer(workers, lambda: line.is_over)
            with Together[Attempt](line, lambda: workers.at_once, self.stop) as together:
                for number, job in enumerate(self.plan.todo, start=1):
                    together.wait()
                    done = self._begin(job, number, partial(tell.start, job.id))
                    turn = line.take()
                    turn.done = done
                    if done is None:
                        # in this thread, if it could not be done aside: none of the others stands in this folder
                        self._load(turn)
                        if turn.job.failure is not None:
                            # its record says what is known of the model after the jobs before it
                            together.wait_for_all()
                        turn.job.work.clock = together.clock
                        told = partial(_tell_of, job.id, line.tell)
                        turn.aside = together.begin(
                            partial(self._encode, turn, together.check, told),
                            partial(self._score_aside, turn, scorer),
                        )
                    line.give(turn)
                    if self.fail_fast and turn.job.failure is not None:
                        break
                    del turn

    def _turns(self, tell: Watch) -> Iterator[_Turn]:
        for members in by_task(self.plan.todo):
            # neighbouring jobs share it
            data = data_of(members, lambda message: tell(Notice(message)))
            yield from (_Turn(JobUnderWay(job), data, members if job is members[-1] else ()) for job in members)

    def _done(self, job: PlannedJob) -> JobRecord | None:
        """What another process may have done meanwhile."""
        return (
            None if self.plan.overwrite else done_record(self.plan.folder, job, save_rankings=self.plan.save_rankings)
        )

    def _begin(self, job: PlannedJob, number: int, watch: Watch | None = None) -> JobRecord | None:
        if (done := self._done(job)) is None:
            (watch or self.watch)(JobStarted(job, number, len(self.plan.todo)))
        return done

    def weight(self, turn: _Turn) -> float:
        """See `Stages`."""
        planned, loaded = turn.job.planned, turn.job.loaded
        if not is_native(planned.spec):
            # mteb draws from random numbers of the process, which the loading of others sets back
            return ALONE
        if loaded is None:
            return (planned.characters or 0) + _BYTES_OF_TEXT * (planned.texts or 0)
        return turn.job.work.bytes + _BYTES_OF_TEXT * sum(len(column.texts) for column in loaded.columns)

    def load(self, turn: _Turn) -> None:
        """See `Stages`."""
        if self._loads_aside() and self._done(turn.job.planned) is None:
            load_job(turn.job, turn.data)

    def _loads_aside(self) -> bool:
        return not any(needs_hub(job.spec) for job in self.plan.todo) or stand_apart()

    def _load(self, turn: _Turn) -> None:
        if turn.job.loaded is None and turn.job.failure is None:
            load_job(turn.job, turn.data)

    def _encode(
        self,
        turn: _Turn,
        stop: Callable[[], None],
        watch: Watch,
        planned: Callable[[], None] = _nobody_waits,
    ) -> None:
        if turn.done is not None:
            return
        self._load(turn)
        uses = self.uses.setdefault(turn.job.planned.id.task, Uses())

        def hear(event: RunEvent) -> None:
            if isinstance(event, ShardsUsed):
                uses.hear(event)
            elif isinstance(event, TextsPlanned):
                planned()
            else:
                watch(event)

        encode_job(turn.job, self.model, hear, stop)

    def _score_aside(self, turn: _Turn, scorer: Scorer) -> Attempt:
        # its seconds do not begin before its turn comes
        with scorer.turn():
            return score_job(turn.job, self.model, scorer)

    def score(self, turn: _Turn) -> Callable[[Watch], None]:
        """See `Stages`."""
        attempt = None
        if turn.aside is not None:
            if (attempt := turn.aside.result()) is None:
                # it was ended before it was encoded
                return _tell_nothing
        elif turn.done is None:
            workers = self.model.workers
            attempt = score_job(turn.job, self.model, None if workers is None else partial(score_here, workers))
        return partial(self._keep, turn, attempt)

    def _keep(self, turn: _Turn, attempt: Attempt | None, tell: Watch) -> None:
        """Store what came of a job, and with the last of its task what is kept of the task."""
        record = turn.done
        if attempt is not None:
            if attempt.out_of_reach:
                self.unreachable.append(attempt)
            if lost(self.plan.folder, [*self.records.values()][-1:]):
                self.forget_lost(tell)
            record = attempt.record if attempt.out_of_reach else self._stored(attempt)
            tell(JobEnded(record, attempt.work.seconds))
            if record.error is not None and self.fail_fast:
                self.records[record.job] = record
                raise EnoughError
        if record is not None:
            self.records[record.job] = record
        if turn.ends:
            # once a task, not once a job
            self._note(turn.job.planned.id.task)
            refresh(self.plan.folder, turn.ends)

    def forget_lost(self, tell: Watch) -> None:
        """What is gone from the folder is not done, though this run or one before has done it."""
        if gone := lost(self.plan.folder, self.records.values()):
            for record in gone:
                del self.records[record.job]
            which = f"results of {len(gone)} of {len(self.plan.jobs)} jobs"
            tell(Notice(f"{which} were removed or moved out of {self.plan.folder} meanwhile; run the command again"))

    def _stored(self, attempt: Attempt) -> JobRecord:
        plan = self.plan
        return store_attempt(plan.folder, self.model.spec, attempt, save_rankings=plan.save_rankings)

    def _note(self, task: str) -> None:
        if (uses := self.uses.pop(task, None)) is not None:
            uses.note(task)

    def note_uses(self) -> None:
        """Have the store know what was read so far."""
        while self.uses:
            task, uses = self.uses.popitem()
            uses.note(task)

    def end(self) -> None:
        """Store the jobs whose data were out of reach as failed, unless that is true of all."""
        if len(self.unreachable) == len(self.plan.jobs) > 0:
            reasons = dict.fromkeys(attempt.record.error or "" for attempt in self.unreachable)
            raise PrerequisiteError("\n".join(reasons))
        for attempt in self.unreachable:
            self.records[attempt.record.job] = self._stored(attempt)
