"""Files into folders that others write as well: all that would be damaged is named before anything is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evalharness.errors import DataError, UsageError, shorten
from evalharness.files import atomic_path, storage_errors
from evalharness.reading import read_bytes
from evalharness.reports.publishing.own import OwnResults


@dataclass(frozen=True, slots=True)
class Publication:
    """What was written.

    Attributes:
        form: its name, for people.
        files: that are there now, those that were there before, unchanged, included.
        results: what of each run is in them, and what was left out.
        notes: what the user has to know or to do.
    """

    form: str
    files: Sequence[Path]
    results: Sequence[OwnResults]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be written.

    Attributes:
        path: where.
        content: of it.
        is_ours: whether a file that is there was made by us, and may be replaced.
    """

    path: Path
    content: bytes
    is_ours: Callable[[bytes], bool] = field(default=lambda _: False)


def place_of(results: Sequence[OwnResults], one: OwnResults, folder: Path) -> Path:
    """Where a run's files go: into the folder itself if it is the only one."""
    return folder if len(results) == 1 else folder / one.folder


def write_files(files: Sequence[NewFile], folder: Path, flag: str) -> list[Path]:
    """Write all, or nothing where a file of somebody else is in the way.

    Args:
        files: with their contents.
        folder: below which they are.
        flag: that named it.

    Raises:
        UsageError: files are in the way.
        StorageError: they cannot be written.
    """
    refuse_foreign(files, flag)
    with storage_errors(folder, f"nothing can be published in {folder}", f"choose another place with {flag}"):
        for file in files:
            # what a link leads to is replaced, not the link
            with atomic_path(file.path.resolve()) as temporary:
                temporary.write_bytes(file.content)
    return [file.path for file in files]


def refuse_foreign(files: Sequence[NewFile], flag: str) -> None:
    """See that nothing of anybody else is in the way. Raises UsageError."""
    if foreign := [str(file.path) for file in files if not _may_be_written(file)]:
        raise UsageError(
            f"{flag} would replace what was not made by it: {shorten(foreign)}. Move it away, or name another place"
        )


def _may_be_written(file: NewFile) -> bool:
    if not os.path.lexists(file.path):
        return True
    try:
        content = read_bytes(file.path)
    except DataError:
        return False
    return content == file.content or file.is_ours(content)


def check_any(results: Sequence[OwnResults], flag: str) -> None:
    """See that there is something to publish.

    Raises:
        UsageError: there is nothing; it says why.
    """
    if any(one.tasks for one in results):
        return
    reasons = [f"{one.run.model}: {line}" for one in results for line in left_out_lines(one)]
    why = shorten(reasons, 10) if reasons else "there are no results of your own"
    raise UsageError(f"{flag}: nothing can be published: {why}")


def left_out_lines(one: OwnResults) -> list[str]:
    """Which tasks were left out, a line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for name, why in one.left_out.items():
        by_reason.setdefault(why, []).append(name)
    return [f"{', '.join(names)}: {why}" if any(names) else why for why, names in by_reason.items()]
