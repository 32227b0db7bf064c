"""Leaderboards as lines of numbers: what a table of CSV or a pandas frame is made of; texts are as they were given.

`kind` says what a line is: a `mean` (over tasks, over task types, over the common tasks), a `type` (the mean of a task
type), a `task`, a `subset` (of a task that has several, or whose score is not complete), or a `column` that only its
board has. Scores are 0-1 and not rounded. Ranks, and facts of the model, stand on the lines of kind `mean`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from evalharness.reports.board import Board, Cell, Mean, Part, RankSpan, Row, Span

Value: TypeAlias = str | int | float | bool
Line: TypeAlias = Mapping[str, Value | None]
_JOINED = "; "


def lines(board: Board) -> Iterator[Line]:
    """A line for each number of each row, without what is not known."""
    for place, row in enumerate(board.rows):
        named = identity(board, place)
        for name, mean in (("task", row.mean_task), ("type", row.mean_type), ("common", row.common)):
            if mean is not None:
                notes = _JOINED.join(row.notes)
                yield {**named, "kind": "mean", "name": name, **of_mean(mean), **standing(row), "notes": notes}
        for kind, mean in row.types.items():
            yield {**named, "kind": "type", "type": kind, "name": kind, **of_mean(mean)}
        for column in board.columns:
            yield {**named, "kind": "column", "name": column.title, "score": column.values[place]}
        for kind, tasks in board.types.items():
            for task in tasks:
                about = {**named, "type": kind, "name": task, "metric": board.metrics.get(task)}
                yield from _task(row.cells[task], about)


def _task(cell: Cell, about: Line) -> Iterator[Line]:
    """A task's line, and one for each of its subsets where it has several or lacks some."""
    only = cell.parts[0] if len(cell.parts) == 1 and cell.score is not None else None
    where = {} if only is None else of_place(only)
    yield {**about, "kind": "task", **where, **of_cell(cell)}
    for part in cell.parts if only is None else ():
        yield {**about, "kind": "subset", **of_place(part), "score": part.score, **of_span(part.interval)}


def identity(board: Board, place: int) -> dict[str, Value]:
    """What tells a row from all others."""
    row = board.rows[place]
    return {
        "board": board.title,
        "protocol": board.protocol,
        "place": place + 1,
        "model": row.model,
        "revision": row.revision,
        "second_stage": row.second_stage,
        "experiment": row.experiment,
        "origin": row.origin,
    }


def of_cell(cell: Cell) -> dict[str, Value | None]:
    """A task's score and what is said of it."""
    return {
        "score": cell.score,
        **of_span(cell.interval),
        "is_trained_on": cell.is_trained_on,
        "source": cell.source,
        "missing": cell.missing,
        "notes": _JOINED.join(cell.notes),
    }


def of_place(part: Part) -> dict[str, Value | None]:
    """Which subset it is."""
    return {"split": part.split, "subset": part.subset, "languages": " ".join(part.languages)}


def of_mean(mean: Mean) -> dict[str, Value | None]:
    """A mean, and of how many scores it is."""
    return {"score": mean.score, "present": mean.present, "expected": mean.expected, **of_span(mean.interval)}


def of_span(span: Span | None) -> dict[str, Value | None]:
    """An interval; nothing where there is none."""
    if span is None:
        return {}
    return {"low": span.low, "high": span.high, "interval": span.method, "is_trusted": span.is_trusted}


def _of_ranks(span: RankSpan | None, suffix: str) -> dict[str, Value | None]:
    return {} if span is None else {f"rank_best{suffix}": span.best, f"rank_worst{suffix}": span.worst}


def standing(row: Row) -> dict[str, Value | None]:
    """Ranks of a row, and facts of its model."""
    facts = row.facts
    return {
        "borda": row.borda,
        **_of_ranks(row.on_these_tasks, ""),
        **_of_ranks(row.on_tasks_like_these, "_such_tasks"),
        "dimensions": facts.dimensions,
        "max_length": facts.max_length,
        "parameters": facts.parameters,
        "embedding_parameters": facts.embedding_parameters,
        "zero_shot": row.zero_shot,
        "texts_per_second": row.texts_per_second,
        "step": row.step,
        "licence": facts.licence,
        "release_date": facts.release_date,
        "link": facts.link,
    }
