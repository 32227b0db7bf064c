"""What turns texts into embeddings: the interface of every layer, and how shards are spread over what runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import ModelError, clip
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.shards import PlannedShard
from evalharness.types import Dense, Embeddings, Emit, Encoding

Result = TypeVar("Result")


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


ShardWork: TypeAlias = Callable[[PlannedShard, TextEncoder, Emit], Result]


class ShardMap(Protocol):
    """Has work done on shards: in a loop, by several engines, or on other machines.

    The work is a function of values, so that both it and the shards may be pickled; who does it there brings its own
    encoder of the same model, and hands on what is emitted.
    """

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
    """The `ShardMap` of one process with one engine: a loop."""
    return (work(shard, below, emit) for shard in shards)


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
