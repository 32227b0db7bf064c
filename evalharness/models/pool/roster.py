"""Who is in the crew: actors at their places, those who are free, those who died, places where nobody can be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from evalharness.models.pool.calls import Came, Failed
from evalharness.models.pool.queue import TRIES, Ticket
from evalharness.models.pool.staff import Actor, Employer, Place
from evalharness.models.pool.worker import Presence

# so long nobody may be there to do what is to be done
PATIENCE_SECONDS = 60.0
_PLACES_SECONDS = 2.0
_Key: TypeAlias = tuple[str, int]


@dataclass(slots=True, eq=False)
class Doing:
    """What an actor is at: work, how many texts of it were told of, and how it ended."""

    ticket: Ticket
    texts: int = 0
    ending: Came | Failed | None = None


@dataclass(slots=True, eq=False)
class Member:
    """An actor of the crew.

    Attributes:
        number: nobody else has.
        place: where it is.
        actor: itself.
        presence: what it said of itself when it was there.
        opened: models that it has open.
        refused: models that it cannot do.
        doing: what it is at.
    """

    number: int
    place: Place
    actor: Actor
    presence: Presence | None = None
    opened: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    doing: Doing | None = None

    def may_do(self, models: Collection[int]) -> bool:
        """Whether it can do anything for one of these models; without any, whether it can wait for one."""
        return not models or not self.refused.issuperset(models)


class Roster:
    """The members of a crew.

    Attributes:
        members: by their numbers.
        last_failure: who could not work, and why.
    """

    def __init__(self, employer: Employer) -> None:
        self._employer = employer
        self._places: Sequence[Place] = ()
        self._looked, self._starved = float("-inf"), float("inf")
        self._failures: Counter[_Key] = Counter()
        self.members: dict[int, Member] = {}
        self.last_failure = ""

    @property
    def size(self) -> int:
        """Places where there can be members, as was seen last."""
        return sum(map(self.is_sound, self._places))

    def hire(self, wanted: int, models: Collection[int], numbers: Iterator[int]) -> list[Member]:
        """Have as many actors as there is work for, if there is room.

        Args:
            wanted: pieces of work that wait or are done now.
            models: those that work waits for.
            numbers: which nobody has.

        Returns:
            Those who are new.
        """
        missing = wanted - sum(member.doing is not None or member.may_do(models) for member in self.members.values())
        if missing <= 0:
            return []
        if time.monotonic() - self._looked > _PLACES_SECONDS:
            self._looked, self._places = time.monotonic(), self._employer.places()
        taken = {_key(member.place) for member in self.members.values()}
        free = [place for place in self._places if _key(place) not in taken and self.is_sound(place)]
        hired = [Member(next(numbers), place, self._employer.hire(place)) for place in free[:missing]]
        self.members |= {member.number: member for member in hired}
        return hired

    def idle(self) -> list[Member]:
        """Members who are there and have nothing to do."""
        return [member for member in self.members.values() if member.presence is not None and member.doing is None]

    def praise(self, member: Member) -> None:
        """A member has done something, so its place is good."""
        self._failures.pop(_key(member.place), None)

    def bury(self, member: Member, why: str, failures: int = 1) -> None:
        """A member is dead or of no use."""
        self.members.pop(member.number, None)
        member.actor.kill()
        self._failures[_key(member.place)] += failures
        self.last_failure = f"{member.place.title}: {why}"
        # whoever takes its place need not wait
        self._looked = float("-inf")

    def is_sound(self, place: Place) -> bool:
        """Whether actors at a place are worth a try."""
        return self._failures[_key(place)] < TRIES

    def is_starved(self, models: Collection[int]) -> bool:
        """Whether nobody could do anything for these models for so long that nobody will.

        Args:
            models: those that work waits for.
        """
        able = any(member.presence is not None and member.may_do(models) for member in self.members.values())
        if able or not models:
            self._starved = float("inf")
            return False
        self._starved = min(self._starved, time.monotonic())
        is_hopeless = not self.members and bool(self._places) and not any(map(self.is_sound, self._places))
        return is_hopeless or time.monotonic() - self._starved > PATIENCE_SECONDS

    def close(self) -> None:
        """End all of them."""
        for member in self.members.values():
            member.actor.kill()
        self._employer.close()


def _key(place: Place) -> _Key:
    return place.node, place.number
