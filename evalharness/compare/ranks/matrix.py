"""A table of published scores: a row a model, a column a task, in points; an empty cell is a missing score."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from evalharness.catalog.tasks import TaskList
from evalharness.compare.ranks.boards import Scores
from evalharness.errors import DataError, UsageError, clip, shorten

_POINTS = 100.0


@dataclass(frozen=True, slots=True)
class Matrix:
    """The table as it was read; points, None where there is no score.

    What is no score from -100 to 100 costs its own model a place, not all of them the table: published tables have some
    that somebody multiplied by 100 twice.
    """

    path: Path
    tasks: Sequence[str]
    rows: dict[str, list[float | None]]


def read_matrix(path: Path) -> Matrix:
    """Read a CSV file whose first column is the model.

    Raises:
        DataError: it is no such table; says which line and column.
    """
    if not path.is_file():  # a pipe would be waited for
        raise DataError(f"{path}: is missing or no file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            lines = [line for line in csv.reader(handle, strict=True) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({clip(str(error))})") from None
    if not lines or len(lines[0]) < 2:  # noqa: PLR2004 -- a model and a task
        raise DataError(f"{path}: expected a first line of column names, the model and then tasks")
    tasks = lines[0][1:]
    if twice := sorted({name for name in tasks if tasks.count(name) > 1}):
        raise DataError(f"{path}: columns are there twice: {shorten(twice)}")
    rows: dict[str, list[float | None]] = {}
    for number, line in enumerate(lines[1:], start=2):
        where = f"{path}, row {number}"
        if len(line) != len(lines[0]):
            raise DataError(f"{where}: has {len(line)} cells; expected {len(lines[0])}")
        if line[0] in rows:
            raise DataError(f"{where}: the model {clip(line[0])} is there twice")
        rows[line[0]] = [_points(cell, f"{where}, {clip(task)}") for task, cell in zip(tasks, line[1:], strict=True)]
    return Matrix(path, tasks, rows)


def _points(cell: str, where: str) -> float | None:
    if not cell.strip():
        return None
    try:
        points = float(cell)
    except ValueError:
        points = float("nan")
    if not isfinite(points):
        raise DataError(f"{where}: expected points, or nothing; found {clip(cell)}")
    return points


def scores_of(matrix: Matrix, tasks: TaskList | None) -> Scores:
    """The models that have all of the tasks; of None, of all columns.

    Raises:
        UsageError: there is no column of some task.
    """
    wanted = list(matrix.tasks) if tasks is None else [member.task for member in tasks.tasks]
    if absent := [name for name in wanted if name not in matrix.tasks]:
        raise UsageError(f"{matrix.path} has no column for {len(absent)} of {len(wanted)} tasks: {shorten(absent)}")
    columns = [matrix.tasks.index(name) for name in wanted]
    models, scores, left_out = [], [], {}
    for model, row in matrix.rows.items():
        found = [row[column] for column in columns]
        if why := _why_not(wanted, found):
            left_out[model] = why
        else:
            models.append(model)
            scores.append([(points or 0.0) / _POINTS for points in found])
    name = "all columns" if tasks is None else tasks.name
    return Scores(name, models, wanted, np.array(scores).reshape(len(models), len(wanted)), {}, left_out)


def _why_not(tasks: Sequence[str], row: Sequence[float | None]) -> str:
    """Why a model has no mean; empty if it has one."""
    if missing := [task for task, points in zip(tasks, row, strict=True) if points is None]:
        return f"without {shorten(missing)}"
    wrong = [f"{task} {points:g}" for task, points in zip(tasks, row, strict=True) if abs(points or 0.0) > _POINTS]
    return f"no scores from -100 to 100: {shorten(wrong)}" if wrong else ""
