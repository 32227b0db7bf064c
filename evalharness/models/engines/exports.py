"""Graphs that were made of a model's weights, kept in the user's cache folder: a folder each, known by its key.

A key names all that a graph depends on: the content of the model's files, and versions. What is found is whole and as
it was written, or it is not found. That a model cannot be exported is kept in the same way, so that it is not tried
again. The folder may be removed at any time; beyond a size, what was not used for longest makes room for new exports.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Generic, TypeVar

from pydantic import ValidationError

from evalharness.catalog.models import NOTHING_KNOWN, ModelFacts
from evalharness.errors import EngineError
from evalharness.files import cache_folder, lock
from evalharness.types import Frozen, content_digest

_RECORD = "export.json"
# a series of checkpoints leaves one of each
MOST_BYTES = 20 * 2**30


class ExportRecord(Frozen):
    """What is known of an export; stands beside its files.

    Attributes:
        files: sha256 of each, by name.
        max_length: tokens of the longest text on which it was compared with the model that it was made of; of one that
            cannot be made, of the shortest model that it cannot be made for.
        difference: the largest difference that was found; see `export_check.Comparison`.
        made_of: what the key is the digest of, for readers.
        parameters, embedding_parameters: how many the model has that it was made of; None where nobody counted.
        notes: what a reader of results must know of it.
        failure: why it cannot be made; empty where it is here.
        digest: of all the others and the key of the folder that this stands in.
    """

    files: dict[str, str]
    max_length: int
    difference: float
    made_of: dict[str, str]
    parameters: int | None = None
    embedding_parameters: int | None = None
    notes: tuple[str, ...] = ()
    failure: str = ""
    digest: str = ""

    def digest_in(self, key: str) -> str:
        """What the digest has to be in the folder of a key."""
        return content_digest({"key": key, **self.model_dump(mode="json", exclude={"digest"})})

    @property
    def size(self) -> ModelFacts:
        """How many parameters the model has, and how many of them are token embeddings."""
        return ModelFacts(parameters=self.parameters, embedding_parameters=self.embedding_parameters)


@dataclass(frozen=True, slots=True)
class Made:
    """What came of making an export; see `ExportRecord`."""

    max_length: int
    difference: float
    size: ModelFacts = NOTHING_KNOWN
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Export:
    """An export that is whole."""

    folder: Path
    record: ExportRecord


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which export is wanted.

    Attributes:
        name: the model's, for errors.
        fingerprint: of the model's files.
        made_of: all else that the export depends on, versions included.
        max_length: tokens of the longest text on which it has to have been compared.
    """

    name: str
    fingerprint: str
    made_of: Mapping[str, str]
    max_length: int

    @property
    def key(self) -> str:
        """Of the export's folder."""
        made_of = {"fingerprint": self.fingerprint, **self.made_of}
        return f"{self.fingerprint}-{content_digest(made_of)[:16]}"


class ExportError(Exception):
    """A model cannot be exported, for any texts: the message says why."""


class DiffersError(Exception):
    """An export gives other numbers than its model on texts as long as are wanted: the message says how far."""


Started = TypeVar("Started")


@dataclass(frozen=True, slots=True)
class Running(Generic[Started]):
    """An export that runs, and what is known of it."""

    session: Started
    record: ExportRecord


def started(
    wanted: Wanted, start: Callable[[Path], Started], make: Callable[[Path], tuple[Started, Made]]
) -> Running[Started]:
    """The kept export, running; it is made if there is none that was compared on texts as long.

    Args:
        wanted: which.
        start: makes a folder's files run; it reads all of them at once.
        make: writes the files into a folder and makes them run; it may raise the errors of this module.

    Raises:
        EngineError: it cannot be made, or could not be made before.
    """
    with _claimed(wanted.key), TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        kept = _find(wanted.key)
        if kept is not None and kept.record.failure and wanted.max_length >= kept.record.max_length:
            raise EngineError(f"{wanted.name}: {kept.record.failure}")
        if kept is not None and not kept.record.failure and kept.record.max_length >= wanted.max_length:
            return Running(start(kept.folder), kept.record)
        folder = Path(temporary)
        try:
            session, made = make(folder)
        except (ExportError, DiffersError) as error:
            from_length = wanted.max_length if isinstance(error, DiffersError) else 0
            failure = ExportRecord(
                files={}, max_length=from_length, difference=0, made_of=dict(wanted.made_of), failure=str(error)
            )
            with TemporaryDirectory() as nothing:
                _keep(wanted.key, Path(nothing), failure)
            raise EngineError(f"{wanted.name}: {error}") from None
        record = ExportRecord(
            # of what was made, not of the copy: a disk that writes something else is found out on reading
            files=_digests(folder),
            max_length=made.max_length,
            difference=made.difference,
            made_of=dict(wanted.made_of),
            parameters=made.size.parameters,
            embedding_parameters=made.size.embedding_parameters,
            notes=made.notes,
        )
        _keep(wanted.key, folder, record)
        return Running(session, record)


def exports_folder() -> Path:
    """Where exports are kept."""
    return cache_folder() / "exports"


@contextmanager
def _claimed(key: str) -> Iterator[None]:
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


def _find(key: str) -> Export | None:
    """A kept export; None if there is none, or one of its files is another than was written."""
    folder = exports_folder() / key
    try:
        # what is no file may be waited for without end
        if not all(path.is_file() for path in folder.iterdir()):
            return None
        record = ExportRecord.model_validate_json((folder / _RECORD).read_bytes())
        if record.digest != record.digest_in(key) or _digests(folder) != record.files:
            return None
        with suppress(OSError):
            os.utime(folder / _RECORD)
        return Export(folder, record)
    except (OSError, ValidationError):
        return None


def _keep(key: str, folder: Path, record: ExportRecord) -> None:
    """Keep a folder's files, in place of what is there; without room or permission, nothing is kept.

    Args:
        key: of the export, which the caller has claimed.
        folder: has the files.
        record: what is known of them.
    """
    temporary = None
    try:
        for left in exports_folder().glob(f".{key}.*"):
            shutil.rmtree(left, ignore_errors=True)
        temporary = Path(mkdtemp(dir=exports_folder(), prefix=f".{key}."))
        for path in folder.iterdir():
            shutil.copyfile(path, temporary / path.name)
        whole = record.changed({"digest": record.digest_in(key)})
        (temporary / _RECORD).write_text(whole.model_dump_json(indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(exports_folder() / key, ignore_errors=True)
        temporary.rename(exports_folder() / key)
        _make_room(key)
    except OSError:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _make_room(kept: str) -> None:
    """Remove exports but this one, those first that were not used for longest, until all together are small enough."""
    used = sorted(exports_folder().glob(f"*/{_RECORD}"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for record in used:
        total += sum(path.stat().st_size for path in record.parent.iterdir())
        if total > MOST_BYTES and record.parent.name != kept:
            shutil.rmtree(record.parent, ignore_errors=True)
            (exports_folder() / f"{record.parent.name}.lock").unlink(missing_ok=True)


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != _RECORD:
            with path.open("rb") as handle:
                found[path.name] = file_digest(handle, "sha256").hexdigest()
    return found
