"""A model in many actors, as one backend: shards go to whoever is free, their results stand in the order of shards."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from queue import Empty
from typing import Any, NamedTuple, Self, cast

import numpy as np

from evalharness.errors import PrerequisiteError, StoppedError
from evalharness.models.options import Execution, asked_tokens
from evalharness.models.pool.asked import uses_gpu
from evalharness.models.pool.calls import Call, Came, Failed
from evalharness.models.pool.crew import Crew, NobodyError
from evalharness.models.pool.ray_actors import employ
from evalharness.models.pool.worker import Done, Open, Opened, Order
from evalharness.models.registry import ResolvedModel
from evalharness.models.source import look
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.shards import PlannedShard
from evalharness.store.text_encoder import AlreadyEncoded, Result, ShardWork
from evalharness.store.unstored import Vectors
from evalharness.types import Embeddings, Emit, EncodeEvent, Encoding, Waiting

# time budgets and signals are looked at this often
_LOOK_SECONDS = 0.25
# what runs may come to the end of its batch when nobody wants it any more
_END_SECONDS = 5.0
# what a text costs beside its characters, and characters of a token
_TEXT_COST, _CHARACTERS = 16, 6

_lock = threading.Lock()
_crews: dict[tuple[object, ...], Crew] = {}


class Pool:
    """An `OpenBackend` and a `Spreading`: a model that actors have open.

    Attributes:
        device, identity: see `OpenBackend`; the same of all actors.
        size: see `Counted`.
        computing: see `Computed`.
    """

    def __init__(self, crew: Crew, number: int, opened: Opened) -> None:
        """See the class.

        Args:
            crew: has admitted the model, and is left by this.
            number: the model's.
            opened: what the first actor found.
        """
        self.device = opened.device
        self.identity: Mapping[str, Any] = opened.identity
        self.size = opened.size
        self.computing = opened.computing
        self._crew, self._number = crew, number
        # whether an actor has written files of the store, and whether one could not
        self._filed = self._could_not = False
        weakref.finalize(self, crew.leave, number)

    @property
    def workers(self) -> Self:
        """See `Pooled`."""
        return self

    @property
    def engines(self) -> int:
        """See `Workers`: an actor for each place."""
        return self._crew.places

    @property
    def at_once(self) -> int:
        """See `Workers`: a job for each place, and one that is about to begin."""
        return self.engines + 1

    @property
    def share_store(self) -> bool:
        """See `Workers`: as far as actors have had to do with the store."""
        return self._filed and not self._could_not

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """Encode texts in one actor; row i belongs to text i. See `spread` for many."""
        # files of the driver
        del journal
        shard = PlannedShard("", np.arange(len(texts)), texts)
        return next(self.spread(Vectors(encoding), [shard], emit))

    def spread(self, work: ShardWork[Result], shards: Sequence[PlannedShard], emit: Emit) -> Iterator[Result]:
        """See `Spreading`; shards that cost most go first.

        Raises:
            ModelError: as the work; or a shard was tried several times, and each time its actor died.
            StorageError: as the work.
            StoppedError: for a minute there was no device.
        """
        call = self._crew.spread(self._number, work, shards, [_cost(shard, work.encoding) for shard in shards])
        found: dict[int, Result] = {}
        first = 0
        try:
            while first < len(shards):
                came = _next(call, self._crew, emit)
                done = cast("Done", came.result)
                # where the actor does not see our files, they are written here, by one process
                index, value = came.index, done.value
                if work.mark is not None:
                    self._filed |= not done.is_encoded
                    self._could_not |= done.is_encoded
                found[index] = work(shards[index], AlreadyEncoded(value), emit) if done.is_encoded else value
                while first in found:
                    yield found.pop(first)
                    first += 1
        except Exception:
            # not where it is interrupted by what is no mere error
            self._crew.drop(call)
            call.has_ended.wait(_END_SECONDS)
            raise
        finally:
            self._crew.drop(call)


def open_pool(model: ResolvedModel, execution: Execution, open_here: Open) -> Pool:
    """Have a model opened in an actor of Ray, which the others will follow.

    Args:
        model: what is opened.
        execution: says where Ray is.
        open_here: opens it in a process.

    Raises:
        PrerequisiteError: there is no Ray, no room in it, or not the device.
        StoppedError: the time is over.
        ModelError: the model cannot be opened.
    """
    if not uses_gpu(model, execution):
        execution = execution.changed({"device": "cpu"})
    placed = execution.changed({"ray": None, "ends": None, "batch_tokens": asked_tokens(execution)})
    order = Order(0, model, placed, open_here, seen=look(model.facts.folder, model.facts.files))
    crew, number = _admitted(order, execution)
    try:
        opened = _next(crew.ask(number), crew, partial(_stop_after, execution.ends)).result
        return Pool(crew, number, cast("Opened", opened))
    except NobodyError as error:
        crew.leave(number)
        raise PrerequisiteError(str(error)) from None
    except BaseException:
        crew.leave(number)
        raise


class _Admitted(NamedTuple):
    crew: Crew
    number: int


def _admitted(order: Order, execution: Execution) -> _Admitted:
    """A model among those of the actors of this way to run, whom all models of a process share."""
    key = (execution.ray, execution.device, execution.threads)
    with _lock:
        if (crew := _crews.get(key)) is None or (number := crew.admit(order)) is None:
            crew = _crews[key] = Crew(employ(execution))
            if (number := crew.admit(order)) is None:
                raise AssertionError("a new crew admits whoever comes")
        return _Admitted(crew, number)


def _next(call: Call, crew: Crew, emit: Emit) -> Came:
    """What is done next of a call; what is heard meanwhile is told."""
    while True:
        try:
            heard = call.heard.get(timeout=_LOOK_SECONDS)
        except Empty:
            crew.check()
            emit(Waiting())
            continue
        if isinstance(heard, Came):
            return heard
        if isinstance(heard, Failed):
            raise heard.error
        emit(heard)


def _stop_after(ends: float | None, event: EncodeEvent) -> None:
    del event
    if ends is not None and time.monotonic() >= ends:
        raise StoppedError("the time budget is used up, and the model was not open yet")


def _cost(shard: PlannedShard, encoding: Encoding) -> float:
    """What a shard costs, in characters that the model reads and a bit for each text."""
    longest = None if encoding.max_length is None else encoding.max_length * _CHARACTERS
    lengths = map(len, shard.texts)
    return sum(lengths if longest is None else (min(length, longest) for length in lengths)) + _TEXT_COST * len(
        shard.texts
    )
