"""What encodes for a model where that is more than one engine: what a run has to know of it, to keep all of it busy."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Workers(Protocol):
    """Engines that encode shards of several jobs side by side, whichever thread asks for them."""

    @property
    def engines(self) -> int:
        """How many there are, or will be while there is enough to do; 0 as long as nobody knows."""

    @property
    def at_once(self) -> int:
        """How many jobs have to be encoded at once to keep all of them busy; 1 as long as nobody knows."""

    @property
    def share_store(self) -> bool:
        """Whether all of them see the files of the store; False as long as nobody knows."""


@runtime_checkable
class Pooled(Protocol):
    """An `OpenBackend` that may be a pool."""

    @property
    def workers(self) -> Workers | None:
        """Its engines; None where it is one, and will be."""


def workers_of(opened: object) -> Workers | None:
    """The engines of an opened model; None where it is one."""
    return opened.workers if isinstance(opened, Pooled) else None
