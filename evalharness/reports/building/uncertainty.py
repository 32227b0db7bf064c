"""How well the numbers of a board are known: intervals of scores, means and ranks, from items and from tasks.

What stands in a board without NumPy stays without it: it is imported where there are items, or rows to rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

# fewer than `compare` makes, so that a thousand scores take seconds; with other draws the ends of an interval move by
# a small share of its length
_DRAWS = 2_000
# as `ranks` makes them
_RANK_DRAWS = 1_000
_MOST_REASONS = 3
_CLUSTERING = "Clustering"
_OF_DRAWS = ", of draws of the same texts"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a row's scores from their items.

    Attributes:
        tasks: by name of the task.
        parts: by name of the task, split and subset; not of a task that has one, of which all is known as of the task.
        problems: by name of the task, why nothing is known although there are items.
    """

    tasks: Mapping[str, ScoreEstimate] = field(default_factory=dict)
    parts: Mapping[tuple[str, str, str], ScoreEstimate] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    def __or__(self, other: Known) -> Known:
        """Both, of different tasks."""
        tasks, parts = {**self.tasks, **other.tasks}, {**self.parts, **other.parts}
        return Known(tasks, parts, {**self.problems, **other.problems})


@dataclass(frozen=True, slots=True)
class _Job:
    """A record whose items a score is made of.

    Attributes:
        record: which.
        part: the task that it is of, if the score is an aggregate's; else empty.
        weight: of its score in the part's, or in the task's.
    """

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
    found = []
    for row in board.rows:
        run = None if row.folder is None else by_folder.get(row.folder)
        found.append(Known() if run is None else _known(run, row, board.types))
    return found


def _known(run: StoredRun, row: Row, types: Mapping[str, Sequence[str]]) -> Known:
    known = Known()
    for kind, tasks in types.items():
        said = _OF_DRAWS if kind == _CLUSTERING else ""
        for task in tasks:
            if made_of := _made_of(run, row.cells[task], task):
                known |= _of_task(task, _Made(run.folder, made_of, row.cells[task].score is not None, said))
    return known


def _made_of(run: StoredRun, cell: Cell, task: str) -> list[_Job | None]:
    """What a score is made of, None for what has no items; nothing where nothing has any."""
    spec = catalogued(task)
    parts = {"": cell.parts}
    if not cell.parts and spec is not None and spec.parts:
        parts = {part: member_cell(run, Member(task=part), "", strict=False).parts for part in spec.parts}
    jobs = [_job(name, part, 1 / len(found)) for name, found in parts.items() for part in found]
    return jobs if any(jobs) else []


def _job(task: str, part: Part, weight: float) -> _Job | None:
    record = None if part.job is None else part.job.record
    return None if record is None or record.items is None else _Job(record, task, weight)


@dataclass(frozen=True, slots=True)
class _Made:
    """A task's score and what it is made of.

    Attributes:
        folder: of the results.
        jobs: what it is made of; None for what has no items.
        is_whole: whether there is a score.
        said: of its intervals, for people.
    """

    folder: Path
    jobs: Sequence[_Job | None]
    is_whole: bool
    said: str


def _of_task(task: str, made: _Made) -> Known:
    from evalharness.compare.comparison import Settings
    from evalharness.compare.matching import NotComparedError, ScoresOnlyError
    from evalharness.compare.single import score_estimate

    def estimated(name: str, jobs: Sequence[PairedJob]) -> ScoreEstimate:
        found = score_estimate(name, jobs, Settings(draws=_DRAWS))
        return replace(found, method=f"{found.method}{made.said}")

    read: list[PairedJob] = []
    parts: dict[tuple[str, str, str], ScoreEstimate] = {}
    why: list[str] = []
    jobs = [job for job in made.jobs if job is not None]
    for job in jobs:
        try:
            read.append(_read(made.folder, job, len({each.part for each in jobs})))
        except (NotComparedError, ScoresOnlyError) as error:
            why.append(str(error))
            continue
        # of the only part, all is known as of the task
        if (len(made.jobs) > 1 and not job.part) or not made.is_whole:
            where = job.record.job
            parts[task, where.split, where.subset] = estimated(str(where), [replace(read[-1], weight=1.0)])
    is_known = made.is_whole and len(read) == len(made.jobs)
    return Known({task: estimated(task, read)} if is_known else {}, parts, {task: why[0]} if why else {})


def _read(folder: Path, job: _Job, parts: int) -> PairedJob:
    from evalharness.compare.matching import alone
    from evalharness.compare.pairing import of_part

    found = alone(folder, job.record, job.weight)
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
    if not (known.tasks or known.parts or known.problems):
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
    # of a single part, all that is known of the whole
    parts = [_part(part, known.parts.get((task, part.split, part.subset), whole)) for part in cell.parts]
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
    return Span(min(interval.low, score), max(interval.high, score), known.method, known.is_trusted)


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
    with_items = [] if why else board.tasks
    items = {task: np.array([known[place].tasks[task].values for place in places]) for task in with_items}
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
    # where no row has items nobody misses what they would say
    is_said = why and any(found.tasks for found in known)
    return replace(board, rows=rows, notes=[*board.notes, why] if is_said else board.notes)


def _rank_span(found: RankInterval | None) -> RankSpan | None:
    return None if found is None else RankSpan(found.best, found.worst)


def _not_the_same(board: Board, known: Sequence[Known]) -> str:
    """Why items of these rows cannot be resampled together; empty if they can."""
    start = "no intervals of ranks on these tasks: "
    if lacking := sum(any(task not in found.tasks for task in board.tasks) for found in known):
        return f"{start}{lacking} of the {len(known)} rows that have a mean lack items of a task"
    other = [task for task in board.tasks if len({found.tasks[task].which for found in known}) > 1]
    return f"{start}rows do not have the same items of {shorten(other)}" if other else ""
