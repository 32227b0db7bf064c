r"""Leaderboards as one long table of comma-separated values: a line per number, over all boards, see `numbers`.

A spreadsheet would compute what begins like a formula, so a text that begins with `=`, `+`, `-` or `@` has an
apostrophe before it, and so has one that begins with an apostrophe: whoever takes one apostrophe off the beginning of a
text has the text. Texts are on one line, and control characters are replaced; the format json has them as they were.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from functools import lru_cache
from io import StringIO
from math import isfinite

from evalharness.errors import printable
from evalharness.reports.board import Board
from evalharness.reports.numbers import Value, lines

COLUMNS = (
    "board", "protocol", "place", "model", "revision", "second_stage", "experiment", "origin", "kind", "type", "name",
    "split", "subset", "languages", "metric", "score", "low", "high", "interval", "is_trusted", "present", "expected",
    "is_trained_on", "source", "missing", "notes", "borda", "rank_best", "rank_worst", "rank_best_such_tasks",
    "rank_worst_such_tasks", "dimensions", "max_length", "parameters", "embedding_parameters", "zero_shot",
    "texts_per_second", "step", "licence", "release_date", "link",
)  # fmt: skip
# what a spreadsheet takes for the beginning of a formula, in either width; an apostrophe, so that it can be taken back
_FORMULA = re.compile(r"[=+\-@\uff1d\uff0b\uff0d\uff20']")


@lru_cache(maxsize=4096)
def escaped(text: str) -> str:
    """A text of anyone's that no spreadsheet computes, on one line.

    >>> escaped("=1+1"), escaped("a=1")
    ("'=1+1", 'a=1')
    """
    line = " ".join(printable(text).split())
    return f"'{line}" if _FORMULA.match(line) else line


def render(boards: Sequence[Board]) -> str:
    """All boards in one table with one head; what is not known is empty."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for board in boards:
        for line in lines(board):
            writer.writerow([_text(line.get(name)) for name in COLUMNS])
    return out.getvalue()


def _text(value: Value | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if not isinstance(value, float) or isfinite(value) else ""
