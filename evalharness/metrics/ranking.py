"""Rank metrics as trec_eval defines them, for all queries at once.

Every function takes `Judged` (what was found at which rank) and gives one value per query. A query without
relevant documents scores 0, as in trec_eval. Ties are settled before, by `similarity.top_k`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from evalharness.metrics.ragged import Ragged, starts_of

Values = NDArray[np.float64]
RankMetric = Callable[["Judged", int], Values]
# bits of a hash of judgements: a table of them tells most documents without any from those that may have one
_TABLE_BITS = 16
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, eq=False)
class Grades:
    """Judgements.

    Attributes:
        documents: per query, the numbers of its judged documents, each once.
        grades: one per judgement; a grade below 1 counts as not relevant.
    """

    documents: Ragged
    grades: NDArray[np.integer]

    @classmethod
    def of(cls, qrels: Sequence[Mapping[int, int]]) -> Grades:
        """Judgements that are given per query, as document number -> grade."""
        grades = chain.from_iterable(judged.values() for judged in qrels)
        return cls(Ragged.of([list(judged) for judged in qrels]), np.fromiter(grades, dtype=np.int64))

    def take(self, queries: NDArray[np.int64]) -> Grades:
        """The judgements of these queries, in this order."""
        grades = Ragged(self.grades, self.documents.starts).take(queries)
        return Grades(self.documents.take(queries), grades.values)


@dataclass(frozen=True, slots=True, eq=False)
class Relevant:
    """Relevant documents of rankings, query by query, best first: one number of each kind per document.

    Attributes:
        query: the number of the query.
        rank: from 0.
        nth: which of the query's relevant documents it is, from 1.
        grade: positive.
    """

    query: NDArray[np.int64]
    rank: NDArray[np.int64]
    nth: NDArray[np.int64]
    grade: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Judgements of ranked documents.

    Attributes:
        found: the relevant documents that were found.
        ideal: all relevant documents in the best order that there is.
        relevant: int, shape (queries,); number of judged documents with a positive grade.
    """

    found: Relevant
    ideal: Relevant
    relevant: NDArray[np.int64]

    def summed(self, of: Relevant, gains: Values, k: int) -> Values:
        """Per query, the sum of the gains of the relevant documents among the first k; in their order, as trec_eval."""
        seen = of.rank < k
        total = np.bincount(of.query[seen], weights=gains[seen], minlength=len(self.relevant))
        return np.asarray(total, dtype=np.float64)

    def hits(self, k: int) -> NDArray[np.int64]:
        """Per query, how many of the first k documents are relevant."""
        return np.bincount(self.found.query[self.found.rank < k], minlength=len(self.relevant))


def judge(ranked: Sequence[NDArray[np.integer]], judgements: Grades) -> Judged:
    """Look up the grades of ranked documents.

    Args:
        ranked: per query, document numbers, best first.
        judgements: of the same queries.
    """
    found, judged = Ragged.of(ranked), judgements.documents
    positive = np.flatnonzero(judgements.grades > 0)
    query = np.searchsorted(judged.starts, positive, side="right") - 1
    grade = judgements.grades[positive].astype(np.int64)
    relevant = np.bincount(query, minlength=len(judged))
    starts = starts_of(relevant)
    rank = np.arange(len(query)) - starts[query]
    ideal = Relevant(query, rank, rank + 1, grade[np.lexsort((-grade, query))])
    return Judged(_found(found, _Keys.of(query, judged.values[positive], grade)), ideal, relevant)


@dataclass(frozen=True, slots=True, eq=False)
class _Keys:
    """Relevant documents by keys, ascending, each made of a query and a document.

    Attributes:
        keys: int64.
        grades: one per key.
        span: by which a query's number is multiplied; larger than the numbers of relevant documents.
    """

    keys: NDArray[np.int64]
    grades: NDArray[np.int64]
    span: int

    @classmethod
    def of(cls, query: NDArray[np.int64], document: NDArray[np.integer], grade: NDArray[np.int64]) -> _Keys:
        # a document that was found and has a larger number has the place between two queries
        span = int(document.max(initial=0)) + 2
        keys = query * span + document
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], grade[order], span)

    def among(self, queries: slice) -> _Keys:
        """Those of some queries."""
        first, end = np.searchsorted(self.keys, [queries.start * self.span, queries.stop * self.span])
        return _Keys(self.keys[first:end], self.grades[first:end], self.span)


def _found(found: Ragged, relevant: _Keys) -> Relevant:
    """The relevant documents among those that were found."""
    none = np.empty(0, dtype=np.int64)
    places, grades = [none], [none]
    for queries in found.blocks():
        wanted = relevant.among(queries)
        borders = found.starts[queries.start : queries.stop + 1]
        keys = np.minimum(found.values[borders[0] : borders[-1]], wanted.span - 1).astype(np.int64)
        keys += np.repeat(np.arange(queries.start, queries.stop) * wanted.span, np.diff(borders))
        is_there = np.zeros(2**_TABLE_BITS, dtype=np.bool_)
        is_there[_hashed(wanted.keys)] = True
        likely = np.flatnonzero(is_there[_hashed(keys)])
        # another key may have the same hash
        at = np.searchsorted(wanted.keys, keys[likely])
        hits = np.flatnonzero(wanted.keys.take(at, mode="clip") == keys[likely]) if len(wanted.keys) else none
        places.append(likely[hits] + borders[0])
        grades.append(wanted.grades[at[hits]])
    place = np.concatenate(places)
    query = np.searchsorted(found.starts, place, side="right") - 1
    nth = np.arange(len(query)) - np.searchsorted(query, query) + 1
    return Relevant(query, place - found.starts[query], nth, np.concatenate(grades))


def _hashed(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    hashes = keys.view(np.uint64) * _ODD
    hashes >>= np.uint64(64 - _TABLE_BITS)
    return hashes.view(np.int64)


def _discounted(judged: Judged, of: Relevant, k: int) -> Values:
    return judged.summed(of, of.grade / np.log2(np.arange(2, of.rank.max(initial=0) + 3))[of.rank], k)


def _per_relevant(values: Values, judged: Judged) -> Values:
    return np.divide(values, judged.relevant, out=np.zeros(len(values)), where=judged.relevant > 0)


def ndcg(judged: Judged, k: int) -> Values:
    """nDCG@k: gain = grade, discount = log2(rank + 1), divided by the best possible value.

    Source: trec_eval's ndcg_cut.

    >>> one = judge([np.array([7, 3])], Grades.of([{3: 2, 5: 1}]))
    >>> round(float(ndcg(one, 2)[0]), 4)
    0.4796
    """
    best = _discounted(judged, judged.ideal, k)
    return np.divide(_discounted(judged, judged.found, k), best, out=np.zeros(len(best)), where=best > 0)


def average_precision(judged: Judged, k: int) -> Values:
    """AP@k: precision at the rank of each relevant document found, summed, divided by all relevant ones.

    Source: trec_eval's map_cut.

    >>> one = judge([np.array([3, 7, 5])], Grades.of([{3: 2, 5: 1}]))
    >>> round(float(average_precision(one, 3)[0]), 4)
    0.8333
    """
    found = judged.found
    return _per_relevant(judged.summed(found, found.nth / (found.rank + 1), k), judged)


def recall(judged: Judged, k: int) -> Values:
    """Recall@k: relevant documents found, divided by all relevant ones. Source: trec_eval's recall."""
    return _per_relevant(judged.hits(k).astype(np.float64), judged)


def precision(judged: Judged, k: int) -> Values:
    """P@k: relevant documents found, divided by k (also where fewer were returned). Source: trec_eval's P."""
    return np.asarray(judged.hits(k) / k, dtype=np.float64)


def hit_rate(judged: Judged, k: int) -> Values:
    """1 if a relevant document is among the first k, else 0. Source: trec_eval's success."""
    return np.asarray(judged.hits(k) > 0, dtype=np.float64)


def reciprocal_rank(judged: Judged, k: int) -> Values:
    """1 / rank of the first relevant document among the first k, else 0. Source: mteb's mrr_at_k.

    >>> one = judge([np.array([7, 3])], Grades.of([{3: 1}]))
    >>> float(reciprocal_rank(one, 2)[0])
    0.5
    """
    found = judged.found
    return judged.summed(found, np.where(found.nth == 1, 1.0 / (found.rank + 1), 0.0), k)


# by the names of measures
BY_NAME: Mapping[str, RankMetric] = {
    "ndcg": ndcg,
    "map": average_precision,
    "recall": recall,
    "precision": precision,
    "hit_rate": hit_rate,
    "mrr": reciprocal_rank,
}
