"""A saved baseline: scores and items of a model in a folder of results, and a manifest that tells whether it is whole.

    <folder>/baseline.json                       the manifest: whose results, by which versions, each file's sha256
             model_meta.json, jobs/<Task>/...    as in any folder of results, see `results.records`
             .gitattributes                      keeps git from changing ends of lines

How one is written: see `saving`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from evalharness.errors import DataError, clip, shorten
from evalharness.reading import checked, read_bytes, read_object, validated
from evalharness.results.records import BASELINE, JOBS, MODEL_META
from evalharness.results.stored import StoredRun, read_runs
from evalharness.types import Frozen, Protocol

ATTRIBUTES = ".gitattributes"
SCHEMA = 1
# jobs/<Task>/<split>.<subset>.json
_DEEPEST = 3
_ANEW = "get it again, or make it anew: evalharness baseline save"


class SavedFile(Frozen):
    """What a file was when it was saved; `bytes` is its size."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(Frozen):
    """A `baseline.json`.

    Attributes:
        schema_version: of this file; another one is refused.
        saved: when, in UTC (ISO 8601).
        evalharness, mteb: versions that saved it; which ones computed a score, its record says.
        model, revision, overrides: whose results, as in `StoredRun`.
        protocol: whose rules the scores follow.
        files: all other files, by path inside the folder.
    """

    schema_version: int
    saved: str
    evalharness: str
    mteb: str
    model: str
    revision: str
    overrides: dict[str, Any]
    protocol: Protocol
    files: dict[str, SavedFile]

    @field_validator("saved")
    @classmethod
    def _check_time(cls, value: str) -> str:
        datetime.fromisoformat(value)
        return value

    @field_validator("files")
    @classmethod
    def _check_names(cls, value: dict[str, SavedFile]) -> dict[str, SavedFile]:
        if wrong := [clip(name) for name in value if not _is_inside(name)]:
            raise ValueError(f"{shorten(wrong)}: such a file is in no baseline")
        return value

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files.values())

    @property
    def day(self) -> str:
        """When it was saved, for people."""
        return datetime.fromisoformat(self.saved).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _is_inside(name: str) -> bool:
    """Whether a path is one that a baseline's file can have: in the folder itself or in that of a task."""
    parts = name.split("/")
    plain = name.isprintable() and "\\" not in name and not any(part in ("", ".", "..") for part in parts)
    return plain and (len(parts) == 1 or (len(parts) == _DEEPEST and parts[0] == JOBS)) and name != BASELINE


def read_baseline(folder: Path) -> Manifest | None:
    """The manifest of a folder; None if it has none and so is no baseline. It says nothing of the files beside it.

    Raises:
        DataError: it is damaged, or of a version of evalharness whose baselines are others.
    """
    path = folder / BASELINE
    if not os.path.lexists(path):
        return None
    value = read_object(path)
    if "task_name" in value and "schema_version" not in value:
        return None  # mteb's result of a task of that name
    version = checked(value.get("schema_version"), int, f"{path}: schema_version")
    if version != SCHEMA:
        raise DataError(
            f"{path}: is a baseline of version {clip(str(version))}, this evalharness has version {SCHEMA}; use the "
            f"evalharness that saved it ({clip(str(value.get('evalharness')))}), or remove {folder} and save it anew"
        )
    return validated(Manifest, value, str(path))


def check_baseline(folder: Path) -> Manifest:
    """The manifest of a baseline of which every file is as it was saved, and which has no others.

    What is hidden may be there: systems leave it, and nobody reads it.

    Raises:
        DataError: it is not so, with all that is wrong; or it is no baseline.
    """
    manifest = read_baseline(folder)
    if manifest is None:
        where = f"it has no {BASELINE}" if folder.is_dir() else "there is no such folder"
        raise DataError(f"{folder} is no baseline: {where}; evalharness baseline save makes one")
    problems = dict(_problems(folder, manifest))
    if not problems and (other := _other_owner(folder, manifest)):
        problems[BASELINE] = other
    if problems:
        told = shorten([f"{clip(name)} {what}" for name, what in problems.items()])
        lost = any(what.startswith("is missing") for what in problems.values())
        raise DataError(
            f"the baseline {folder} is not what was saved: {told}; {_ANEW}"
            f"{'. Missing files may be ignored by git: see git check-ignore' if lost else ''}"
        )
    return manifest


def _problems(folder: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    for name, file in manifest.files.items():
        if what := _problem(folder / name, file):
            yield name, what
    for name in sorted(files_in(folder) - set(manifest.files) - {BASELINE}):
        if not any(part.startswith(".") for part in name.split("/")):
            yield name, "is no part of it"


def _problem(path: Path, file: SavedFile) -> str:
    try:
        if not path.is_file():  # a pipe would be waited for
            return "is missing" if not os.path.lexists(path) else "is no file"
        if path.stat().st_size == file.bytes:
            with path.open("rb") as handle:
                if file_digest(handle, "sha256").hexdigest() == file.sha256:
                    return ""
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "was damaged or edited"


def _other_owner(folder: Path, manifest: Manifest) -> str:
    """Whether the manifest names another model than the results do; empty if not."""
    run = run_of_baseline(folder)
    for name in ("model", "revision", "overrides"):
        said, found = getattr(manifest, name), getattr(run, name)
        if said != found:
            return f"says {name} {clip(str(said))}, and {MODEL_META} {clip(str(found))}"
    return ""


def run_of_baseline(folder: Path) -> StoredRun:
    """The results in a baseline.

    Raises:
        DataError: they are not those of one model.
    """
    runs = read_runs([folder])
    if len(runs) != 1 or runs[0].folder != folder:
        raise DataError(f"{folder} holds results of several models, or not in the folder itself; {_ANEW}")
    return runs[0]


def files_in(folder: Path) -> set[str]:
    """All files of a folder, by path inside it; links to folders count as files, for readers follow them.

    Raises:
        DataError: a folder cannot be looked into.
    """
    found = set()
    for place, folders, names in os.walk(folder, onerror=_refuse):
        inside = Path(place).relative_to(folder)
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        found |= {(inside / name).as_posix() for name in (*names, *links)}
    return found


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read ({error.strerror})")


def saved_file(path: Path) -> SavedFile:
    """What a manifest says of a file.

    Raises:
        DataError: it cannot be read.
    """
    content = read_bytes(path)
    return SavedFile(sha256=sha256(content).hexdigest(), bytes=len(content))
