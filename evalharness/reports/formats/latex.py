r"""Leaderboards as LaTeX tables, to be read with `\input` by a document that uses booktabs and graphicx.

Nothing in a name is a command: each character that TeX would do something with is written as what prints it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from evalharness.reports.board import Board
from evalharness.reports.layout import NO_ROOM, Entry, Page, Room, Table, lay_out

_HEAD = r"% needs \usepackage{booktabs,graphicx}"
_UNICODE = "; letters beyond ASCII need XeLaTeX or LuaLaTeX, and a font that has them"
# that fit on a page
_MOST_LINES = 40
_ROOM = Room(columns=4, blocks=8)
_PRINTED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
    # a shorthand where babel makes it one
    '"': r"{\char34}",
    "\u2013": r"\textendash{}", "\u2020": r"\dag{}", "\u2026": r"\ldots{}", "\ufffd": "?",
}  # fmt: skip
_ACTIVE = re.compile("|".join(map(re.escape, _PRINTED)))
# two of them would grow together
_GROWING = re.compile(r"([-,])(?=\1)")
# behind the end of a line it would be an argument of that
_ARGUMENT = re.compile(r"^[\[*]")


@lru_cache(maxsize=4096)
def escaped(text: str) -> str:
    r"""A text of anyone's, already on one line, as what prints it.

    >>> escaped("a_b & 100% \\write18")
    'a\\_b \\& 100\\% \\textbackslash{}write18'
    """
    text = _GROWING.sub(r"\1{}", _ACTIVE.sub(lambda found: _PRINTED[found[0]], text))
    return _ARGUMENT.sub(r"{\g<0>}", text)


def render(boards: Sequence[Board]) -> str:
    """Every board's tables, one after the other, with their footnotes below."""
    body = "\n".join(_page(lay_out(board, _ROOM)) for board in boards)
    return f"{_HEAD}{'' if body.isascii() else _UNICODE}\n{body}"


def _page(page: Page) -> str:
    lines: list[str] = []
    for table in page.tables:
        marks = "" if table.title else _marks(page.marks)
        title = ": ".join(filter(None, (page.title, table.title)))
        caption = f"{escaped(title)} (protocol: {escaped(page.protocol)}){marks}"
        lines += _long(table, caption) if len(table.rows) > _MOST_LINES else _short(table, caption)
    lines += [r"\begin{flushleft}\footnotesize", " ".join(map(escaped, page.remarks))]
    lines += [rf"\par [{number}] {escaped(text)}" for number, text in enumerate(page.notes, start=1)]
    return "\n".join([*lines, r"\end{flushleft}", ""])


def _short(table: Table, caption: str) -> list[str]:
    return [
        r"\begin{table}[htbp]",
        r"\centering\footnotesize",
        rf"\caption{{{caption}}}",
        *_fitted(table, table.rows),
        r"\end{table}",
    ]


def _long(table: Table, caption: str) -> list[str]:
    """A table that goes on over pages, in parts that have its head each: nothing shrinks a longtable to the page."""
    parts = [table.rows[start : start + _MOST_LINES] for start in range(0, len(table.rows), _MOST_LINES)]
    return [
        r"\begin{center}\footnotesize",
        rf"\refstepcounter{{table}}\tablename{{}} \thetable: {caption}\par\nobreak",
        *(line for part in parts for line in (*_fitted(table, part), r"\par")),
        r"\end{center}",
    ]


def _fitted(table: Table, rows: Sequence[Sequence[Entry]]) -> list[str]:
    """Its columns over these rows, no wider than the page."""
    return [
        rf"\resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}{{\begin{{tabular}}{{{_columns(table)}}}",
        *_top(table),
        *map(_line, rows),
        r"\bottomrule",
        r"\end{tabular}}",
    ]


def _columns(table: Table) -> str:
    return "".join("r" if head.is_number else "l" for head in table.head)


def _top(table: Table) -> list[str]:
    return [r"\toprule", _line(head.entry for head in table.head), r"\midrule"]


def _line(entries: Iterable[Entry]) -> str:
    return " & ".join(map(_entry, entries)) + r" \\"


def _entry(entry: Entry) -> str:
    text = escaped(entry.text)
    tail = rf" {{\scriptsize {escaped(entry.tail)}}}" if entry.tail else ""
    return (rf"\textbf{{{text}}}" if entry.is_best else text) + tail + _marks(entry.marks)


def _marks(marks: Sequence[int]) -> str:
    shown = ",".join("+" if mark == NO_ROOM else str(mark) for mark in marks)
    return rf"\textsuperscript{{{shown}}}" if shown else ""
