"""From stored runs to boards: which tasks, which rows, and in which order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evalharness.catalog.tasks import Member, TaskList
from evalharness.reports.board import Board, Row
from evalharness.reports.building.cells import catalogued, other_revision
from evalharness.reports.building.facts import with_facts
from evalharness.reports.building.rows import make_row
from evalharness.results.stored import StoredRun, StoredTask
from evalharness.types import PROTOCOLS, content_digest

_UNKNOWN_TYPE = "Other"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a report shows.

    Attributes:
        lists: a board for each: benchmarks, suites, own lists; of none, one of all tasks that any run has.
        types, languages: to keep, as `catalog.selection` has them.
        models: names of rows to keep; none: all.
        sort: what orders rows: `mean`, `type-mean`, `borda`, `name`, a task type or a task.
        common: whether a mean over the tasks that all rows have is shown.
        intervals: whether intervals are computed where items are at hand.
    """

    lists: Sequence[TaskList] = ()
    types: Sequence[str] = ()
    languages: Sequence[str] = ()
    models: Sequence[str] = ()
    sort: str = "mean"
    common: bool = False
    intervals: bool = True


def make_boards(runs: Sequence[StoredRun], choice: Choice = Choice()) -> list[Board]:
    """Put runs side by side: a table per list and protocol, for scores of two protocols do not compare.

    Args:
        runs: see `stored.read_runs`.
        choice: what is shown.
    """
    lists: Sequence[TaskList | None] = choice.lists or [None]
    return [board for tasks in lists for board in _boards(runs, tasks)]


def _by_type(members: Sequence[Member], runs: Sequence[StoredRun]) -> dict[str, list[Member]]:
    """Members by the catalogue's type, or by the type that the records of a task have."""
    recorded = {name: task.type for run in runs for name, task in run.tasks.items() if task.type is not None}
    types: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        spec = catalogued(member.task)
        types[spec.type if spec else recorded.get(member.task, _UNKNOWN_TYPE)].append(member)
    return dict(types)


def _told_apart(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The same runs; where several are of one model with the same settings, each says where it is."""

    def identity(run: StoredRun) -> str:
        return content_digest([run.model, run.revision, dict(run.overrides)])

    count = Counter(map(identity, runs))
    return [
        replace(run, problems=(*run.problems, f"one of {count[identity(run)]} folders of this model: {run.folder}"))
        if count[identity(run)] > 1
        else run
        for run in runs
    ]


def _revisions_noted(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The same runs; where data of a task are not the same in all of them or in the catalogue, each says its own."""
    revisions: dict[str, set[str | None]] = defaultdict(set)
    for task in (task for run in runs for task in run.tasks.values() if task.scores):
        revisions[task.task].add(task.revision)

    def noted(task: StoredTask) -> StoredTask:
        why = other_revision(task, catalogued(task.task))
        if not why and len(revisions[task.task]) > 1:
            why = f"data revision {task.revision or 'unknown'}, other rows have another"
        return replace(task, notes=(*task.notes, why)) if why else task

    return [replace(run, tasks={name: noted(task) for name, task in run.tasks.items()}) for run in runs]


def _boards(runs: Sequence[StoredRun], tasks: TaskList | None) -> list[Board]:
    """A board of each protocol; of None, over all tasks that any run has."""
    strict, runs = tasks is not None, _told_apart(runs)
    if tasks is None:
        runs = _revisions_noted(runs)
        names = sorted({name for run in runs for name, task in run.tasks.items() if not task.damage})
        tasks = TaskList(name="all stored tasks", tasks=tuple(Member(task=name) for name in names))
    protocols: dict[str, list[StoredRun]] = defaultdict(list)
    for run in runs:
        protocols[str(run.overrides.get("protocol", PROTOCOLS[0]))].append(run)
    types = _by_type(tasks.tasks, runs)
    return [
        _board([with_facts(make_row(run, types, strict=strict), run) for run in members], tasks.name, protocol, types)
        for protocol, members in sorted(protocols.items())
    ]


def _by_mean(row: Row) -> tuple[bool, float, str, str]:
    score = row.mean_task.score
    return (score is None, -(score or 0.0), row.model, row.revision)


def _board(rows: list[Row], title: str, protocol: str, types: Mapping[str, Sequence[Member]]) -> Board:
    ordered = sorted(rows, key=_by_mean)
    return Board(title, protocol, {name: [m.task for m in members] for name, members in types.items()}, ordered)
