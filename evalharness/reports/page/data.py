"""Boards as compact JSON for the page: columns instead of cells, texts once, scores in steps of 0.00001.

A *column* of scores is `{"s": [...], "l": [...], "h": [...], "u": [...], "m": n}`: by row the score, how far its
interval reaches below and above it (all in steps of 0.00001; null where there is none), the rows whose interval is not
to be trusted, and the text that says how intervals were made; everything but `s` only where there is something to say.
Texts of anyone's stand in `texts` and are named by their place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

from evalharness.errors import printable
from evalharness.reports.board import Board, Cell, Mean, RankSpan, Row, Span
from evalharness.reports.checkpoints import checkpoint_series

STEPS = 100_000
# steps of what is shown, a hundredth of a point, and the half of it
_SHOWN, _HALF = 10, 5
# scores of subsets, of all boards together: some benchmarks have a thousand languages
MOST_SUBSETS = 300_000
# of a JSON text inside a script: what could end it, and what JavaScript takes for the end of a line
_UNSAFE = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


class _Scored(Protocol):
    """A number that may have an interval: a cell, a subset, a mean."""

    @property
    def score(self) -> float | None: ...
    @property
    def interval(self) -> Span | None: ...


@dataclass(slots=True)
class _Texts:
    """Every text once."""

    places: dict[str, int] = field(default_factory=dict)

    def place(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))

    def all_of(self, texts: Iterable[str]) -> list[int]:
        return [self.place(text) for text in texts]


def as_json(boards: Sequence[Board], items: Sequence[Any] = ()) -> str:
    """All that the page shows, as JSON that may stand in a script of HTML.

    Args:
        boards: to show.
        items: by board what `items.item_views` gives.
    """
    texts = _Texts()
    views = [_board(board, texts, MOST_SUBSETS // len(boards)) for board in boards]
    document = {
        "made": f"evalharness {version('evalharness')}",
        "steps": STEPS,
        "boards": views,
        "items": list(items),
        "texts": list(texts.places),
    }
    return in_script(document)


def in_script(value: object) -> str:
    r"""JSON that nothing in it can end.

    >>> in_script({"a": "</script>"})
    '{"a":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(_shown(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(_UNSAFE)


def _shown(value: Any) -> Any:  # noqa: ANN401 -- JSON
    """The same with texts on one line, without characters that move, colour or turn what follows."""
    if isinstance(value, str):
        return value if value.isprintable() else " ".join(printable(value).split())
    if isinstance(value, Mapping):
        return {_shown(name): _shown(inner) for name, inner in value.items()}
    return list(map(_shown, value)) if isinstance(value, list) else value


def _board(board: Board, texts: _Texts, most_subsets: int) -> dict[str, Any]:
    kept = _with_subsets(board, most_subsets)
    left = len(board.tasks) - len(kept)
    notes = [f"Subsets of {left} tasks are left out of this page, for there are too many."] if left else []
    place = {task: number for number, task in enumerate(board.tasks)}
    kinds = {task: kind for kind, tasks in board.types.items() for task in tasks}
    return {
        "title": board.title,
        "protocol": board.protocol,
        "sorted": board.sorted_by,
        "notes": texts.all_of([*board.notes, *notes]),
        "common": [place[task] for task in board.common],
        "types": [
            {
                "name": name,
                "tasks": [place[task] for task in tasks],
                **_means([row.types[name] for row in board.rows], texts),
            }
            for name, tasks in board.types.items()
        ],
        "tasks": [_task(board, task, kinds[task], texts, has_parts=task in kept) for task in place],
        "mean": _means([row.mean_task for row in board.rows], texts),
        "byType": _means([row.mean_type for row in board.rows], texts),
        "commonMean": _common(board, texts),
        "more": [{"title": column.title, "s": list(map(_steps, column.values))} for column in board.columns],
        "series": _series(board.rows),
        "rows": _rows(board.rows, texts),
    }


def _with_subsets(board: Board, most: int) -> set[str]:
    """The tasks whose subsets there is room for, those with few of them first."""
    counts = {task: len(part_places(row.cells[task] for row in board.rows)) for task in board.tasks}
    kept = set()
    for task in sorted(counts, key=lambda task: counts[task]):
        most -= counts[task] * len(board.rows) if counts[task] > 1 else 0
        if most >= 0:
            kept.add(task)
    return kept


def _series(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Checkpoints of a training, by their rows' places."""
    place = {id(row): number for number, row in enumerate(rows)}
    return [
        {"name": found.name, "rows": [place[id(row)] for row in found.rows]}
        for found in checkpoint_series(rows)
        if len(found.rows) > 1
    ]


def _rows(rows: Sequence[Row], texts: _Texts) -> dict[str, Any]:
    """What is known of each row, by what it is; nothing where nothing is known of any."""
    columns: dict[str, Callable[[Row], Any]] = {
        "model": lambda row: row.model,
        "revision": lambda row: row.revision,
        "stage": lambda row: row.second_stage or None,
        "changed": lambda row: row.experiment or None,
        "published": lambda row: 1 if row.origin == "published" else None,
        "notes": lambda row: texts.all_of(row.notes) or None,
        "borda": lambda row: row.borda,
        "these": lambda row: _span(row.on_these_tasks),
        "like": lambda row: _span(row.on_tasks_like_these),
        "zeroShot": lambda row: row.zero_shot,
        "speed": lambda row: _digits(row.texts_per_second),
        "step": lambda row: row.step,
        "dimensions": lambda row: row.facts.dimensions,
        "length": lambda row: row.facts.max_length,
        "parameters": lambda row: row.facts.parameters,
        "embedding": lambda row: row.facts.embedding_parameters,
        "licence": lambda row: row.facts.licence,
        "released": lambda row: row.facts.release_date,
        "link": lambda row: row.facts.link,
        "open": lambda row: None if row.facts.is_open is None else int(row.facts.is_open),
        "superseded": lambda row: row.facts.superseded_by,
        "madeFrom": lambda row: row.facts.made_from,
    }
    found = {name: [told(row) for row in rows] for name, told in columns.items()}
    return {name: values for name, values in found.items() if name in ("model", "revision") or any_told(values)}


def any_told(values: Iterable[object]) -> bool:
    """Whether one of them is not None."""
    return any(value is not None for value in values)


def _common(board: Board, texts: _Texts) -> dict[str, Any] | None:
    means = [row.common for row in board.rows]
    if not any_told(means):
        return None
    return _means([mean or Mean(None, 0, len(board.common)) for mean in means], texts)


def _task(board: Board, task: str, kind: str, texts: _Texts, *, has_parts: bool) -> dict[str, Any]:
    cells = [row.cells[task] for row in board.rows]
    known = "".join("?" if cell.is_trained_on is None else "01"[cell.is_trained_on] for cell in cells)
    sparse: dict[str, Callable[[Cell], Any]] = {
        "missing": lambda cell: texts.place(cell.missing) if cell.missing else None,
        "notes": lambda cell: texts.all_of(cell.notes) or None,
        "source": lambda cell: texts.place(cell.source) if cell.source else None,
    }
    found = {name: _by_row(map(told, cells)) for name, told in sparse.items()}
    return {
        "name": task,
        "type": kind,
        "metric": board.metrics.get(task),
        **_column(cells, texts),
        **{name: values for name, values in found.items() if values},
        **({"trained": known} if known.strip("?") else {}),
        "parts": _parts(cells, texts) if has_parts else [],
    }


def _by_row(values: Iterable[Any]) -> dict[int, Any]:
    return {row: value for row, value in enumerate(values) if value is not None}


def _parts(cells: Sequence[Cell], texts: _Texts) -> list[dict[str, Any]]:
    """The task's subsets; none where there is but one, which is the task."""
    parts: dict[tuple[str, str], dict[int, Any]] = {}
    languages: dict[tuple[str, str], Sequence[str]] = {}
    for row, cell in enumerate(cells):
        for part in cell.parts:
            parts.setdefault((part.split, part.subset), {})[row] = part
            languages.setdefault((part.split, part.subset), part.languages)
    return [
        {
            "split": split,
            "subset": subset,
            "languages": list(languages[split, subset]),
            # a single one says what the task says
            **(_column([found.get(row, _NOTHING) for row in range(len(cells))], texts) if len(parts) > 1 else {}),
        }
        for (split, subset), found in parts.items()
    ]


def part_places(cells: Iterable[Cell]) -> dict[tuple[str, str], int]:
    """The split and subset of a task's subsets -> their places in its `parts`."""
    named = dict.fromkeys((part.split, part.subset) for cell in cells for part in cell.parts)
    return {name: place for place, name in enumerate(named)}


_NOTHING = Cell(None)


def _means(means: Sequence[Mean], texts: _Texts) -> dict[str, Any]:
    """A column, and of how many a void mean has how many."""
    counts = _by_row(None if mean.score is not None else mean.present for mean in means)
    expected = max((mean.expected for mean in means), default=0)
    return {**_column(means, texts), "of": expected, **({"present": counts} if counts else {})}


def _column(values: Sequence[_Scored], texts: _Texts) -> dict[str, Any]:
    column: dict[str, Any] = {"s": [_steps(value.score) for value in values]}
    found = {row: _told(value.interval) for row, value in enumerate(values) if value.score is not None}
    spans = {row: span for row, span in found.items() if span is not None}
    if not spans:
        return column
    score, last = column["s"], range(len(values))
    column["l"] = [score[row] - _whole(spans[row].low) if row in spans else None for row in last]
    column["h"] = [_whole(spans[row].high) - score[row] if row in spans else None for row in last]
    if doubtful := [row for row, span in spans.items() if not span.is_trusted]:
        column["u"] = doubtful
    if methods := {span.method for span in spans.values() if span.method}:
        column["m"] = texts.place("; ".join(sorted(methods)))
    return column


def _told(span: Span | None) -> Span | None:
    """The same if it says anything."""
    return span if span is not None and math.isfinite(span.low) and math.isfinite(span.high) else None


def _whole(score: float) -> int:
    """A score in steps; where rounding it twice would show another number than the other formats have, the next one.

    >>> _whole(0.6348499), f"{100 * 0.6348499:.2f}"
    (63484, '63.48')
    """
    steps = round(score * STEPS)
    shown = round(float(f"{100 * score:.2f}") * 100)
    return steps - 1 if (steps + _HALF) // _SHOWN > shown else steps


def _steps(score: float | None) -> int | None:
    return None if score is None or not math.isfinite(score) else _whole(score)


def _digits(value: float | None) -> float | None:
    """A speed with as many digits as anyone could measure."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


def _span(span: RankSpan | None) -> list[int] | None:
    return None if span is None else [span.best, span.worst]
