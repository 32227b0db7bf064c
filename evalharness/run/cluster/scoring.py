"""Jobs scored by Ray tasks, several at once.

A task gets records and vectors; of vectors in the store it gets the places in the files, and reads them where it runs:
on any node, if all share the store, else on this one. It claims no processors (`num_cpus=0`), for those that encode
keep theirs for as long as they live. Whatever a task cannot do is done here; so is a job of so many texts that sending
them would take longer than all but its search, which is spread over the nodes then (`searching`).
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock, RLock
from typing import Any, Protocol

from evalharness.errors import StoppedError, StorageError
from evalharness.models.pool.heart import is_lost
from evalharness.models.workers import Workers
from evalharness.ranking.parts import searched_by
from evalharness.run.cluster.searching import ByNodes
from evalharness.run.quiet import without_warnings
from evalharness.run.steps import Encoded, Loaded, score
from evalharness.types import Scores

# a task that died, or its node, is tried so often in all
_TRIES = 3
_SECONDS_BETWEEN_LOOKS = 0.5
_THREADS = "OMP_NUM_THREADS"
# beyond that records are hundreds of megabytes, and the search is what takes long
_MANY_TEXTS = 2**19
# of the machines' cores, which are there for those who encode, one in so many for scoring
_CORES_OF_A_TASK = 4


class Scorer:
    """`steps.score` for several threads: by Ray tasks where Ray runs, else here, one job after the other.

    Here they are not scored side by side, since libraries know only one number of threads for the whole process.
    """

    def __init__(self, workers: Workers, is_over: Callable[[], bool]) -> None:
        """See the class.

        Args:
            workers: what encodes.
            is_over: whether scores are of no use any more.
        """
        self._workers, self._is_over = workers, is_over
        # who has a turn here may find out in it that it has to be here
        self._here = RLock()
        self._starting = Lock()
        self._tasks: _Tasks | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until there is room for one job more, which is scored in here."""
        ray = running_ray()
        with self._held(self._here if ray is None else self._started(ray).room):
            yield

    def __call__(self, loaded: Loaded, encoded: Encoded) -> Scores:
        """See `steps.score`; errors as there, wherever they come from."""
        if (ray := running_ray()) is not None and sum(len(column.texts) for column in loaded.columns) < _MANY_TEXTS:
            outcome = self._outcome(ray, self._started(ray).task, loaded, encoded)
            if outcome is not None:
                return outcome.result()
        with self._held(self._here):
            return score_here(self._workers, loaded, encoded)

    def _started(self, ray: Any) -> _Tasks:  # noqa: ANN401 -- a module that may not be there
        with self._starting:
            if self._tasks is None:
                shared = self._workers.share_store
                # those of all machines are of use only to tasks that may run there
                cores = ray.cluster_resources().get("CPU", 1) if shared else os.cpu_count() or 1
                place = "SPREAD" if shared else _this_node(ray)
                self._tasks = _Tasks(
                    ray.remote(num_cpus=0, max_retries=0)(scored).options(scheduling_strategy=place),
                    BoundedSemaphore(max(1, int(cores) // _CORES_OF_A_TASK)),
                )
            return self._tasks

    @contextmanager
    def _held(self, room: _Room) -> Iterator[None]:
        while not room.acquire(timeout=_SECONDS_BETWEEN_LOOKS):
            self._check()
        try:
            self._check()
            yield
        finally:
            room.release()

    def _check(self) -> None:
        if self._is_over():
            raise StoppedError("the run has ended")

    def _outcome(self, ray: Any, task: Any, loaded: Loaded, encoded: Encoded) -> Outcome | None:  # noqa: ANN401 -- Ray's
        """What a task gives; None if none can do it."""
        for _ in range(_TRIES):
            try:
                found = task.remote(loaded, encoded, _threads())
                while not ray.wait([found], timeout=_SECONDS_BETWEEN_LOOKS)[0]:
                    if self._is_over():
                        ray.cancel(found, force=True)
                    self._check()
                    if is_lost():
                        return None
                outcome: Outcome = ray.get(found)
            except ray.exceptions.RayTaskError:
                # what was sent cannot be read there
                return None
            except ray.exceptions.RayError:
                continue
            # what cannot be sent
            except (TypeError, AttributeError, pickle.PicklingError):
                return None
            return outcome if outcome.is_true_here else None
        return None


def score_here(workers: Workers, loaded: Loaded, encoded: Encoded) -> Scores:
    """See `steps.score`; a large corpus is searched by all nodes, if there are several that share the store.

    Args:
        workers: what encodes.
        loaded: see `steps.score`.
        encoded: see `steps.score`.
    """
    if not workers.share_store or running_ray() is None:
        return score(loaded, encoded)
    with searched_by(ByNodes()):
        return score(loaded, encoded)


def _this_node(ray: Any) -> Any:  # noqa: ANN401 -- as above
    strategies = ray.util.scheduling_strategies
    return strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


@dataclass(frozen=True, slots=True)
class _Tasks:
    """What Ray runs as a task, and room for as many as there may be at a time."""

    task: Any
    room: BoundedSemaphore


class _Room(Protocol):
    """A lock or a semaphore."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...  # noqa: FBT001, FBT002 -- threading's

    def release(self) -> None: ...


def running_ray() -> Any:  # noqa: ANN401 -- a module that may not be there
    """Ray, if it has been started in this process."""
    ray = sys.modules.get("ray")
    has_started = getattr(ray, "is_initialized", None)
    return ray if has_started is not None and has_started() and not is_lost() else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of scoring in another process.

    Attributes:
        scores: if it went well.
        error: what was raised.
        is_true_here: whether the same would come of it here, and can be told here as it is.
    """

    scores: Scores | None = None
    error: Exception | None = None
    is_true_here: bool = True

    def result(self) -> Scores:
        """The scores, or what was raised there."""
        if self.error is not None:
            raise self.error
        if self.scores is None:
            raise AssertionError("an outcome without an error has scores")
        return self.scores


@dataclass(frozen=True, slots=True)
class Threads:
    """How many threads libraries have in a process, on which last bits of products of matrices depend.

    Attributes:
        asked: what libraries that are loaded later will read; None where nobody asks for a number.
        products: of those that are loaded.
    """

    asked: str | None
    products: int


def scored(loaded: Loaded, encoded: Encoded, threads: Threads) -> Outcome:
    """The task: scores as the process that asks would compute them.

    Args:
        loaded: see `steps.score`.
        encoded: see `steps.score`.
        threads: of that process; Ray gives a task one.
    """
    from threadpoolctl import threadpool_limits

    os.environ.pop(_THREADS, None)
    if threads.asked is not None:
        os.environ[_THREADS] = threads.asked
    with threadpool_limits(threads.products, user_api="blas"), without_warnings():
        try:
            return Outcome(score(loaded, encoded))
        # of files that are not here
        except StorageError:
            return Outcome(is_true_here=False)
        except Exception as error:  # noqa: BLE001 -- raised in the process that asks
            return Outcome(error=error) if _can_be_told(error) else Outcome(is_true_here=False)


def _can_be_told(error: Exception) -> bool:
    """Whether an error is the same in another process."""
    try:
        told = pickle.loads(pickle.dumps(error))  # noqa: S301 -- made here
    except Exception:  # noqa: BLE001 -- a class may do anything here
        return False
    return type(told) is type(error) and str(told) == str(error)


def _threads() -> Threads:
    from threadpoolctl import threadpool_info

    products = [int(found["num_threads"]) for found in threadpool_info() if found["user_api"] == "blas"]
    return Threads(os.environ.get(_THREADS), max(products, default=1))
