"""Files that are whole or not there: atomic writes, locks that die with their process, errors that say what to do."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from tempfile import TemporaryFile, mkdtemp, mkstemp
from typing import IO, Any
from urllib.parse import quote

from evalharness.errors import PrerequisiteError, StorageError

_TEMPORARY = ".tmp"
# beside letters, digits and _.-~
_SAFE = " ()"
# nobody writes at one file for longer
STALE_SECONDS = 3600
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_NO_SWAPS = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
# how Linux and macOS write that two paths change places
_HERE, _SWAP = -100, 2
# where a folder waits that another one replaces
_REPLACED = ".replaced"


def cache_folder() -> Path:
    """Where the user's caches of this package are: the embedding store, exports of models."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "evalharness"


@contextmanager
def no_collection() -> Iterator[None]:
    """While code is imported or many files are read: no search for circles among objects, of which these have few.

    Of a report on three tasks, the search takes a twentieth of the time, on 30,000 files a fifth. Also a decorator.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def file_name(text: str) -> str:
    """A name as part of a file's name: letters and digits of any script stay, other characters are percent-encoded.

    >>> file_name("中文 检索 (v1)"), file_name("a/b")
    ('中文 检索 (v1)', 'a%2Fb')
    """
    return "".join(mark if unicodedata.category(mark)[0] in "LMN" else quote(mark, safe=_SAFE) for mark in text)


def check_writable(folder: Path, option: str = "--output") -> None:
    """Make sure that results can be written, without leaving anything behind.

    Args:
        folder: where; not there yet, as a rule.
        option: that names it.

    Raises:
        PrerequisiteError: they cannot.
    """
    parent = folder
    try:
        parent = folder.absolute()
        while not os.path.lexists(parent):
            parent = parent.parent
        with TemporaryFile(dir=parent):
            pass
    except (OSError, ValueError) as error:
        reason = no_folder(parent) or getattr(error, "strerror", None) or error
        raise PrerequisiteError(
            f"results cannot be written to {folder}: {parent} is not a writable folder ({reason}); "
            f"choose another with {option}"
        ) from None


def no_folder(path: Path) -> str:
    """Why nothing can be written below a path, where something else than a folder stands in the way; empty if not."""
    # not by the methods of Path, which raise where they may not look
    for place in map(str, (path, *path.parents)):
        if os.path.lexists(place):
            if os.path.isdir(place):  # noqa: PTH112
                return ""
            return f"{place} is {'no folder' if os.path.exists(place) else 'a link that leads nowhere'}"  # noqa: PTH110
    return ""


def lock(handle: IO[Any], *, wait: bool = True) -> bool:
    """Lock an open file until it is closed; a process that dies holds none.

    On Windows nobody else can read the first byte of a file that is locked.

    Args:
        handle: the file; its content plays no part.
        wait: whether to wait for it.

    Returns:
        Whether it is held; True as well where the file system knows no locks, for then nobody else holds one.
    """
    # the import of the library takes longer than the commands that lock nothing
    from filelock import lock_descriptor

    try:
        return lock_descriptor(handle.fileno(), blocking=wait)
    except NotImplementedError:
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return True


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path`, with its mode, if the block succeeds and vanishes if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY)
    # Windows renames no file that is open
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # Windows flushes only what was opened for writing
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())
        # mkstemp makes files for the owner alone
        temporary.chmod(_mode(path))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _mode(path: Path) -> int:
    """Who may read and write a file: as before, where it is there."""
    # another process may take it away meanwhile
    with suppress(OSError):
        found = path.stat().st_mode
        if S_ISREG(found):
            return found & 0o777
    return 0o666 & ~_umask()


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place, whole, if the block succeeds and vanishes if not.

    Where the system can let two folders change places, a reader sees the old one or the new one at every moment, and so
    it is after a kill at any moment. Where it cannot, a kill between two renames leaves the old one beside its place,
    and `restore_folder` puts it back.
    """
    # what a link leads to is replaced, not the link
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    restore_folder(folder)
    _remove_stale_folders(folder)
    temporary = Path(mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=_TEMPORARY))
    try:
        yield temporary
        # mkdtemp makes folders for the owner alone
        temporary.chmod(0o777 & ~_umask())
        _put(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put(temporary: Path, folder: Path) -> None:
    if not folder.exists() or not any(folder.iterdir()):
        with suppress(FileNotFoundError):
            folder.rmdir()
        temporary.rename(folder)
    elif not swap_folders(temporary, folder):
        aside = _aside(folder)
        folder.rename(aside)
        try:
            temporary.rename(folder)
        except OSError:
            aside.rename(folder)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def restore_folder(folder: Path) -> None:
    """Put a folder back that was being replaced when the process died, where the system knows no swap."""
    folder = folder.resolve()
    aside = _aside(folder)
    if aside.is_dir():
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(folder)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}{_REPLACED}")


def _remove_stale_folders(folder: Path) -> None:
    """What dead processes left beside a folder that they were about to replace."""
    for path in folder.parent.iterdir():
        if path.name.startswith(f".{folder.name}.") and path.name.endswith(_TEMPORARY) and path.is_dir():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime >= STALE_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)


def swap_folders(one: Path, other: Path) -> bool:
    """Let two folders of one file system change places, in a single step.

    Returns:
        Whether they did; False where the system knows no such step.

    Raises:
        OSError: it knows it, and refused.
    """
    import ctypes

    if sys.platform == "win32":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(one), os.fsencode(other)
    if hasattr(library, "renameat2"):
        failed = library.renameat2(_HERE, paths[0], _HERE, paths[1], _SWAP)
    elif hasattr(library, "renamex_np"):
        failed = library.renamex_np(*paths, _SWAP)
    else:
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _NO_SWAPS:
        return False
    raise OSError(code, os.strerror(code), str(other))


def remove_stale_temporaries(folder: Path, *, older_than: float = STALE_SECONDS) -> int:
    """Remove temporary files that dead processes left below a folder.

    Args:
        folder: any.
        older_than: seconds; 0 where it is sure that nobody writes there.

    Returns:
        How many there were.
    """
    removed = 0
    for path in folder.rglob(f".*{_TEMPORARY}"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime >= older_than:
                path.unlink()
                removed += 1
    return removed


@contextmanager
def storage_errors(folder: Path, what: str, advice: str) -> Iterator[None]:
    """Turn what the operating system says of a folder into an error that says what to do.

    Args:
        folder: below which everything is written.
        what: could not be done.
        advice: what else to do than to mend the folder.

    Raises:
        StorageError: it said something.
    """
    try:
        yield
    except OSError as error:
        if odd := no_folder(folder):
            raise StorageError(f"{what}: {odd}. Remove it, or {advice}") from error
        reason = error.strerror or str(error)
        said = f"{what} ({reason}); what was written so far is kept. Free space or mend the folder, or {advice}"
        raise StorageError(said) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically: sorted keys, newline at the end."""
    with atomic_path(path) as temporary:
        text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
