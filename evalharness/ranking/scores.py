"""From a ranking to scores: trec_eval's metrics, and mteb's mrr, nAUC and maximum over sub-queries beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evalharness.metrics import ranking
from evalharness.metrics.abstention import Levels, confidences, heap_places, naucs
from evalharness.metrics.groups import group_column
from evalharness.metrics.measures import GROUP, ITEM_METRICS, RANKING_DIGITS, Metric
from evalharness.metrics.ragged import Ragged, starts_of
from evalharness.ranking.judgements import Judgements
from evalharness.ranking.records import K_VALUES, Ranking, RetrievalRecords, Retrieved, TopicScores
from evalharness.ranking.subqueries import members_of, merge, question_of
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
    judgements = Judgements.of(records.qrels, records.corpus_ids).grades
    values = _values(kept, judgements, records.k_values)
    items = _item_columns(values, records.main_score)
    metrics = _means(values) | _naucs(values, kept)
    topics = None
    if records.own_scores is not None:
        own = records.own_scores(
            {query: dict(documents) for query, documents in retrieved}, _per_query(records, values)
        )
        metrics |= own.metrics
        topics = own.topics
    del values
    if records.has_subqueries:
        merged = _over_subqueries(records, kept, judgements)
        metrics |= merged.metrics
        items |= merged.columns
    elif topics is not None:
        items |= _topic_column(topics, records.query_ids) | _topic_groups(topics, records.query_ids)
    else:
        items |= group_column(records.queries)
    return Scores(metrics, ItemScores(records.query_ids, items), found.notes, retrieved)


@dataclass(frozen=True, slots=True)
class _Questions:
    """What is known of questions beside their sub-queries: metrics, and columns of items."""

    metrics: Metrics
    columns: dict[str, list[float]]


def _over_subqueries(records: RetrievalRecords, found: Ranking, judgements: ranking.Grades) -> _Questions:
    questions = list(map(question_of, records.query_ids))
    members = members_of(questions)
    merged = merge(found, members, records.corpus_ids)
    # judged as the last one
    over = _values(merged, judgements.take(members.values[members.starts[1:] - 1]), records.k_values)
    over = {replace(metric, over_subqueries=True): scores for metric, scores in over.items()}
    firsts, named = members.values[members.starts[:-1]], _item_columns(over, records.main_score)
    columns = {name: _at(firsts, column, len(questions)) for name, column in named.items()}
    return _Questions(_means(over) | _naucs(over, merged), columns | group_column(questions))


def _item_columns(values: _Values, main_score: str) -> dict[str, list[float]]:
    """Per query, the metrics that items have, and the one that ranks the task."""
    wanted = [metric for metric in values if replace(metric, over_subqueries=False) in ITEM_METRICS]
    wanted += [metric for metric in values if str(metric) == main_score and metric not in wanted]
    # of a ranking, accuracy is recall at 1
    if main_score == str(_ACCURACY) and _RECALL_1 in values:
        wanted.append(_RECALL_1)
    return {str(metric): values[metric].tolist() for metric in wanted}


def _at(places: Sequence[int] | NDArray[np.int64], values: Sequence[float], count: int) -> list[float]:
    """A column that has these values at these places, and none elsewhere."""
    column = np.full(count, np.nan)
    column[places] = values
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
    numbers = {query: number for number, query in enumerate(dict.fromkeys(records.query_ids))}
    # of each document, the number of the query that has its id
    owner = np.fromiter((numbers.get(name, -1) for name in records.corpus_ids), np.int64, len(records.corpus_ids))
    query = np.fromiter(map(numbers.__getitem__, records.query_ids), np.int64, len(records.query_ids))
    documents, scores, order = Ragged.of(found.documents), Ragged.of(found.scores, np.float32), _summing_order(found)
    rows = documents.row_numbers()
    other = owner[documents.values] != query[rows]
    starts = starts_of(np.bincount(rows[other], minlength=len(documents)))
    place = np.cumsum(other) - 1 - starts[rows]
    arrived = documents.starts[rows] + order.values
    arrival = place[arrived[other[arrived]]]
    left, scored = (Ragged(flat[other], starts) for flat in (documents.values, scores.values))
    return Ranking(left, scored, Ragged(arrival, starts), found.notes)


def _summing_order(found: Ranking) -> Ragged:
    """Per query, places of its documents as mteb keeps them: their order decides a standard deviation's last bit."""
    if found.arrival is not None:
        return Ragged.of(found.arrival)
    return heap_places(Ragged.of(found.documents).lengths)


def _values(found: Ranking, judgements: ranking.Grades, depths: Sequence[int]) -> _Values:
    judged = ranking.judge(found.documents, judgements)
    return {Metric(measure, k): scores(judged, k) for measure, scores in ranking.BY_NAME.items() for k in depths}


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
    trust = {name: Levels.of(confidence) for name, confidence in confidences(found.scores, found.arrival).items()}
    return {
        str(replace(metric, confidence=name)): area
        for metric, per_query in values.items()
        if metric.measure != "hit_rate"
        for name, area in zip(trust, naucs(list(trust.values()), per_query), strict=True)
    }
