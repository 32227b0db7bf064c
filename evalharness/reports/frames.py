"""Leaderboards as pandas frames; scores are 0-1 and not rounded, texts as they were given.

Every frame has the columns that tell a row from all others: `board`, `protocol`, `place` (from 1), `model`, `revision`,
`second_stage`, `experiment`, `origin`. What nobody knows is NaN, or pandas' NA.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from evalharness.reports import numbers
from evalharness.reports.board import Board, Cell
from evalharness.reports.numbers import Line

if TYPE_CHECKING:
    import pandas as pd

_TEXT, _NUMBER, _COUNT, _FLAG = "string", "float64", "Int64", "boolean"
_IDENTITY: Final = {
    "board": _TEXT, "protocol": _TEXT, "place": _COUNT, "model": _TEXT, "revision": _TEXT, "second_stage": _TEXT,
    "experiment": _TEXT, "origin": _TEXT,
}  # fmt: skip
_SPAN: Final = {"low": _NUMBER, "high": _NUMBER, "interval": _TEXT, "is_trusted": _FLAG}
_SCORE: Final = {"score": _NUMBER, **_SPAN}
_PLACE: Final = {"split": _TEXT, "subset": _TEXT, "languages": _TEXT}
# column -> its type in pandas
SUMMARY: Mapping[str, str] = {
    **_IDENTITY,
    # over tasks, with its interval, and how many of the tasks have a score
    "mean_task": _NUMBER, **_SPAN, "present": _COUNT, "expected": _COUNT,
    # over the means of the task types, and over the tasks that all rows have
    "mean_type": _NUMBER, "mean_common": _NUMBER,
    # by mteb's Borda count; intervals of the rank by mean_task, items or tasks resampled
    "borda": _COUNT, "rank_best": _COUNT, "rank_worst": _COUNT, "rank_best_such_tasks": _COUNT,
    "rank_worst_such_tasks": _COUNT,
    # of the model
    "dimensions": _COUNT, "max_length": _COUNT, "parameters": _COUNT, "embedding_parameters": _COUNT,
    "zero_shot": _COUNT, "texts_per_second": _NUMBER, "step": _COUNT, "licence": _TEXT, "release_date": _TEXT,
    "link": _TEXT, "notes": _TEXT,
}  # fmt: skip
TYPES: Mapping[str, str] = {**_IDENTITY, "type": _TEXT, **_SCORE, "present": _COUNT, "expected": _COUNT}
TASKS: Mapping[str, str] = {
    **_IDENTITY, "type": _TEXT, "task": _TEXT, "metric": _TEXT, **_SCORE, "is_trained_on": _FLAG, "source": _TEXT,
    "missing": _TEXT, "notes": _TEXT,
}  # fmt: skip
SUBSETS: Mapping[str, str] = {
    **_IDENTITY, "type": _TEXT, "task": _TEXT, "metric": _TEXT, **_PLACE, **_SCORE,
}  # fmt: skip


def summary(boards: Sequence[Board]) -> pd.DataFrame:
    """A line per row of each board: its means, its ranks and the facts of its model; columns as `SUMMARY` says."""
    found = []
    for board in boards:
        for place, row in enumerate(board.rows):
            mean = numbers.of_mean(row.mean_task)
            found.append(
                {
                    **numbers.identity(board, place),
                    **mean,
                    "mean_task": row.mean_task.score,
                    "mean_type": row.mean_type.score,
                    "mean_common": None if row.common is None else row.common.score,
                    **numbers.standing(row),
                    "notes": "; ".join(row.notes),
                }
            )
    return _frame(found, SUMMARY)


def types(boards: Sequence[Board]) -> pd.DataFrame:
    """A line per row and task type: the mean of its tasks; columns as `TYPES` says."""
    return _frame(
        [
            {**numbers.identity(board, place), "type": kind, **numbers.of_mean(mean)}
            for board in boards
            for place, row in enumerate(board.rows)
            for kind, mean in row.types.items()
        ],
        TYPES,
    )


def tasks(boards: Sequence[Board]) -> pd.DataFrame:
    """A line per row and task: its score, or what is missing; columns as `TASKS` says."""
    return _frame([{**about, **numbers.of_cell(cell)} for about, cell in _cells(boards)], TASKS)


def subsets(boards: Sequence[Board]) -> pd.DataFrame:
    """A line per row, task, split and subset that has a score; columns as `SUBSETS` says."""
    return _frame(
        [
            {**about, **numbers.of_place(part), "score": part.score, **numbers.of_span(part.interval)}
            for about, cell in _cells(boards)
            for part in cell.parts
        ],
        SUBSETS,
    )


def _cells(boards: Sequence[Board]) -> Iterable[tuple[Line, Cell]]:
    """Every cell, and what it is of."""
    for board in boards:
        kinds = {task: kind for kind, members in board.types.items() for task in members}
        for place, row in enumerate(board.rows):
            named = numbers.identity(board, place)
            for task in board.tasks:
                about = {**named, "type": kinds[task], "task": task, "metric": board.metrics.get(task)}
                yield about, row.cells[task]


def _frame(lines: Sequence[Line], columns: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {name: pd.Series([line.get(name) for line in lines], dtype=kind) for name, kind in columns.items()}
    )
