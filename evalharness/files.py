"""Files that are whole or not there: atomic writes, locks that die with their process, errors that say what to do."""

from __future__ import annotations

import errno
import json
import os
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile, mkstemp
from typing import IO, Any
from urllib.parse import quote

from evalharness.errors import PrerequisiteError, StorageError

_TEMPORARY = ".tmp"
# beside letters, digits and _.-~
_SAFE = " ()"
# nobody writes at one file for longer
STALE_SECONDS = 3600
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def cache_folder() -> Path:
    """Where the user's caches of this package are: the embedding store, exports of models."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "evalharness"


def file_name(text: str) -> str:
    """A name as part of a file's name: letters and digits of any script stay, other characters are percent-encoded.

    >>> file_name("中文 检索 (v1)"), file_name("a/b")
    ('中文 检索 (v1)', 'a%2Fb')
    """
    return "".join(mark if unicodedata.category(mark)[0] in "LMN" else quote(mark, safe=_SAFE) for mark in text)


def check_writable(folder: Path) -> None:
    """Make sure that results can be written, without leaving anything behind.

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
            "choose another with --output"
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
    """A temporary path beside `path` that becomes `path` if the block succeeds and vanishes if not."""
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
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
