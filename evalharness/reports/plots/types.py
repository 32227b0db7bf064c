"""Models side by side: a panel for the mean and one for each task type, a line in it for each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evalharness.reports.board import Board, Mean, Row
from evalharness.reports.plots.drawing.names import row_names, shown
from evalharness.reports.plots.drawing.scores import (
    Scales,
    empty_note,
    ends,
    has_score,
    interval_notes,
    overall,
    points,
    same_scale,
    scales,
    void,
)
from evalharness.reports.plots.drawing.sheet import Grid, Words, columns_for, make_sheet, text_inches
from evalharness.reports.plots.drawing.style import COLOURS, GRID, INK, MARKS

_MOST_MODELS, _MOST_COLUMNS = len(COLOURS), 4
_WIDTH, _LANE, _NAME = 1.65, 0.2, 8.0
# how much wider the one panel of a board with a single type is
_ALONE = 2.2
_PALE = 0.35


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    means: Sequence[Mean | None]


def draw(board: Board) -> Figure:
    """Dots with their intervals.

    Raises:
        UsageError: no model has a score of any type.
    """
    able = [row for row in board.rows if _has_a_type(row)]
    rows = _chosen(able)
    if not rows:
        raise void(board, "model with all tasks of a type")
    every = _panels(board, rows)
    panels = [panel for panel in every if has_score(panel.means)]
    names = row_names(rows)
    found = scales([panel.means for panel in panels])
    columns = columns_for(len(panels), _MOST_COLUMNS)
    grid = Grid(
        len(panels),
        columns,
        _WIDTH * (_ALONE if len(panels) == 1 else 1.0),
        _LANE * len(rows) + 0.1,
        left=text_inches(names, _NAME) + 0.1,
        between=0.22,
        below=0.62,
    )
    subtitle = f"Main scores in points; protocol: {shown(board.protocol)}"
    sheet = make_sheet(
        grid, Words(shown(board.title, 120), "Models by task type", subtitle, _footnotes(board, rows, every, found))
    )
    for number, (axes, panel) in enumerate(zip(sheet.panels, panels, strict=True)):
        _draw_panel(axes, panel, rows, number)
        _label_axes(axes, names if number % columns == 0 else [], found, number)
    return sheet.figure


def _has_a_type(row: Row) -> bool:
    return any(mean.score is not None for mean in row.types.values())


def _chosen(rows: Sequence[Row]) -> list[Row]:
    """The first rows in the board's order, the user's own before published ones."""
    first = sorted(range(len(rows)), key=lambda place: (rows[place].origin != "results", place))[:_MOST_MODELS]
    return [rows[place] for place in sorted(first)]


def _panels(board: Board, rows: Sequence[Row]) -> list[_Panel]:
    of_types = [
        _Panel(f"{shown(name, 24)} ({len(tasks)})", [row.types[name] for row in rows])
        for name, tasks in board.types.items()
    ]
    if len(of_types) == 1:
        return of_types
    whole = overall(board)
    return [_Panel(whole.short, [whole.of(row) for row in rows]), *of_types]


def _draw_panel(axes: Axes, panel: _Panel, rows: Sequence[Row], number: int) -> None:
    axes.set_title(panel.title, loc="left", size=8.5, color=INK, weight="bold" if number == 0 else "normal", pad=5)
    for lane, (row, mean) in enumerate(zip(rows, panel.means, strict=True)):
        axes.axhline(lane, color=GRID, linewidth=0.7, zorder=0)
        if mean is None or mean.score is None:
            continue
        colour = COLOURS[lane]
        if span := ends(mean):
            (bar,) = axes.plot(
                [span.low, span.high],
                [lane, lane],
                color=colour,
                linewidth=2.2,
                alpha=0.55 if span.is_trusted else _PALE / 2,
                solid_capstyle="butt",
            )
            bar.set_gid(f"interval-{number}-{lane}")
        (mark,) = axes.plot(
            [points(mean.score)],
            [lane],
            MARKS[lane],
            color=colour,
            markersize=5.2,
            markerfacecolor=colour if row.origin == "results" else "white",
            markeredgecolor=colour,
            markeredgewidth=1.1,
        )
        mark.set_gid(f"mark-{number}-{lane}")
    axes.set_ylim(len(rows) - 0.5, -0.5)


def _label_axes(axes: Axes, names: Sequence[str], found: Scales, number: int) -> None:
    axes.set_yticks(range(len(names)), names, size=_NAME, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    limits = found.limits[number]
    axes.set_xlim(limits.low, limits.high)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))


def _footnotes(board: Board, rows: Sequence[Row], panels: Sequence[_Panel], found: Scales) -> list[str]:
    means: list[Mean | None] = [mean for panel in panels for mean in panel.means]
    void_means = any(
        mean is None or mean.score is None for panel in panels if has_score(panel.means) for mean in panel.means
    )
    notes = [
        "In brackets: how many tasks.",
        same_scale(found),
        *interval_notes(means, "bars"),
        "Hollow marks: published scores." if any(row.origin == "published" for row in rows) else "",
        "No mark: a task is missing." if void_means else "",
        empty_note([panel.title for panel in panels if not has_score(panel.means)]),
        *_not_shown(board, len(rows)),
    ]
    return [" ".join(note for note in notes if note)]


def _not_shown(board: Board, shown_rows: int) -> list[str]:
    """Why models have no line: they have no mean of any type, or there was no room for them."""
    every, able = len(board.rows), sum(map(_has_a_type, board.rows))
    void = every - able
    why = "has all tasks of no type, so has no mark" if void == 1 else "have all tasks of no type, so have no mark"
    no_room = f"{able - shown_rows} of {every} models not shown for lack of room; choose with --models."
    return [*([f"{void} of {every} models {why}."] if void else []), *([no_room] if able > shown_rows else [])]
