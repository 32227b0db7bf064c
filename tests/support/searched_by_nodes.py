"""A search by several nodes of a Ray cluster, of which one is lost on the way; in the process of `ray_nodes`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from evalharness.ranking import exact
from evalharness.ranking.best import Found
from evalharness.ranking.parts import Part, PartMap, searched_by
from evalharness.ranking.records import Ranking
from evalharness.run.cluster import searching
from evalharness.store.index import VECTORS, StoredRows
from evalharness.store.shard_files import write_shard
from evalharness.types import Dense

DOCUMENTS, DIMENSIONS, SHARD, K = 40_000, 32, 4096, 300


def stored(folder: Path, rng: np.random.Generator) -> Dense:
    """Vectors in shards, many of them twice."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.shard" for number in range(-(-DOCUMENTS // SHARD))]
    few = rng.standard_normal((DOCUMENTS // 2, DIMENSIONS), dtype=np.float32)
    for number, path in enumerate(paths):
        rows = rng.integers(0, len(few), min(SHARD, DOCUMENTS - number * SHARD))
        write_shard(path, {VECTORS: few[rows]})
    mixed = rng.permutation(DOCUMENTS)
    return Dense(StoredRows(paths, (mixed // SHARD).astype(np.int32), (mixed % SHARD).astype(np.int32), DIMENSIONS))


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self.records.append(record)


class Losing:
    """A `PartMap` that does something after the first answer."""

    def __init__(self, below: PartMap, lose: Callable[[], None]) -> None:
        self.below, self.lose, self.answers = below, lose, 0

    def __call__(self, whole: Part, vectors: NDArray[np.float32], k: int) -> Iterator[Found]:
        """See `PartMap`."""
        for found in self.below(whole, vectors, k):
            if not self.answers:
                self.lose()
            self.answers += 1
            yield found


def is_same(found: Ranking, usual: Ranking) -> bool:
    """Whether all bits are."""
    pairs = ((found.documents, usual.documents), (found.scores, usual.scores))
    return all(np.array(ours).tobytes() == np.array(theirs).tobytes() for ours, theirs in pairs)


@contextmanager
def _told() -> Iterator[list[logging.LogRecord]]:
    """What is logged of nodes that are asked no more."""
    dropped: list[logging.LogRecord] = []
    log, kept = logging.getLogger(searching.__name__), Kept(dropped)
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(kept)
    try:
        yield dropped
    finally:
        log.removeHandler(kept)
        log.setLevel(level)


def found(folder: Path, remove: Callable[[], None]) -> list[dict[str, Any]]:
    """Per case, whether what was found is what a search here finds, bit by bit.

    With it come how many parts were searched here, and how many nodes were asked no more.

    Args:
        folder: where files may be written.
        remove: takes a node away.
    """
    rng = np.random.default_rng(0)
    corpus, ids = stored(folder, rng), [f"d{number}" for number in rng.permutation(DOCUMENTS)]
    queries = Dense(rng.standard_normal((50, DIMENSIONS), dtype=np.float32))
    usual = exact.search_all(queries, corpus, ids, K)
    here: list[Part] = []

    def counted(part: Part, vectors: NDArray[np.float32], k: int) -> Found:
        here.append(part)
        return exact.search_part(part, vectors, k)

    def case(name: str, lose: Callable[[], None] = lambda: None) -> dict[str, Any]:
        here.clear()
        spread = Losing(searching.ByNodes(least=2048, most=2048), lose)
        with _told() as dropped, searched_by(spread):
            ranking = exact.search_all(queries, corpus, ids, K)
        told = {"same": is_same(ranking, usual), "parts": spread.answers, "here": len(here), "dropped": len(dropped)}
        return {"case": name, **told}

    with patch.object(searching, "search_part", counted):
        cases = [case("all nodes")]
        with patch.object(searching, "last_bits", lambda *_: "of another processor"):
            cases.append(case("other last bits"))
        return [*cases, case("a node is lost", remove)]
