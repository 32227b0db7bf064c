"""How well the numbers of a board are known: intervals of scores, means and ranks, from items and from tasks.

What stands in a board without NumPy stays without it: it is imported where there are items, or rows to rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from evalharness.catalog.tasks import Member
from evalharness.errors import shorten
from evalharness.reports.board import Board, Cell, Mean, Part, RankSpan, Row, Span
from evalharness.reports.building.cells import catalogued, member_cell
from evalharness.results.records import JobRecord
from evalharness.results.stored import StoredRun

if TYPE_CHECKING:
    from evalharness.compare.matching import PairedJob
    from evalharness.compare.single import ScoreEstimate
    from evalharness.metrics.statistics.ranks import RankSpan as RankInterval

# the ends of an interval move by some 1% of its length with the draws; so many scores take seconds then
_DRAWS = 2_000
# as `ranks` makes them
_RANK_DRAWS = 1_000
_MOST_REASONS = 3


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a row's scores from their items.

    Attributes:
        tasks: by name of the task.
        parts: by name of the task, split and subset, of tasks that have several.
        problems: by name of the task, why nothing is known although there are items.
    """

    tasks: dict[str, ScoreEstimate] = field(default_factory=dict)
    parts: dict[tuple[str, str, str], ScoreEstimate] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Job:
    """A record whose items a score is made of.

    Attributes:
        folder: of the results.
        record: which.
        part: the task that it is of, if the score is an aggregate's; else empty.
        weight: of its score in the part's, or in the task's.
    """

    folder: Path
    record: JobRecord
    part: str
    weight: float


def with_uncertainty(board: Board, runs: Sequence[StoredRun], *, intervals: bool, ranks: bool) -> Board:
    """The board with the intervals of its scores and means, and of its ranks.

    Args:
        board: without them.
        runs: of its rows, in any order.
        intervals: whether those of scores are wanted, and of ranks on these tasks.
        ranks: whether those of ranks are wanted.
    """
    known = known_from_items(board, runs) if intervals else [Known()] * len(board.rows)
    board = with_intervals(board, known)
    return with_ranks(board, known) if ranks else board


def known_from_items(board: Board, runs: Sequence[StoredRun]) -> list[Known]:
    """Of each row, what its items tell.

    Args:
        board: whose rows are of these runs, in any order.
        runs: by their folders.
    """
    by_folder = {run.folder: run for run in runs if not run.is_published}
    known = [Known() for _ in board.rows]
    # task by task, for the rows of a task are resampled alike
    for task in board.tasks:
        for row, found in zip(board.rows, known, strict=True):
            run = None if row.folder is None else by_folder.get(row.folder)
            jobs = [] if run is None else list(_jobs(run, row.cells[task], task))
            if jobs:
                _learn(task, jobs, found)
    return known


def _jobs(run: StoredRun, cell: Cell, task: str) -> Iterator[_Job]:
    """What a score is made of; nothing where not all of it has items."""
    spec = catalogued(task)
    parts = {"": cell.parts}
    if not cell.parts and spec is not None and spec.parts:
        parts = {part: member_cell(run, Member(task=part), "", strict=False).parts for part in spec.parts}
    jobs = [
        _Job(run.folder, part.job.record, name, 1 / len(found))
        for name, found in parts.items()
        for part in found
        if part.job is not None and part.job.record is not None and part.job.record.items is not None
    ]
    if cell.score is not None and jobs and len(jobs) == sum(map(len, parts.values())) and all(parts.values()):
        yield from jobs


def _learn(task: str, jobs: Sequence[_Job], known: Known) -> None:
    from evalharness.compare.comparison import Settings
    from evalharness.compare.matching import NotComparedError, ScoresOnlyError
    from evalharness.compare.single import score_estimate

    try:
        read = [_read(job, len({job.part for job in jobs})) for job in jobs]
    except (NotComparedError, ScoresOnlyError) as error:
        known.problems[task] = str(error)
        return
    known.tasks[task] = score_estimate(task, read, Settings(draws=_DRAWS))
    if len(jobs) > 1 and not jobs[0].part:
        for job, items in zip(jobs, read, strict=True):
            where = job.record.job
            alone = [replace(items, weight=1.0)]
            known.parts[task, where.split, where.subset] = score_estimate(str(where), alone, Settings(draws=_DRAWS))


def _read(job: _Job, parts: int) -> PairedJob:
    from evalharness.compare.matching import alone
    from evalharness.compare.pairing import of_part

    found = alone(job.folder, job.record, job.weight)
    return of_part(found, job.part, parts) if job.part else found


def with_intervals(board: Board, known: Sequence[Known]) -> Board:
    """The board with the 95% intervals of its scores and means; what has items that say nothing has a footnote.

    Args:
        board: without them.
        known: of each row.
    """
    rows = [_row(board, row, found) for row, found in zip(board.rows, known, strict=True)]
    return replace(board, rows=rows)


def _row(board: Board, row: Row, known: Known) -> Row:
    if not known.tasks and not known.problems:
        return row
    types = {kind: _mean_of([known.tasks.get(task) for task in tasks]) for kind, tasks in board.types.items()}
    every = _mean_of([known.tasks.get(task) for task in board.tasks])
    common = row.common and _with_interval(row.common, _mean_of([known.tasks.get(task) for task in board.common]))
    return replace(
        row,
        cells={task: _cell(task, cell, known) for task, cell in row.cells.items()},
        types={kind: _with_interval(mean, types[kind]) for kind, mean in row.types.items()},
        mean_task=_with_interval(row.mean_task, every),
        mean_type=_with_interval(row.mean_type, _mean_of(list(types.values()))),
        common=common,
        notes=[*row.notes, *_notes(known)],
    )


def _notes(known: Known) -> list[str]:
    if not known.problems:
        return []
    reasons = [f"{task} ({why})" for task, why in known.problems.items()]
    count = f"{len(reasons)} {'task' if len(reasons) == 1 else 'tasks'}"
    return [f"no interval of {count} whose items do not tell: {shorten(reasons, _MOST_REASONS)}"]


def _mean_of(known: Sequence[ScoreEstimate | None]) -> ScoreEstimate | None:
    from evalharness.compare.single import mean_estimate

    found = [estimate for estimate in known if estimate is not None]
    return mean_estimate(found) if found and len(found) == len(known) else None


def _with_interval(mean: Mean, known: ScoreEstimate | None) -> Mean:
    return replace(mean, interval=_span(mean.score, known))


def _cell(task: str, cell: Cell, known: Known) -> Cell:
    whole = known.tasks.get(task)
    several = len(cell.parts) > 1
    parts = [_part(part, known.parts.get((task, part.split, part.subset)) if several else whole) for part in cell.parts]
    why = known.problems.get(task)
    notes = [*cell.notes, f"no interval: {why}"] if why else cell.notes
    return replace(cell, interval=_span(cell.score, whole), parts=parts, notes=notes)


def _part(part: Part, known: ScoreEstimate | None) -> Part:
    return replace(part, interval=_span(part.score, known))


def _span(score: float | None, known: ScoreEstimate | None) -> Span | None:
    """Of a score that is shown, which may be rounded (mteb's files are, to six digits)."""
    interval = None if known is None else known.interval
    if score is None or known is None or interval is None:
        return None
    return Span(min(interval.low, score), max(interval.high, score), interval.method, known.is_trusted)


def with_ranks(board: Board, known: Sequence[Known]) -> Board:
    """The board with 95% intervals of the ranks of its rows that have a mean, as `ranks` makes them.

    On tasks like these, tasks are resampled; on these tasks, their items, where all of these rows have the same.

    Args:
        board: without them.
        known: of each row.
    """
    places = [place for place, row in enumerate(board.rows) if row.mean_task.score is not None]
    if len(places) < 2:  # noqa: PLR2004 -- one row is first whatever happens
        return board
    # from here on NumPy is needed
    import numpy as np

    from evalharness.compare.ranks.boards import Scores, rank

    why = _not_the_same(board, [known[place] for place in places])
    items = (
        {} if why else {task: np.array([known[place].tasks[task].values for place in places]) for task in board.tasks}
    )
    scores = np.array([[board.rows[place].cells[task].score for task in board.tasks] for place in places])
    ranking = rank(Scores(board.title, list(map(str, places)), board.tasks, scores, items, {}), _RANK_DRAWS).ranking
    rows = list(board.rows)
    for standing in ranking.standings:
        place = places[standing.model]
        rows[place] = replace(
            rows[place],
            on_these_tasks=_rank_span(standing.on_these_tasks),
            on_tasks_like_these=_rank_span(standing.on_tasks_like_these),
        )
    return replace(
        board, rows=rows, notes=[*board.notes, why] if why and any(found.tasks for found in known) else board.notes
    )


def _rank_span(found: RankInterval | None) -> RankSpan | None:
    return None if found is None else RankSpan(found.best, found.worst)


def _not_the_same(board: Board, known: Sequence[Known]) -> str:
    """Why items of these rows cannot be resampled together; empty if they can."""
    start = "no intervals of ranks on these tasks: "
    if lacking := sum(any(task not in found.tasks for task in board.tasks) for found in known):
        return f"{start}{lacking} of the {len(known)} rows that have a mean lack items of a task"
    other = [task for task in board.tasks if len({found.tasks[task].which for found in known}) > 1]
    return f"{start}rows do not have the same items of {shorten(other)}" if other else ""
