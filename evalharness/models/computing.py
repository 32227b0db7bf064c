"""What an opened backend says of itself, beside what identifies it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from evalharness.catalog.models import ModelFacts
from evalharness.types import Encoding

# padded tokens of a batch: small ones stay in a CPU's cache; accelerators want many rows at once
CPU_TOKENS, ACCELERATOR_TOKENS = 2048, 32768
# batches on a GPU, which computes one while the processor prepares the next and takes the rows of the one before
GPU_BATCHES = 2


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


@runtime_checkable
class TokenCounting(Protocol):
    """A backend that can say how many tokens it makes of texts without running the model."""

    def token_counts(self, texts: Sequence[str], encoding: Encoding) -> list[int]:
        """Tokens of each text, or joined pair, as the model reads it."""
        ...
