"""Leaderboards to text. A file here with `render` is a format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from evalharness.errors import UsageError, unknown_names
from evalharness.files import no_collection

if TYPE_CHECKING:
    from evalharness.reports.board import Board

_SHORT = {"md": "markdown", "tex": "latex"}
# of files, beside the names of formats
_ENDINGS = {"htm": "html", "txt": "md"}
_COLOURS = re.compile("\x1b\\[[0-9;]*m")


def formats() -> list[str]:
    """Names of all formats, short ones too."""
    return sorted([*files_of_formats(), *(short for short, name in _SHORT.items() if name in files_of_formats())])


def files_of_formats() -> list[str]:
    """The files here that are formats; all of them may be imported."""
    return [path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")]


def format_of(name: str | None, output: Path | None, *, flag: str, advice: str) -> str:
    """The format that was named; else the one that the output's ending names; else markdown.

    Args:
        name: of a format; None where none was named.
        output: the file; None where there is none.
        flag: that named the file, with a space behind it; empty where it was no flag.
        advice: how whoever asked names a format.

    Raises:
        UsageError: there is no such format, or the ending names none.
    """
    if name is None and output is not None and output.suffix:
        ending = output.suffix.removeprefix(".").lower()
        ending = _ENDINGS.get(ending, ending)
        if ending not in formats():
            raise UsageError(f"{flag}{output}: {unknown_names('format', [ending], formats())}\n{advice}")
        return ending
    found = name or "md"
    if found not in formats():
        raise UsageError(unknown_names("format", [found], formats()))
    return found


def render(boards: Sequence[Board], name: str) -> str:
    """Write leaderboards in this format, all of them in one text.

    Raises:
        UsageError: there is no such format.
    """
    if name not in formats():
        raise UsageError(unknown_names("format", [name], formats()))
    with no_collection():
        text: str = import_module(f"evalharness.reports.formats.{_SHORT.get(name, name)}").render(boards)
    return text


def uncoloured(text: str) -> str:
    """The same for a file, where the terminal's format would be coloured; nobody's own text has colours."""
    return _COLOURS.sub("", text)
