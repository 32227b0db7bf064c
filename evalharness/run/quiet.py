"""Warnings of libraries, kept back while jobs are scored, of which several threads may do one each."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


class _Quiet:
    """`warnings.catch_warnings` for several threads, each of which would put back what another one has set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._filters = ExitStack()

    def enter(self) -> None:
        with self._lock:
            if not self._users:
                self._filters.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._filters.close()


_quiet = _Quiet()


@contextmanager
def without_warnings() -> Iterator[None]:
    """Nobody is warned of anything, in any thread; behind it filters are as they were."""
    _quiet.enter()
    try:
        yield
    finally:
        _quiet.leave()
