"""Jobs of a run side by side: the next one's data are loaded while one is encoded and the one before is scored.

The model runs in the thread that called, which also hears of all progress; two threads stand beside it, one that loads
and one that scores and stores. Not processes: a job's data and vectors would have to be copied to them, an interpreter
with NumPy and sklearn costs a second or two of a core, which two busy cores feel, and what takes long in scoring (fits,
products, sorts) leaves Python to the others meanwhile. And whatever ends the run ends its threads.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from evalharness.errors import EvalHarnessError, StoppedError

Event = TypeVar("Event")
# of the memory that is free when the run begins, what texts and vectors of several jobs may take
_SHARE_OF_MEMORY = 0.125
_LOOK_SECONDS = 1.0
# the weight of a job beside which there is none
ALONE = math.inf


class EnoughError(StoppedError):
    """Nothing more is to be done, and why was told."""


class Stages(Protocol):
    """What is done with a job; the run's own, which knows what a job is."""

    def weight(self, job: Any) -> float:  # noqa: ANN401
        """Bytes that it takes in memory, as far as they are known now; ALONE for one that has to be."""

    def load(self, job: Any) -> None:  # noqa: ANN401
        """Load its data, in a thread of its own."""

    def score(self, job: Any) -> Callable[[Callable[[Any], None]], None]:  # noqa: ANN401
        """Score it, in a thread of its own.

        Returns:
            Keeps what came of it, and tells of that. Raises EnoughError if no job after it is to be kept.
        """


def three() -> int:
    """One job that is loaded, one that is encoded, one that is scored."""
    return 3


class Room:
    """How many jobs may be in memory, and how large: a job comes in as soon as it fits, or as it is the only one."""

    def __init__(self, size: float, most: Callable[[], int] = three) -> None:
        """See the class.

        Args:
            size: bytes.
            most: how many jobs; asked whenever one comes or goes.
        """
        self._size, self._most = size, most
        self._weights: deque[float] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def enter(self, weight: float) -> bool:
        """Wait until there is room; whether there is, and not the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._fits(weight))
            self._weights.append(weight)
            return not self._is_closed

    def _fits(self, weight: float) -> bool:
        return not self._weights or (len(self._weights) < self._most() and sum(self._weights) + weight <= self._size)

    def weigh(self, weight: float) -> None:
        """The job that came in last turns out to be as large as this."""
        with self._changed:
            self._weights[-1] = max(self._weights[-1], weight)

    def leave(self) -> None:
        """The job that came in first is done with."""
        with self._changed:
            self._weights.popleft()
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody needs to wait any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


def room_in_memory(most: Callable[[], int]) -> Room:
    """For what may be ahead and behind of the job at hand; see `Room`."""
    import psutil

    return Room(_SHARE_OF_MEMORY * psutil.virtual_memory().available, most)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A job that is loaded, or why the thread that loads cannot go on."""

    job: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class _Ended:
    """Nothing more is scored; the error is why, unless there is nothing more to score."""

    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class _Woken:
    """Something is otherwise than before."""


class Line(Generic[Event]):
    """Jobs on their way through three threads, in order.

    As a context it ends the other threads. It waits for what they are at, and for the jobs that are encoded to be
    scored and kept; not where the run is interrupted by what is no mere error: then nothing is kept any more.
    """

    def __init__(
        self,
        jobs: Callable[[Callable[[Event], None]], Iterator[Any]],
        stages: Stages,
        watch: Callable[[Event], None],
        most: Callable[[], int] = three,
    ) -> None:
        """See the class.

        Args:
            jobs: gives them one by one to the thread that loads; gets what tells of events from there.
            stages: what is done with each.
            watch: is told of events, by the thread that is in here.
            most: how many jobs may be in memory; see `Room`.
        """
        self._jobs, self._stages, self._watch = jobs, stages, watch
        self._room = room_in_memory(most)
        self._heard: SimpleQueue[Event | _Loaded | _Ended | _Woken] = SimpleQueue()
        self._ready: deque[_Loaded] = deque()
        self._encoded: SimpleQueue[Any] = SimpleQueue()
        self._keeping = threading.Lock()
        self._may_keep = True
        self._has_ended = self._is_deaf = False
        self._error: BaseException | None = None
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._load, self._score)]
        # libraries that change filters and put them back, in several threads, may leave them changed
        self._filters = warnings.catch_warnings()

    def tell(self, event: Event) -> None:
        """Have the watch told of an event, from any thread."""
        self._heard.put(event)

    def start(self, work: Callable[[], None]) -> None:
        """Have something done for the jobs in a thread of its own; it is waited for as the others are."""
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    @property
    def is_over(self) -> bool:
        """Whether nothing is kept any more, so that no score is of use."""
        return not self._may_keep

    def wait(self) -> None:
        """Tell the watch what is told next; return after a while, or as soon as somebody wakes this up."""
        self._wait()

    def wake(self) -> None:
        """Have `wait` return, from any thread."""
        self._heard.put(_Woken())

    def hear(self) -> None:
        """Tell the watch what there is to tell.

        Raises:
            EnoughError: no job more is to be kept, or can be; leaving the context says why.
        """
        with suppress(Empty):
            while True:
                self._take_in(self._heard.get_nowait())
        self._check()

    def take(self) -> Any:  # noqa: ANN401 -- what `jobs` gives
        """The next job, loaded, as soon as it is.

        Raises:
            EnoughError: as `hear`.
            BaseException: it cannot be loaded, and that is not its failure alone.
        """
        self.hear()
        while not self._ready:
            self._wait()
            self._check()
        loaded = self._ready.popleft()
        if loaded.error is not None:
            raise loaded.error
        return loaded.job

    def give(self, job: Any) -> None:  # noqa: ANN401 -- as above
        """A job that is encoded, to be scored."""
        self._encoded.put(job)

    def __enter__(self) -> Self:
        self._filters.__enter__()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.close()
        self._encoded.put(_Ended())
        try:
            if error is None or isinstance(error, Exception):
                self._is_deaf |= not isinstance(error, EvalHarnessError | None)
                self._settle()
        finally:
            # what is being kept now is kept whole
            with self._keeping:
                self._may_keep = False
            self._filters.__exit__(None, None, None)
        if self._error is not None and isinstance(error, StoppedError | None):
            raise self._error

    def _settle(self) -> None:
        while not self._has_ended:
            self._wait()
        self._may_keep = False
        for thread in self._threads:
            while thread.is_alive():
                thread.join(_LOOK_SECONDS)
        with suppress(Empty):
            while True:
                self._take_in(self._heard.get_nowait())

    def _wait(self) -> None:
        # not for ever: there are systems that interrupt no waiting
        with suppress(Empty):
            self._take_in(self._heard.get(timeout=_LOOK_SECONDS))

    def _take_in(self, heard: Event | _Loaded | _Ended | _Woken) -> None:
        if isinstance(heard, _Loaded):
            self._ready.append(heard)
        elif isinstance(heard, _Ended):
            self._has_ended, self._error = True, heard.error or self._error
        elif not isinstance(heard, _Woken) and not self._is_deaf:
            try:
                self._watch(heard)
            # a watch that fails ends the run, and is no failure of the job that is encoded meanwhile
            except (Exception, SystemExit) as error:  # noqa: BLE001
                self._is_deaf, self._error = True, error

    def _check(self) -> None:
        if self._error is not None:
            raise EnoughError

    def _load(self) -> None:
        try:
            for job in self._jobs(self.tell):
                if not self._room.enter(self._stages.weight(job)):
                    return
                self._stages.load(job)
                self._room.weigh(self._stages.weight(job))
                self._heard.put(_Loaded(job))
                # while this waits for room, nothing is held that has left it
                del job
        # to be raised where somebody waits for the job
        except BaseException as error:  # noqa: BLE001
            self._heard.put(_Loaded(error=error))

    def _score(self) -> None:
        failure: BaseException | None = None
        try:
            while not isinstance(job := self._encoded.get(), _Ended):
                keep = self._stages.score(job)
                with self._keeping:
                    if not self._may_keep:
                        return
                    keep(self.tell)
                del job, keep
                self._room.leave()
        except BaseException as error:  # noqa: BLE001 -- as above
            failure = error
        finally:
            self._heard.put(_Ended(failure))
