"""What callers want done by actors, and what they hear of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event
from typing import Any, TypeAlias

from evalharness.models.pool.worker import Done, Opened
from evalharness.store.shards import PlannedShard
from evalharness.store.text_encoder import ShardWork
from evalharness.types import EncodeEvent, TextsEncoded


@dataclass(frozen=True, slots=True)
class Came:
    """A piece of work is done: which of its call, and what came of it."""

    index: int
    result: Done | Opened


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing more comes of a call, and why."""

    error: BaseException


Heard: TypeAlias = EncodeEvent | Came | Failed


@dataclass(slots=True, eq=False)
class Call:
    """What one caller wants done for one model.

    Attributes:
        number, model: of it.
        shards: what the work is to be done on; none where the model is only to be opened.
        work: is to be done.
        costs: of each shard, as they are expected.
        heard: what there is to hear, in order.
        has_ended: whether it was dropped and no actor is at it any more.
    """

    number: int
    model: int
    shards: Sequence[PlannedShard] = ()
    work: ShardWork[Any] | None = None
    costs: Sequence[float] = (0.0,)
    heard: SimpleQueue[Heard] = field(default_factory=SimpleQueue)
    has_ended: Event = field(default_factory=Event)
    _told: Counter[int] = field(default_factory=Counter)

    def tell(self, index: int, event: EncodeEvent, done: int, by: str) -> int:
        """Have the caller hear of a shard's progress, but not of the same texts twice.

        Args:
            index: the shard's.
            event: what happened.
            done: texts of this try that were told of before.
            by: the actor.

        Returns:
            Texts of this try that have been told of now.
        """
        if not isinstance(event, TextsEncoded):
            self.heard.put(event)
            return done
        done += event.count
        fresh = max(0, done - self._told[index])
        self._told[index] += fresh
        self.heard.put(TextsEncoded(fresh, event.tokens, by if event.tokens else ""))
        return done
