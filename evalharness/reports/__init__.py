"""Reports: results on disk to a leaderboard, and a leaderboard to text. A file here with `render` is a format."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from evalharness.errors import UsageError, unknown_names

if TYPE_CHECKING:
    from evalharness.reports.leaderboard import Leaderboard

_NO_FORMATS = ("__init__", "leaderboard")
_SHORT = {"md": "markdown"}


def formats() -> list[str]:
    """Names of all formats, short ones too."""
    files = [path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _NO_FORMATS]
    return sorted([*files, *_SHORT])


def render(boards: Sequence[Leaderboard], name: str) -> str:
    """Write leaderboards in this format, one after the other.

    Raises:
        UsageError: there is no such format.
    """
    if name not in formats():
        raise UsageError(unknown_names("format", [name], formats()))
    write = import_module(f"evalharness.reports.{_SHORT.get(name, name)}").render
    return "\n".join(write(board) for board in boards)
