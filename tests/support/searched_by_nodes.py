"""A search by three nodes of a local Ray cluster, of which one is lost on the way: `searched_by_nodes.py FOLDER TEMP`.

A process of its own, since Ray's threads bear no fork. Prints, per case, whether what was found is what a search here
finds, bit by bit, how many parts were searched here, and how many nodes were asked no more.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
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


def main(folder: Path, temporary: Path) -> None:
    """See the module."""
    temporary.mkdir(parents=True, exist_ok=True)
    os.environ["RAY_TMPDIR"] = str(temporary)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    rng = np.random.default_rng(0)
    corpus, ids = stored(folder, rng), [f"d{number}" for number in rng.permutation(DOCUMENTS)]
    queries = Dense(rng.standard_normal((50, DIMENSIONS), dtype=np.float32))
    usual = exact.search_all(queries, corpus, ids, K)
    dropped: list[logging.LogRecord] = []
    log = logging.getLogger(searching.__name__)
    log.setLevel(logging.INFO)
    log.addHandler(Kept(dropped))
    here = 0

    def counted(part: Part, vectors: NDArray[np.float32], k: int) -> Found:
        nonlocal here
        here += 1
        return exact.search_part(part, vectors, k)

    patch.object(searching, "search_part", counted).start()
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        ray.init(address=cluster.address, log_to_driver=False)
        cluster.wait_for_nodes()
        by_nodes = searching.ByNodes(least=2048, most=2048)
        cases: dict[str, Callable[[], None]] = {
            "all nodes": lambda: None,
            "a node is lost": lambda: cluster.remove_node(nodes[0], allow_graceful=False),
            "other last bits": lambda: None,
        }
        for name, lose in cases.items():
            here, spread = 0, Losing(by_nodes, lose)
            dropped.clear()
            if name == "other last bits":
                patch.object(searching, "last_bits", lambda *_: "of another processor").start()
            with searched_by(spread):
                found = exact.search_all(queries, corpus, ids, K)
            told = {"same": is_same(found, usual), "parts": spread.answers, "here": here, "dropped": len(dropped)}
            sys.stdout.write(json.dumps({"case": name, **told}) + "\n")
    finally:
        leave: Any = ray.shutdown
        leave()
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
