"""Published scores in a board: which of their rows are shown, and what is said of where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from evalharness.errors import UsageError
from evalharness.reports.board import Cell, Row
from evalharness.reports.building.cells import catalogued, other_revision
from evalharness.reports.building.choosing import Choice, wanted_tasks
from evalharness.results.clone import read_clone
from evalharness.results.published import EXTERNAL, UNPINNED, published_runs
from evalharness.results.stored import StoredRun

MIXED = (
    "rows marked as published are not results of ours: their scores are public ones of mixed sources, "
    "of other versions of mteb and of the data"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """Rows of a board, and what is said of published ones that are not among them.

    Attributes:
        rows: results first, as they were given.
        notes: of the board.
    """

    rows: Sequence[Row]
    notes: Sequence[str]


def public_runs(
    own: Sequence[StoredRun], choice: Choice, clone: Path | None = None, *, is_boxed: bool = True
) -> list[StoredRun]:
    """Rows of public models; one that is in a clone is not shown from the box, too.

    Args:
        own: the user's results.
        choice: whose tasks are read.
        clone: a clone of the public results repository; None for none.
        is_boxed: whether those that come with evalharness are among them.

    Raises:
        UsageError: nothing is there for models to be near to.
        DataError: the clone holds no results.
    """
    if choice.nearest is not None and not own:
        raise UsageError("--nearest shows public models near yours; name a folder with your results")
    tasks = wanted_tasks(choice) or {name for run in own for name in run.tasks} or None
    cloned = [] if clone is None else read_clone(clone, tasks)
    there = {run.model for run in cloned}
    boxed = published_runs() if is_boxed else []
    return [*cloned, *(run for run in boxed if run.model not in there)]


def sources_of(run: StoredRun, cells: Mapping[str, Cell]) -> list[str]:
    """A note of how many of a published row's scores come from where, and are of which data.

    Args:
        run: the row.
        cells: by task; those without a score do not count.
    """
    scored = {name: cell for name, cell in cells.items() if cell.score is not None}
    if not scored:
        return []
    stored = {name: run.tasks.get(name) for name in scored}
    other = [task for name, task in stored.items() if other_revision(task, catalogued(name))]
    unknown = sum(task is not None and task.revision is None for task in other)
    counts = {
        "copied from the model's card": sum(EXTERNAL in cell.source for cell in scored.values()),
        "of an early run of an unknown revision": sum(UNPINNED in cell.source for cell in scored.values()),
        "on other data revisions than the catalogue's": len(other) - unknown,
        "on data of an unknown revision": unknown,
    }
    said = [f"{count} {what}" for what, count in counts.items() if count]
    return [f"of {len(scored)} published scores: {', '.join(said)}"] if said else []


def shown_rows(rows: Sequence[Row], *, nearest: int | None = None, all_named: bool = False) -> Shown:
    """Leave out published rows that do not compare, or all but those that are nearest to the results.

    Args:
        rows: of a board, results and published ones.
        nearest: how many of them are kept for each row of results, by the mean over the tasks that it has; None: all.
        all_named: whether the published rows were asked for by name, so that incomplete ones are kept, too.
    """
    own = [row for row in rows if row.origin == "results"]
    public = [row for row in rows if row.origin == "published"]
    if not public:
        return Shown(rows, [])
    if nearest is not None:
        kept = _near(own, public, nearest)
        left = len(public) - len(kept)
        said = f"the {nearest} published models nearest to each of the results, by the mean over the tasks that it has"
        notes = [f"{said}; {left} others are not shown"] if left else []
    elif all_named:
        kept, notes = public, []
    else:
        # of some tasks, own ones for example, nobody publishes a score; they void averages, not rows
        known = _published_tasks(public)
        kept = [row for row in public if known and all(row.cells[task].score is not None for task in known)]
        left = len(public) - len(kept)
        notes = [_lacking(left)] if left else []
    return Shown([*own, *kept], [*([MIXED] if kept else []), *notes])


def _lacking(count: int) -> str:
    if count == 1:
        return "1 published model lacks tasks that other published ones have, and is not shown; --models shows it"
    return f"{count} published models lack tasks that other published ones have, and are not shown; --models shows them"


def _near(own: Sequence[Row], public: Sequence[Row], count: int) -> list[Row]:
    """The published rows that are among the nearest to any of the results, by the tasks that anybody published."""
    known = _published_tasks(public)
    found: set[int] = set()
    for row in own:
        mine = {task: cell.score for task, cell in row.cells.items() if cell.score is not None and task in known}
        if not mine:
            continue
        level = fmean(mine.values())
        distances = {
            number: abs(mean - level)
            for number, other in enumerate(public)
            if (mean := _mean_over(other, list(mine))) is not None
        }
        found |= set(sorted(distances, key=lambda number: (distances[number], public[number].model))[:count])
    return [row for number, row in enumerate(public) if number in found]


def _published_tasks(public: Sequence[Row]) -> set[str]:
    """Those of which anybody published a score."""
    return {task for row in public for task, cell in row.cells.items() if cell.score is not None}


def _mean_over(row: Row, tasks: Sequence[str]) -> float | None:
    """None where it has not all of them."""
    scores = [score for task in tasks if (score := row.cells[task].score) is not None]
    return fmean(scores) if len(scores) == len(tasks) else None
