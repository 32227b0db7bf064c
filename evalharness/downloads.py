"""What comes from the Hub: nothing in the working directory can stand in for it, and every file has the Hub's hash.

`datasets` takes a folder `org/name` in the working directory for the data set of that name, and where the Hub fails it
takes whatever revision it made last; huggingface_hub sees that a download has the right length, not that it is right.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import file_digest, sha1
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from evalharness.errors import DataError, PrerequisiteError, shorten
from evalharness.hub import (
    PartialSnapshotError,
    anchor_cache_folders,
    disk_full,
    hub_errors,
    ignore_message,
    reason,
    with_retries,
)

Result = TypeVar("Result")

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA1_DIGITS, _SHA256_DIGITS = 40, 64
_HASH = re.compile(rf"[0-9a-f]{{{_SHA1_DIGITS}}}|[0-9a-f]{{{_SHA256_DIGITS}}}")
# file systems keep times in steps
_CLOCK_SECONDS = 2


@dataclass(frozen=True, slots=True)
class HubData:
    """A data set of the Hub.

    Attributes:
        repo: its id.
        revision: the commit.
        where: what it is for, in messages.
    """

    repo: str
    revision: str
    where: str


class OtherRevisionError(OSError):
    """The library gave data of another revision than was asked for."""


def _anchor_libraries() -> None:
    import datasets.config
    from huggingface_hub import constants

    for module in (constants, datasets.config):
        for name, value in list(vars(module).items()):
            is_folder = name.upper() == name and name.endswith(("_HOME", "_CACHE", "_PATH"))
            if (
                is_folder
                and isinstance(value, str | Path)
                and str(value)
                and not Path(value).expanduser().is_absolute()
            ):
                setattr(module, name, type(value)(Path(value).absolute()))


@contextmanager
def standing_in(folder: Path) -> Iterator[None]:
    """The process stands in another folder; for all its threads."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def stand_apart() -> bool:
    """Let the thread that calls have a working directory of its own from now on; whether the system can do that.

    Linux can, and does it for anyone outside of containers that forbid it. It may be done again.
    """
    try:
        # CLONE_FS: file system attributes, as `unshare(2)` calls them
        return bool(ctypes.CDLL(None).unshare(0x200) == 0)
    except (AttributeError, OSError, TypeError):
        return False


@contextmanager
def hub_only() -> Iterator[None]:
    """The process stands in an empty folder, so that no name of the Hub can mean a file or folder of the user's.

    It covers every way to load (load_dataset, a builder, snapshot_download, a task's own code), whatever a library
    holds against the working directory. Paths of the user's have to be absolute before.
    """
    anchor_cache_folders()
    _anchor_libraries()
    with TemporaryDirectory(prefix="evalharness-") as empty, standing_in(Path(empty)):
        yield


def load_data(data: HubData, load: Callable[[], Result], say: Callable[[str], None] = ignore_message) -> Result:
    """Load a data set so that it is the Hub's, of this revision, from files that are whole.

    A file without the Hub's hash is removed, together with what was made of it, and fetched once more.

    Args:
        data: which.
        load: loads it; what it gives may hold `datasets.Dataset` objects at any depth of mappings.
        say: is told if something is tried again.

    Raises:
        PrerequisiteError: it cannot be had, or not without damage, or there is no room for it.
        DataError: it is there, but not as `load` expects it.
    """
    started = time.time()
    _prefer(data)
    for is_last in (False, True):
        failure: Exception | None = None
        try:
            with hub_only():
                loaded = with_retries(load, f"loading {data.repo}", say)
            _check_revision(data, loaded)
        except _loading_errors() as error:
            failure = error
        damaged = damaged_files(_used_files(data, started))
        if not damaged:
            break
        _replace(damaged, data.where, say, can_fetch=not is_last)
    if failure is not None:
        raise _explained(failure, data) from failure
    return loaded


def _loading_errors() -> tuple[type[Exception], ...]:
    """All that loading damaged or unexpected data raises, whichever library reads them."""
    import pyarrow as pa
    from datasets.exceptions import DatasetsError

    found = (DatasetsError, pa.ArrowException, LookupError, TypeError, ValueError, RuntimeError, AttributeError)
    return (*hub_errors(), *found)


def _explained(error: Exception, data: HubData) -> Exception:
    from datasets import config
    from datasets.exceptions import DatasetsError
    from huggingface_hub import constants

    if isinstance(error, DataError | PrerequisiteError):
        return error
    if (full := disk_full(error)) is not None:
        return PrerequisiteError(
            f"{data.where} cannot be kept: the disk is full ({reason(full)}). Free space where the caches are "
            f"({constants.HF_HUB_CACHE}, {config.HF_DATASETS_CACHE}), or name another folder with HF_HOME"
        )
    if isinstance(error, hub_errors()):
        return PrerequisiteError(
            f"{data.where} cannot be loaded from the Hub ({reason(error)}). "
            "Check the network and HF_ENDPOINT; what was loaded before is still in the cache"
        )
    root = _root(error) if isinstance(error, DatasetsError) else error
    return DataError(f"{data.where} is not as expected: {reason(root)}")


def _root(error: BaseException) -> BaseException:
    """What is behind an error that only says that there was one."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return error


def _check_revision(data: HubData, loaded: object) -> None:
    """See that what was loaded is of the revision that was asked for, where `datasets` tells.

    Raises:
        OtherRevisionError: it is of another one: the Hub failed, and the library took what it had.
    """
    name = _built_name(data.repo)
    for file in _cache_files(loaded):
        parts = file.parts
        if name in parts[:-4] and _COMMIT.fullmatch(parts[-2]) and parts[-2] != data.revision:
            raise OtherRevisionError(
                f"the Hub did not give it, and the cache holds revision {parts[-2]}; expected {data.revision}"
            )


def _prefer(data: HubData) -> None:
    """Let what was made of this revision be the newest, which the library takes where it does not get to the Hub."""
    from datasets import config

    for folder in Path(config.HF_DATASETS_CACHE).glob(f"{_built_name(data.repo)}/*/*/{data.revision}"):
        with suppress(OSError):  # a cache that may only be read
            os.utime(folder)


def _cache_files(loaded: object) -> Iterator[Path]:
    """The files of all data sets in mappings, or of an object that holds them in its `dataset`."""
    # first of all: a DatasetDict of DatasetDicts, which some of mteb's tasks make, has no attributes that work
    if isinstance(loaded, Mapping):
        for value in loaded.values():
            yield from _cache_files(value)
    elif isinstance(files := getattr(loaded, "cache_files", None), list):
        yield from (Path(file["filename"]) for file in files)
    elif isinstance(held := getattr(loaded, "dataset", None), Mapping):
        yield from _cache_files(held)


def _built_name(repo: str) -> str:
    """Name of the folder in which `datasets` keeps what it made of a repository."""
    from datasets.naming import camelcase_to_snakecase

    *namespace, name = repo.split("/")
    return "___".join((*namespace, str(camelcase_to_snakecase(name))))


def _used_files(data: HubData, started: float) -> set[Path]:
    """All that is on disk of a revision, and what else was fetched since."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    snapshot = cache / f"datasets--{data.repo.replace('/', '--')}" / "snapshots" / data.revision
    fresh = set()
    for blob in cache.glob("datasets--*/blobs/*"):
        with suppress(OSError):  # somebody else removed it
            if blob.stat().st_mtime >= started - _CLOCK_SECONDS:
                fresh.add(blob)
    return {path for path in snapshot.rglob("*") if path.is_file()} | fresh


_sound: set[tuple[str, int, int]] = set()


def damaged_files(paths: Iterable[Path]) -> list[Path]:
    """Of files in huggingface_hub's cache, those whose content has not the hash that the Hub gave.

    The cache names a file by its hash (sha256 of a large file, git's sha1 of others), and a snapshot links to it;
    what is no such link or file cannot be checked. A file is read once in a process, unless it changes.

    Returns:
        The files named by hash, sorted.
    """
    blobs = {blob for path in paths if (blob := _blob(path)) is not None}
    return sorted(blob for blob in blobs if not _is_sound(blob))


def _blob(path: Path) -> Path | None:
    # one step only: a blob may itself be a link into a store that several repositories share
    target = path.parent / path.readlink() if path.is_symlink() and path.parent.name != "blobs" else path
    blob = Path(os.path.normpath(target))
    return blob if blob.parent.name == "blobs" and _HASH.fullmatch(blob.name) and blob.is_file() else None


def _is_sound(blob: Path) -> bool:
    try:
        found = blob.stat()
        known = (str(blob), found.st_size, found.st_mtime_ns)
        if known in _sound:
            return True
        by_git = partial(sha1, f"blob {found.st_size}\0".encode(), usedforsecurity=False)
        with blob.open("rb") as handle:
            digest = file_digest(handle, "sha256" if len(blob.name) == _SHA256_DIGITS else by_git)
    except FileNotFoundError:  # somebody else removed it
        return True
    if digest.hexdigest() == blob.name:
        _sound.add(known)
        return True
    return False


def _replace(damaged: list[Path], where: str, say: Callable[[str], None], *, can_fetch: bool) -> None:
    """Remove damaged files and what was made of them, so that they are fetched again.

    Raises:
        PrerequisiteError: nothing can be fetched, or they were fetched again already.
    """
    from huggingface_hub import constants

    names = shorten([str(path) for path in damaged])
    kind = "a page of HTML, as a network's login page sends it" if any(map(_is_html, damaged)) else "other bytes"
    if not can_fetch or constants.HF_HUB_OFFLINE:
        raise PrerequisiteError(
            f"{where}: a downloaded file has not the hash that the Hub gives ({kind}) and cannot be replaced: {names}. "
            "Delete it, check the network, any proxy and HF_ENDPOINT, and run the command again"
        )
    say(f"{where}: a downloaded file has not the hash that the Hub gives ({kind}); it is fetched once more: {names}")
    try:
        for blob in damaged:
            for built in _built_from(blob):
                shutil.rmtree(built)
            for path in {blob.resolve(), blob}:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise PrerequisiteError(
            f"{where}: a damaged file cannot be removed ({reason(error)}); delete it: {names}"
        ) from None


def _is_html(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(256).lstrip().lower().startswith((b"<!doctype html", b"<html"))


def _built_from(blob: Path) -> Iterator[Path]:
    """Folders that `datasets` made of a file of the hub's cache."""
    from datasets import config

    repository = blob.parents[1]
    kind, *parts = repository.name.split("--")
    if kind != "datasets":
        return
    for snapshot in (repository / "snapshots").glob("*"):
        if any(path.is_symlink() and _blob(path) == blob for path in snapshot.rglob("*")):
            yield from Path(config.HF_DATASETS_CACHE).glob(f"{_built_name('/'.join(parts))}/*/*/{snapshot.name}")


def sound_snapshot(
    fetch: Callable[[], str],
    where: str,
    names: Iterable[str] | None,
    say: Callable[[str], None] = ignore_message,
    *,
    offline: bool = False,
) -> str:
    """Fetch a snapshot of a repository, and once more if one of its files has not the hash that the Hub gives.

    Args:
        fetch: gives the snapshot's folder; `snapshot_download` with its arguments.
        where: what it is for, in messages.
        names: the files that are used; None for all.
        say: is told if something is fetched again.
        offline: whether `fetch` finds only what is on disk.

    Returns:
        The folder.

    Raises:
        PrerequisiteError: a file is damaged again, or nothing may be fetched.
        PartialSnapshotError: a file is not there; the library falls back to what is on disk where the Hub fails.
    """
    wanted = None if names is None else list(names)

    def used(folder: Path) -> Iterable[Path]:
        return folder.rglob("*") if wanted is None else [folder / name for name in wanted]

    found = _sound_after(fetch, used, where, say, offline=offline)
    if missing := [name for name in wanted or () if not (Path(found) / name).exists()]:
        raise PartialSnapshotError(f"{where}: the Hub failed, and {shorten(missing)} is not on disk")
    return found


def sound_file(
    fetch: Callable[[], str], where: str, say: Callable[[str], None] = ignore_message, *, offline: bool = False
) -> str:
    """As `sound_snapshot`, for one file; `fetch` is `hf_hub_download` with its arguments."""
    return _sound_after(fetch, lambda path: [path], where, say, offline=offline)


def _sound_after(
    fetch: Callable[[], str],
    used: Callable[[Path], Iterable[Path]],
    where: str,
    say: Callable[[str], None],
    *,
    offline: bool,
) -> str:
    for is_last in (False, True):
        found = Path(fetch())
        damaged = damaged_files(used(found))
        if not damaged:
            break
        _replace(damaged, where, say, can_fetch=not (is_last or offline))
    return str(found)
