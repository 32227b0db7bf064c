"""The search of a large corpus by the nodes of a Ray cluster that share the store: a part at a time for each.

A node is handed the queries' vectors, places in the store's files and ids of one part, and gives its best documents. A
part that fails there, whatever the reason, goes to another node, twice at most, and is searched here then; a node on
which one failed gets no more. So does a node whose processor computes other last bits than this one's.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.ranking.best import Found
from evalharness.ranking.exact import in_one_part, last_bits, search_part
from evalharness.ranking.parts import Part
from evalharness.store.index import StoredRows

_log = logging.getLogger(__name__)
# a node is asked to take over a part that failed elsewhere so many times
_AGAIN = 2
_LOOK_SECONDS, _FETCH_SECONDS = 1.0, 60.0
_LEAST_NODES = 2
# parts per node, so that those that are done early do not wait long for the others
_PER_NODE = 4


def answer(part: Part, vectors: NDArray[np.float32], k: int, threads: int, bits: str) -> Found | None:
    """Search a part, where it was sent.

    Args:
        part: of a corpus in the store.
        vectors: of the queries.
        k: documents wanted per query.
        threads: how many search.
        bits: the asking process's `exact.last_bits`.

    Returns:
        None where last bits would be others.
    """
    if last_bits(vectors.shape[1], part.corpus.similarity) != bits:
        return None
    return search_part(part, vectors, k, threads)


@dataclass(slots=True, eq=False)
class _Asked:
    """A part that is to be searched, and how often that failed."""

    part: Part
    failures: int = 0


@dataclass(frozen=True, slots=True)
class ByNodes:
    """A `PartMap` through the Ray cluster that this process is connected to.

    Attributes:
        least: documents of a part; a corpus that makes fewer than two such parts is searched here.
        most: documents of a part, which bound what a node has to keep of ids and places.
        patience: seconds without any answer after which the rest is searched here.
    """

    least: int = 2**18
    most: int = 2**20
    patience: float = 3600.0

    def __call__(self, whole: Part, vectors: NDArray[np.float32], k: int) -> Iterator[Found]:
        """See `PartMap`."""
        # vectors in memory would have to be sent, which takes about as long as a search
        if len(whole) < 2 * self.least or not isinstance(whole.corpus.source, StoredRows):
            return in_one_part(whole, vectors, k)
        # alone, this process searches with all threads and sends nothing
        if len(nodes := _nodes()) < _LEAST_NODES:
            return in_one_part(whole, vectors, k)
        size = min(self.most, max(self.least, len(whole) // (_PER_NODE * max(1, len(nodes)))))
        return _Search(nodes, vectors, k, self.patience).run([_Asked(part) for part in whole.cut(size)])


def _nodes() -> dict[str, int]:
    """Nodes that are alive and have processors, each with how many threads may search there."""
    import ray

    known: Any = ray.nodes
    threads = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in known() if node["Alive"]}
    return {node: count for node, count in threads.items() if count}


@dataclass(slots=True, eq=False)
class _Search:
    """A search under way.

    Attributes:
        nodes: those that may be asked.
        vectors: of the queries.
        k: documents wanted per query.
        patience: see `ByNodes`.
        asked: what is awaited: Ray's reference -> its node and part.
    """

    nodes: dict[str, int]
    vectors: NDArray[np.float32]
    k: int
    patience: float
    asked: dict[Any, tuple[str, _Asked]] = field(default_factory=dict)

    def run(self, parts: list[_Asked]) -> Iterator[Found]:
        """What was found, part by part."""
        import ray

        left, heard = deque(parts), time.monotonic()
        # no CPU is asked for: those that encode have them all
        there, vectors = ray.remote(num_cpus=0, max_retries=0)(answer), ray.put(self.vectors)
        try:
            while left or self.asked:
                self._ask(left, there, vectors)
                if not self.asked or (left and left[0].failures > _AGAIN):
                    yield search_part(left.popleft().part, self.vectors, self.k)
                    heard = time.monotonic()
                    continue
                ready, _ = ray.wait(list(self.asked), timeout=_LOOK_SECONDS)
                if not ready and time.monotonic() - heard > self.patience:
                    left.extend(self._give_up())
                for reference in ready:
                    node, one = self.asked.pop(reference)
                    heard, found = time.monotonic(), self._heard(reference, node)
                    if found is not None:
                        yield one.part.from_alone(found)
                    else:
                        one.failures += 1
                        left.appendleft(one)
        finally:
            self._give_up()

    def _ask(self, left: deque[_Asked], there: Any, vectors: Any) -> None:  # noqa: ANN401 -- Ray's
        """Give each idle node a part."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        busy = {node for node, _ in self.asked.values()}
        for node, threads in self.nodes.items():
            if node in busy or not left or left[0].failures > _AGAIN:
                continue
            one = left.popleft()
            bits = last_bits(self.vectors.shape[1], one.part.corpus.similarity)
            on_it = there.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
            self.asked[on_it.remote(one.part.alone(), vectors, self.k, threads, bits)] = (node, one)

    def _heard(self, reference: Any, node: str) -> Found | None:  # noqa: ANN401 -- Ray's
        """An answer; a node that has none is asked no more."""
        import ray
        from ray.exceptions import RayError

        try:
            found: Found | None = ray.get(reference, timeout=_FETCH_SECONDS)
            if found is not None:
                return found
            _log.info("node %s computes other last bits and does not take part in the search", node)
        except RayError as error:
            _log.info("node %s does not take part in the search any more: %s", node, error)
        del self.nodes[node]
        return None

    def _give_up(self) -> list[_Asked]:
        """Ask nobody any more; gives what was asked in vain."""
        import ray

        for reference in self.asked:
            ray.cancel(reference, force=True)
        lost = [one for _, one in self.asked.values()]
        self.asked.clear()
        self.nodes.clear()
        return lost
