"""What is drawn of a score, its interval and its axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median

from evalharness.errors import UsageError
from evalharness.reports.board import Board, Mean, Row, Span
from evalharness.reports.plots.drawing.names import shown

POINTS = 100
# a panel that needs more than so many times the usual span has a scale of its own, as all have then
_OUTLIER = 4.0
# around what is drawn, as a part of its span; and the smallest span, in points
_AROUND, _SMALLEST = 0.08, 1.0
_LONGEST_METHODS = 120


@dataclass(frozen=True, slots=True)
class Overall:
    """The one score of a row.

    Attributes:
        title, short: for people, with the number of tasks.
        of: a row's; None where it is void.
    """

    title: str
    short: str
    of: Callable[[Row], Mean | None]


def overall(board: Board) -> Overall:
    """The mean over all tasks; where no row has all of them, over those that all rows have, if that was asked for."""
    tasks = len(board.tasks)
    if not has_score([row.mean_task for row in board.rows]) and has_score([row.common for row in board.rows]):
        count = len(board.common)
        title = f"Mean over the {count} of {tasks} tasks that all models have"
        return Overall(title, f"Mean ({count} common)", lambda row: row.common)
    title = f"Mean over {tasks} tasks" if tasks > 1 else "Score"
    return Overall(title, f"Mean ({tasks})", lambda row: row.mean_task)


def points(score: float | None) -> float:
    """A score in points; NaN if there is none, which is not drawn."""
    return float("nan") if score is None else POINTS * score


def ends(mean: Mean | None) -> Span | None:
    """The interval of a mean in points, where there is one that can be drawn."""
    span = mean.interval if mean is not None and mean.score is not None else None
    if span is None or not (isfinite(span.low) and isfinite(span.high)):
        return None
    return Span(POINTS * span.low, POINTS * span.high, span.method, span.is_trusted)


@dataclass(frozen=True, slots=True)
class Scales:
    """The axes of panels.

    Attributes:
        limits: of each, in points.
        are_equal: whether all span the same number of points.
    """

    limits: Sequence[Span]
    are_equal: bool


def scales(panels: Sequence[Sequence[Mean | None]]) -> Scales:
    """Axes on which a difference of a point looks alike in every panel, unless one of them would flatten the others.

    Args:
        panels: the means that each shows; at least one of them has a score.
    """
    ranges = []
    for means in panels:
        drawn = [POINTS * mean.score for mean in means if mean is not None and mean.score is not None]
        drawn += [end for mean in means if (span := ends(mean)) for end in (span.low, span.high)]
        ranges.append(Span(min(drawn), max(drawn)))
    sizes = [max(span.high - span.low, _SMALLEST) for span in ranges]
    are_equal = max(sizes) <= _OUTLIER * median(sizes)
    return Scales([_around(span, max(sizes) if are_equal else 0.0) for span in ranges], are_equal)


def has_score(means: Sequence[Mean | None]) -> bool:
    """Whether there is anything to draw."""
    return any(mean is not None and mean.score is not None for mean in means)


def empty_note(titles: Sequence[str]) -> str:
    """What is said of panels that are left out, for nothing has a score there."""
    return f"No model has all tasks of: {', '.join(titles)}." if titles else ""


def same_scale(found: Scales) -> str:
    """What is said of the axes of panels; nothing of one alone."""
    if len(found.limits) == 1:
        return ""
    return "All panels span the same number of points." if found.are_equal else "Panels have scales of their own."


def _around(span: Span, size: float) -> Span:
    """A range with some room, at least so large, around the middle of what is drawn."""
    middle = (span.low + span.high) / 2
    half = max(span.high - span.low, size, _SMALLEST) * (0.5 + _AROUND)
    return Span(middle - half, middle + half)


def void(board: Board, what: str) -> UsageError:
    """That a board has no score to draw, and what to do."""
    missing = sorted({task for row in board.rows for task, cell in row.cells.items() if cell.score is None})
    lacking = f" (every row lacks a task, for example {shown(missing[0])})" if missing else ""
    return UsageError(f"has no {what}{lacking}; choose tasks that the models have (--tasks), or add --common")


def interval_notes(means: Sequence[Mean | None], shape: str) -> list[str]:
    """What is said of the intervals of these means; nothing where there are none.

    Args:
        means: all that are drawn.
        shape: what an interval is drawn as, "bars" or "bands".
    """
    spans = [span for mean in means if (span := ends(mean))]
    if not spans:
        return []
    methods = sorted({span.method for span in spans if span.method})
    made = f" ({shown('; '.join(methods), _LONGEST_METHODS)})" if methods else ""
    without = sum(1 for mean in means if mean is not None and mean.score is not None and ends(mean) is None)
    lacking = f"; {without} of {without + len(spans)} scores have none, for lack of items" if without else ""
    doubt = any(not span.is_trusted for span in spans)
    return [
        f"{shape.capitalize()}: 95% interval of the score on items like these{made}{lacking}.",
        *([f"Pale {shape}: too few items for an interval that covers what it says."] if doubt else []),
    ]
