"""Where rows stand among each other: Borda ranks as mteb has them, means over common tasks, and the order of rows."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from evalharness.reports.board import Cell, Row
from evalharness.reports.building.rows import mean


def with_borda(rows: Sequence[Row], tasks: Sequence[str]) -> list[Row]:
    """The same rows with their ranks by Borda count, as `_borda_rank_from_long` of mteb 2.26.24 has it.

    Per task, a row gets as many points as there are rows less its rank; equal scores share theirs, a missing one gives
    none. Of an incomplete task, the mean of what is there counts. Equal sums have the better of their ranks. Rows
    without any complete score are not counted and have no rank.
    """
    values = [{task: value for task in tasks if (value := _in_borda(row.cells[task])) is not None} for row in rows]
    scored = [any(row.cells[task].score is not None for task in tasks) for row in rows]
    points = {place: 0.0 for place, found in enumerate(values) if found}
    for task in tasks:
        ordered = sorted(found[task] for found in values if task in found)
        for place in points:
            if task in values[place]:
                better = len(ordered) - bisect_right(ordered, values[place][task])
                equal = len(ordered) - better - bisect_left(ordered, values[place][task])
                points[place] += sum(scored) - (better + (equal + 1) / 2)
    sums = sorted(points.values())
    return [
        replace(row, borda=1 + len(sums) - bisect_right(sums, points[place]) if scored[place] else None)
        for place, row in enumerate(rows)
    ]


def _in_borda(cell: Cell) -> float | None:
    if cell.score is None and cell.parts:
        return fmean(part.score for part in cell.parts)
    return cell.score


def incomplete(rows: Sequence[Row]) -> list[str]:
    """What is said of tasks that are incomplete and count in Borda ranks."""
    names = {task for row in rows for task, cell in row.cells.items() if cell.score is None and cell.parts}
    told = (
        f"incomplete tasks count in Borda ranks by the subsets that are there, as in mteb: {', '.join(sorted(names))}"
    )
    return [told] if names else []


def common_tasks(rows: Sequence[Row], tasks: Sequence[str]) -> list[str]:
    """The tasks that all rows have, those apart that have none at all."""
    scored = [row for row in rows if any(row.cells[task].score is not None for task in tasks)]
    return [task for task in tasks if scored and all(row.cells[task].score is not None for row in scored)]


def with_common(rows: Sequence[Row], common: Sequence[str]) -> list[Row]:
    """The same rows with their means over these tasks."""
    return [replace(row, common=mean([row.cells[task].score for task in common])) for row in rows]


def ordered(rows: Sequence[Row], by: str) -> list[Row]:
    """Rows by what was asked for, the best first; those without it last, and equal ones by name.

    Args:
        rows: with all that they are ordered by.
        by: one of `choosing.SORTS`, a task type or a task.
    """

    def key(row: Row) -> tuple[bool, float, str, str, str, str]:
        value = _value(row, by)
        return (value is None, value or 0.0, row.model, row.revision, row.experiment, str(row.folder))

    return sorted(rows, key=key)


def _value(row: Row, by: str) -> float | None:
    """What is small for the rows that come first; None where there is nothing to say."""
    if (found := _SORTS.get(by)) is not None:
        return found(row)
    if by in row.types:
        return _negative(row.types[by].score)
    return _negative(row.cells[by].score) if by in row.cells else None


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


_SORTS: Mapping[str, Callable[[Row], float | None]] = {
    "mean": lambda row: _negative(row.mean_task.score),
    "type-mean": lambda row: _negative(row.mean_type.score),
    "borda": lambda row: row.borda,
    "common": lambda row: None if row.common is None else _negative(row.common.score),
    # equal ones are by name
    "name": lambda row: 0.0,  # noqa: ARG005 -- as the others
    # who looks for a small model, and for a fast one
    "parameters": lambda row: row.facts.parameters,
    "speed": lambda row: _negative(row.texts_per_second),
}
