"""Graphs that were made of a model's weights, kept in the user's cache folder: a folder each, known by its key.

A key names all that a graph depends on: the content of the model's files, and versions. What is found is whole and as
it was written, or it is not found. The folder may be removed at any time.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from tempfile import mkdtemp

from pydantic import ValidationError

from evalharness.files import cache_folder, lock
from evalharness.types import Frozen

_RECORD = "export.json"


class ExportRecord(Frozen):
    """What is known of an export; stands beside its files.

    Attributes:
        files: sha256 of each, by name.
        max_length: tokens of the longest text on which it was compared with the model that it was made of.
        difference: the largest difference that was found.
        made_of: what the key is the digest of, for readers.
    """

    files: dict[str, str]
    max_length: int
    difference: float
    made_of: dict[str, str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How an export was compared with its model; see `ExportRecord`."""

    max_length: int
    difference: float


@dataclass(frozen=True, slots=True)
class Export:
    """An export that is whole."""

    folder: Path
    record: ExportRecord


def exports_folder() -> Path:
    """Where exports are kept."""
    return cache_folder() / "exports"


@contextmanager
def claimed(key: str) -> Iterator[None]:
    """Nobody else makes this export meanwhile, or looks for it; where nothing can be written, everybody makes one."""
    try:
        exports_folder().mkdir(parents=True, exist_ok=True)
        handle = (exports_folder() / f"{key}.lock").open("ab")
    except OSError:
        yield
        return
    with handle:
        with suppress(OSError):
            lock(handle)
        yield


def find_export(key: str) -> Export | None:
    """A kept export; None if there is none, or one of its files is another than was written."""
    folder = exports_folder() / key
    try:
        record = ExportRecord.model_validate_json((folder / _RECORD).read_bytes())
        return Export(folder, record) if _digests(folder) == record.files else None
    except (OSError, ValidationError):
        return None


def keep_export(key: str, made: Path, comparison: Comparison, made_of: Mapping[str, str]) -> None:
    """Keep a folder's files, in place of what is there; without room or permission, nothing is kept.

    Args:
        key: of the export, which the caller has claimed.
        made: the folder.
        comparison: what came of it.
        made_of: see `ExportRecord`.
    """
    temporary = None
    try:
        for left in exports_folder().glob(f".{key}.*"):
            shutil.rmtree(left, ignore_errors=True)
        temporary = Path(mkdtemp(dir=exports_folder(), prefix=f".{key}."))
        for path in made.iterdir():
            shutil.copyfile(path, temporary / path.name)
        # of what was made, not of the copy: a disk that writes something else is found out on reading
        record = ExportRecord(
            files=_digests(made),
            max_length=comparison.max_length,
            difference=comparison.difference,
            made_of=dict(made_of),
        )
        (temporary / _RECORD).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(exports_folder() / key, ignore_errors=True)
        temporary.rename(exports_folder() / key)
    except OSError:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != _RECORD:
            with path.open("rb") as handle:
                found[path.name] = file_digest(handle, "sha256").hexdigest()
    return found
