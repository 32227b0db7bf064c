"""What actors of Ray cost and gain: `python benchmarks/pool_speed.py [--texts N] [--words N] [--device cuda]`.

The same texts through a model in this process, through one actor, and through two, each with one CPU thread (with
--device cuda: through one GPU here, and through an actor on it), in turns, and the vectors are held against each other.
Models are open and actors at work before the clock starts; what that takes is shown apart.
"""

from __future__ import annotations

import argparse
import gc
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np
import ray
from numpy.typing import NDArray

from evalharness.models.encoder import EmbeddingModel
from evalharness.models.loading import open_embedder, resolve_model
from evalharness.models.options import Execution

TEXTS, ROUNDS = 20_000, 3
WORDS = ("ferns", "grow", "in", "the", "shade", "of", "old", "trees", "where", "snow", "lies", "long")
# short ones, in enough shards for every actor
WARM_UP = 9_000


@dataclass(frozen=True, slots=True)
class Way:
    """How texts are encoded: by so many actors, by none in this process."""

    actors: int

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.actors} actors" if self.actors else "this process"


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds until a way was ready and seconds that it then took, and the vectors."""

    ready: float
    seconds: float
    vectors: NDArray[np.float32]


def texts_of(count: int, words: int) -> list[str]:
    """Texts of 8 to so many words, no two the same."""
    return [
        " ".join([str(number), *(WORDS[(number * 7 + place) % len(WORDS)] for place in range(length))])
        for number, length in ((number, 8 + number % (words - 7)) for number in range(count))
    ]


@contextmanager
def cluster(way: Way, device: str | None) -> Iterator[None]:
    """Ray with room for so many actors."""
    if not way.actors:
        yield
        return
    gpus = way.actors if device == "cuda" else 0
    ray.init(
        address="local", num_cpus=way.actors, num_gpus=gpus, include_dashboard=False, log_to_driver=False,
        logging_level=logging.CRITICAL,
    )  # fmt: skip
    try:
        yield
    finally:
        # the actors first
        gc.collect()
        ray.shutdown()


def timed(way: Way, model: str, device: str | None, texts: Sequence[str]) -> Timed:
    """Encode the texts one way."""
    threads = None if device == "cuda" else 1
    with cluster(way, device):
        started = time.perf_counter()
        execution = Execution(device=device, threads=threads, ray="local" if way.actors else None, engine="torch")
        opened: EmbeddingModel | None = open_embedder(resolve_model(model), execution)
        if opened is None:
            raise AssertionError(model)
        opened.encode([f"{number}" for number in range(WARM_UP)])
        ready = time.perf_counter() - started
        started = time.perf_counter()
        found = opened.encode(texts)
        seconds = time.perf_counter() - started
        opened = None
    return Timed(ready, seconds, found)


def main() -> None:
    """Print a line per way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--words", type=int, default=60, help="of the longest text, at least 8")
    parser.add_argument("--device")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    ways = [Way(0), Way(1), *([Way(2)] if given.device != "cuda" else [])]
    texts = texts_of(given.texts, given.words)
    found: dict[Way, list[Timed]] = {way: [] for way in ways}
    for number in range(given.rounds):
        for way in ways if number % 2 else reversed(ways):
            found[way].append(timed(way, given.model, given.device, texts))
    first = found[ways[0]]
    for way, rounds in found.items():
        alone, own = (median(one.seconds for one in several) for several in (first, rounds))
        same = all(np.array_equal(one.vectors, first[0].vectors) for one in rounds)
        print(
            f"{way.name:>12}: {own:7.2f} s, {alone / own:5.2f} times this process's speed; ready after "
            f"{median(one.ready for one in rounds):.1f} s; vectors {'equal to the bit' if same else 'DIFFER'}"
        )


if __name__ == "__main__":
    main()
