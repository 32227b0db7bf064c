"""Leaderboards as markdown, for a README or a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evalharness.errors import silent
from evalharness.reports.board import Board
from evalharness.reports.layout import Entry, Head, Page, Room, Table, lay_out, marked


def escaped(text: str) -> str:
    """A text of anyone's, already on one line, that stays text."""
    return silent(text, len(text))


def render(boards: Sequence[Board]) -> str:
    """Every board, one after the other: its tables, how to read them, and its footnotes."""
    return "\n".join(_page(lay_out(board, Room())) for board in boards)


def _page(page: Page) -> str:
    protocol = f"(protocol: {escaped(page.protocol)})"
    lines, marks = [], marked(page.marks)
    for table in page.tables:
        title = ["##", escaped(table.title), protocol] if table.title else ["#", escaped(page.title), protocol, marks]
        lines += [_spaced(title), "", *_table(table), ""]
    lines.append(" ".join(map(escaped, page.remarks)))
    if page.notes:
        lines += ["", *(f"[{number}] {escaped(text)}  " for number, text in enumerate(page.notes, start=1))]
    return "\n".join(lines) + "\n"


def _table(table: Table) -> list[str]:
    rules = ["---:" if head.is_number else "---" for head in table.head]
    heads = [_entry(head.entry) for head in table.head]
    return [_line(heads), _line(rules), *(_line(map(_below, table.head, line)) for line in table.rows)]


def _below(head: Head, entry: Entry) -> str:
    if not head.is_number:
        return _entry(entry)
    return _spaced([f"**{entry.text}**" if entry.is_best else entry.text, entry.tail, marked(entry.marks)])


def _entry(entry: Entry) -> str:
    return _spaced([escaped(entry.text), escaped(entry.tail), marked(entry.marks)])


def _spaced(texts: Iterable[str]) -> str:
    return " ".join(filter(None, texts))


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
