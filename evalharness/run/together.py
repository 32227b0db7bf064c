"""Several jobs that are encoded at once, each in a thread that scores it, too: for a model with several engines.

So no engine is idle while the last shards of a task are encoded. A job begins when all that is missing of the one
before it is known (`TextsPlanned`), so that there are the shards that there would be one job after another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from evalharness.errors import StoppedError
from evalharness.results.records import JobId
from evalharness.run.overlap import Line

Result = TypeVar("Result")
# after an interrupt, until whoever encodes hears of it
_SECONDS_TO_END = 10.0


@dataclass(frozen=True, slots=True)
class JobResumed:
    """Progress: what is told of texts from now on is of this job, which has started before."""

    job: JobId


@dataclass(frozen=True, slots=True)
class OfJob:
    """An event of a job, whichever was told of last."""

    job: JobId
    event: Any


class Teller:
    """Tells of several jobs to one who takes what is told of texts for that of the job that was named last."""

    def __init__(self, watch: Callable[[Any], None]) -> None:
        self._watch = watch
        self._job: JobId | None = None

    def start(self, job: JobId, event: Any) -> None:  # noqa: ANN401 -- the run's own
        """Tell that a job starts."""
        self._job = job
        self._watch(event)

    def __call__(self, event: Any) -> None:  # noqa: ANN401 -- as above
        """Tell of an event."""
        if not isinstance(event, OfJob):
            self._watch(event)
            return
        if event.job != self._job:
            self._job = event.job
            self._watch(JobResumed(event.job))
        self._watch(event.event)


class Together(Generic[Result]):
    """Jobs that are encoded at once.

    As a context it waits in the end until all are encoded; if it is left by an error, it ends them before.
    """

    def __init__(self, line: Line[Any], most: Callable[[], int], stop: Callable[[], None]) -> None:
        """See the class.

        Args:
            line: which the jobs are in; the thread that is in there is the one that is in here.
            most: how many may be encoded at once; asked again and again.
            stop: raises if the run is to end.
        """
        self._line, self._most, self._stop = line, most, stop
        self._lock = threading.Lock()
        self._encoding = 0
        self._shared, self._told = 0.0, time.monotonic()
        # the one that began last, until it has planned
        self._planning: Future[Result | None] | None = None
        self._is_over = False
        self._error: BaseException | None = None

    def wait(self) -> None:
        """Wait until another job may begin.

        Raises:
            EnoughError: as `Line.hear`.
            BaseException: a job has met with what ends the run.
        """
        self._wait(lambda: self._planning is None and self._encoding < max(1, self._most()))

    def wait_for_all(self) -> None:
        """Wait until all that have begun are encoded; errors as `wait`."""
        self._wait(lambda: not self._encoding)

    def begin(self, encode: Callable[[Callable[[], None]], None], score: Callable[[], Result]) -> Future[Result | None]:
        """Begin a job.

        Args:
            encode: does that, in a thread of its own; calls what it gets once it has planned. What it raises ends the
                run. It has to call `check` now and then.
            score: what is done in the same thread then.

        Returns:
            What scoring gives; None if it was not encoded.
        """
        found: Future[Result | None] = Future()
        with self._lock:
            self._ticked()
            self._encoding += 1
            self._planning = found
        self._line.start(partial(self._do, encode, score, found))
        return found

    def check(self) -> None:
        """End the encoding of the job whose thread calls, if it is to end: raises StoppedError."""
        if self._is_over:
            raise StoppedError("the run has ended")
        self._stop()

    def clock(self) -> float:
        """Seconds of a job: of the time in which several are encoded, each gets its share.

        So texts per second are those of all engines, and all jobs' seconds are those that they took together.
        """
        with self._lock:
            return self._ticked()

    def _ticked(self) -> float:
        now = time.monotonic()
        self._shared += (now - self._told) / max(1, self._encoding)
        self._told = now
        return self._shared

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.wait_for_all()
        finally:
            self._is_over = True
            is_mere = error is None or isinstance(error, Exception)
            ends = time.monotonic() + _SECONDS_TO_END
            while self._encoding and (is_mere or time.monotonic() < ends):
                self._line.wait()

    def _wait(self, is_over: Callable[[], bool]) -> None:
        while True:
            self._stop()
            self._line.hear()
            if self._error is not None:
                raise self._error
            if is_over():
                return
            self._line.wait()

    def _do(
        self,
        encode: Callable[[Callable[[], None]], None],
        score: Callable[[], Result],
        found: Future[Result | None],
    ) -> None:
        error: BaseException | None = None
        try:
            encode(partial(self._planned, found))
        # raised where the others wait
        except BaseException as raised:  # noqa: BLE001 -- raised where somebody waits
            error = raised
        with self._lock:
            if error is not None and not self._is_over:
                self._error = self._error or error
            self._ticked()
            self._encoding -= 1
        self._planned(found)
        try:
            found.set_result(None if error is not None else score())
        except BaseException as raised:  # noqa: BLE001 -- raised where somebody waits -- as above
            found.set_exception(raised)

    def _planned(self, found: Future[Result | None]) -> None:
        with self._lock:
            if self._planning is found:
                self._planning = None
        self._line.wake()
