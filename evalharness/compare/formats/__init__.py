"""What a comparison looks like: a base with a candidate, or with a series of them. A file here is a format."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from evalharness.compare.judged import Judged as Judged
from evalharness.errors import UsageError, unknown_names

_SHORT = {"md": "markdown"}


def formats() -> list[str]:
    """Names of all formats, short ones too."""
    return sorted([*files_of_formats(), *_SHORT])


def files_of_formats() -> list[str]:
    """The files here that are formats; all of them may be imported."""
    return [path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__"]


def render(series: Sequence[Judged], name: str) -> str:
    """Write comparisons in this format: of one candidate, or of several with the same base.

    Raises:
        UsageError: there is no such format.
    """
    if name not in formats():
        raise UsageError(unknown_names("format", [name], formats()))
    text: str = import_module(f"evalharness.compare.formats.{_SHORT.get(name, name)}").render(series)
    return text
