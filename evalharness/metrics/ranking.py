"""Rank metrics as trec_eval defines them, for all queries at once.

Every function takes `Judged` (what was found at which rank) and gives one value per query. A query without
relevant documents scores 0, as in trec_eval. Ties are settled before, by `similarity.top_k`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
RankMetric = Callable[["Judged", int], Values]


@dataclass(frozen=True, slots=True)
class Judged:
    """Judgements of ranked documents.

    Attributes:
        grades: int, shape (queries, depth); grade of the document at each rank, 0 where unjudged or nothing was found.
        ideal: int, shape (queries, depth or less); the positive grades of all judged documents, descending.
        relevant: int, shape (queries,); number of judged documents with a positive grade.
    """

    grades: NDArray[np.int64]
    ideal: NDArray[np.int64]
    relevant: NDArray[np.int64]


def judge(ranked: Sequence[NDArray[np.int64]], qrels: Sequence[Mapping[int, int]], depth: int) -> Judged:
    """Look up the grades of ranked documents.

    Args:
        ranked: per query, document numbers, best first.
        qrels: per query, document number -> grade; a grade below 1 counts as not relevant.
        depth: deepest rank that any metric looks at.
    """
    grades = np.zeros((len(ranked), depth), dtype=np.int64)
    ideal = np.zeros((len(ranked), depth), dtype=np.int64)
    relevant = np.zeros(len(ranked), dtype=np.int64)
    for query, (documents, judged) in enumerate(zip(ranked, qrels, strict=True)):
        numbers = np.fromiter(sorted(judged), dtype=np.int64, count=len(judged))
        values = np.fromiter((max(judged[int(n)], 0) for n in numbers), dtype=np.int64, count=len(judged))
        found = documents[:depth]
        if len(numbers) and len(found):
            at = np.minimum(np.searchsorted(numbers, found), len(numbers) - 1)
            grades[query, : len(found)] = np.where(numbers[at] == found, values[at], 0)
        positive = np.sort(values[values > 0])[::-1]
        relevant[query] = len(positive)
        ideal[query, : min(depth, len(positive))] = positive[:depth]
    return Judged(grades, ideal, relevant)


def _discounted(grades: NDArray[np.int64], k: int) -> Values:
    kept = grades[:, :k]
    gains = kept / np.log2(np.arange(2, kept.shape[1] + 2))
    # a running sum adds in rank order, as trec_eval does
    total: Values = np.cumsum(gains, axis=1)[:, -1]
    return total


def _per_relevant(values: Values, judged: Judged) -> Values:
    return np.divide(values, judged.relevant, out=np.zeros(len(values)), where=judged.relevant > 0)


def ndcg(judged: Judged, k: int) -> Values:
    """nDCG@k: gain = grade, discount = log2(rank + 1), divided by the best possible value.

    Source: trec_eval's ndcg_cut.

    >>> one = judge([np.array([7, 3])], [{3: 2, 5: 1}], depth=2)
    >>> round(float(ndcg(one, 2)[0]), 4)
    0.4796
    """
    best = _discounted(judged.ideal, k)
    return np.divide(_discounted(judged.grades, k), best, out=np.zeros(len(best)), where=best > 0)


def average_precision(judged: Judged, k: int) -> Values:
    """AP@k: precision at the rank of each relevant document found, summed, divided by all relevant ones.

    Source: trec_eval's map_cut.

    >>> one = judge([np.array([3, 7, 5])], [{3: 2, 5: 1}], depth=3)
    >>> round(float(average_precision(one, 3)[0]), 4)
    0.8333
    """
    hits = judged.grades[:, :k] > 0
    precision_at = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return _per_relevant(np.cumsum(np.where(hits, precision_at, 0.0), axis=1)[:, -1], judged)


def recall(judged: Judged, k: int) -> Values:
    """Recall@k: relevant documents found, divided by all relevant ones. Source: trec_eval's recall."""
    return _per_relevant((judged.grades[:, :k] > 0).sum(axis=1).astype(np.float64), judged)


def precision(judged: Judged, k: int) -> Values:
    """P@k: relevant documents found, divided by k (also where fewer were returned). Source: trec_eval's P."""
    return np.asarray((judged.grades[:, :k] > 0).sum(axis=1) / k, dtype=np.float64)


def hit_rate(judged: Judged, k: int) -> Values:
    """1 if a relevant document is among the first k, else 0. Source: trec_eval's success."""
    return np.asarray((judged.grades[:, :k] > 0).any(axis=1), dtype=np.float64)


def reciprocal_rank(judged: Judged, k: int) -> Values:
    """1 / rank of the first relevant document among the first k, else 0. Source: mteb's mrr_at_k.

    >>> one = judge([np.array([7, 3])], [{3: 1}], depth=2)
    >>> float(reciprocal_rank(one, 2)[0])
    0.5
    """
    hits = judged.grades[:, :k] > 0
    first: Values = 1.0 / (hits.argmax(axis=1) + 1)
    return np.where(hits.any(axis=1), first, 0.0)


# by the names of measures
BY_NAME: Mapping[str, RankMetric] = {
    "ndcg": ndcg,
    "map": average_precision,
    "recall": recall,
    "precision": precision,
    "hit_rate": hit_rate,
    "mrr": reciprocal_rank,
}
