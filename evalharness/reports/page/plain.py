"""The table that a page has without JavaScript: means only, as plain HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from evalharness.errors import printable
from evalharness.reports.board import Board, Mean, Row

_VOID = "\u2013"
_LONGEST = 200


def shown(text: str) -> str:
    r"""A text of anyone's as it may stand in HTML, on one line.

    >>> shown('<b>"bold"</b>\n')
    '&lt;b&gt;&quot;bold&quot;&lt;/b&gt;'
    """
    line = " ".join(printable(text).split())
    return escape(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}\u2026")


def plain_tables(boards: Sequence[Board]) -> str:
    """Every board's means, one after the other."""
    return "\n".join(map(_table, boards))


def _table(board: Board) -> str:
    heads = ["Mean over tasks", "Mean over types", *map(shown, board.types)]
    lines = [
        f"<table><caption>{shown(board.title)} (protocol: {shown(board.protocol)})</caption>",
        f"<thead><tr><th scope=col>Model{''.join(f'<th scope=col>{head}' for head in heads)}</thead><tbody>",
        *map(_line, board.rows),
        "</tbody></table>",
        *(f"<p>{shown(note)}</p>" for note in board.notes),
    ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    name = f"{row.model} + {row.second_stage}" if row.second_stage else row.model
    named = f"{shown(name)} <small>{shown(row.experiment)}</small>" if row.experiment else shown(name)
    means = (row.mean_task, row.mean_type, *row.types.values())
    return f"<tr><th scope=row>{named}{''.join(f'<td>{_mean(mean)}' for mean in means)}"


def _mean(mean: Mean) -> str:
    """In points; of a void one, how many of its tasks have a score."""
    return f"{_VOID} {mean.present}/{mean.expected}" if mean.score is None else f"{100 * mean.score:.2f}"
