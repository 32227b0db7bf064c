"""Files that are whole or not there: atomic writes, locks that die with their process, errors that say what to do."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import IO, Any
from urllib.parse import quote

from evalharness.errors import PrerequisiteError, StorageError

_TEMPORARY = ".tmp"
# beside letters, digits and _.-~
_SAFE = " ()"
# a file that has just been made is not locked yet
_SECONDS_TO_LOCK = 2


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
        while not parent.exists():
            parent = parent.parent
        with TemporaryFile(dir=parent):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PrerequisiteError(
            f"results cannot be written to {folder}: {parent} is not a writable folder ({reason}); "
            "choose another with --output"
        ) from None


def lock(handle: IO[Any], *, shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file until it is closed; a process that dies holds none.

    Args:
        handle: the file; its content plays no part.
        shared: whether others may hold it as well.
        wait: whether to wait for it.

    Returns:
        Whether it is held; True as well where the file system knows no locks, for then nobody else holds one.
    """
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
    return True


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` if the block succeeds and vanishes if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY, delete=False) as handle:
        # as long as its writer lives, so that what a dead one left can be told apart
        lock(handle)
        temporary = Path(handle.name)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            # NamedTemporaryFile makes files for the owner alone
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def remove_stale_temporaries(folder: Path) -> int:
    """Remove temporary files that dead processes left below a folder.

    Returns:
        How many there were.
    """
    removed = 0
    for path in folder.rglob(f".*{_TEMPORARY}"):
        try:
            if time.time() - path.stat().st_mtime < _SECONDS_TO_LOCK:
                continue
            with path.open("rb") as handle:
                if lock(handle, wait=False):
                    path.unlink()
                    removed += 1
        except OSError:
            continue
    return removed


@contextmanager
def storage_errors(what: str, advice: str) -> Iterator[None]:
    """Turn what the operating system says of a folder into an error that says what to do.

    Raises:
        StorageError: it said something.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{what} ({reason}); what was written so far is kept. {advice}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically: sorted keys, newline at the end."""
    with atomic_path(path) as temporary:
        text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
