"""What models and other texts of anyone's are called in a figure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from textwrap import wrap
from unicodedata import east_asian_width

from evalharness.errors import one_line
from evalharness.reports.board import Row
from evalharness.reports.wording import count

_LONGEST = 36
_THOUSAND = 1000
_OWNED = re.compile(r"[\w.-]+(/[\w.-]+)+")
# no file of XML may have them
_NOT_IN_XML = re.compile("[\ufffe\uffff]")


def shown(text: str, limit: int = _LONGEST) -> str:
    r"""A text of anyone's on one line, cut after `limit` characters; nothing in it turns or hides what follows.

    >>> shown("a\nb\u202ec")
    'a b�c'
    """
    return one_line(_NOT_IN_XML.sub("\ufffd", text), limit)


def row_names(rows: Sequence[Row]) -> list[str]:
    """What rows are called, another name for each: as short as the others allow."""
    ways: Sequence[Callable[[Row], str]] = (
        lambda row: _with_changes(_short(row.model), row),
        lambda row: _with_changes(row.model, row),
        lambda row: f"{_with_changes(row.model, row)} ({row.revision[:8]})",
        lambda row: f"{_with_changes(row.model, row)} ({row.revision[:8]}, {row.origin})",
    )
    found = [shown(ways[0](row)) for row in rows]
    for way in ways[1:]:
        twice = Counter(found)
        found = [shown(way(row)) if twice[name] > 1 else name for name, row in zip(found, rows, strict=True)]
    twice, numbers = Counter(found), Counter[str]()
    for place, name in enumerate(found):
        if twice[name] > 1:
            numbers[name] += 1
            found[place] = f"{name} #{numbers[name]}"
    return found


def _short(model: str) -> str:
    """A model's name without its owner, where it is such a name."""
    return model.rpartition("/")[2] if _OWNED.fullmatch(model) else model


def _with_changes(name: str, row: Row) -> str:
    second = f" + {row.second_stage}" if row.second_stage else ""
    return f"{name}{second}{f' [{row.experiment}]' if row.experiment else ''}"


def width(text: str) -> int:
    """Of a text in columns; letters of East Asia take two."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def lines(text: str, columns: int) -> list[str]:
    """A text broken into lines of at most so many columns."""
    wide = max(1.0, width(text) / max(1, len(text)))
    return wrap(text, max(1, int(columns / wide))) or [""]


def big(value: float) -> str:
    """A number of steps, of parameters or of texts per second, as short as an axis needs it.

    >>> big(22_713_216), big(1500), big(384), big(2.5)
    ('22.7M', '1.5K', '384', '2.5')
    """
    return count(round(value)) if value >= _THOUSAND else f"{value:.3g}"
