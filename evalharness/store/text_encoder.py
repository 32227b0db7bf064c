"""What turns texts into embeddings: the interface of every layer, and how shards are spread over what runs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import ModelError, clip
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.shards import PlannedShard
from evalharness.types import Dense, Embeddings, Emit, Encoding

Result = TypeVar("Result")
Given_co = TypeVar("Given_co", covariant=True)


class TextEncoder(Protocol):
    """Anything that turns texts into embeddings under an encoding: each layer of the stack, and each backend."""

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """Encode texts; row i belongs to text i.

        Args:
            texts: any number.
            encoding: all that can change their vectors.
            emit: is told of each batch, and may raise to end it there.
            journal: is asked for each batch before it is computed, and told of it before `emit` is.
        """
        ...


@runtime_checkable
class Preparing(Protocol):
    """A `TextEncoder` that can begin with texts before it is asked for them."""

    def prepare(self, texts: Sequence[str], encoding: Encoding) -> None:
        """Begin with texts that will be asked for soon, as this very sequence; nothing is lost if they are not."""
        ...

    def forget(self) -> None:
        """Leave alone what was begun."""
        ...


class ShardWork(Protocol[Given_co]):
    """What is to be done on shards."""

    @property
    def encoding(self) -> Encoding:
        """What their texts are encoded under."""
        ...

    @property
    def mark(self) -> Path | None:
        """A file that is there for this work alone: who sees it can do the work, others can only encode for it.

        None where the work needs no files.
        """
        ...

    def __call__(self, shard: PlannedShard, below: TextEncoder, emit: Emit) -> Given_co:
        """Do it on one."""
        ...


@runtime_checkable
class Spreading(Protocol):
    """A `TextEncoder` that stands for several, here or on other machines, and has them work side by side.

    The work is a value, so that both it and the shards may be pickled; who does it there brings its own
    encoder of the same model, and hands on what is emitted.
    """

    def spread(self, work: ShardWork[Result], shards: Sequence[PlannedShard], emit: Emit) -> Iterator[Result]:
        """What the work gives for each shard, in the order of the shards; several threads may ask at a time."""
        ...


class ShardMap(Protocol):
    """Has work done on shards."""

    def __call__(
        self, work: ShardWork[Result], shards: Sequence[PlannedShard], below: TextEncoder, emit: Emit
    ) -> Iterator[Result]:
        """What the work gives for each shard, in the order of the shards.

        Args:
            work: is to be done on each.
            shards: of one plan.
            below: the encoder that is at hand here.
            emit: is told of progress.
        """
        ...


def one_by_one(
    work: ShardWork[Result], shards: Sequence[PlannedShard], below: TextEncoder, emit: Emit
) -> Iterator[Result]:
    """A loop, in which a shard is prepared while another is done; what stands for several encoders does as it likes."""
    if isinstance(below, Spreading):
        yield from below.spread(work, shards, emit)
        return
    preparing = below if isinstance(below, Preparing) and len(shards) > 1 else None
    try:
        for number, shard in enumerate(shards):
            if preparing is not None:
                for near in shards[number : number + 2]:
                    preparing.prepare(near.texts, work.encoding)
            yield work(shard, below, emit)
    finally:
        if preparing is not None:
            preparing.forget()


@dataclass(frozen=True, slots=True)
class AlreadyEncoded:
    """A `TextEncoder` of what was encoded elsewhere, and told of there."""

    embeddings: Embeddings

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """The vectors of the texts that they were made of."""
        del texts, encoding, emit, journal
        return self.embeddings


def check_finite(embeddings: Embeddings, texts: Sequence[str]) -> None:
    """See that vectors are numbers.

    Args:
        embeddings: row i belongs to text i.
        texts: any number.

    Raises:
        ModelError: one is not; the message names the first such text.
    """
    wrong = _not_finite(embeddings)
    if len(wrong):
        raise ModelError(
            f"{len(wrong)} of {len(texts)} texts got a vector with NaN or infinite numbers, the first is text "
            f"{wrong[0]}: {clip(texts[wrong[0]])}. Expected finite numbers: try --precision float32, or check the "
            "weights"
        )


def _not_finite(embeddings: Embeddings) -> NDArray[np.int64]:
    """Texts whose vectors are not finite."""
    if not isinstance(embeddings, Dense):
        return np.flatnonzero([not np.isfinite(row).all() for row in embeddings.source.load()])
    vectors = embeddings.vectors
    # the sum is finite only if every element is (or the sum overflows, which the slow path below tells apart)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(vectors.sum(axis=1)).all():
            return np.empty(0, dtype=np.int64)
    return np.flatnonzero(~np.isfinite(vectors).all(axis=1))
