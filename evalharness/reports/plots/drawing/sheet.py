"""A figure with panels, laid out in inches: a title above, footnotes below, nothing that moves by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from evalharness.reports.plots.drawing.names import lines
from evalharness.reports.plots.drawing.style import INK, QUIET

_POINTS = 72
_MARGIN = 0.2
# of the panels: for their titles, and for the labels of their axes
_ABOVE, _BELOW = 0.36, 0.46
_TITLE, _SUBTITLE, _FOOTNOTE = 12.0, 8.5, 7.0
# of a line of text to its size, and of a letter's width to it
_LEADING, _LETTER = 1.45, 0.56


@dataclass(frozen=True, slots=True)
class Grid:
    """Where panels are, in inches.

    Attributes:
        count: of the panels, in rows from the left.
        columns: at most so many in a row.
        width, height: of each.
        left: of them, for what stands beside the first of each row.
        between, below: from one to the next, sideways and down.
        right: of the last one of a row.
    """

    count: int
    columns: int
    width: float
    height: float
    left: float = 0.5
    between: float = 0.5
    below: float = 0.6
    right: float = 0.1

    @property
    def inner(self) -> float:
        """From the left of the first panel to the right of the last one of a row, in inches."""
        return self.columns * self.width + (self.columns - 1) * self.between


@dataclass(frozen=True, slots=True)
class Words:
    """What a sheet says around its panels.

    Attributes:
        title: of the board.
        kind: what of it is shown.
        subtitle: how to read it.
        footnotes: below.
    """

    title: str
    kind: str
    subtitle: str
    footnotes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """A figure and its panels.

    Attributes:
        figure: of matplotlib; its label says what it is.
        panels: in the order of the grid.
        left, top: where the room between the subtitle and the panels begins, in parts of the figure.
    """

    figure: Figure
    panels: Sequence[Axes]
    left: float
    top: float


@dataclass(frozen=True, slots=True)
class TextSize:
    """How large a text is, in printer's points."""

    width: float
    height: float


def columns_for(count: int, most: int) -> int:
    """How many panels stand in a row, so that the last row is as full as can be.

    >>> [columns_for(count, most=4) for count in (1, 3, 4, 5, 6, 7, 8, 9)]
    [1, 3, 4, 3, 3, 4, 4, 3]
    """
    if count <= most:
        return max(count, 1)
    return min(range(most, 2, -1), key=lambda columns: (-count % columns, -columns))


def make_sheet(grid: Grid, words: Words, above: float = 0.0) -> Sheet:
    """Lay out a figure.

    Args:
        grid: of its panels.
        words: around them.
        above: inches left free between the subtitle and the panels, for a legend.
    """
    rows = -(-grid.count // grid.columns)
    width = max(2 * _MARGIN + grid.left + grid.inner + grid.right, 4.0)
    room = width - 2 * _MARGIN
    titles = _broken([words.title], _TITLE, room)
    subtitles = _broken([f"{words.kind}. {words.subtitle}"], _SUBTITLE, room)
    footnotes = _broken(words.footnotes, _FOOTNOTE, room)
    head = _MARGIN + len(titles) * _line(_TITLE) + len(subtitles) * _line(_SUBTITLE) + above + _ABOVE
    foot = _MARGIN + len(footnotes) * _line(_FOOTNOTE) + _BELOW
    height = head + rows * grid.height + (rows - 1) * grid.below + foot
    figure = Figure(figsize=(width, height), label=f"{words.title}: {words.kind}")
    y = height - _MARGIN
    for text, size, colour, weight in (
        *((line, _TITLE, INK, "bold") for line in titles),
        *((line, _SUBTITLE, QUIET, "normal") for line in subtitles),
    ):
        figure.text(_MARGIN / width, y / height, text, size=size, color=colour, weight=weight, va="top")
        y -= _line(size)
    top = y / height
    y = _MARGIN + len(footnotes) * _line(_FOOTNOTE)
    for line in footnotes:
        figure.text(_MARGIN / width, y / height, line, size=_FOOTNOTE, color=QUIET, va="top")
        y -= _line(_FOOTNOTE)
    panels = []
    for number in range(grid.count):
        row, column = divmod(number, grid.columns)
        x = _MARGIN + grid.left + column * (grid.width + grid.between)
        y = height - head - (row + 1) * grid.height - row * grid.below
        panels.append(figure.add_axes((x / width, y / height, grid.width / width, grid.height / height)))
    return Sheet(figure, panels, _MARGIN / width, top)


def text_size(text: str, size: float) -> TextSize:
    """How large a text is in our font, in printer's points."""
    font = FontProperties(size=size)
    width, height, _ = _renderer().get_text_width_height_descent(text, font, ismath=False)  # type: ignore[no-untyped-call]
    return TextSize(width, height)


def text_inches(texts: Sequence[str], size: float) -> float:
    """How wide the widest of some texts is in our font, in inches."""
    return max((text_size(text, size).width for text in texts), default=0.0) / _POINTS


@cache
def _renderer() -> RendererAgg:
    found: RendererAgg = FigureCanvasAgg(Figure(dpi=_POINTS)).get_renderer()  # type: ignore[no-untyped-call]
    return found


def _line(size: float) -> float:
    return size * _LEADING / _POINTS


def _broken(texts: Sequence[str], size: float, room: float) -> list[str]:
    columns = int(room * _POINTS / (size * _LETTER))
    return [line for text in texts if text for line in lines(text, columns)]
