"""The look that all figures share, and how they are written: the same bytes for the same board."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib import font_manager
from matplotlib import style as styles
from matplotlib.figure import Figure

# of ink on white: text, what is said beside it, axes, lines to read along, what is not in the foreground
INK, QUIET, AXIS, GRID, BACKGROUND = "#1a1a1a", "#5f6368", "#9aa0a6", "#e4e6e9", "#b4b9bf"
# told apart by people of any colour vision (Okabe and Ito, then Tol's muted ones), each with a mark of its own
COLOURS: Sequence[str] = (
    "#0072b2", "#d55e00", "#009e73", "#aa4499", "#b8860b", "#56b4e9",
    "#332288", "#882255", "#44aa99", "#999933", "#117733", "#cc6677",
)  # fmt: skip
MARKS: Sequence[str] = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p", "d")
# comes with matplotlib, so that figures are the same everywhere
_FONT = "DejaVu Sans"
# for scripts that it lacks, if the system has one: from Linux, Windows, macOS
_MORE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Droid Sans Fallback", "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS",
    "Noto Sans Devanagari", "Noto Sans Thai", "Noto Emoji",
)  # fmt: skip
_DOTS_PER_INCH = 200
_SETTINGS: Mapping[str, Any] = {
    # a name is a text, never a formula
    "text.parse_math": False,
    "text.color": INK,
    "font.size": 8.5,
    "font.sans-serif": [_FONT],
    "axes.edgecolor": AXIS,
    "axes.labelcolor": QUIET,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": AXIS,
    "ytick.color": AXIS,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    # texts stay texts: small files that are searched and read aloud, with the reader's fonts for what ours lacks
    "svg.fonttype": "none",
    # ids of clips are made of it, and of random numbers without
    "svg.hashsalt": "evalharness",
    "savefig.dpi": _DOTS_PER_INCH,
    "savefig.facecolor": "white",
    "figure.dpi": 72,
}


@contextmanager
def style() -> Iterator[None]:
    """In which figures are made and written: our settings on matplotlib's own, whatever the user has set."""
    with styles.context(["default", {**_SETTINGS, "font.family": _families()}]), warnings.catch_warnings():
        # what no font here has is a box in the PNG; in the SVG it is text, for the fonts of whoever reads it
        warnings.filterwarnings("ignore", message=r"Glyph \d+", category=UserWarning)
        yield


@cache
def _families() -> list[str]:
    installed = {font.name for font in font_manager.fontManager.ttflist}
    # the last is for readers of an SVG who have none of them
    return [_FONT, *(name for name in _MORE_FONTS if name in installed), "sans-serif"]


def save(figure: Figure, path: Path, suffix: str) -> None:
    """Write a figure as `svg` or `png`, without a date or a version in it."""
    metadata = {"Date": None, "Creator": None} if suffix == "svg" else {"Software": None}
    with style():
        figure.savefig(path, format=suffix, metadata={**metadata, "Title": figure.get_label() or None})
