"""Exact search of vectors: products in blocks, a block per core at a time.

NumPy's BLAS, one thread per block: so all cores are busy while scores are looked at, too. Blocks have one shape, filled
up with zeros where there is less, for the shape of a product decides its last bits: equal vectors get equal scores
wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from threading import Event, Lock
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from evalharness.ranking import order
from evalharness.ranking.best import Best
from evalharness.ranking.records import Ranking
from evalharness.store.index import reading_order
from evalharness.types import Dense

Least: TypeAlias = NDArray[np.float32]

# of a block: its scores stay in the cache that cores share
_QUERIES, _DOCUMENTS = 1024, 2048
# smaller ones are filled up to multiples of these, for which a product is the same number in any place
_FEW_QUERIES, _FEW_DOCUMENTS = 16, 128
# queries that are searched for together; what is kept of each takes 8 bytes per document wanted, about three times
_TOGETHER = 8192
# each so manieth document is searched first, which tells below what need not be looked at
_STEP = 48
# torch.nn.functional.normalize's
_SHORTEST = 1e-12
# how many threads the BLAS has is a setting of the process
_BLAS = Lock()


def search_all(queries: Dense, corpus: Dense, ids: Sequence[str], k: int) -> Ranking:
    """The most similar documents of each query; see `similarity.top_k`."""
    k = min(k, len(corpus))
    documents = np.empty((len(queries), k), dtype=np.int64)
    scores = np.empty((len(queries), k), dtype=np.float32)
    if k:
        search = _Search(corpus, k, ids)
        for first in range(0, len(queries), _TOGETHER):
            rows = np.arange(first, min(first + _TOGETHER, len(queries)))
            vectors = _comparable(queries.rows(slice(first, first + _TOGETHER)))
            least = _expected(search, vectors)
            while len(rows):
                lacking = []
                for block in search.run(vectors, least):
                    found = block.best.found(ids)
                    here = rows[block.first : block.first + block.size]
                    documents[here], scores[here] = found.documents, found.scores
                    lacking.append(block.first + block.best.lacking())
                # hardly ever any: more was expected of them than there is
                again = np.concatenate(lacking)
                rows, vectors, least = rows[again], vectors[again], np.full(len(again), -np.inf, dtype=np.float32)
    return Ranking(list(documents), list(scores))


def _expected(search: _Search, vectors: NDArray[np.float32]) -> Least:
    """Per query, a score that the k best documents will hardly fail to reach, from a sample; -inf of a small corpus."""
    nothing = np.full(len(vectors), -np.inf, dtype=np.float32)
    mean = search.k / _STEP
    # six standard deviations more than there are of the best in a sample
    rank = int(mean + 6 * mean**0.5) + 3
    if len(search.places) < 8 * _STEP * rank:
        return nothing
    sample = _Search(search.corpus.rows(search.places[::_STEP]), rank, search.ids)
    return np.concatenate([block.best.least() for block in sample.run(vectors, nothing)])


def _filled(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _comparable(embeddings: Dense) -> NDArray[np.float32]:
    """Vectors whose dot product is the model's similarity; a zero vector stays zero."""
    vectors = np.ascontiguousarray(embeddings.vectors)
    if embeddings.similarity != "cosine":
        return vectors
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    scaled: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(_SHORTEST))[:, None]
    return scaled


class _Block:
    """Some queries, of which the first has this number, and the best documents of each."""

    def __init__(self, first: int, vectors: NDArray[np.float32], best: Best) -> None:
        self.first, self.size, self.best = first, len(vectors), best
        self.vectors = np.zeros((_filled(len(vectors), _FEW_QUERIES), vectors.shape[1]), dtype=np.float32)
        self.vectors[: len(vectors)] = vectors


class _Search:
    """The k best documents of a corpus."""

    def __init__(self, corpus: Dense, k: int, ids: Sequence[str]) -> None:
        self.corpus, self.k, self.ids = corpus, k, ids
        self.places = reading_order(corpus)
        self._width = min(_DOCUMENTS, _filled(len(corpus), _FEW_DOCUMENTS))
        self._ranks: NDArray[np.int64] | None = None
        self._lock = Lock()

    def _all_ranks(self) -> NDArray[np.int64]:
        with self._lock:
            if self._ranks is None:
                self._ranks = order.id_ranks(self.ids)
            return self._ranks

    def run(self, vectors: NDArray[np.float32], least: Least) -> list[_Block]:
        """Search for these queries; per query, nothing below a least score."""
        blocks = []
        for first in range(0, len(vectors), _QUERIES):
            part = slice(first, first + _QUERIES)
            blocks.append(_Block(first, vectors[part], Best(least[part], self.k, self._width, self._all_ranks)))
        starts, is_over = count(0, self._width), Event()

        def work() -> None:
            scores = np.empty((max(len(block.vectors) for block in blocks), self._width), dtype=np.float32)
            while not is_over.is_set() and (first := next(starts)) < len(self.places):
                self._offer(self.places[first : first + self._width], blocks, scores)

        with _one_thread_each() as threads, ThreadPoolExecutor(threads) as pool:
            try:
                for ended in [pool.submit(work) for _ in range(threads)]:
                    ended.result()
            finally:
                # one has failed, or the user has stopped it
                is_over.set()
        return blocks

    def _offer(self, places: NDArray[np.int64], blocks: Sequence[_Block], room: NDArray[np.float32]) -> None:
        """Offer some documents to all queries.

        Args:
            places: of the documents.
            blocks: all queries.
            room: for the scores of a block.
        """
        documents = _comparable(self.corpus.rows(_as_slice(places)))
        if len(documents) < self._width:
            documents = np.concatenate([documents, np.zeros((self._width - len(documents), documents.shape[1]), "f4")])
        numbers = places.astype(np.int32)
        for block in blocks:
            np.matmul(block.vectors, documents.T, out=room[: len(block.vectors)])
            block.best.offer(room[: block.size], numbers)


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
