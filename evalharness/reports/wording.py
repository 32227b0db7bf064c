"""How a leaderboard is worded, in every format for people; texts of anyone's are on one line, not yet escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import isfinite

from evalharness.errors import MAX_NOTE, one_line, shorten
from evalharness.reports.board import Board, Mean, RankSpan, Row, Span

VOID = "\u2013"
TRAINED_ON = "\u2020"
DOUBTFUL = "?"
_MOST_NAMES = 20
_REVISION = re.compile(r"[0-9a-f]{7,}")
_UNITS = ((10**9, "B"), (10**6, "M"), (10**3, "K"))
_THREE_DIGITS = 100
_FEW = 10


def points(score: float | None) -> str:
    """A score times 100.

    >>> points(0.5), points(-0.00001)
    ('50.00', '0.00')
    """
    return VOID if score is None else f"{100 * score:z.2f}"


def best_points(scores: Iterable[float | None]) -> str | None:
    """The best score as it is printed, so that what looks alike is marked alike; None without any."""
    present = [score for score in scores if score is not None]
    return points(max(present)) if present else None


def span(found: Span | None) -> str:
    """An interval in points, with a mark if it may be too narrow; empty where nothing can be said.

    >>> span(Span(0.4, 0.61, is_trusted=False))
    '[40.00, 61.00]?'
    """
    if found is None or not (isfinite(found.low) and isfinite(found.high)):
        return ""
    return f"[{points(found.low)}, {points(found.high)}]{'' if found.is_trusted else DOUBTFUL}"


def mean(found: Mean | None) -> str:
    """A mean; a void one says how many of its scores there are."""
    if found is None:
        return VOID
    if found.score is None and found.present:
        return f"{VOID} ({found.present} of {found.expected})"
    return points(found.score)


def rank_span(found: RankSpan | None) -> str:
    r"""From the best to the worst rank.

    >>> rank_span(RankSpan(2, 2)), rank_span(RankSpan(1, 3)) == "1\u20133"
    ('2', True)
    """
    if found is None:
        return VOID
    return str(found.best) if found.best == found.worst else f"{found.best}\u2013{found.worst}"


def count(number: int) -> str:
    """How many parameters there are.

    >>> count(109_482_240), count(22_713_216), count(7_110_660_096), count(512)
    ('109M', '22.7M', '7.11B', '512')
    """
    for unit, name in _UNITS:
        if number >= unit:
            value = number / unit
            return f"{value:.0f}{name}" if value >= _THREE_DIGITS else f"{value:.3g}{name}"
    return str(number)


def speed(texts_per_second: float) -> str:
    """Texts per second, with a decimal where they are few."""
    return f"{texts_per_second:.1f}" if texts_per_second < _FEW else f"{texts_per_second:.0f}"


def system(row: Row) -> str:
    """The model, and what reranks for it."""
    return f"{one_line(row.model)} + {one_line(row.second_stage)}" if row.second_stage else one_line(row.model)


def named(row: Row) -> str:
    """The system, what options changed in it, its revision, and whether somebody published its scores."""
    changed = f" [{one_line(row.experiment)}]" if row.experiment else ""
    revision = one_line(row.revision[:8])
    if row.origin == "published":
        revision = f"{revision}, published" if _REVISION.fullmatch(row.revision) else "published"
    return f"{system(row)}{changed} ({revision})"


def missing(row: Row) -> str:
    """What a row lacks, tasks with the same reason together; empty if nothing."""
    reasons: dict[str, list[str]] = {}
    for task, cell in row.cells.items():
        if cell.missing:
            reasons.setdefault(cell.missing, []).append(one_line(task))
    return ", ".join(f"{shorten(names, _MOST_NAMES)} ({one_line(why, MAX_NOTE)})" for why, names in reasons.items())


def footnotes(row: Row) -> list[str]:
    """What is said of a row as a whole."""
    # beside the name it may be cut
    whole, shown = one_line(row.experiment, MAX_NOTE), one_line(row.experiment)
    return [
        *([f"run with other settings than the model's own: {whole}"] if whole != shown else []),
        *([f"no averages over missing tasks: {missing(row)}"] if row.missing else []),
        *(one_line(note, MAX_NOTE) for note in row.notes),
    ]


def remarks(board: Board) -> list[str]:
    """How to read a board: what its numbers are, and what its marks mean."""
    cells = [cell for row in board.rows for cell in row.cells.values()]
    spans = [span(cell.interval) for cell in cells if cell.interval is not None]
    spans += [span(row.mean_task.interval) for row in board.rows]
    found = [f"Main scores times 100; protocol: {one_line(board.protocol)}."]
    if board.sorted_by != "mean":
        found.append(f"Sorted by {one_line(board.sorted_by)}.")
    if any(row.experiment for row in board.rows):
        found.append("In brackets behind a model's name: what was set otherwise than the model has it.")
    if any(spans):
        found.append("In brackets: 95% intervals, on items like these.")
    if any(text.endswith(DOUBTFUL) for text in spans):
        found.append(f"{DOUBTFUL}: from so few items that the interval may be too narrow.")
    if any(row.on_these_tasks or row.on_tasks_like_these for row in board.rows):
        found.append("Rank 95%: by the mean over tasks, with other items (these tasks) or other tasks (such tasks).")
    if any(cell.is_trained_on for cell in cells):
        found.append(f"{TRAINED_ON}: the task is in the model's training data.")
    return found
