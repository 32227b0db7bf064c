"""Actors that are threads of this process, which die when they are told to: what a pool does without Ray."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from evalharness.models.pool.staff import ActorGoneError, Answer, Place
from evalharness.models.pool.worker import Worker

# is told place and method before it is called, and may raise ActorGoneError: then the actor is dead
Fate = Callable[[Place, str], None]


def spared(place: Place, method: str) -> None:
    """The fate of those who live."""


def places(count: int, **changes: Any) -> list[Place]:
    return [Place(**{**_place(n), **changes}) for n in range(count)]


def _place(number: int) -> dict[str, Any]:
    return {
        "node": f"node{number}", "number": 0, "title": f"machine {number}", "device": "cpu", "threads": 1,
        "is_near": True,
    }  # fmt: skip


class ThreadActor:
    """A `Worker` whose methods run in threads, as those of a Ray actor do."""

    def __init__(self, place: Place, fate: Fate) -> None:
        self.place = place
        self.is_dead = False
        self._fate = fate
        self._worker: Worker | None = None
        self._threads = ThreadPoolExecutor(4)
        self._waiting: dict[object, Answer] = {}
        self._lock = threading.Lock()

    def call(self, method: str, arguments: Sequence[Any], answer: Answer) -> None:
        key = object()
        with self._lock:
            self._waiting[key] = answer
        if self.is_dead:
            self.kill()
            return
        self._threads.submit(self._run, key, method, arguments)

    def _run(self, key: object, method: str, arguments: Sequence[Any]) -> None:
        try:
            self._fate(self.place, method)
            with self._lock:
                self._worker = self._worker or Worker(self.place.threads)
            found, error = getattr(self._worker, method)(*arguments), None
        except ActorGoneError as gone:
            self.kill(str(gone))
            return
        except Exception as raised:  # noqa: BLE001 -- told, as Ray does
            found, error = None, raised
        self._answer(key, found, error)

    def _answer(self, key: object, found: Any, error: BaseException | None) -> None:
        with self._lock:
            answer = self._waiting.pop(key, None)
        if answer is not None:
            answer(found, error)

    def kill(self, why: str = "its process died") -> None:
        self.is_dead = True
        with self._lock:
            waiting = list(self._waiting)
        for key in waiting:
            self._answer(key, None, ActorGoneError(why))
        self._threads.shutdown(wait=False)


class ThreadEmployer:
    """An `Employer` with places of its own."""

    def __init__(self, there: Sequence[Place], fate: Fate = spared) -> None:
        self.there = list(there)
        self.hired: list[ThreadActor] = []
        self.is_closed = False
        self._fate = fate

    def places(self) -> Sequence[Place]:
        return list(self.there)

    def hire(self, place: Place) -> ThreadActor:
        actor = ThreadActor(place, self._fate)
        self.hired.append(actor)
        return actor

    def close(self) -> None:
        self.is_closed = True
