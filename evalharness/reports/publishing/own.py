"""What of results may be published as one's own: complete tasks of unchanged models, by mteb's protocol."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evalharness.catalog.tasks import Member, TaskSpec
from evalharness.errors import UsageError, as_utf8, one_line, shorten
from evalharness.reading import read_object
from evalharness.reports.board import Board, Cell, Part
from evalharness.reports.building.cells import catalogued, member_cell
from evalharness.results.records import check_name
from evalharness.results.stored import StoredRun, StoredTask
from evalharness.results.views import StoredJob, task_view
from evalharness.types import PROTOCOLS

# what names a folder: a commit, a hash, `no_revision_available`
_REVISION = re.compile(r"\w[\w.-]{0,199}")
# how models are named that are folders of a machine, not repositories of the Hub
LOCAL = "local/"
_MOST_NOTES, _LONGEST_NOTE = 3, 300


@dataclass(frozen=True, slots=True)
class OwnTask:
    """A task with all scores that it needs.

    Attributes:
        stored: as it was read.
        spec: the catalogue's; None for a task that only results have.
        cell: its score, with its parts and their intervals.
    """

    stored: StoredTask
    spec: TaskSpec | None
    cell: Cell

    @property
    def name(self) -> str:
        """The task's."""
        return self.stored.task

    @property
    def hub_id(self) -> str:
        """The data set on the Hub; empty where there is none that mteb names."""
        return self.spec.dataset if self.spec is not None else ""

    @property
    def revision(self) -> str | None:
        """Of the data."""
        return self.stored.revision

    def part_name(self, part: Part) -> str:
        """What mteb calls a part of it in `eval.yaml`."""
        return f"{self.name}_{part.subset}_{part.split}"


@dataclass(frozen=True, slots=True)
class OwnResults:
    """What a run may publish.

    Attributes:
        run: as it was read.
        tasks: those that may be, by name.
        left_out: the others, with the reason; the name is empty for all of them.
    """

    run: StoredRun
    tasks: Sequence[OwnTask]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where it belongs among others: organisation__model/revision."""
        return Path(self.run.model.replace("/", "__"), self.run.revision)

    def without(self, left_out: Mapping[str, str]) -> OwnResults:
        """The same without some of its tasks, which a form has no place for."""
        tasks = [task for task in self.tasks if task.name not in left_out]
        return replace(self, tasks=tasks, left_out={**self.left_out, **left_out})

    def view(self, task: OwnTask) -> dict[str, Any]:
        """mteb's TaskResult of a task, as its records have it now, or as mteb wrote it.

        Raises:
            DataError: mteb's file cannot be read any more.
        """
        view = task_view(task.stored.jobs)
        return read_object(self.run.folder / f"{task.name}.json") if view is None else view


def own_results(runs: Sequence[StoredRun], boards: Sequence[Board]) -> list[OwnResults]:
    """What of the runs on these boards may be published as one's own.

    Args:
        runs: as they were read.
        boards: which runs and which of their tasks are meant, and the intervals of scores.
    """
    shown: dict[Path, dict[str, None]] = {}
    for board in boards:
        for row in board.rows:
            if row.origin == "results" and row.folder is not None:
                shown.setdefault(row.folder, {}).update(dict.fromkeys(board.tasks))
    cells = _cells(boards)
    own = [run for run in runs if not run.is_published and run.folder in shown]
    count = Counter((run.model, run.revision) for run in own if not _refusal(run))
    found = []
    for run in own:
        if why := _refusal(run) or _twice(run, count[run.model, run.revision]):
            found.append(OwnResults(run, (), {"": why}))
        else:
            found.append(_own(run, _stored_names(run, list(shown[run.folder])), cells))
    return found


def _twice(run: StoredRun, count: int) -> str:
    """Why a run is not published whose place another one would have, too; empty where it is the only one."""
    return (
        f"one of {count} folders of this model at this revision: {as_utf8(run.folder)}; name one of them"
        if count > 1
        else ""
    )


def _cells(boards: Sequence[Board]) -> dict[tuple[Path, str], list[Cell]]:
    """A run's scores of a task on all boards."""
    found: dict[tuple[Path, str], list[Cell]] = {}
    for board in boards:
        for row in board.rows:
            if (folder := row.folder) is not None:
                for task, cell in row.cells.items():
                    found.setdefault((folder, task), []).append(cell)
    return found


def _with_intervals(cell: Cell, shown: Sequence[Cell]) -> Cell:
    """The same with what boards say of its parts, and of the whole where they are of the same parts."""
    parts = {_place(part): part.interval for other in shown for part in other.parts if part.interval is not None}
    same = [other for other in shown if list(map(_place, other.parts)) == list(map(_place, cell.parts))]
    return replace(
        cell,
        parts=[replace(part, interval=parts.get(_place(part))) for part in cell.parts],
        interval=next((other.interval for other in same if other.interval is not None), None),
    )


def _place(part: Part) -> tuple[str, str]:
    return part.split, part.subset


def _stored_names(run: StoredRun, names: Sequence[str]) -> list[str]:
    """Those of the named tasks that the run has; of an aggregate, its parts."""
    found: dict[str, None] = {}
    for name in names:
        spec = catalogued(name)
        found |= dict.fromkeys(spec.parts if spec is not None and spec.parts and name not in run.tasks else [name])
    return sorted(name for name in found if name in run.tasks)


def _own(run: StoredRun, names: Sequence[str], cells: Mapping[tuple[Path, str], Sequence[Cell]]) -> OwnResults:
    tasks, left_out = [], {}
    for name in names:
        spec = catalogued(name)
        cell = member_cell(run, Member(task=name), spec.main_score if spec is not None else "", strict=True)
        if cell.score is None:
            left_out[name] = cell.missing
            continue
        tasks.append(OwnTask(run.tasks[name], spec, _with_intervals(cell, cells.get((run.folder, name), ()))))
    return OwnResults(run, tasks, left_out)


def _refusal(run: StoredRun) -> str:
    """Why nothing of a run is a result of its model itself; empty where it is one."""
    changes = dict(run.overrides)
    protocol = changes.pop("protocol", PROTOCOLS[0])
    if protocol != PROTOCOLS[0]:
        return f"by the protocol {protocol}; what others read is by mteb's"
    if changes:
        shown = shorten([f"{name} {value}" for name, value in sorted(changes.items())])
        return f"not of the model itself, which options changed: {shown}"
    try:
        check_name(run.model)
    except UsageError as error:
        return str(error)
    if run.revision == "unknown" or not _REVISION.fullmatch(run.revision):
        return "nobody says which revision of the model it is"
    return ""


def newest(jobs: Sequence[StoredJob]) -> float:
    """When the last of them was done, in seconds since 1970; 0 where nobody says."""
    return max((job.record.written for job in jobs if job.record is not None and not job.problem), default=0.0)


def harness_of(jobs: Sequence[StoredJob]) -> str:
    """The version of evalharness that made them; empty where nobody says."""
    versions = {job.record.facts.get("evalharness") for job in jobs if job.record is not None and not job.problem}
    return shorten(sorted(version for version in versions if isinstance(version, str)))


def said(notes: Sequence[str]) -> str:
    """Footnotes on one line, cut where they are many or long."""
    return one_line(shorten(notes, _MOST_NOTES), _LONGEST_NOTE)
