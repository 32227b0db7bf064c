"""Score against size and measured speed: which models nothing beats. A panel for each fact that some models have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, isfinite, log10

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from evalharness.errors import UsageError
from evalharness.reports.board import Board, Mean, Row, Span
from evalharness.reports.fronts import AGAINST, Against, front_of
from evalharness.reports.plots.drawing.labels import Box, Label, Room, place_labels
from evalharness.reports.plots.drawing.names import big, row_names, shown
from evalharness.reports.plots.drawing.scores import Overall, ends, interval_notes, overall, points, scales, void
from evalharness.reports.plots.drawing.sheet import Grid, Words, make_sheet, text_size
from evalharness.reports.plots.drawing.style import AXIS, BACKGROUND, COLOURS, INK, QUIET

_WIDTH, _HEIGHT, _NAME = 3.1, 3.1, 7.0
# with more models only those on the front and the user's own have names and bars
_FEW = 25
_MOST_NAMES = 14
# in printer's points, of which an inch has 72
_POINTS = 72
_RADIUS, _GAP, _LINE, _PAD = 3.2, 5.0, 0.6, 1.5
_FRONT, _OWN = COLOURS[0], COLOURS[1]
# multiples of the powers of ten that make an axis, the coarsest first
_MULTIPLES: Sequence[Sequence[float]] = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 5, 7),
    (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9),
)
_FEWEST_TICKS = 3
# of an axis, what two labels of ticks need at least
_APART = 0.088
# around the points of an axis, as a part of its length
_AROUND = 0.08
# what the name of a point may take of it
_MOST_OF_AXIS = 0.45


@dataclass(frozen=True, slots=True)
class _Point:
    """A model in a panel.

    Attributes:
        name: what it is called.
        x: its fact.
        mean: its score.
        is_front: whether nothing beats it.
        is_own: whether it is the user's among published ones.
    """

    name: str
    x: float
    mean: Mean
    is_front: bool
    is_own: bool

    @property
    def y(self) -> float:
        """Its score in points."""
        return points(self.mean.score)

    @property
    def is_marked(self) -> bool:
        """Whether it has a name and a bar even where there are many."""
        return self.is_front or self.is_own

    @property
    def colour(self) -> str:
        """Of its mark and its bar."""
        return _FRONT if self.is_front else _OWN if self.is_own else BACKGROUND


@dataclass(frozen=True, slots=True)
class _Panel:
    """A fact, and the models of which it is known.

    Attributes:
        against: the fact.
        points: in the board's order.
        front: those that nothing beats, the best for their cost first to last.
        is_crowded: whether there are too many for a name on each.
    """

    against: Against
    points: Sequence[_Point]
    front: Sequence[_Point]
    is_crowded: bool

    @property
    def marked(self) -> list[_Point]:
        """The points with names and bars."""
        return [point for point in self.points if point.is_marked or not self.is_crowded]


def draw(board: Board) -> Figure:
    """Points, the front as a line, names where there is room.

    Raises:
        UsageError: no model has a mean, or none of those that have one has any of the facts.
    """
    whole = overall(board)
    rows = [row for row in board.rows if (mean := whole.of(row)) is not None and mean.score is not None]
    if not rows:
        raise void(board, "model with a mean over its tasks")
    names = row_names(rows)
    panels = [panel for against in AGAINST if (panel := _panel(rows, names, whole, against)).points]
    if not panels:
        raise UsageError(
            "has no model with a mean over its tasks of which the parameters, the dimension or the speed are known; "
            "models of mteb's registry have them, and results of a run of this version"
        )
    scored = [Mean(point.mean.score, 1, 1) for panel in panels for point in panel.points]
    barred = [point.mean for panel in panels for point in panel.marked]
    (limits,) = scales([[*scored, *barred]]).limits
    subtitle = f"{whole.title}, in points; protocol: {shown(board.protocol)}"
    grid = Grid(len(panels), len(panels), _WIDTH, _HEIGHT, left=0.3, between=0.3, right=0.15)
    sheet = make_sheet(
        grid, Words(shown(board.title, 120), "Score against size and speed", subtitle, _footnotes(board, rows, panels))
    )
    for number, (axes, panel) in enumerate(zip(sheet.panels, panels, strict=True)):
        _set_axes(axes, panel, limits, is_first=number == 0)
        _draw_points(axes, panel, number)
        _draw_names(axes, panel)
    return sheet.figure


def _panel(rows: Sequence[Row], names: Sequence[str], whole: Overall, against: Against) -> _Panel:
    scores = [mean.score if (mean := whole.of(row)) else None for row in rows]
    values = [against.of(row) for row in rows]
    # an axis of powers has no place for the others
    known = [value is not None and isfinite(value) and value > 0 for value in values]
    front = front_of(
        rows, [score if is_known else None for score, is_known in zip(scores, known, strict=True)], against
    )
    is_mixed = len({row.origin for row in rows}) > 1
    found = {
        place: _Point(
            name,
            value,
            mean,
            is_front=place in front,
            is_own=is_mixed and row.origin == "results",
        )
        for place, (row, name, value, is_known) in enumerate(zip(rows, names, values, known, strict=True))
        if is_known and value is not None and (mean := whole.of(row)) is not None
    }
    return _Panel(against, list(found.values()), [found[place] for place in front], len(rows) > _FEW)


def _set_axes(axes: Axes, panel: _Panel, limits: Span, *, is_first: bool) -> None:
    better = "more" if panel.against.more_is_better else "fewer"
    axes.set_title(panel.against.title, loc="left", size=8.5, color=INK, pad=5)
    axes.set_xscale("log")
    values = [point.x for point in panel.points]
    low, high = log10(min(values)), log10(max(values))
    room = max((high - low) * _AROUND, 0.1)
    low, high = low - room, high + room
    # names stand on the side where nothing is better
    for point in panel.front:
        share = min((text_size(point.name, _NAME).width + 2 * _GAP) / (_POINTS * _WIDTH), _MOST_OF_AXIS)
        if panel.against.more_is_better:
            high = max(high, (log10(point.x) - share * low) / (1 - share))
        else:
            low = min(low, (log10(point.x) - share * high) / (1 - share))
    axes.set_xlim(10**low, 10**high)
    are_few = panel.against.name == "dimensions"
    axes.xaxis.set_major_locator(FixedLocator(ticks(low, high, values, are_few=are_few)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}" if are_few else big(value)))
    axes.set_xlabel(f"log scale; {better} is better", size=7.5, labelpad=2)
    axes.set_ylim(limits.low, limits.high)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.grid(axis="y")
    axes.tick_params(axis="y", length=0, labelleft=is_first)
    axes.spines["left"].set_visible(False)


def ticks(low: float, high: float, values: Sequence[float], *, are_few: bool) -> list[float]:
    """Where an axis of powers has labels: at the values themselves where that can be read, else at round numbers.

    Args:
        low: its left end, as a power of ten.
        high: its right end.
        values: of its points.
        are_few: whether the same values come again and again, so that the most frequent ones are good labels.
    """
    length = high - low
    own: list[float] = []
    for value, _ in sorted(Counter(values).items(), key=lambda found: (-found[1], found[0])):
        if _are_apart([*own, value], length):
            own.append(value)
    if are_few or len(own) == len(set(values)):
        return sorted(own)
    found: list[float] = []
    for multiples in _MULTIPLES:
        every = [multiple * 10.0**power for power in range(floor(low), ceil(high)) for multiple in multiples]
        inside = [value for value in every if low <= log10(value) <= high]
        if found and not _are_apart(inside, length):
            break
        found = inside
        if len(found) >= _FEWEST_TICKS:
            break
    return found


def _are_apart(values: Sequence[float], length: float) -> bool:
    places = sorted(map(log10, values))
    return all(after - before >= _APART * length for before, after in pairwise(places))


def _steps(axes: Axes, panel: _Panel) -> list[tuple[float, float]]:
    """The front from left to right, up to the edge beyond which there is nothing better to be had."""
    front = sorted(((point.x, point.y) for point in panel.front), key=lambda point: (point[0], -point[1]))
    left, right = axes.get_xlim()
    return [(left, front[0][1]), *front] if panel.against.more_is_better else [*front, (right, front[-1][1])]


def _draw_points(axes: Axes, panel: _Panel, number: int) -> None:
    steps = _steps(axes, panel)
    (line,) = axes.plot(
        [x for x, _ in steps],
        [y for _, y in steps],
        drawstyle="steps-pre" if panel.against.more_is_better else "steps-post",
        color=_FRONT,
        linewidth=1.0,
        alpha=0.45,
        zorder=1.5,
    )
    line.set_gid(f"front-{number}")
    for place, point in enumerate(panel.points):
        order = 4.0 if point.is_own else 3.0 if point.is_front else 2.0
        if point in panel.marked and (span := ends(point.mean)):
            pale = 1.0 if span.is_trusted else 0.5
            (bar,) = axes.plot(
                [point.x, point.x],
                [span.low, span.high],
                color=point.colour,
                linewidth=1.3,
                alpha=0.5 * pale,
                zorder=order - 0.5,
            )
            bar.set_gid(f"interval-{number}-{place}")
        (mark,) = axes.plot(
            [point.x],
            [point.y],
            "D" if point.is_own else "o",
            color=point.colour,
            markersize=2 * _RADIUS * (1.0 if point.is_marked else 0.8),
            markeredgecolor="white",
            markeredgewidth=0.5,
            zorder=order,
        )
        mark.set_gid(f"mark-{number}-{place}")


def _draw_names(axes: Axes, panel: _Panel) -> None:
    """Names beside points, the user's own and those of the front first."""
    wanted = _wanted(panel)
    labels = []
    for point in wanted:
        size = text_size(point.name, _NAME)
        x, y = axes.transData.transform((point.x, point.y))
        labels.append(Label(x, y, size.width + _PAD, size.height + _PAD))
    frame = axes.get_window_extent()
    inside = Box(frame.x0, frame.y0, frame.x1 + _GAP, frame.y1)
    crowd = [_box(axes, [point.x], [point.y], _RADIUS) for point in panel.points]
    room = Room(inside, _taken(axes, panel), crowd, _GAP, 1 if panel.against.more_is_better else -1)
    left_out = len(panel.marked) - len(wanted)
    for point, placed in zip(wanted, place_labels(labels, room), strict=True):
        if placed is None:
            left_out += 1
            continue
        x, y = axes.transData.inverted().transform((placed.x, placed.y))
        if placed.is_far:
            axes.plot([point.x, x], [point.y, y], color=AXIS, linewidth=0.5, zorder=1)
        colour = INK if point.is_marked else QUIET
        text = axes.text(x, y, point.name, size=_NAME, color=colour, ha=placed.align, va="center", zorder=3.5)
        # what it stands on is no part of it
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": _PAD / 2})
    if left_out:
        said = f"{left_out} name{'s' if left_out > 1 else ''} without room"
        axes.set_xlabel(f"{axes.get_xlabel()}; {said}", size=7.5, labelpad=2)


def _wanted(panel: _Panel) -> list[_Point]:
    """The points that get names, the user's own and those of the front first; of a long front every so many."""
    if not panel.is_crowded:
        return sorted(panel.points, key=lambda point: (not point.is_own, not point.is_front, -point.y))
    own = [point for point in panel.points if point.is_own]
    others = [point for point in panel.front if not point.is_own]
    every = ceil(len(others) / _MOST_NAMES)
    return [*own, *(others[::every] if every else [])]


def _taken(axes: Axes, panel: _Panel) -> list[Box]:
    """Where the marks and bars of points with names are, and the front."""
    found = [_box(axes, [point.x], [point.y], _RADIUS) for point in panel.marked]
    found += [
        _box(axes, [point.x], [span.low, span.high], _LINE) for point in panel.marked if (span := ends(point.mean))
    ]
    for (x, y), (after, other) in pairwise(_steps(axes, panel)):
        # along first, then up or down; the other way round where more is better
        bend = (x, other) if panel.against.more_is_better else (after, y)
        found += [_box(axes, [x, bend[0]], [y, bend[1]], _LINE), _box(axes, [bend[0], after], [bend[1], other], _LINE)]
    return found


def _box(axes: Axes, x: Sequence[float], y: Sequence[float], around: float) -> Box:
    """What is drawn of these points, in printer's points."""
    (left, bottom), (right, top) = axes.transData.transform([(min(x), min(y)), (max(x), max(y))])
    return Box(left - around, bottom - around, right + around, top + around)


def _footnotes(board: Board, rows: Sequence[Row], panels: Sequence[_Panel]) -> list[str]:
    is_crowded = any(panel.is_crowded for panel in panels)
    origins = {row.origin for row in rows}
    unknown = {panel.against.title: len(rows) - len(panel.points) for panel in panels}
    lacking = "; ".join(f"{title}, {count} of {len(rows)} models" for title, count in unknown.items() if count)
    absent = [against.title for against in AGAINST if against.name not in {panel.against.name for panel in panels}]
    void_rows = len(board.rows) - len(rows)
    notes: Mapping[str, bool] = {
        "Blue, joined by the line: no other model is better in both (Pareto front).": True,
        "Diamonds: own results. Circles: published scores.": len(origins) > 1,
        "All scores are published ones.": origins == {"published"},
        **dict.fromkeys(interval_notes([point.mean for panel in panels for point in panel.marked], "bars"), True),
        "The others have no names, for they are many.": is_crowded,
        f"Left out where nobody says: {lacking}.": bool(lacking),
        f"Known of no model: {', '.join(absent)}.": bool(absent),
        f"{void_rows} of {len(board.rows)} models lack tasks, so have no mean.": void_rows > 0,
    }
    return [" ".join(note for note, is_said in notes.items() if is_said)]
