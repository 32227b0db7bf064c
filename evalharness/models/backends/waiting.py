"""Waiting for somebody who may never answer: in threads that keep no process alive, with an eye on the clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from evalharness.types import Emit, Waiting

# how often somebody who waits may look at a clock
_SECONDS_BETWEEN_LOOKS = 0.2

Result = TypeVar("Result")


def begun(action: Callable[[], Result]) -> Future[Result]:
    """Do something in a thread that does not keep the process alive: a server may never answer."""
    found: Future[Result] = Future()

    def act() -> None:
        try:
            found.set_result(action())
        except BaseException as error:  # noqa: BLE001 -- it is raised where the result is taken
            found.set_exception(error)

    threading.Thread(target=act, name="http", daemon=True).start()
    return found


def awaited(future: Future[Result], emit: Emit) -> Result:
    """What comes of a future; `emit` is told again and again that it is waited for, and may raise."""
    while not wait([future], _SECONDS_BETWEEN_LOOKS).done:
        emit(Waiting())
    return future.result()
