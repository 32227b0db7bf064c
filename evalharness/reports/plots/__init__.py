"""Leaderboards to figures, by matplotlib. A file here with `draw` is a plot.

| what | file |
| --- | --- |
| scores of checkpoints by training step | `curve` |
| models side by side, by task type | `types` |
| score against size and speed, and which models nothing beats | `pareto` |
| how all of them look: sheet, colours, names, places of labels | `drawing` |
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

from evalharness.errors import PrerequisiteError, UsageError, printable, unknown_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from evalharness.reports.board import Board

_SUFFIXES = ("svg", "png")
# of a board's title in a file's name, in bytes: systems allow 255 in all
_LONGEST = 100
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class Plotted:
    """What came of plots.

    Attributes:
        files: those that were written.
        left_out: which plots of which boards were not drawn, and why.
    """

    files: Sequence[Path]
    left_out: Sequence[str]


def plots() -> list[str]:
    """The files here that are plots."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def check_plots(names: Sequence[str]) -> None:
    """See that there are such plots, and what draws them.

    Raises:
        UsageError: there are not; all wrong names at once.
        PrerequisiteError: matplotlib is not installed.
    """
    if wrong := [name for name in names if name not in plots()]:
        raise UsageError(unknown_names("plot", wrong, plots()))
    if names and find_spec("matplotlib") is None:
        raise PrerequisiteError("plots need matplotlib, not installed here: pip install 'evalharness[plots]'")


def draw(board: Board, name: str) -> Figure:
    """Draw a board.

    Raises:
        UsageError: there is no such plot, or the board lacks what it shows.
        PrerequisiteError: matplotlib is not installed.
    """
    check_plots([name])
    from evalharness.reports.plots.drawing.style import style

    with style():
        figure: Figure = import_module(f"evalharness.reports.plots.{name}").draw(board)
        return figure


def save_plots(boards: Sequence[Board], names: Sequence[str], folder: Path) -> Plotted:
    """Draw boards and write each figure as SVG and PNG, the same bytes whenever the board is the same.

    Args:
        boards: of several, each has its name in those of its files.
        names: of plots.
        folder: made if it is not there.

    Raises:
        UsageError: there is no such plot, or no board has what it shows; then nothing is written.
        PrerequisiteError: matplotlib is not installed.
    """
    names = list(dict.fromkeys(names))
    check_plots(names)
    figures: dict[str, Figure] = {}
    left_out = []
    for name in names:
        reasons = []
        for board, title in zip(boards, _file_titles(boards), strict=True):
            try:
                figures[f"{name}-{title}" if title else name] = draw(board, name)
            except UsageError as error:
                reasons.append(f"--plot {name}: {printable(board.title)} ({board.protocol}) {error}")
        if len(reasons) == len(boards):
            raise UsageError("\n".join(reasons) or f"--plot {name}: there is no leaderboard to draw")
        left_out += reasons
    return Plotted([path for stem, figure in figures.items() for path in _save(figure, folder, stem)], left_out)


def _save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    from evalharness.files import atomic_path
    from evalharness.reports.plots.drawing.style import save

    paths = [folder / f"{stem}.{suffix}" for suffix in _SUFFIXES]
    for path, suffix in zip(paths, _SUFFIXES, strict=True):
        with atomic_path(path) as temporary:
            save(figure, temporary, suffix)
    return paths


def _file_titles(boards: Sequence[Board]) -> list[str]:
    """What is added to a file's name, another for each board: nothing where there is one."""
    if len(boards) == 1:
        return [""]
    titles = Counter(board.title for board in boards)
    taken: set[str] = set()
    found = []
    for board in boards:
        name = _file_title(board.title)
        name += f"-{_file_title(board.protocol)}" if titles[board.title] > 1 else ""
        number, unique = 1, name
        # there are systems to which Ä and ä are one name
        while unique.casefold() in taken:
            number += 1
            unique = f"{name}-{number}"
        taken.add(unique.casefold())
        found.append(unique)
    return found


def _file_title(text: str) -> str:
    """A text as a part of a file's name that also stands in a link as it is: MTEB-eng-v1."""
    words = _NOT_IN_NAMES.sub("-", normalize("NFC", printable(text))).strip("-.")
    return words.encode()[:_LONGEST].decode(errors="ignore") or "board"
