"""Several lists of texts that one encoder is at, in several threads: who plans when, and who does what.

Which texts are missing decides which shards there are, and so the last bits of vectors. So plans are made in an order,
each as if those before it were carried out, and none does what one before it is at; it waits for that in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Condition, RLock, get_ident
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from evalharness.store.text_encoder import TextEncoder
from evalharness.types import Embeddings, Emit, Encoding, Waiting

# carries out a plan; is told of progress
Encode: TypeAlias = Callable[[Emit], Embeddings]

_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True, slots=True)
class Wanted:
    """Texts, and all that can change their vectors."""

    texts: Sequence[str]
    encoding: Encoding


@runtime_checkable
class Planning(Protocol):
    """A `TextEncoder` that can say what is missing of several lists before it encodes any."""

    def plan(self, wanted: Sequence[Wanted], emit: Emit) -> AbstractContextManager[Sequence[Encode]]:
        """Plan; what encodes each list, to be called in here and in this order. Later plans count on it."""
        ...


@contextmanager
def planned(encoder: TextEncoder, wanted: Sequence[Wanted], emit: Emit) -> Iterator[Sequence[Encode]]:
    """As `Planning.plan`; of an encoder that plans nothing, what encodes each list."""
    if isinstance(encoder, Planning):
        with encoder.plan(wanted, emit) as found:
            yield found
    else:
        yield [partial(encoder.encode, each.texts, each.encoding) for each in wanted]


@dataclass(frozen=True, slots=True)
class Claim:
    """Texts that somebody wants to be at.

    Attributes:
        key: see `store_key`.
        digests: see `text_digests`.
    """

    key: str
    digests: NDArray[np.uint64]


def _nothing() -> None: ...


class UnderWay:
    """The plans of an encoder that are not carried out, oldest first."""

    def __init__(self) -> None:
        # whoever is told of something may want vectors in turn
        self.lock = RLock()
        self.changed = Condition(self.lock)
        self.plans: list[Plan] = []

    @contextmanager
    def plan(self, claims: Sequence[Claim], is_first: Callable[[], None] = _nothing) -> Iterator[Plan]:
        """Plan and carry it out in here.

        Args:
            claims: what the plan is for; which of it is its own, it is told.
            is_first: is called, once and with the lock held, when all older plans have ended.
        """
        plan = Plan(self, is_first)
        with self.lock:
            # an older plan of this thread goes on only after this one
            plan.waits = all(older.thread != plan.thread or older.has_ended for older in self.plans)
            self.plans.append(plan)
            plan.mine = [plan.claim(claim) for claim in claims]
            if plan.is_oldest:
                is_first()
        try:
            yield plan
        finally:
            with self.lock:
                plan.has_ended = True
                while self.plans and self.plans[0].has_ended:
                    del self.plans[0]
                    if self.plans:
                        self.plans[0].is_first()
                self.changed.notify_all()


class Plan:
    """One of the plans under way: the texts that it is at, by the key of a store.

    They are its own until it and all older plans have ended. It waits for older ones only, so no two for each other.

    Attributes:
        mine: of each claim that it began with, which texts no older plan was at.
        thread: that it was made in.
        waits: whether it waits for older ones; not one that is made while its thread is at another, as by a listener.
    """

    def __init__(self, among: UnderWay, is_first: Callable[[], None]) -> None:
        self.is_first = is_first
        self.has_ended = False
        self.thread = get_ident()
        self.waits = True
        self.mine: Sequence[NDArray[np.bool_]] = ()
        self._among = among
        self._claims: dict[str, NDArray[np.uint64]] = {}

    @property
    def is_oldest(self) -> bool:
        """Whether all that were made before have ended; to be asked with the lock held."""
        return self._among.plans[0] is self

    def claim(self, claim: Claim) -> NDArray[np.bool_]:
        """Take on all of these texts that no older plan is at, in place of those of this key before; which they are."""
        with self._among.lock:
            mine = ~self._is_older_ones(claim)
            self._claims[claim.key] = claim.digests[mine]
        return mine

    def release(self, key: str) -> None:
        """Nobody needs to wait for the texts of this key any more."""
        with self._among.lock:
            self._claims.pop(key, None)
            self._among.changed.notify_all()

    def release_all(self) -> None:
        """As `release`, of all keys."""
        for key in list(self._claims):
            self.release(key)

    def wait_for(self, claim: Claim, emit: Emit) -> None:
        """Wait until no older plan is at any of these texts."""
        self._wait(lambda: not self._is_older_ones(claim).any(), emit)

    def wait_for_all(self, emit: Emit) -> None:
        """Wait until all older plans have ended."""
        if self.waits:
            self._wait(lambda: self.is_oldest, emit)

    def _wait(self, is_over: Callable[[], bool], emit: Emit) -> None:
        while True:
            with self._among.lock:
                if self._among.changed.wait_for(is_over, timeout=_SECONDS_BETWEEN_LOOKS):
                    return
            emit(Waiting())

    def _is_older_ones(self, claim: Claim) -> NDArray[np.bool_]:
        found = np.zeros(len(claim.digests), dtype=bool)
        if not self.waits:
            return found
        for plan in self._among.plans[: self._among.plans.index(self)]:
            if (held := plan._claims.get(claim.key)) is not None:  # noqa: SLF001 -- of the same class
                # half of a digest: one that is only alike is waited for, and looked for again
                found |= np.isin(claim.digests[:, 0], held[:, 0])
        return found
