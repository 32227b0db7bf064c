"""What a search found, and trec_eval's metrics of it; mteb's mrr, nAUC and maximum over sub-queries beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalharness.metrics import ranking
from evalharness.metrics.abstention import confidences, heap_order, nauc
from evalharness.similarity import id_ranks
from evalharness.types import ItemScores, Metrics, RankedDocument, Scores

K_VALUES = (1, 3, 5, 10, 20, 100, 1000)
# mteb rounds the means of these, and not those of mrr_at_k and nauc_*
_ROUNDED = 5
_FAMILIES: Mapping[str, ranking.RankMetric] = {
    "ndcg": ranking.ndcg,
    "map": ranking.average_precision,
    "recall": ranking.recall,
    "precision": ranking.precision,
    "hit_rate": ranking.hit_rate,
    "mrr": ranking.reciprocal_rank,
}
METRIC_NAMES = ("accuracy", *(f"{family}_at_{k}" for family in _FAMILIES for k in K_VALUES))
_ITEM_DEPTHS = {"ndcg": 10, "map": 1000, "mrr": 10, "recall": 100}


_Values = Mapping[tuple[str, int], NDArray[np.float64]]
_OVER_SUBQUERIES = "max_over_subqueries_"
# (query id -> document id -> score, query id -> trec_eval's measure -> value) -> metrics
OwnScores = Callable[[Mapping[str, Mapping[str, float]], Mapping[str, Mapping[str, float]]], Metrics]
_TREC_NAMES = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P", "hit_rate": "success"}


@dataclass(frozen=True, slots=True)
class RetrievalRecords:
    """A corpus, queries and judgements.

    Attributes:
        corpus_ids, corpus: document ids and texts (title joined).
        query_ids, queries: only queries with at least one judged document.
        qrels: per query, document id -> grade; ids that are not in the corpus count as relevant but are never found.
        candidates: per query, numbers of the documents to rank; None to search the whole corpus.
        ignore_identical_ids: whether a document with the query's own id is dropped from its results.
        k_values: depths of the metrics; the largest is the depth of the search.
        own_scores: a task's further metrics, from what was found and trec_eval's scores per query.
        has_subqueries: whether queries `base_1`, `base_2` ... are one question; then `max_over_subqueries_` metrics
            rank a document by its best score among them.
        bare_queries, instructions: the two parts of each query's text, for rerankers that read them apart; an
            instruction may be None. Both are empty where no query has one.
    """

    corpus_ids: Sequence[str]
    corpus: Sequence[str]
    query_ids: Sequence[str]
    queries: Sequence[str]
    qrels: Sequence[Mapping[str, int]]
    candidates: Sequence[Sequence[int]] | None = None
    ignore_identical_ids: bool = False
    k_values: Sequence[int] = K_VALUES
    own_scores: OwnScores | None = None
    has_subqueries: bool = False
    bare_queries: Sequence[str] = ()
    instructions: Sequence[str | None] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranking:
    """What was found.

    Attributes:
        documents: per query, numbers of documents, best first.
        scores: per query, their scores in mteb's order (`abstention.heap_order`).
    """

    documents: Sequence[NDArray[np.int64]]
    scores: Sequence[NDArray[np.float32]]


def score_ranking(records: RetrievalRecords, found: Ranking) -> Scores:
    """Score what a search found.

    Args:
        records: the task's data.
        found: results of the queries, in their order.
    """
    qrels = _numbered_qrels(records)
    values = _values(found, qrels, records.k_values)
    items = {
        f"{family}_at_{k}": values[family, k].tolist() for family, k in _ITEM_DEPTHS.items() if (family, k) in values
    }
    metrics = _means(values) | _naucs(values, found)
    if records.own_scores is not None:
        metrics |= records.own_scores(_results(records, found), _per_query(records, values))
    if records.has_subqueries:
        merged, judged = _merged_subqueries(records, found, qrels)
        over = _values(merged, judged, records.k_values)
        metrics |= {f"{_OVER_SUBQUERIES}{name}": value for name, value in (_means(over) | _naucs(over, merged)).items()}
    return Scores(metrics, ItemScores(records.query_ids, items), ranked=lambda: _ranked_documents(records, found))


def _numbered_qrels(records: RetrievalRecords) -> list[dict[int, int]]:
    """Judgements by number of document; one that is not in the corpus gets a number that no search returns."""
    numbers = {document: number for number, document in enumerate(records.corpus_ids)}
    absent = len(numbers)
    return [
        {numbers.get(name, absent + place): grade for place, (name, grade) in enumerate(judged.items())}
        for judged in records.qrels
    ]


def _values(found: Ranking, qrels: Sequence[Mapping[int, int]], depths: Sequence[int]) -> _Values:
    judged = ranking.judge(found.documents, qrels, max(depths))
    return {(family, k): metric(judged, k) for family, metric in _FAMILIES.items() for k in depths}


def _merged_subqueries(
    records: RetrievalRecords, found: Ranking, qrels: Sequence[Mapping[int, int]]
) -> tuple[Ranking, list[Mapping[int, int]]]:
    """One ranking per question: documents by their best score among its sub-queries, judged as for the last one."""
    members: dict[str, list[int]] = {}
    for number, query in enumerate(records.query_ids):
        members.setdefault(query.rpartition("_")[0], []).append(number)
    ranks = id_ranks(records.corpus_ids)
    documents, scores = [], []
    for rows in members.values():
        # in mteb's order, which decides the last bit of a standard deviation
        named = np.concatenate([found.documents[row][heap_order(len(found.documents[row]))] for row in rows])
        values = np.concatenate([found.scores[row] for row in rows])
        distinct, first, place = np.unique(named, return_index=True, return_inverse=True)
        best = np.full(len(distinct), -np.inf, dtype=np.float32)
        np.maximum.at(best, place, values)
        documents.append(distinct[np.lexsort((ranks[distinct], best))[::-1]])
        scores.append(best[np.argsort(first)])
    return Ranking(documents, scores), [qrels[rows[-1]] for rows in members.values()]


def _ranked_documents(records: RetrievalRecords, found: Ranking) -> Iterator[RankedDocument]:
    for query, documents, scores in zip(records.query_ids, found.documents, found.scores, strict=True):
        best_first = np.sort(scores)[::-1].tolist()
        for rank, (number, score) in enumerate(zip(documents.tolist(), best_first, strict=True), start=1):
            yield RankedDocument(query, records.corpus_ids[number], rank, score)


def _results(records: RetrievalRecords, found: Ranking) -> dict[str, dict[str, float]]:
    """What was found, as mteb holds it."""
    results: dict[str, dict[str, float]] = {query: {} for query in records.query_ids}
    for item in _ranked_documents(records, found):
        results[item.query][item.document] = item.score
    return results


def _per_query(records: RetrievalRecords, values: _Values) -> dict[str, dict[str, float]]:
    """Scores of each query under trec_eval's names."""
    lists = {f"{_TREC_NAMES[name]}_{k}": v.tolist() for (name, k), v in values.items() if name in _TREC_NAMES}
    return {query: {name: v[n] for name, v in lists.items()} for n, query in enumerate(records.query_ids)}


def _means(values: _Values) -> Metrics:
    metrics: Metrics = {}
    for (family, k), per_query in values.items():
        mean = sum(per_query.tolist()) / len(per_query)
        metrics[f"{family}_at_{k}"] = mean if family == "mrr" else round(mean, _ROUNDED)
    if "recall_at_1" in metrics:
        metrics["accuracy"] = metrics["recall_at_1"]
    return metrics


def _naucs(values: _Values, found: Ranking) -> Metrics:
    trust = confidences(found.scores)
    return {
        f"nauc_{family}_at_{k}_{name}": nauc(confidence, per_query)
        for (family, k), per_query in values.items()
        if family != "hit_rate"
        for name, confidence in trust.items()
    }
