"""Where rows stand among each other: Borda ranks as mteb has them, means over common tasks, and the order of rows."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from evalharness.reports.board import Row
from evalharness.reports.building.rows import mean


def with_borda(rows: Sequence[Row], tasks: Sequence[str]) -> list[Row]:
    """The same rows with their ranks by mteb's Borda count, `_borda_rank_from_long` of mteb 2.26.24.

    Per task, a row gets as many points as there are rows less its rank, equal scores share theirs; a missing score
    gives none. Equal sums have the better of their ranks. Rows without any score do not count and have no rank.
    """
    scored = [number for number, row in enumerate(rows) if any(row.cells[task].score is not None for task in tasks)]
    points = dict.fromkeys(scored, 0.0)
    for task in tasks:
        found = {number: score for number in scored if (score := rows[number].cells[task].score) is not None}
        ordered = sorted(found.values())
        for number, score in found.items():
            better = len(ordered) - bisect_right(ordered, score)
            equal = len(ordered) - better - bisect_left(ordered, score)
            points[number] += len(scored) - (better + (equal + 1) / 2)
    sums = sorted(points.values())
    ranks = {number: 1 + len(sums) - bisect_right(sums, total) for number, total in points.items()}
    return [replace(row, borda=ranks.get(number)) for number, row in enumerate(rows)]


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
