"""From a ranking to scores: trec_eval's metrics, and mteb's mrr, nAUC and maximum over sub-queries beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evalharness.metrics import ranking
from evalharness.metrics.abstention import confidences, heap_order, nauc
from evalharness.metrics.groups import group_column
from evalharness.metrics.measures import GROUP, ITEM_METRICS, RANKING_DIGITS, Metric
from evalharness.ranking.order import best_order, id_ranks
from evalharness.ranking.records import K_VALUES, Ranking, RetrievalRecords, Retrieved, TopicScores
from evalharness.types import ItemScores, Metrics, Scores

METRIC_NAMES = ("accuracy", *(str(Metric(measure, k)) for measure in ranking.BY_NAME for k in K_VALUES))
_ACCURACY, _RECALL_1 = Metric("accuracy"), Metric("recall", 1)
_Values = Mapping[Metric, NDArray[np.float64]]


def score_ranking(records: RetrievalRecords, found: Ranking) -> Scores:
    """Score what was found.

    Args:
        records: the task's data.
        found: results of the queries, in their order.
    """
    kept = _without_own(records, found)
    retrieved = Retrieved(records.query_ids, records.corpus_ids, kept)
    qrels = _numbered_qrels(records)
    values = _values(kept, qrels, records.k_values)
    items = _item_columns(values, records.main_score)
    metrics = _means(values) | _naucs(values, kept)
    groups = group_column(records.queries)
    if records.own_scores is not None:
        own = records.own_scores(
            {query: dict(documents) for query, documents in retrieved}, _per_query(records, values)
        )
        metrics |= own.metrics
        if own.topics is not None:
            items |= _topic_column(own.topics, records.query_ids)
            groups = _topic_groups(own.topics, records.query_ids)
    if records.has_subqueries:
        members = _questions(records.query_ids)
        merged, judged = _merged_subqueries(records, kept, qrels, members)
        over = _values(merged, judged, records.k_values)
        over = {replace(metric, over_subqueries=True): scores for metric, scores in over.items()}
        metrics |= _means(over) | _naucs(over, merged)
        firsts = [rows[0] for rows in members.values()]
        for name, column in _item_columns(over, records.main_score).items():
            items[name] = _at(firsts, column, len(records.query_ids))
        groups = group_column([_question(query) for query in records.query_ids])
    return Scores(metrics, ItemScores(records.query_ids, items | groups), found.notes, retrieved)


def _item_columns(values: _Values, main_score: str) -> dict[str, list[float]]:
    """Per query, the metrics that items have, and the one that ranks the task."""
    wanted = [metric for metric in values if replace(metric, over_subqueries=False) in ITEM_METRICS]
    wanted += [metric for metric in values if str(metric) == main_score and metric not in wanted]
    # of a ranking, accuracy is recall at 1
    if main_score == str(_ACCURACY) and _RECALL_1 in values:
        wanted.append(_RECALL_1)
    return {str(metric): values[metric].tolist() for metric in wanted}


def _at(places: Sequence[int], values: Sequence[float], count: int) -> list[float]:
    """A column that has these values at these places, and none elsewhere."""
    column = np.full(count, np.nan)
    column[list(places)] = values
    return list(column.tolist())


def _topic_column(topics: TopicScores, queries: Sequence[str]) -> dict[str, list[float]]:
    """The metric of each topic, at the first of its queries."""
    places = {query: place for place, query in enumerate(queries)}
    firsts = [min(places[query] for query in topics.members[topic]) for topic in topics.values]
    return {topics.metric: _at(firsts, list(topics.values.values()), len(queries))}


def _topic_groups(topics: TopicScores, queries: Sequence[str]) -> dict[str, list[float]]:
    """Topics as groups, numbered in mteb's order."""
    numbers = {query: float(n) for n, members in enumerate(topics.members.values()) for query in members}
    return {GROUP: [numbers[query] for query in queries]}


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
    # of millions of documents, few are judged
    wanted = {name for judged in records.qrels for name in judged}
    numbers = {document: number for number, document in enumerate(records.corpus_ids) if document in wanted}
    absent = len(records.corpus_ids)
    return [
        {numbers.get(name, absent + place): grade for place, (name, grade) in enumerate(judged.items())}
        for judged in records.qrels
    ]


def _values(found: Ranking, qrels: Sequence[Mapping[int, int]], depths: Sequence[int]) -> _Values:
    judged = ranking.judge(found.documents, qrels, max(depths))
    return {Metric(measure, k): scores(judged, k) for measure, scores in ranking.BY_NAME.items() for k in depths}


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


def _per_query(records: RetrievalRecords, values: _Values) -> dict[str, dict[str, float]]:
    """Scores of each query under trec_eval's names."""
    lists = {name: scores.tolist() for metric, scores in values.items() if (name := metric.trec_name)}
    return {query: {name: v[n] for name, v in lists.items()} for n, query in enumerate(records.query_ids)}


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
