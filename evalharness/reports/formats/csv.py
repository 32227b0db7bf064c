r"""Leaderboards as one long table of comma-separated values: a line per number, over all boards.

`kind` says what a line is: a `mean` (over tasks, over task types, over the common tasks), a `type` (the mean of a task
type), a `task`, a `subset` (of a task that has several, or whose score is not complete), or a `column` that only its
board has. Scores are 0-1 and not rounded; what is not known is empty. Ranks and facts of the model stand on the lines
of kind `mean`.

A spreadsheet would compute what begins like a formula, so a text that begins with `=`, `+`, `-` or `@` has an
apostrophe before it, and so has one that begins with an apostrophe: whoever takes one apostrophe off the beginning of a
text has the text. Texts are on one line, and control characters are replaced; the format json has them as they were.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from io import StringIO
from math import isfinite
from typing import TypeAlias

from evalharness.errors import printable
from evalharness.reports.board import Board, Cell, Mean, Row, Span

Value: TypeAlias = str | int | float | bool
COLUMNS = (
    "board", "protocol", "place", "model", "revision", "second_stage", "experiment", "origin", "kind", "type", "name",
    "split", "subset", "languages", "metric", "score", "low", "high", "interval", "is_trusted", "present", "expected",
    "is_trained_on", "source", "missing", "notes", "borda", "rank_best", "rank_worst", "rank_best_such_tasks",
    "rank_worst_such_tasks", "dimensions", "max_length", "parameters", "embedding_parameters", "zero_shot",
    "texts_per_second", "step", "licence", "release_date", "link",
)  # fmt: skip
# what a spreadsheet takes for the beginning of a formula, in either width; an apostrophe, so that it can be taken back
_FORMULA = re.compile(r"[=+\-@\uff1d\uff0b\uff0d\uff20']")
_JOINED = "; "


@lru_cache(maxsize=4096)
def escaped(text: str) -> str:
    """A text of anyone's that no spreadsheet computes, on one line.

    >>> escaped("=1+1"), escaped("a=1")
    ("'=1+1", 'a=1')
    """
    line = " ".join(printable(text).split())
    return f"'{line}" if _FORMULA.match(line) else line


def render(boards: Sequence[Board]) -> str:
    """All boards in one table with one head."""
    out = StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for board in boards:
        writer.writerows(_lines(board))
    return out.getvalue()


def _lines(board: Board) -> Iterator[dict[str, str]]:
    for place, row in enumerate(board.rows):
        head = {
            "board": board.title, "protocol": board.protocol, "place": place + 1, "model": row.model,
            "revision": row.revision, "second_stage": row.second_stage, "experiment": row.experiment,
            "origin": row.origin,
        }  # fmt: skip
        shared = {name: _text(value) for name, value in head.items()}
        for line in _numbers(board, row, place):
            yield {**shared, **{name: _text(value) for name, value in line.items() if value is not None}}


def _text(value: Value) -> str:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if not isinstance(value, float) or isfinite(value) else ""


def _numbers(board: Board, row: Row, place: int) -> Iterator[Mapping[str, Value | None]]:
    """A line for each number of a row, without what all of them share."""
    means = {"task": row.mean_task, "type": row.mean_type, "common": row.common}
    about = _about(row)
    for name, mean in means.items():
        if mean is not None:
            yield {"kind": "mean", "name": name, **_mean(mean), **about, "notes": _JOINED.join(row.notes)}
    for kind, mean in row.types.items():
        yield {"kind": "type", "type": kind, "name": kind, **_mean(mean)}
    for column in board.columns:
        yield {"kind": "column", "name": column.title, "score": column.values[place]}
    for kind, tasks in board.types.items():
        for task in tasks:
            yield from _cell(row.cells[task], {"type": kind, "name": task, "metric": board.metrics.get(task)})


def _cell(cell: Cell, task: Mapping[str, Value | None]) -> Iterator[Mapping[str, Value | None]]:
    """A task's line, and one for each of its subsets where it has several or lacks some."""
    parts = cell.parts
    only = parts[0] if len(parts) == 1 and cell.score is not None else None
    yield {
        "kind": "task", **task, "score": cell.score, **_span(cell.interval), "is_trained_on": cell.is_trained_on,
        "source": cell.source, "missing": cell.missing, "notes": _JOINED.join(cell.notes),
        "split": None if only is None else only.split, "subset": None if only is None else only.subset,
        "languages": None if only is None else " ".join(only.languages),
    }  # fmt: skip
    for part in parts if only is None else ():
        yield {
            "kind": "subset", **task, "split": part.split, "subset": part.subset,
            "languages": " ".join(part.languages), "score": part.score, **_span(part.interval),
        }  # fmt: skip


def _mean(mean: Mean) -> Mapping[str, Value | None]:
    return {"score": mean.score, "present": mean.present, "expected": mean.expected, **_span(mean.interval)}


def _span(span: Span | None) -> Mapping[str, Value | None]:
    if span is None:
        return {}
    return {"low": span.low, "high": span.high, "interval": span.method, "is_trusted": span.is_trusted}


def _about(row: Row) -> Mapping[str, Value | None]:
    """Ranks of a row, and facts of its model."""
    these, such, facts = row.on_these_tasks, row.on_tasks_like_these, row.facts
    return {
        "borda": row.borda,
        "rank_best": None if these is None else these.best,
        "rank_worst": None if these is None else these.worst,
        "rank_best_such_tasks": None if such is None else such.best,
        "rank_worst_such_tasks": None if such is None else such.worst,
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
