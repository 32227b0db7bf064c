"""The command line, killed before one of its operations on files: `killed_at.py FOLDER NUMBER LOG ARGUMENTS`.

NUMBER counts operations below FOLDER from 0, -1 for a run that nobody kills; LOG gets a line per operation.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from evalharness.cli.main import main

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND
_EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.utime", "os.truncate", "os.link")


class Operations:
    """An audit hook that counts operations on files below a folder, and kills the process at one of them."""

    def __init__(self, folder: str, fatal: int, log: str) -> None:
        self._folder = folder
        self._fatal = fatal
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._count = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" and event not in _EVENTS:
            return
        if not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 -- no Path: its methods are operations, too
        if not path.startswith(self._folder):
            return
        kind = event
        if event == "open":
            kind = "open to write" if arguments[2] & _WRITING else "open to read"
        if self._count == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1
        os.write(self._log, f"{kind}\t{os.path.splitext(path)[1] or 'folder'}\n".encode())  # noqa: PTH122 -- as above


if __name__ == "__main__":
    folder, number, log = sys.argv[1:4]
    del sys.argv[1:4]
    sys.addaudithook(Operations(folder, int(number), log))
    main()
