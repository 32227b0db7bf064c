"""Ranking of each query's own candidates, for millions of queries.

The numbers are those of one product per query, to the last bit, as mteb takes it: a product of many queries with the
same documents would add in another order, but torch's batched product does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from evalharness.metrics.ragged import Ragged, starts_of
from evalharness.ranking import multipart, order
from evalharness.ranking.records import Ranking
from evalharness.ranking.similarity import comparable
from evalharness.types import Dense, Embeddings, MultiPart

# numbers in vectors of candidates: how many are kept ready (1 GiB), and how many are laid out for products (8 MiB)
_MOST_KEPT, _MOST_AT_ONCE = 2**28, 2**21
# below so many multiplications per query, torch adds up batched products in an order of its own
_SMALL = 400
# lists that follow each other and are the same (those of a question's sub-queries) need one copy of the vectors
_WORTH_IT = 4


def rank_candidates(
    queries: Embeddings,
    corpus: Embeddings,
    candidates: Sequence[Sequence[int] | NDArray[np.int64]],
    ids: Sequence[str],
    k: int,
) -> Ranking:
    """Rank each query's candidates by the model's similarity.

    Args:
        queries: a row per query.
        corpus: a row per document; may be memory-mapped.
        candidates: per query, numbers of documents.
        ids: one document id per row of the corpus.
        k: documents wanted per query.
    """
    wanted = Ragged.of(candidates)
    scores = Ragged(np.empty(len(wanted.values), dtype=np.float32), wanted.starts)
    if isinstance(queries, MultiPart) and isinstance(corpus, MultiPart):
        for number in np.flatnonzero(wanted.lengths).tolist():
            scores[number][:] = multipart.scores(queries.rows([number]), corpus.rows(wanted[number]))[0]
    elif isinstance(queries, Dense) and isinstance(corpus, Dense):
        for some in _parts(wanted, corpus):
            _score(queries.rows(some), corpus, wanted[some], scores[some])
    else:
        raise TypeError("queries and documents have embeddings of different kinds")
    return best_first(wanted, scores, order.id_ranks(ids), k)


def best_first(documents: Ragged, scores: Ragged, ranks: NDArray[np.int64], k: int | None = None) -> Ranking:
    """Documents with their scores, in the one order.

    Args:
        documents: per query, numbers of documents.
        scores: one for each of them.
        ranks: of all documents' ids (see `order.id_ranks`).
        k: documents wanted per query; None for all of them, whose order of arrival is then remembered.
    """
    starts = documents.starts if k is None else starts_of(np.minimum(documents.lengths, k))
    numbers, values = np.empty(starts[-1], dtype=documents.values.dtype), np.empty(starts[-1], dtype=np.float32)
    arrival = np.empty(starts[-1] if k is None else 0, dtype=np.int64)
    for part in documents.matrices():
        named, scored = documents.values[part.at], scores.values[part.at]
        best = np.argsort(order.keys(scored, ranks[named]), axis=1)[:, ::-1][:, :k]
        at = starts[part.rows][:, None] + np.arange(best.shape[1])
        numbers[at], values[at] = (np.take_along_axis(found, best, axis=1) for found in (named, scored))
        if k is None:
            arrival[at] = np.argsort(best, axis=1)
    return Ranking(Ragged(numbers, starts), Ragged(values, starts), Ragged(arrival, starts) if k is None else None)


def _parts(wanted: Ragged, corpus: Dense) -> Iterator[slice]:
    """Queries in parts whose candidates' vectors can be kept in memory."""
    most = _MOST_KEPT // max(1, int(corpus.source.shape[1]))
    return iter([slice(0, len(wanted))]) if len(_used(wanted, len(corpus))) <= most else wanted.blocks(most)


def _used(wanted: Ragged, count: int) -> NDArray[np.int64]:
    """The different documents, of so many, that are candidates."""
    used = np.zeros(count, dtype=np.bool_)
    used[wanted.values] = True
    return np.flatnonzero(used)


def _score(queries: Dense, corpus: Dense, wanted: Ragged, scores: Ragged) -> None:
    """Fill in the scores."""
    used = _used(wanted, len(corpus))
    place = np.empty(len(corpus), dtype=np.int64)
    place[used] = np.arange(len(used))
    right = comparable(corpus.rows(used))
    for part in wanted.matrices(max(1, _MOST_AT_ONCE // max(1, right.shape[1]))):
        left = comparable(queries.rows(part.rows))
        scores.values[part.at] = _products(left, right, place[wanted.values[part.at]]).numpy()


def _products(queries: torch.Tensor, documents: torch.Tensor, chosen: NDArray[np.int64]) -> torch.Tensor:
    """Each query's products with the documents chosen for it, shape (queries, documents of a query)."""
    count, width = chosen.shape
    left = queries[:, None, :]
    if width * queries.shape[1] < _SMALL:
        return torch.cat([torch.mm(*pair) for pair in zip(left, _vectors(documents, chosen), strict=True)])
    starts = np.flatnonzero(np.r_[True, (chosen[1:] != chosen[:-1]).any(axis=1)])
    if len(starts) * _WORTH_IT > count:
        return torch.bmm(left, _vectors(documents, chosen))[:, 0]
    right = _vectors(documents, chosen[starts])
    sizes = np.diff(np.r_[starts, count]).tolist()
    parts = zip(torch.split(left, sizes), right, sizes, strict=True)
    return torch.cat([torch.bmm(some, shared[None].expand(size, -1, -1)) for some, shared, size in parts])[:, 0]


def _vectors(documents: torch.Tensor, chosen: NDArray[np.int64]) -> torch.Tensor:
    """Vectors of the documents of each row, one per column: shape (rows, dimensions, documents)."""
    return documents[torch.from_numpy(chosen)].transpose(1, 2)
