"""Scores of checkpoints by training step: a panel for the mean and one for each task type, a line for each training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evalharness.errors import UsageError
from evalharness.reports.board import Board, Mean, Span
from evalharness.reports.checkpoints import CheckpointSeries, checkpoint_series
from evalharness.reports.plots.drawing.names import big, shown
from evalharness.reports.plots.drawing.scores import (
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
from evalharness.reports.plots.drawing.sheet import Grid, Sheet, Words, columns_for, make_sheet, text_inches
from evalharness.reports.plots.drawing.style import COLOURS, INK, MARKS

_MOST_SERIES, _MOST_COLUMNS = 8, 4
_WIDTH, _HEIGHT = 2.1, 1.65
# how much larger the one panel of a board with a single type is
_ALONE = 2.0
# of the legend: the size of its text, and the inches of a line with its mark and of the room around
_KEY, _HANDLE = 8.0, 0.6
# more marks than this on a line would hide it
_MOST_MARKS = 30
_ALPHA, _PALE = 0.16, 0.07


@dataclass(frozen=True, slots=True)
class _Panel:
    """A score of the board.

    Attributes:
        title: for people.
        means: of each series, by its rows.
    """

    title: str
    means: Sequence[Sequence[Mean | None]]

    @property
    def all(self) -> list[Mean | None]:
        """Those of all series."""
        return [mean for means in self.means for mean in means]


def draw(board: Board) -> Figure:
    """Lines with their intervals as bands.

    Raises:
        UsageError: no row is a checkpoint of a training, or none has a score.
    """
    found = checkpoint_series(board.rows)
    if not found:
        raise UsageError(
            "has no row with a training step; give results of checkpoints whose names end in their step "
            "(checkpoint-500), as `watch` and a callback in a trainer write them"
        )
    series = sorted(found, key=lambda one: -len(one.rows))[:_MOST_SERIES]
    every = _panels(board, series)
    panels = [panel for panel in every if has_score(panel.all)]
    if not panels:
        raise void(board, "checkpoint with all tasks of a type")
    limits = scales([panel.all for panel in panels])
    columns = columns_for(len(panels), _MOST_COLUMNS)
    size = _ALONE if len(panels) == 1 else 1.0
    grid = Grid(len(panels), columns, _WIDTH * size, _HEIGHT * size, left=0.3, between=0.42, below=0.62)
    subtitle = f"Main scores in points; protocol: {shown(board.protocol)}"
    if len(series) == 1 and series[0].name:
        subtitle = f"Training: {shown(series[0].name, 80)}. {subtitle}"
    keys = [shown(one.name) or "(no name)" for one in series] if len(series) > 1 else []
    across = max(1, int(grid.inner / (text_inches(keys, _KEY) + _HANDLE)))
    sheet = make_sheet(
        grid,
        Words(shown(board.title, 120), "Scores by training step", subtitle, _footnotes(board, found, series, every)),
        above=0.2 * -(-len(keys) // across),
    )
    for number, (axes, panel) in enumerate(zip(sheet.panels, panels, strict=True)):
        _draw_panel(axes, panel, series, number)
        _label_axes(axes, limits.limits[number])
        if number + columns >= len(panels):
            axes.set_xlabel("training step", size=7.5, labelpad=2)
    if keys:
        _add_legend(sheet, keys, across)
    return sheet.figure


def _panels(board: Board, series: Sequence[CheckpointSeries]) -> list[_Panel]:
    of_types = [
        _Panel(f"{shown(name, 24)} ({len(tasks)})", [[row.types[name] for row in one.rows] for one in series])
        for name, tasks in board.types.items()
    ]
    if len(of_types) == 1:
        return of_types
    whole = overall(board)
    return [_Panel(whole.short, [[whole.of(row) for row in one.rows] for one in series]), *of_types]


def _draw_panel(axes: Axes, panel: _Panel, series: Sequence[CheckpointSeries], number: int) -> None:
    axes.set_title(panel.title, loc="left", size=8.5, color=INK, weight="bold" if number == 0 else "normal", pad=5)
    axes.grid(axis="y")
    for place, (one, means) in enumerate(zip(series, panel.means, strict=True)):
        steps = [row.step or 0 for row in one.rows]
        spans = [ends(mean) for mean in means]
        _draw_band(axes, steps, spans, f"band-{number}-{place}", COLOURS[place])
        (line,) = axes.plot(
            steps,
            [points(None if mean is None else mean.score) for mean in means],
            color=COLOURS[place],
            linewidth=1.5,
            marker=MARKS[place] if len(steps) <= _MOST_MARKS else "",
            markersize=3.6,
            markeredgecolor="white",
            markeredgewidth=0.5,
        )
        line.set_gid(f"line-{number}-{place}")


def _draw_band(axes: Axes, steps: Sequence[int], spans: Sequence[Span | None], gid: str, colour: str) -> None:
    """From each interval to the next; one without a neighbour is a bar."""
    if not any(spans):
        return
    low = [span.low if span else nan for span in spans]
    high = [span.high if span else nan for span in spans]
    is_pale = any(span is not None and not span.is_trusted for span in spans)
    band = axes.fill_between(steps, low, high, color=colour, alpha=_PALE if is_pale else _ALPHA, linewidth=0)
    band.set_gid(gid)
    for place, step in enumerate(steps):
        beside = [low[other] for other in (place - 1, place + 1) if 0 <= other < len(low)]
        if not isnan(low[place]) and all(map(isnan, beside)):
            axes.plot([step, step], [low[place], high[place]], color=colour, alpha=0.4, linewidth=2.2)


def _label_axes(axes: Axes, limits: Span) -> None:
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(limits.low, limits.high)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.margins(x=0.04)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: big(step)))


def _add_legend(sheet: Sheet, keys: Sequence[str], across: int) -> None:
    lines = [
        Line2D([], [], color=COLOURS[place], marker=MARKS[place], markersize=4.5, linewidth=1.5)
        for place in range(len(keys))
    ]
    legend = sheet.figure.legend(
        lines,
        keys,
        loc="upper left",
        bbox_to_anchor=(sheet.left, sheet.top),
        ncols=min(across, len(keys)),
        frameon=False,
        fontsize=_KEY,
        borderpad=0.4,
        borderaxespad=0,
        labelcolor=INK,
    )
    legend.set_gid("legend")


def _footnotes(
    board: Board,
    found: Sequence[CheckpointSeries],
    series: Sequence[CheckpointSeries],
    panels: Sequence[_Panel],
) -> list[str]:
    others = sum(row.step is None for row in board.rows)
    left_out = len(found) - len(series)
    drawn = [panel.all for panel in panels if has_score(panel.all)]
    means = [mean for panel in drawn for mean in panel]
    notes: Mapping[str, bool] = {
        "In brackets: how many tasks.": True,
        same_scale(scales(drawn)): True,
        **dict.fromkeys(interval_notes(means, "bands"), True),
        empty_note([panel.title for panel in panels if not has_score(panel.all)]): True,
        "Gaps: a task is missing.": any(mean is None or mean.score is None for mean in means),
        f"{left_out} of {len(found)} trainings not shown; choose with --models.": left_out > 0,
        f"Rows without a step, not shown: {others}.": others > 0,
    }
    return [" ".join(note for note, is_said in notes.items() if note and is_said)]
