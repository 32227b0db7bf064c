"""Leaderboards as one page of HTML that needs no network."""

from __future__ import annotations

from collections.abc import Sequence

from evalharness.reports.board import Board
from evalharness.reports.page.assemble import page


def render(boards: Sequence[Board]) -> str:
    """All boards on one page: tables to sort and filter, charts, and scores of single items where they are at hand."""
    return page(boards)
