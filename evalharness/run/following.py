"""A training that is followed: its checkpoints are evaluated one after another, and judged as a series.

What was evaluated is noted in a file beside the results, so that a training or a watch that goes on later goes on with
the same series, also where checkpoints are gone by then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from pydantic import Field

from evalharness.catalog.selection import select
from evalharness.catalog.tasks import Member, TaskList
from evalharness.compare.comparison import Settings
from evalharness.compare.series import Series, judge_series, next_step
from evalharness.compare.sides import Results, read_side, results_of
from evalharness.errors import DataError, without_secrets
from evalharness.files import atomic_path, storage_errors
from evalharness.models.options import Execution, ModelOptions
from evalharness.reading import read_object, validated
from evalharness.results.evaluation import Evaluation
from evalharness.results.stored import read_runs
from evalharness.run.evaluate import RunOptions, Tasks, evaluate, selected
from evalharness.types import Frozen

_ODD = re.compile(r"[^A-Za-z0-9_.-]+")
_DIGEST = 8


@dataclass(frozen=True, slots=True)
class How:
    """How checkpoints are evaluated and judged.

    Attributes:
        tasks: as `evaluate` takes them; None for the quick suite of the model's language.
        output: folder for results.
        options: what to change against the checkpoints' files.
        execution: how they run.
        run: everything else of a run.
        baseline: results that the first checkpoint is compared with, as `compare` takes them; None if it is the base.
        settings: how they are judged; `alpha` is that of the whole series.
    """

    tasks: Tasks | None = None
    output: Path = Path("results")
    options: ModelOptions = field(default_factory=ModelOptions)
    execution: Execution | None = None
    run: RunOptions = field(default_factory=RunOptions)
    baseline: str | None = None
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model of a training.

    Attributes:
        step: of the training.
        folder: its files; the folder's name is the checkpoint's.
    """

    step: int
    folder: Path

    @property
    def name(self) -> str:
        """Its name within the training."""
        return self.folder.name


class _Entry(Frozen):
    """What is noted of a checkpoint: its step and name, the results' folder below `output`, and the tasks."""

    step: int = Field(ge=0)
    name: str
    results: str


class _Notes(Frozen):
    """What is noted of a series; `tasks` are those of the last evaluation."""

    training: str
    tasks: TaskList | None
    checkpoints: tuple[_Entry, ...]


@dataclass(frozen=True, slots=True)
class _Member:
    """A checkpoint of the series.

    Attributes:
        entry: what is noted of it.
        results: its results.
        is_seen: whether it was evaluated here, and not only noted by whoever followed the training before.
    """

    entry: _Entry
    results: Results
    is_seen: bool


class Training:
    """A training whose checkpoints are evaluated.

    Attributes:
        folder: of its checkpoints; its name is a part of their names in results.
        how: see `How`.
        series: what is known so far.
    """

    def __init__(self, folder: Path, how: How) -> None:
        """See that the tasks and the baseline are there.

        Raises:
            UsageError: they are not.
            DataError: a task file or the baseline is wrong.
        """
        # of use wherever the process stands later
        self.folder, self._output = folder.absolute(), how.output.absolute()
        self.how = how
        if how.tasks is not None:
            select(selected(how.tasks))
        self._baseline = [] if how.baseline is None else [read_side(how.baseline)]
        self._members: list[_Member] = []
        self._tasks: TaskList | None = None
        self.series: Series
        self._judge()

    @property
    def notes(self) -> Path:
        """The file in which it is noted what was evaluated."""
        digest = sha256(str(self.folder).encode(errors="surrogateescape")).hexdigest()[:_DIGEST]
        return self._output / f"training-{_plain(self.folder.name)}-{digest}.json"

    @property
    def names(self) -> Sequence[str]:
        """Names of the checkpoints of the series, in the order in which they were evaluated."""
        return [member.entry.name for member in self._members]

    def place(self, checkpoint: Checkpoint) -> int:
        """Where an evaluated checkpoint is in the series."""
        return len(self._baseline) + self.names.index(checkpoint.name)

    def go_on(self, until: int | None = None) -> None:
        """Take up the series that is noted.

        Args:
            until: the step at which the training goes on, so that what was evaluated after it does not count; None if
                everything does.

        Raises:
            DataError: the file is not what was written.
        """
        if not self.notes.exists():
            return
        noted = validated(_Notes, read_object(self.notes), str(self.notes))
        self._tasks = noted.tasks
        for entry in noted.checkpoints:
            folder = self._output / entry.results
            if (until is None or entry.step <= until) and folder.is_dir():
                self._members.append(_Member(entry, _read(folder), is_seen=False))
        self._judge()

    def add(self, checkpoint: Checkpoint) -> Evaluation:
        """Evaluate a checkpoint and judge it; one of the same name that has other content takes its place.

        Returns:
            The results of its jobs, of which some may have failed.

        Raises:
            EvalHarnessError: as `evaluate`; the series stays as it was.
        """
        name = f"{_plain(self.folder.name)}/{_plain(checkpoint.name)}"
        options = self.how.options.changed({"name": name})
        evaluation = evaluate(
            checkpoint.folder,
            self.how.tasks,
            output=self._output,
            options=options,
            execution=self.how.execution,
            run=self.how.run,
        )
        entry = _Entry(
            step=checkpoint.step,
            name=checkpoint.name,
            results=evaluation.folder.relative_to(self._output).as_posix(),
        )
        self._put(_Member(entry, _read(evaluation.folder), is_seen=True), _tasks_of(evaluation))
        self._note()
        return evaluation

    def _put(self, member: _Member, tasks: TaskList) -> None:
        others = [other for other in self._members if other.entry.name != member.entry.name]
        before = [other for other in self._members if other.entry.name == member.entry.name]
        if before and before[0].entry.results != member.entry.results:
            # the training began anew, and what was noted of the one before it is of no use
            others = [other for other in others if other.is_seen and other.entry.step < member.entry.step]
        # looks count in the order in which they are made: one that comes late changes none that was made before it
        members = [*others, member]
        if before and before[0].entry.results == member.entry.results:
            members = [member if other.entry.name == member.entry.name else other for other in self._members]
        known, same_tasks = [each.entry for each in self._members], self._tasks == tasks
        self._members, self._tasks = members, tasks
        if same_tasks and known == [each.entry for each in members]:
            return
        if same_tasks and known == [each.entry for each in members[:-1]]:
            self.series = next_step(self.series, member.results)
        else:
            self._judge()

    def _judge(self) -> None:
        results = [*self._baseline, *(member.results for member in self._members)]
        self.series = judge_series(results, self._tasks, self.how.settings)

    def _note(self) -> None:
        entries = tuple(member.entry for member in self._members)
        notes = _Notes(training=str(self.folder), tasks=self._tasks, checkpoints=entries)
        advice = "name another folder for results"
        with (
            storage_errors(self.notes.parent, f"the series cannot be noted in {self.notes}", advice),
            atomic_path(self.notes) as temporary,
        ):
            temporary.write_text(notes.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _plain(name: str) -> str:
    """A name as it can be a part of a model's."""
    return _ODD.sub("-", name).lstrip(".-") or "training"


def _tasks_of(evaluation: Evaluation) -> TaskList:
    """The tasks of an evaluation, with the splits and subsets that it has of each."""
    jobs = [*(result.record.job for result in evaluation), *evaluation.undone]
    names = dict.fromkeys(job.task for job in jobs)
    return TaskList(
        name="the series",
        tasks=tuple(
            Member(
                task=name,
                splits=tuple(dict.fromkeys(job.split for job in jobs if job.task == name)),
                subsets=tuple(dict.fromkeys(job.subset for job in jobs if job.task == name)),
            )
            for name in sorted(names)
        ),
    )


def _read(folder: Path) -> Results:
    """The results of one folder, without those of other options that lie inside it."""
    for run in read_runs([folder]):
        if run.folder.resolve() == folder.resolve():
            return results_of(run, str(folder))
    raise DataError(f"{folder}: holds no results; remove the folder, and the checkpoint is evaluated anew")


def failures(evaluation: Evaluation) -> list[str]:
    """What a person has to know of jobs that failed or were not done, a line each."""
    failed = [f"{job.record.job} failed: {job.error}" for job in evaluation.failed]
    return [without_secrets(line) for line in (*failed, *(f"{job} was not done" for job in evaluation.undone))]
