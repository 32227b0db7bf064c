"""Leaderboards for a terminal: tables that fit its width, in plain characters where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from os import environ
from shutil import get_terminal_size

from rich.box import HORIZONTALS, Box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Drawn
from rich.text import Text

from evalharness.reports.board import Board
from evalharness.reports.layout import Entry, Head, Page, Room, Table, lay_out, marked

_NO_TERMINAL = 100
_ROOM = Room(columns=6, blocks=2)
_GAP = 2
# of a head, which goes on in further lines, and of a word of it
_WIDEST_HEAD, _WIDEST_WORD = 16, 20
_NARROWEST_NAME = 12
_BEST = "*"
_PLAIN = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a table, and how wide it is, in cells."""

    head: Head
    entries: Sequence[Entry]
    width: int


def render(boards: Sequence[Board]) -> str:
    """Every board's tables; those that are too wide go on below, each part with the names again."""
    is_terminal = sys.stdout.isatty()
    width = get_terminal_size().columns if is_terminal else _NO_TERMINAL
    out = StringIO()
    # no markup, no emoji codes, nothing found in a text and coloured: all of it is anyone's
    console = Console(
        file=out,
        width=width,
        force_terminal=is_terminal and "NO_COLOR" not in environ,
        markup=False,
        emoji=False,
        highlight=False,
    )
    for board in boards:
        _draw(lay_out(board, _ROOM), console, HORIZONTALS if is_terminal else _PLAIN)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n")).rstrip("\n") + "\n"


def _draw(page: Page, console: Console, box: Box) -> None:
    for table in page.tables:
        title = table.title or _spaced(page.title, marked(page.marks))
        _say(console, f"{title} (protocol: {page.protocol})", "bold")
        for columns in _parts(table, console.width):
            _draw_part(columns, console, box)
            console.print()
    _say(console, " ".join(page.remarks))
    for number, text in enumerate(page.notes, start=1):
        _say(console, f"[{number}] {text}")
    console.print()


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style, overflow="fold"))


def _draw_part(columns: Sequence[_Column], console: Console, box: Box) -> None:
    drawn = Drawn(box=box, show_edge=False, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="")
    for column in columns:
        head, width = Text(_shown(column.head.entry)), column.width
        drawn.add_column(head, justify="right" if column.head.is_number else "left", width=width, overflow="fold")
    for line in zip(*(column.entries for column in columns), strict=True):
        drawn.add_row(*map(_cell, line))
    console.print(drawn)


def _parts(table: Table, width: int) -> Iterator[list[_Column]]:
    """The columns that fit side by side, each time with the words that lead a line."""
    columns = [_column(head, [line[place] for line in table.rows], width) for place, head in enumerate(table.head)]
    leading = next((place for place, head in enumerate(table.head) if head.is_number), len(columns))
    most = max(_NARROWEST_NAME, width * 3 // 5 // max(leading, 1) - _GAP)
    names = [replace(column, width=min(column.width, most)) for column in columns[:leading]]
    room = width - sum(column.width + _GAP for column in names)
    part: list[_Column] = []
    for column in columns[leading:]:
        if part and sum(one.width + _GAP for one in (*part, column)) > room:
            yield [*names, *part]
            part = []
        part.append(replace(column, width=max(min(column.width, room - _GAP), 1)))
    yield [*names, *part]


def _column(head: Head, entries: Sequence[Entry], most: int) -> _Column:
    longest = max((cell_len(_shown(entry)) for entry in entries), default=0)
    title = _shown(head.entry)
    word = min(max(map(cell_len, title.split()), default=0), _WIDEST_WORD)
    return _Column(head, entries, min(max(longest, word, min(cell_len(title), _WIDEST_HEAD)), most))


def _cell(entry: Entry) -> Text:
    return Text(_shown(entry), style="bold" if entry.is_best else "")


def _shown(entry: Entry) -> str:
    """What a cell has, the best with a mark that needs no colours."""
    return _spaced(f"{entry.text}{_BEST if entry.is_best else ''}", entry.tail, marked(entry.marks))


def _spaced(*texts: str) -> str:
    return " ".join(filter(None, texts))
