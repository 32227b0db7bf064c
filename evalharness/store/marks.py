"""Who uses which folders of the embedding store, told by files that die with their process.

    <store>/in-use/gate         held while marks are made or looked at, so that nobody begins while somebody cleans up
    <store>/in-use/<process>    held by a process as long as it lives; names the folders that it uses, a line each

One file a process, however many folders it uses: descriptors are few.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from evalharness.files import lock

IN_USE = "in-use"
_GATE = "gate"
# nobody else can read it on Windows while the file is locked
_LOCKED_BYTE = b"\n"


class Mark:
    """This process's mark in a store, from the first folder that it uses until it ends."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file: Path | None = None
        self._handle: IO[bytes] | None = None
        self._names: list[str] = []

    def add(self, name: str) -> None:
        """Mark a folder as in use; waits while somebody cleans up.

        Raises:
            OSError: the store cannot be written.
        """
        if name in self._names and self._is_there():
            return
        with _gate(self._root):
            added = [name]
            if not self._is_there():
                self._file, self._handle = _made(self._root)
                weakref.finalize(self, _remove, self._file, self._handle)
                # the one before was removed, with the whole store, say
                added = [*self._names, name]
            if self._handle is not None:
                self._handle.write("".join(f"{line}\n" for line in added).encode())
                self._handle.flush()
        self._names = list(dict.fromkeys([*self._names, name]))

    @property
    def path(self) -> Path | None:
        """The file, whose name nobody else could have guessed; None before anything is marked."""
        return self._file

    def _is_there(self) -> bool:
        return self._file is not None and self._file.exists()


def _made(root: Path) -> tuple[Path, IO[bytes]]:
    path = root / IN_USE / f"{os.getpid()}-{uuid4().hex[:8]}"
    handle = path.open("xb")
    handle.write(_LOCKED_BYTE)
    handle.flush()
    lock(handle)
    return path, handle


def _remove(path: Path, handle: IO[bytes]) -> None:
    # Windows removes no file that is open
    handle.close()
    with suppress(OSError):
        path.unlink()


@contextmanager
def _gate(root: Path) -> Iterator[None]:
    (root / IN_USE).mkdir(parents=True, exist_ok=True)
    with (root / IN_USE / _GATE).open("ab") as handle:
        lock(handle)
        yield


@contextmanager
def used_folders(root: Path) -> Iterator[set[str]]:
    """Names of the folders that running processes use; while the block runs, none begins to use one.

    Marks of dead processes are removed.

    Raises:
        OSError: the store cannot be written.
    """
    found: set[str] = set()
    with _gate(root):
        for path in sorted((root / IN_USE).iterdir()):
            if path.name != _GATE and path.is_file():
                found |= _names_if_alive(path)
        yield found


def _names_if_alive(path: Path) -> set[str]:
    # some file systems lock only what was opened for writing, and another user's mark may only be read
    with path.open("r+b" if os.access(path, os.W_OK) else "rb") as handle:
        if not lock(handle, wait=False):
            handle.seek(len(_LOCKED_BYTE))
            return set(handle.read().decode("utf-8", "replace").split())
    path.unlink(missing_ok=True)
    return set()
