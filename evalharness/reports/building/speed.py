"""How fast a row's model was when its results were made, as its log says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalharness.reports.board import Board, Row
from evalharness.results.records import LOG

_LONGEST_FACT = 40
# of texts, and of seconds
_MOST = 1e15


def texts_per_second(folder: Path) -> float | None:
    """Texts that went through the model, by the seconds that encoding took.

    Formula: sum of `texts_encoded` / sum of `seconds.encode`, over the lines of run.log of jobs that were done and had
    texts to encode; in those, reading what the store had of the others counts with the seconds. The first job holds
    what a model does once (compiling, warming up). Loading the model, reading data and scoring do not count. A reranker
    encodes no texts.

    Args:
        folder: of the results.

    Returns:
        None where no log tells it.
    """
    texts, seconds = 0.0, 0.0
    for line in _lines(folder / LOG):
        spent = line.get("seconds")
        encoded = _amount(line.get("texts_encoded"))
        took = _amount(spent.get("encode")) if isinstance(spent, dict) else None
        if line.get("error") is None and encoded is not None and took is not None:
            texts, seconds = texts + encoded, seconds + took
    return texts / seconds if seconds > 0 else None


def _amount(value: Any) -> float | None:  # noqa: ANN401 -- JSON
    """A number above 0; None for anything else."""
    return value if type(value) in (int, float) and 0 < value < _MOST else None


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """Those that can be read; a run that was killed leaves half of one."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return
        with path.open(encoding="utf-8", errors="replace") as handle:
            for text in handle:
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError):
                    continue
                if isinstance(line, dict):
                    yield line
    except OSError:
        return


def with_speed_notes(board: Board) -> Board:
    """The board with a footnote where speeds were measured on different devices, engines or in different precisions."""
    # a row that has none of the tasks has no records here that could say it
    timed = [row for row in board.rows if row.texts_per_second is not None and any(c.parts for c in row.cells.values())]
    found = Counter(map(_measured_on, timed))
    if len(found) < 2:  # noqa: PLR2004 -- one compares with itself
        return board
    named = ", ".join(f"{place} ({count} {'row' if count == 1 else 'rows'})" for place, count in sorted(found.items()))
    return replace(board, notes=[*board.notes, f"speeds do not compare, for they were measured on: {named}"])


def _measured_on(row: Row) -> str:
    """Device, precision and engine, as the records say."""
    found = set()
    for part in (part for cell in row.cells.values() for part in cell.parts):
        record = part.job.record if part.job is not None else None
        model = record.facts.get("model") if record is not None else None
        if record is not None:
            dtype = model.get("dtype") if isinstance(model, dict) else None
            said = (record.facts.get("device"), dtype, _engine(record.facts.get("engine")))
            facts = (fact for fact in said if isinstance(fact, str))
            found.add(" ".join(fact[:_LONGEST_FACT] for fact in facts))
    return " and ".join(sorted(found)) or "unknown"


def _engine(said: object) -> str | None:
    """The engine without its version, which is not what makes it several times as fast as another."""
    return said.partition(" ")[0] if isinstance(said, str) else None
