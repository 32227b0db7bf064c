"""Exact search of vectors: products in blocks, a block per core at a time.

NumPy's BLAS, one thread per block: so all cores are busy while scores are looked at, too, which stay in a core's
cache. Blocks have one shape, filled up with zeros where there is less, for the shape of a product decides its last
bits: equal vectors get equal scores wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import count
from threading import Event, Lock

import numpy as np
from numpy.typing import NDArray

from evalharness.ranking import order
from evalharness.ranking.best import Best
from evalharness.ranking.records import Ranking
from evalharness.types import Dense

# of a block
_QUERIES, _DOCUMENTS = 1024, 2048
# smaller ones are filled up to multiples of these
_FEW_QUERIES, _FEW_DOCUMENTS = 16, 128
# queries that are searched for together; what is kept of each takes 8 bytes per document wanted, twice
_TOGETHER = 8192
# torch.nn.functional.normalize's
_SHORTEST = 1e-12
# how many threads the BLAS has is a setting of the process
_BLAS = Lock()


def search_all(queries: Dense, corpus: Dense, ids: Sequence[str], k: int) -> Ranking:
    """The most similar documents of each query; see `similarity.top_k`."""
    found: list[NDArray[np.int64]] = []
    scores: list[NDArray[np.float32]] = []
    k = min(k, len(corpus))
    if not k or not len(queries):
        return Ranking([np.empty(0, dtype=np.int64)] * len(queries), [np.empty(0, dtype=np.float32)] * len(queries))
    ranks = cache(lambda: order.id_ranks(ids))
    lock = Lock()

    def all_ranks() -> NDArray[np.int64]:
        with lock:
            return ranks()

    places = corpus.reading_order()
    for first in range(0, len(queries), _TOGETHER):
        vectors = _comparable(queries.rows(slice(first, first + _TOGETHER)))
        width = min(_DOCUMENTS, _filled(len(corpus), _FEW_DOCUMENTS))
        blocks = [
            _Block(vectors[start : start + _QUERIES], Best(len(vectors[start : start + _QUERIES]), k, width, all_ranks))
            for start in range(0, len(vectors), _QUERIES)
        ]
        _Search(corpus, places, width, blocks).run()
        for block in blocks:
            best = block.best.found(ids)
            found += list(best.documents)
            scores += list(best.scores)
    return Ranking(found, scores)


def _filled(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _comparable(embeddings: Dense) -> NDArray[np.float32]:
    """Vectors whose dot product is the model's similarity; a zero vector stays zero."""
    vectors = np.ascontiguousarray(embeddings.vectors)
    if embeddings.similarity != "cosine":
        return vectors
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return vectors / np.maximum(lengths, np.float32(_SHORTEST))[:, None]


class _Block:
    """Some queries, and the best documents of each."""

    def __init__(self, vectors: NDArray[np.float32], best: Best) -> None:
        self.size = len(vectors)
        self.vectors = np.zeros((_filled(len(vectors), _FEW_QUERIES), vectors.shape[1]), dtype=np.float32)
        self.vectors[: len(vectors)] = vectors
        self.best = best


class _Search:
    """Each thread takes the next documents that nobody has taken, and offers them to all queries."""

    def __init__(self, corpus: Dense, places: NDArray[np.int64], width: int, blocks: Sequence[_Block]) -> None:
        self._corpus, self._places, self._width, self._blocks = corpus, places, width, blocks
        self._next = count(0, width)
        self._is_over = Event()

    def run(self) -> None:
        """Offer all documents to all queries."""
        with _one_thread_each() as threads, ThreadPoolExecutor(threads) as pool:
            try:
                for ended in [pool.submit(self._work) for _ in range(threads)]:
                    ended.result()
            finally:
                # one has failed, or the user has stopped it
                self._is_over.set()

    def _work(self) -> None:
        filled = np.zeros((self._width, self._corpus.source.shape[1]), dtype=np.float32)
        scores = np.empty((max(len(block.vectors) for block in self._blocks), self._width), dtype=np.float32)
        while not self._is_over.is_set() and (first := next(self._next)) < len(self._places):
            places = self._places[first : first + self._width]
            documents = _comparable(self._corpus.rows(_as_slice(places)))
            if len(documents) < self._width:
                filled[: len(documents)] = documents
                documents = filled
            for block in self._blocks:
                part = scores[: len(block.vectors)]
                np.matmul(block.vectors, documents.T, out=part)
                block.best.offer(part[: block.size], places.astype(np.int32))


def _as_slice(places: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Places that follow each other as a slice, which needs no copy."""
    first, last = int(places[0]), int(places[-1])
    in_row = last - first + 1 == len(places) and bool((np.diff(places) == 1).all())
    return slice(first, last + 1) if in_row else places


@contextmanager
def _one_thread_each() -> Iterator[int]:
    """Let a product take one thread; gives the number of threads that it would have taken."""
    # it looks through the libraries of the process
    from threadpoolctl import ThreadpoolController

    with _BLAS:
        own = ThreadpoolController().select(user_api="blas")
        threads = max((int(library["num_threads"]) for library in own.info()), default=1)
        with own.limit(limits=1):
            yield threads
