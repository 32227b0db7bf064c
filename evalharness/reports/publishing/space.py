"""A leaderboard as a static Space of the Hugging Face Hub: a page, and the README that says what a Space is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evalharness.catalog.lists import NAMED, STORED
from evalharness.errors import DataError, UsageError, plain, printable
from evalharness.reading import read_bytes
from evalharness.reports.board import Board
from evalharness.reports.formats.html import render
from evalharness.reports.publishing.front_matter import front_matter
from evalharness.reports.publishing.writing import NewFile, write_files

FLAG = "--space"
PAGE, README = "index.html", "README.md"
_SDK = "static"
# in the head of every page of ours
_OURS = b'<meta name="generator" content="evalharness">'
_LONGEST_TITLE = 100
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Space:
    """What became of a folder: its page, and whether its README was there before and was kept."""

    page: Path
    is_readme_kept: bool


def write_space(boards: Sequence[Board], folder: Path) -> Space:
    """Write a static Space that shows these leaderboards.

    A page of ours is replaced. A README of a static Space is the user's, once it is there, and stays as it is.

    Raises:
        UsageError: it is no folder, or has a page that is not ours, or a README of something else.
        StorageError: it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{FLAG} {folder} is no folder; name the folder of the Space")
    readme = folder / README
    is_kept = readme.is_file() and _is_of_a_static_space(readme)
    page = NewFile(folder / PAGE, render(boards).encode(), lambda content: _OURS in content)
    files = [page] if is_kept else [NewFile(readme, _readme(boards).encode()), page]
    write_files(files, folder, FLAG)
    return Space(page.path, is_kept)


def _is_of_a_static_space(readme: Path) -> bool:
    try:
        return front_matter(read_bytes(readme).decode()).get("sdk") == _SDK
    except (DataError, UnicodeDecodeError):
        return False


def _title(boards: Sequence[Board]) -> str:
    """Names of the boards, on one line; of those that have none, what they are of."""
    found = ", ".join(dict.fromkeys(map(_name, boards)))
    names = " ".join(printable(found).split()) or "Leaderboard"
    return names if len(names) <= _LONGEST_TITLE else f"{names[:_LONGEST_TITLE]}\u2026"


def _name(board: Board) -> str:
    if not board.title.startswith((NAMED, STORED)):
        return board.title
    of = ", ".join(board.tasks) if len(board.tasks) <= _MOST_NAMED else f"{len(board.tasks)} tasks"
    return f"Text embedding models: {of}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _readme(boards: Sequence[Board]) -> str:
    """What the Hub has to know of a Space, and its readers."""
    front = {
        # a JSON string is one of YAML, too, whatever is in it
        "title": json.dumps(_title(boards), ensure_ascii=False),
        "emoji": "\U0001f4cf",
        "colorFrom": "blue",
        "colorTo": "gray",
        "sdk": _SDK,
        "app_file": PAGE,
        "pinned": "false",
    }
    counts = [
        f"- {plain(board.title)} ({plain(board.protocol)}): "
        f"{_counted(len(board.rows), 'model')}, {_counted(len(board.tasks), 'task')}"
        for board in boards
    ]
    lines = [
        "---",
        *(f"{name}: {value}" for name, value in front.items()),
        "---",
        "",
        f"# {plain(_title(boards), 2 * _LONGEST_TITLE)}",
        "",
        *counts,
        "",
        f"`{PAGE}` is the leaderboard: one file, which asks nothing of any server.",
        f"`evalharness report {FLAG}` made it, and replaces it; this file stays as it is.",
    ]
    return "\n".join(lines) + "\n"
