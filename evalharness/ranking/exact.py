"""Exact search of vectors: products in blocks, a block per core at a time.

NumPy's BLAS, one thread per block: so all cores are busy while scores are looked at, too. Blocks have one shape, filled
up with zeros where there is less, for the shape of a product decides its last bits: equal vectors get equal scores
wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from threading import Event, Lock
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from evalharness.ranking import order
from evalharness.ranking.best import Best, Found, merge
from evalharness.ranking.parts import Part, chosen_map
from evalharness.ranking.records import Ranking
from evalharness.store.index import reading_order
from evalharness.types import Dense, Similarity

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
        whole, spread = as_one_part(corpus, ids), chosen_map(in_one_part)
        for first in range(0, len(queries), _TOGETHER):
            some = slice(first, first + _TOGETHER)
            parts = spread(whole, _comparable(queries.rows(some)), k)
            best = next(parts)
            for found in parts:
                best = merge([best, found], ids, k)
            documents[some], scores[some] = best.documents, best.scores
    return Ranking(list(documents), list(scores))


def as_one_part(corpus: Dense, ids: Sequence[str]) -> Part:
    """All documents of a corpus, in blocks of the size that it is searched in."""
    width = min(_DOCUMENTS, _filled(len(corpus), _FEW_DOCUMENTS))
    return Part(corpus, ids, reading_order(corpus), width)


def in_one_part(whole: Part, vectors: NDArray[np.float32], k: int) -> Iterator[Found]:
    """The usual `PartMap`: the corpus is searched at once, by the threads of this process."""
    yield search_part(whole, vectors, k)


def search_part(part: Part, vectors: NDArray[np.float32], k: int, threads: int | None = None) -> Found:
    """The most similar documents of a part.

    Args:
        part: of at least one document.
        vectors: of the queries, comparable by their products.
        k: documents wanted per query; fewer come back if the part is smaller.
        threads: how many search; None for as many as a product would take.
    """
    k = min(k, len(part))
    documents = np.empty((len(vectors), k), dtype=np.int32)
    scores = np.empty((len(vectors), k), dtype=np.float32)
    search = _Search(part, k, threads)
    wanted, least = np.ones(len(vectors), dtype=bool), _expected(search, vectors)
    while wanted.any():
        lacking = np.zeros(len(vectors), dtype=bool)
        for block in search.run(vectors, least, wanted):
            found, rows = block.best.found(part.ids), block.first + np.flatnonzero(wanted[block.rows])
            documents[rows], scores[rows] = (each[rows - block.first] for each in (found.documents, found.scores))
            lacking[block.first + block.best.lacking()] = True
        # hardly ever any: more was expected of them than there is; in the same blocks, for the sake of the last bits
        wanted &= lacking
        least = np.where(wanted, -np.inf, np.inf).astype(np.float32)
    return Found(documents, scores)


@lru_cache
def last_bits(dimensions: int, similarity: Similarity) -> str:
    """A digest of some products as this process computes them: processes where it is the same give the same scores.

    Args:
        dimensions: of the vectors.
        similarity: of the model.
    """
    vectors = np.random.default_rng(0).random((_DOCUMENTS, dimensions), dtype=np.float32) - np.float32(0.5)
    documents = _comparable(Dense(vectors, similarity))
    with _one_thread_each():
        products = np.matmul(documents[: 8 * _FEW_QUERIES], documents.T)
    return blake2b(products.tobytes(), digest_size=16).hexdigest()


def _expected(search: _Search, vectors: NDArray[np.float32]) -> Least:
    """Per query, a score that the k best documents will hardly fail to reach, from a sample; -inf of a small corpus."""
    nothing, part = np.full(len(vectors), -np.inf, dtype=np.float32), search.part
    mean = search.k / _STEP
    # six standard deviations more than there are of the best in a sample
    rank = int(mean + 6 * mean**0.5) + 3
    if len(part) < 8 * _STEP * rank:
        return nothing
    sample = _Search(as_one_part(part.corpus.rows(part.places[::_STEP]), part.ids), rank, search.threads)
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
        self.rows = slice(first, first + len(vectors))
        self.vectors = np.zeros((_filled(len(vectors), _FEW_QUERIES), vectors.shape[1]), dtype=np.float32)
        self.vectors[: len(vectors)] = vectors


class _Search:
    """The k best documents of a part."""

    def __init__(self, part: Part, k: int, threads: int | None) -> None:
        self.part, self.k, self.threads = part, k, threads
        self._ranks: NDArray[np.int64] | None = None
        self._lock = Lock()

    def _all_ranks(self) -> NDArray[np.int64]:
        with self._lock:
            if self._ranks is None:
                self._ranks = order.id_ranks(self.part.ids)
            return self._ranks

    def run(self, vectors: NDArray[np.float32], least: Least, wanted: NDArray[np.bool_] | None = None) -> list[_Block]:
        """Search for queries.

        Args:
            vectors: of the queries.
            least: per query, a score below which nothing is looked at.
            wanted: per query, whether it counts; blocks of queries without one that does are left out.
        """
        blocks = []
        for first in range(0, len(vectors), _QUERIES):
            some = slice(first, first + _QUERIES)
            if wanted is None or wanted[some].any():
                best = Best(least[some], self.k, self.part.width, self._all_ranks)
                blocks.append(_Block(first, vectors[some], best))
        starts, is_over = count(0, self.part.width), Event()

        def work() -> None:
            scores = np.empty((max(len(block.vectors) for block in blocks), self.part.width), dtype=np.float32)
            while not is_over.is_set() and (first := next(starts)) < len(self.part):
                self._offer(self.part.places[first : first + self.part.width], blocks, scores)

        with _one_thread_each() as usual, ThreadPoolExecutor(self.threads or usual) as pool:
            try:
                for ended in [pool.submit(work) for _ in range(self.threads or usual)]:
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
        documents, width = _comparable(self.part.corpus.rows(_as_slice(places))), self.part.width
        if len(documents) < width:
            documents = np.concatenate([documents, np.zeros((width - len(documents), documents.shape[1]), "f4")])
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
