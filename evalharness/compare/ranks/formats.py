"""Ranks as text: for a terminal, as markdown, and as JSON with scores from 0 to 1."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from evalharness.compare.ranks.boards import ALPHA, Board
from evalharness.errors import MAX_NOTE, plain, printable, shorten
from evalharness.metrics.statistics.ranks import Neighbours, RankSpan, Standing

_POINTS = 100
_HEAD = ("rank", "model", "mean", "on these tasks", "on tasks like these", "told apart from the next")
_EXPLAINED = (
    "Means are in points. Ranks have 95% intervals: on these tasks, had they other items of the same kind; on tasks "
    "like these, had others of the same kind been chosen. Neighbours are told apart at .05, adjusted by Holm over all."
)
_LONGEST = 60


def _terminal(boards: Sequence[Board]) -> str:
    parts = []
    for board in boards:
        rows = [_HEAD, *_rows(board)]
        rows = [(row[0], _cut(printable(row[1])), *row[2:]) for row in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        # of words, at the left
        words = (_HEAD.index("model"), len(_HEAD) - 1)
        lines = [
            "  ".join(
                cell.ljust(width) if place in words else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        parts.append("\n".join([printable(board.scores.name), "", *lines, "", *map(printable, _remarks(board))]))
    return "\n\n".join([*parts, _EXPLAINED]) + "\n"


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}\u2026"


def _markdown(boards: Sequence[Board]) -> str:
    parts = []
    for board in boards:
        lines = [f"# Ranks on {plain(board.scores.name)}", "", f"| {' | '.join(_HEAD)} |"]
        lines.append("| ---: | --- | ---: | ---: | ---: | --- |")
        lines += [f"| {' | '.join(map(plain, row))} |" for row in _rows(board)]
        lines += ["", *(f"* {plain(remark, 5 * MAX_NOTE)}" for remark in _remarks(board))]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, _EXPLAINED]) + "\n"


def _json(boards: Sequence[Board]) -> str:
    return json.dumps([_value(board) for board in boards], ensure_ascii=False, indent=2, allow_nan=False) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Board]], str]] = {"terminal": _terminal, "md": _markdown, "json": _json}


def _value(board: Board) -> dict[str, Any]:
    models = board.scores.models

    def standing(found: Standing) -> dict[str, Any]:
        spans = {"on_these_tasks": found.on_these_tasks, "on_tasks_like_these": found.on_tasks_like_these}
        ends = {name: None if span is None else [span.best, span.worst] for name, span in spans.items()}
        return {"model": models[found.model], "mean": found.mean, "rank": found.rank, **ends}

    def pair(found: Neighbours) -> dict[str, Any]:
        return {
            "better": models[found.better],
            "worse": models[found.worse],
            "difference": found.difference,
            "p_on_these_tasks": found.p_on_these_tasks,
            "p_on_tasks_like_these": found.p_on_tasks_like_these,
        }

    return {
        "name": board.scores.name,
        "tasks": list(board.scores.tasks),
        "tasks_with_items": list(board.scores.items),
        "draws": board.draws,
        "standings": [standing(found) for found in board.ranking.standings],
        "neighbours": [pair(found) for found in board.ranking.neighbours],
        "told_apart_on_these_tasks": board.told_apart_by_items,
        "told_apart_on_tasks_like_these": board.told_apart_by_tasks,
        "left_out": dict(board.scores.left_out),
    }


def _rows(board: Board) -> Iterator[tuple[str, ...]]:
    neighbours: list[Neighbours | None] = [*board.ranking.neighbours, None]
    for found, after in zip(board.ranking.standings, neighbours, strict=True):
        name = board.scores.models[found.model]
        spans = (_span(found.on_these_tasks), _span(found.on_tasks_like_these))
        yield (str(found.rank), name, f"{_POINTS * found.mean:.2f}", *spans, "" if after is None else _apart(after))


def _span(span: RankSpan | None) -> str:
    if span is None:
        return "?"
    return str(span.best) if span.best == span.worst else f"{span.best}-{span.worst}"


def _apart(pair: Neighbours) -> str:
    """On what the two are told apart."""
    told = {"these tasks": pair.p_on_these_tasks, "tasks like these": pair.p_on_tasks_like_these}
    where = [name for name, p in told.items() if p is not None and p <= ALPHA]
    return f"on {' and '.join(where)}" if where else "no"


def _remarks(board: Board) -> Iterator[str]:
    pairs, scores = len(board.ranking.neighbours), board.scores
    for count, where in ((board.told_apart_by_items, "these tasks"), (board.told_apart_by_tasks, "tasks like these")):
        if count is not None:
            yield f"{pairs - count} of {pairs} neighbours are not told apart on {where}"
    if not scores.items:
        yield "Nothing is known of these tasks' own items, as not all models have the same"
    elif still := [task for task in scores.tasks if task not in scores.items]:
        yield (
            f"{len(still)} of {len(scores.tasks)} tasks have no items that all models have, and stand still where "
            f"items are resampled, so that intervals are too short: {shorten(still)}"
        )
    if len(scores.tasks) == 1:
        yield "Of a single task, nothing is known of tasks like it"
    if scores.left_out:
        reasons = [f"{model} ({why})" for model, why in scores.left_out.items()]
        yield f"{len(reasons)} {'model is' if len(reasons) == 1 else 'models are'} left out: {shorten(reasons, 3)}"
    yield f"{len(scores.models)} models, {len(scores.tasks)} tasks, {board.draws:,} resamples"
