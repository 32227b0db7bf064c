"""What an opened backend says of itself, beside what identifies it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from evalharness.catalog.models import ModelFacts


@dataclass(frozen=True, slots=True)
class Computing:
    """How a backend computes, for the record.

    Attributes:
        engine: what computes, with its version; empty where the backend's name says it.
        batch_tokens: padded tokens per batch; None where nobody makes batches here.
        passed_over: engines that would be faster and cannot run the model, each with the reason.
        notes: what a reader of any number made so must know.
        threads: of the CPU, where the user said how many.
    """

    engine: str = ""
    batch_tokens: int | None = None
    passed_over: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    threads: int | None = None

    def facts(self) -> dict[str, Any]:
        """For the record."""
        facts = {
            "engine": self.engine,
            "batch_tokens": self.batch_tokens,
            "passed_over": list(self.passed_over),
            "threads": self.threads,
        }
        return {name: value for name, value in facts.items() if value}


NOTHING_SAID = Computing()


@runtime_checkable
class Computed(Protocol):
    """A backend that says how it computes."""

    @property
    def computing(self) -> Computing: ...  # noqa: D102 -- see `Computing`


@runtime_checkable
class Counted(Protocol):
    """A backend whose weights are in this process, so that they can be counted.

    Attributes:
        size: how many parameters it has, and how many of them are token embeddings.
    """

    size: ModelFacts
