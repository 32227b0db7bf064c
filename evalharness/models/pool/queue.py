"""Which shard goes to which actor: a queue that takes shards back from the dead, so many times and no more."""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

# tries of a shard; the actor may have died of it
TRIES = 3


@dataclass(frozen=True, slots=True, order=True)
class Ticket:
    """Work for one actor; those of an earlier call go first, and of one call the most expensive.

    Attributes:
        call: who wants it.
        rank: falls with what it costs.
        index: among all work of the call.
        model: which model it is for.
    """

    call: int
    rank: float
    index: int
    model: int


class _Loss(NamedTuple):
    why: str
    where: str


@dataclass(slots=True)
class Queue:
    """Work that waits, and work that actors are at; an actor is known by a number of its own and has one at a time."""

    _waiting: list[Ticket] = field(default_factory=list)
    _running: dict[int, Ticket] = field(default_factory=dict)
    _reserved: dict[Ticket, int] = field(default_factory=dict)
    _losses: dict[Ticket, list[_Loss]] = field(default_factory=dict)
    _dropped: set[int] = field(default_factory=set)

    @property
    def wanted(self) -> int:
        """How many actors would have something to do."""
        return len(self._waiting) + len(self._running)

    @property
    def models(self) -> set[int]:
        """Those that work waits for."""
        return {ticket.model for ticket in self._waiting}

    def running(self, actor: int) -> Ticket | None:
        """What an actor is at."""
        return self._running.get(actor)

    def add(self, call: int, model: int, costs: Sequence[float]) -> None:
        """Have work wait.

        Args:
            call: who wants it; a number that has not been used.
            model: which model it is for.
            costs: what each piece is expected to cost, in any unit.
        """
        for index, cost in enumerate(costs):
            insort(self._waiting, Ticket(call, -cost, index, model))

    def take(self, actor: int, refused: Collection[int] = (), where: str = "") -> Ticket | None:
        """Work for an actor that has none: what it has reserved, else the next, rather not what others have reserved.

        Args:
            actor: gets it.
            refused: models that it cannot do.
            where: it is; work that another one died of there comes last.
        """
        own = (ticket for ticket, holder in self._reserved.items() if holder == actor)
        able = [ticket for ticket in (*own, *self._waiting) if ticket.model not in refused]
        harmless = (ticket for ticket in able if all(loss.where != where for loss in self._losses.get(ticket, ())))
        free = (ticket for ticket in harmless if self._reserved.get(ticket, actor) == actor)
        found = next(free, None) or next(iter(able), None)
        if found is not None:
            self._waiting.remove(found)
            self._reserved.pop(found, None)
            self._running[actor] = found
        return found

    def reserve(self, actor: int, actors: int) -> Ticket | None:
        """What a busy actor may make ready for; it is of the model that the actor is at.

        Args:
            actor: may have it next.
            actors: how many there are; where no more waits than that, it is anyone's.
        """
        now = self._running.get(actor)
        if now is None or actor in self._reserved.values() or len(self._waiting) < actors:
            return None
        free = (ticket for ticket in self._waiting if ticket not in self._reserved and ticket.model == now.model)
        if (found := next(free, None)) is not None:
            self._reserved[found] = actor
        return found

    def done(self, actor: int) -> None:
        """An actor has done what it was at."""
        self._losses.pop(self._running.pop(actor), None)

    def give_back(self, actor: int) -> None:
        """An actor cannot do what it was given, which says nothing against the work."""
        self._forget_reserved(actor)
        if (ticket := self._running.pop(actor, None)) is not None and ticket.call not in self._dropped:
            insort(self._waiting, ticket)

    def lost(self, actor: int, why: str, where: str = "") -> list[str] | None:
        """An actor is dead: what it was at waits again, unless it was tried often enough.

        Args:
            actor: the dead one.
            why: it died.
            where: it was.

        Returns:
            Why it died each time, if the work is given up.
        """
        self._forget_reserved(actor)
        if (ticket := self._running.pop(actor, None)) is None or ticket.call in self._dropped:
            return None
        losses = self._losses.setdefault(ticket, [])
        losses.append(_Loss(why, where))
        if len(losses) >= TRIES:
            return [loss.why for loss in self._losses.pop(ticket)]
        insort(self._waiting, ticket)
        return None

    def drop(self, call: int) -> list[int]:
        """Nobody wants the work of a call any more.

        Returns:
            Actors that are at it; they are free once they stop.
        """
        for ticket in [ticket for ticket in self._waiting if ticket.call == call]:
            self._waiting.remove(ticket)
            self._reserved.pop(ticket, None)
            self._losses.pop(ticket, None)
        self._dropped.add(call)
        return [actor for actor, ticket in self._running.items() if ticket.call == call]

    def _forget_reserved(self, actor: int) -> None:
        self._reserved = {ticket: own for ticket, own in self._reserved.items() if own != actor}
