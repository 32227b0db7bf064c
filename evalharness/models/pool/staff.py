"""Where actors can be and how they are talked to, whoever has them: Ray in earnest, threads in tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Device = Literal["cpu", "cuda"]


class ActorGoneError(Exception):
    """An actor is dead, or can never be; the message says of what, in a few words."""


@dataclass(frozen=True, slots=True)
class Place:
    """Room for one actor.

    Attributes:
        node: what the cluster calls the machine.
        number: among the places of the machine.
        title: the machine, for people.
        device: what computes there.
        threads: CPU threads for it.
        is_near: whether it is the driver's machine.
    """

    node: str
    number: int
    title: str
    device: Device
    threads: int
    is_near: bool = False


# is told what a method gave, or what it raised
Answer = Callable[[Any, BaseException | None], None]


class Actor(Protocol):
    """A `Worker` somewhere."""

    def call(self, method: str, arguments: Sequence[Any], answer: Answer) -> None:
        """Have a method called.

        Args:
            method: of `Worker`.
            arguments: by their places.
            answer: is told from any thread, once; of a dead actor an ActorGoneError.
        """
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class Employer(Protocol):
    """Whoever has actors."""

    def places(self) -> Sequence[Place]:
        """Where actors can be now, the driver's machine first."""
        ...

    def hire(self, place: Place) -> Actor:
        """An actor at a place; it may have to wait until there is room, and answers then."""
        ...

    def close(self) -> None:
        """Nobody is needed any more."""
        ...
