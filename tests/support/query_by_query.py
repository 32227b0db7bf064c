"""Scores of rankings, query by query: slow and plain, to hold what scores all queries at once against.

As the package did it before; the order in which numbers are added is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc

from evalharness.metrics.abstention import RATES, heap_order
from evalharness.metrics.measures import RANKING_DIGITS, Confidence, Metric
from evalharness.ranking.order import best_order, id_ranks
from evalharness.ranking.records import Ranking, RetrievalRecords
from evalharness.types import Metrics

Values = NDArray[np.float64]
_Values = Mapping[Metric, Values]


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
    """
    best = _discounted(judged.ideal, k)
    return np.divide(_discounted(judged.grades, k), best, out=np.zeros(len(best)), where=best > 0)


def average_precision(judged: Judged, k: int) -> Values:
    """AP@k: precision at the rank of each relevant document found, summed, divided by all relevant ones.

    Source: trec_eval's map_cut.
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
    """1 / rank of the first relevant document among the first k, else 0. Source: mteb's mrr_at_k."""
    hits = judged.grades[:, :k] > 0
    first: Values = 1.0 / (hits.argmax(axis=1) + 1)
    return np.where(hits.any(axis=1), first, 0.0)


BY_NAME = {
    "ndcg": ndcg,
    "map": average_precision,
    "recall": recall,
    "precision": precision,
    "hit_rate": hit_rate,
    "mrr": reciprocal_rank,
}


def confidences(scores: Sequence[NDArray[np.floating]]) -> dict[Confidence, Values]:
    """Three confidences per query from the scores of its retrieved documents.

    Args:
        scores: per query, in mteb's order (see `heap_order`); may be empty.

    Returns:
        `max`: highest score; `std`: standard deviation; `diff1`: highest minus second highest (0 without one).
    """
    best, spread, lead = (np.zeros(len(scores)) for _ in range(3))
    for query, values in enumerate(scores):
        exact = np.asarray(values, dtype=np.float64)
        ordered = np.sort(exact)[::-1]
        if len(ordered):
            best[query], spread[query] = ordered[0], exact.std()
        if len(ordered) > 1:
            lead[query] = ordered[0] - ordered[1]
    return {"max": best, "std": spread, "diff1": lead}


def _kept_means(confidence: Values, metric: Values) -> Values:
    """Mean of the metric after refusing the least confident queries, at each rate.

    Queries of equal confidence count with their common mean, so that their order does not matter.
    """
    order = np.argsort(confidence, stable=True)
    ordered_confidence, ordered_metric = confidence[order], metric[order]
    starts = np.flatnonzero(np.r_[True, ordered_confidence[1:] != ordered_confidence[:-1]])
    sizes = np.diff(np.r_[starts, len(order)])
    levelled = np.repeat(np.add.reduceat(ordered_metric, starts) / sizes, sizes)
    refused = [min(round(rate * len(order)), len(order) - 1) for rate in RATES]
    return np.array([levelled[n:].mean() for n in refused])


@dataclass(frozen=True, slots=True)
class Curve:
    """Of means after refusing: the mean of all, and the area below."""

    start: float
    area: float


@lru_cache(maxsize=10_000)
def _curve(confidence: bytes, metric: bytes) -> Curve:
    """Of float64 values; many metrics of few documents are the same, and one oracle is that of all confidences."""
    means = _kept_means(np.frombuffer(confidence), np.frombuffer(metric))
    return Curve(float(means[0]), float(auc(RATES, means)))


def nauc(confidence: Values, metric: Values) -> float:
    """Normalised area under the abstention curve.

    0: confidence does not help; 1: refusing by confidence is as good as refusing by the metric itself.
    Reference: Gisserot-Boukhlef et al. 2024, arXiv 2402.12997; ties as in mteb.

    Args:
        confidence: shape (queries,).
        metric: shape (queries,).

    Returns:
        NaN without queries, where even an oracle gains nothing, or where a confidence is no number.
    """
    if not len(metric) or not np.isfinite(confidence).all():
        return float("nan")
    curve, oracle = _curve(confidence.tobytes(), metric.tobytes()), _curve(metric.tobytes(), metric.tobytes())
    flat = oracle.start * (RATES[-1] - RATES[0])
    gain = oracle.area - flat
    return float("nan") if gain == 0 else float((curve.area - flat) / gain)


def _without_own(records: RetrievalRecords, found: Ranking) -> Ranking:
    """Without the documents that have their query's own id, if the task wants that.

    After the search, as in mteb: a query with such a document keeps one document fewer.
    """
    if not records.ignore_identical_ids:
        return found
    documents, scores, arrival = [], [], []
    for query, numbers, values, order in zip(
        records.query_ids, found.documents, found.scores, _summing_order(found), strict=True
    ):
        other = np.array([records.corpus_ids[number] != query for number in numbers], dtype=bool)
        documents.append(numbers[other])
        scores.append(values[other])
        arrival.append((np.cumsum(other) - 1)[order[other[order]]])
    return Ranking(documents, scores, arrival, found.notes)


def _summing_order(found: Ranking) -> Sequence[NDArray[np.int64]]:
    """Per query, places of its documents as mteb keeps them: their order decides a standard deviation's last bit."""
    return [heap_order(len(row)) for row in found.documents] if found.arrival is None else found.arrival


def _numbered_qrels(records: RetrievalRecords) -> list[dict[int, int]]:
    """Judgements by number of document; one that is not in the corpus gets a number that no search returns."""
    numbers = {document: number for number, document in enumerate(records.corpus_ids)}
    absent = len(numbers)
    return [
        {numbers.get(name, absent + place): grade for place, (name, grade) in enumerate(judged.items())}
        for judged in records.qrels
    ]


def _values(found: Ranking, qrels: Sequence[Mapping[int, int]], depths: Sequence[int]) -> _Values:
    judged = judge(found.documents, qrels, max(depths))
    return {Metric(measure, k): scores(judged, k) for measure, scores in BY_NAME.items() for k in depths}


def _question(query: str) -> str:
    """The question that a sub-query is of, by their ids."""
    return query.rpartition("_")[0]


def _questions(queries: Sequence[str]) -> dict[str, list[int]]:
    """Question -> numbers of its sub-queries."""
    members: dict[str, list[int]] = {}
    for number, query in enumerate(queries):
        members.setdefault(_question(query), []).append(number)
    return members


def _merged_subqueries(
    records: RetrievalRecords,
    found: Ranking,
    qrels: Sequence[Mapping[int, int]],
    members: Mapping[str, Sequence[int]],
) -> tuple[Ranking, list[Mapping[int, int]]]:
    """One ranking per question: documents by their best score among its sub-queries, judged as for the last one."""
    ranks, orders = id_ranks(records.corpus_ids), _summing_order(found)
    documents, scores, arrival = [], [], []
    for rows in members.values():
        named = np.concatenate([found.documents[row][orders[row]] for row in rows])
        values = np.concatenate([found.scores[row][orders[row]] for row in rows])
        distinct, first, place = np.unique(named, return_index=True, return_inverse=True)
        best = np.full(len(distinct), -np.inf, dtype=np.float32)
        np.maximum.at(best, place, values)
        order = best_order(best, ranks[distinct])
        documents.append(distinct[order])
        scores.append(best[order])
        arrival.append(np.argsort(order)[np.argsort(first)])
    return Ranking(documents, scores, arrival), [qrels[rows[-1]] for rows in members.values()]


def _means(values: _Values) -> Metrics:
    metrics: Metrics = {}
    for metric, per_query in values.items():
        mean = sum(per_query.tolist()) / len(per_query)
        metrics[str(metric)] = mean if metric.measure == "mrr" else round(mean, RANKING_DIGITS)
        if metric == replace(metric, measure="recall", k=1):
            metrics[str(replace(metric, measure="accuracy", k=None))] = metrics[str(metric)]
    return metrics


def _naucs(values: _Values, found: Ranking) -> Metrics:
    trust = confidences([scores[order] for scores, order in zip(found.scores, _summing_order(found), strict=True)])
    return {
        str(replace(metric, confidence=name)): nauc(confidence, per_query)
        for metric, per_query in values.items()
        if metric.measure != "hit_rate"
        for name, confidence in trust.items()
    }


@dataclass(frozen=True)
class PlainScores:
    """All metrics, and the values per query (or question) that they are the means of."""

    metrics: Metrics
    values: Mapping[Metric, Values]
    questions: Mapping[Metric, Values]


def plain_scores(records: RetrievalRecords, found: Ranking) -> PlainScores:
    """Score what was found, query by query."""
    kept = _without_own(records, found)
    qrels = _numbered_qrels(records)
    values = _values(kept, qrels, records.k_values)
    metrics = _means(values) | _naucs(values, kept)
    if not records.has_subqueries:
        return PlainScores(metrics, values, {})
    merged, judged = _merged_subqueries(records, kept, qrels, _questions(records.query_ids))
    over = {
        replace(metric, over_subqueries=True): scores
        for metric, scores in _values(merged, judged, records.k_values).items()
    }
    return PlainScores(metrics | _means(over) | _naucs(over, merged), values, over)
