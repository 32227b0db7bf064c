"""Whether the head of a Ray cluster still answers; Ray itself ends a process that has missed it for a minute."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

# Ray's own patience is 60 seconds, after which no exit code and no word is ours
LOST_SECONDS = 30.0
_BEAT_SECONDS = 3.0
LOST = (
    f"the head of the Ray cluster has not answered for {LOST_SECONDS:.0f} seconds; what is done is kept, and the same "
    "command goes on"
)


class Heart:
    """Looks after a cluster's head, in a thread of its own, until it is let go."""

    def __init__(self, address: str) -> None:
        """See the class; the address is that of the head, HOST:PORT."""
        host, _, port = address.rpartition(":")
        self._place = host.strip("[]"), int(port)
        self._answered = time.monotonic()
        self._has_ended = threading.Event()
        threading.Thread(target=self._look, name="evalharness-heart", daemon=True).start()

    @property
    def is_lost(self) -> bool:
        """Whether the head has not answered for too long."""
        return not self._has_ended.is_set() and time.monotonic() - self._answered > LOST_SECONDS

    def end(self) -> None:
        """Look no more."""
        self._has_ended.set()

    def _look(self) -> None:
        while not self._has_ended.wait(_BEAT_SECONDS):
            # it cannot have been a moment ago only because this process was asleep
            with suppress(OSError), socket.create_connection(self._place, timeout=_BEAT_SECONDS):
                self._answered = time.monotonic()


_hearts: list[Heart] = []


def listen_to(address: str) -> None:
    """Look after the cluster that this process has entered."""
    _hearts.append(Heart(address))


def deafen() -> None:
    """The cluster is left."""
    while _hearts:
        _hearts.pop().end()


def is_lost() -> bool:
    """Whether this process's cluster has lost its head."""
    return any(heart.is_lost for heart in _hearts)
