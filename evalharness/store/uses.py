"""Which shards a task read: heard from what encoders tell, and noted in the store for `store info` and `gc`."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from threading import Lock

from evalharness.files import file_name, write_json
from evalharness.store.folders import USES
from evalharness.types import EncodeEvent, ShardsUsed, content_digest

# a file's name has 255 bytes at most
_LONGEST_NAME = 200


def use_path(folder: Path, task: str) -> Path:
    """Where it is noted that a task used shards of this key.

    Args:
        folder: of the key.
        task: its name; empty for texts that are of no task.
    """
    name = file_name(task) if len(file_name(task).encode()) <= _LONGEST_NAME else content_digest(task)
    return folder / USES / f"{name}.json"


class Uses:
    """The shards that are used for one purpose; several threads may tell of them."""

    def __init__(self) -> None:
        self._paths: set[Path] = set()
        self._lock = Lock()

    def hear(self, event: EncodeEvent) -> None:
        """Take in what an event tells of shards; other events tell nothing of them."""
        if isinstance(event, ShardsUsed):
            with self._lock:
                self._paths |= event.paths

    def note(self, task: str) -> None:
        """Write down that a task used the shards.

        Args:
            task: its name; empty for texts that are of no task.
        """
        with self._lock:
            known = sorted(self._paths)
        for shards, paths in groupby(known, key=lambda path: path.parent):
            used = list(paths)
            # a store that is read-only or full serves vectors all the same, and no number depends on this
            with suppress(OSError):
                use = {"task": task, "shards": [path.name for path in used], "time": time.time()}
                write_json(use_path(shards.parent, task), use)
            for path in used:
                # and one that was removed meanwhile is missed by whoever reads it, not here
                with suppress(OSError):
                    os.utime(path)
