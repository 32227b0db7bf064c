"""Leaderboards as a notebook shows them: small tables of plain HTML, without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from evalharness.reports.board import Board
from evalharness.reports.layout import Entry, Head, Page, Room, Table, lay_out, marked

_ROOM = Room(rows=30, columns=6, blocks=1)
_NUMBER = ' style="text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums"'
_WORD = ' style="text-align: left; white-space: nowrap"'
_NUMBER_HEAD, _WORD_HEAD = ' style="text-align: right"', ' style="text-align: left"'
_ROW_HEAD = ' style="text-align: left; font-weight: normal"'
_WIDE = ' style="overflow-x: auto"'
_SMALL = ' style="opacity: 0.7; font-size: smaller"'


def to_html(boards: Sequence[Board]) -> str:
    """Every board's tables, how to read them, and their footnotes; colours are the notebook's own."""
    return "\n".join(_page(lay_out(board, _ROOM)) for board in boards)


def _page(page: Page) -> str:
    parts = []
    for table in page.tables:
        title = table.title or page.title
        marks = "" if table.title else _small(marked(page.marks))
        parts.append(_table(table, f"{_text(title)} (protocol: {_text(page.protocol)}){marks}"))
    parts.append(f"<p{_SMALL}>{' '.join(map(_text, page.remarks))}</p>")
    if page.notes:
        notes = "".join(f"<li>{_text(note)}</li>" for note in page.notes)
        parts.append(f"<ol{_SMALL}>{notes}</ol>")
    return "\n".join(["<div>", *parts, "</div>"])


def _table(table: Table, title: str) -> str:
    heads = "".join(
        f'<th scope="col"{_NUMBER_HEAD if head.is_number else _WORD_HEAD}>{_entry(head.entry)}</th>'
        for head in table.head
    )
    body = "\n".join(f"<tr>{_line(table.head, line)}</tr>" for line in table.rows)
    parts = [f"<caption>{title}</caption>", f"<thead><tr>{heads}</tr></thead>", "<tbody>", body, "</tbody>"]
    return "\n".join([f"<div{_WIDE}><table>", *parts, "</table></div>"])


def _line(heads: Sequence[Head], line: Sequence[Entry]) -> str:
    """What a line is of heads it."""
    first, *rest = line
    cells = "".join(
        f"<td{_NUMBER if head.is_number else _WORD}>{_entry(entry)}</td>"
        for head, entry in zip(heads[1:], rest, strict=True)
    )
    return f'<th scope="row"{_ROW_HEAD}>{_entry(first)}</th>{cells}'


def _entry(entry: Entry) -> str:
    text = f"<strong>{_text(entry.text)}</strong>" if entry.is_best else _text(entry.text)
    return text + _small(entry.tail) + _small(marked(entry.marks))


def _small(text: str) -> str:
    return f" <span{_SMALL}>{_text(text)}</span>" if text else ""


def _text(text: str) -> str:
    """A text of anyone's that stays text, also where a notebook would make a formula of it."""
    return escape(text).replace("$", "&#36;")
