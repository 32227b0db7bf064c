"""Similarities of vectors, and the exact top-k search with the one rule for ties.

float32 throughout; but for the search of single vectors (`exact`) with torch's kernels on the same shapes as mteb's, so
that even the last bit agrees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from evalharness.ranking import exact, multipart, order
from evalharness.ranking.records import Ranking
from evalharness.types import Dense, Embeddings, MultiPart, Similarity

# mteb's blocks in bitext mining
_NEAREST_ROWS, _NEAREST_CHUNK = 100, 500_000


def _tensor(vectors: NDArray[np.float32]) -> torch.Tensor:
    # a memory map or a slice may be read-only; torch only reads it
    return torch.from_numpy(np.array(vectors, copy=not vectors.flags.writeable))


def comparable(embeddings: Embeddings) -> torch.Tensor:
    """Vectors whose dot product is the model's similarity; a zero vector stays zero."""
    vectors = _tensor(embeddings.vectors)
    return torch.nn.functional.normalize(vectors, p=2, dim=1) if embeddings.similarity == "cosine" else vectors


def pairwise(first: Embeddings, second: Embeddings) -> list[float]:
    """The model's similarity of each pair of rows."""
    values: list[float] = (comparable(first) * comparable(second)).sum(dim=-1).tolist()
    return values


def nearest_scores(
    first: Embeddings, second: Embeddings, similarity: Similarity, *, one_by_one: bool = False
) -> list[float]:
    """For each row of `first`, the similarity to the most similar row of `second`.

    Args:
        first: vectors, at least one row.
        second: the same.
        similarity: used instead of the model's own.
        one_by_one: compute each pair by itself, as mteb does for a model's own similarity; the last bit may differ.
    """
    left = comparable(Dense(first.vectors, similarity))
    right = comparable(Dense(second.vectors, similarity))
    if one_by_one:
        columns = [b[None].T for b in right]
        return [max(torch.mm(row, column).item() for column in columns) for row in left[:, None]]
    return [float(torch.mm(a[None], right.T).max()) for a in left]


def nearest(first: Embeddings, second: Embeddings) -> list[int]:
    """For each row of `first`, the number of the most similar row of `second` by the model's similarity.

    In mteb's blocks (100 rows against 500,000). Where several are equally similar, torch chooses, as in mteb.
    """
    found: list[int] = []
    right = comparable(second)
    for start in range(0, len(first), _NEAREST_ROWS):
        left = comparable(first.rows(slice(start, start + _NEAREST_ROWS)))
        best: list[tuple[float, int]] = [(-np.inf, 0)] * len(left)
        for offset in range(0, len(right), _NEAREST_CHUNK):
            values, places = torch.topk(
                torch.mm(left, right[offset : offset + _NEAREST_CHUNK].T), 1, dim=1, sorted=False
            )
            for row, (value, place) in enumerate(zip(values[:, 0].tolist(), places[:, 0].tolist(), strict=True)):
                if value > best[row][0]:
                    best[row] = (value, offset + place)
        found += [place for _, place in best]
    return found


def _best_keys(scores: torch.Tensor, ranks: NDArray[np.int64], k: int) -> NDArray[np.uint64]:
    """Keys of the k best of each row, unordered. Exact also where the cut falls among equal scores."""
    if scores.shape[1] <= k:
        return order.keys(scores.numpy(), ranks[None, :])
    values, index = torch.topk(scores, k + 1, dim=1)
    keys = order.keys(values[:, :k].numpy(), ranks[index[:, :k].numpy()])
    for row in torch.nonzero(values[:, k] == values[:, k - 1]).flatten().tolist():
        # torch chose arbitrarily among the equal ones
        every = order.keys(scores[row].numpy(), ranks)
        keys[row] = np.partition(every, len(every) - k)[-k:]
    return keys


def _all_scores(queries: Embeddings, documents: Embeddings) -> torch.Tensor:
    """Similarities of all queries with all documents, shape (queries, documents)."""
    if isinstance(queries, MultiPart) and isinstance(documents, MultiPart):
        return torch.from_numpy(multipart.scores(queries, documents))
    if isinstance(queries, Dense) and isinstance(documents, Dense):
        return torch.mm(comparable(queries), comparable(documents).T)
    raise TypeError("queries and documents have embeddings of different kinds")


def top_k(queries: Embeddings, corpus: Embeddings, ids: Sequence[str], k: int) -> Ranking:
    """Exact search by the model's similarity through the whole corpus, chunk by chunk.

    Args:
        queries: a row per query.
        corpus: a row per document; may be memory-mapped.
        ids: one document id per row of the corpus.
        k: documents wanted per query; fewer come back if the corpus is smaller.
    """
    if isinstance(queries, Dense) and isinstance(corpus, Dense):
        return exact.search_all(queries, corpus, ids, k)
    ranks = order.id_ranks(ids)
    keys = np.empty((len(queries), min(k, len(corpus))), dtype=np.uint64)
    for first in range(0, len(queries), multipart.CHUNK):
        part = slice(first, first + multipart.CHUNK)
        keys[part] = _best_in_chunks(queries.rows(part), corpus, ranks, k)
    by_rank = np.empty(len(ids), dtype=np.int64)
    by_rank[ranks] = np.arange(len(ids))
    return Ranking(list(by_rank[order.ranks_of(keys)]), list(order.scores_of(keys)))


def _best_in_chunks(queries: Embeddings, corpus: Embeddings, ranks: NDArray[np.int64], k: int) -> NDArray[np.uint64]:
    """Keys of the k best documents of each query, descending."""
    kept = np.empty((len(queries), 0), dtype=np.uint64)
    for first in range(0, len(corpus), multipart.CHUNK):
        chunk = slice(first, first + multipart.CHUNK)
        scores = _all_scores(queries, corpus.rows(chunk))
        merged = np.concatenate([kept, _best_keys(scores, ranks[chunk], k)], axis=1)
        kept = np.sort(merged, axis=1)[:, ::-1][:, :k]
    return kept
