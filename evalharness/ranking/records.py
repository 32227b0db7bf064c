"""What a ranking is made from, and what it is: corpus, queries and judgements; documents found, best first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalharness.types import Metrics

K_VALUES = (1, 3, 5, 10, 20, 100, 1000)


@dataclass(frozen=True, slots=True)
class TopicScores:
    """A metric of topics, which several queries share.

    Attributes:
        metric: its name.
        members: topic -> its queries' ids, in mteb's order of the topics, which decides the last bit of their mean.
        values: topic -> score; topics that the metric leaves out have none.
    """

    metric: str
    members: Mapping[str, Sequence[str]]
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TaskScores:
    """A task's further metrics, and what one of them is made of if that is not the scores of single queries."""

    metrics: Metrics
    topics: TopicScores | None = None


# (query id -> document id -> score, query id -> trec_eval's measure -> value) -> scores
OwnScores = Callable[[Mapping[str, Mapping[str, float]], Mapping[str, Mapping[str, float]]], TaskScores]


@dataclass(frozen=True, slots=True)
class RetrievalRecords:
    """A corpus, queries and judgements.

    Attributes:
        corpus_ids, corpus: document ids and texts (title joined).
        query_ids, queries: only queries with at least one judged document.
        qrels: per query, document id -> grade; ids that are not in the corpus count as relevant but are never found.
        candidates: per query, numbers of the documents to rank; None to search the whole corpus. Of many queries, rows
            of one array (`metrics.ragged`), as the judgements (`ranking.judgements`).
        ignore_identical_ids: whether a document with the query's own id is dropped from its results.
        k_values: depths of the metrics; the largest is the depth of the search.
        own_scores: a task's further metrics, from what was found and trec_eval's scores per query.
        has_subqueries: whether queries `base_1`, `base_2` ... are one question; then `max_over_subqueries_` metrics
            rank a document by its best score among them.
        bare_queries, instructions: the two parts of each query's text, for rerankers that read them apart; an
            instruction may be None. Both are empty where no query has one.
        notes: what a reader of the scores must know of the data.
        main_score: the metric that ranks the task, which is among the items.
    """

    corpus_ids: Sequence[str]
    corpus: Sequence[str]
    query_ids: Sequence[str]
    queries: Sequence[str]
    qrels: Sequence[Mapping[str, int]]
    candidates: Sequence[Sequence[int] | NDArray[np.int64]] | None = None
    ignore_identical_ids: bool = False
    k_values: Sequence[int] = K_VALUES
    own_scores: OwnScores | None = None
    has_subqueries: bool = False
    bare_queries: Sequence[str] = ()
    instructions: Sequence[str | None] = ()
    notes: tuple[str, ...] = ()
    main_score: str = ""


@dataclass(frozen=True, slots=True)
class Ranking:
    """What was found for each query, in one order: score descending, then document id descending, as in trec_eval.

    Of many queries, each of these is best one array of rows of different lengths (`metrics.ragged`).

    Attributes:
        documents: per query, integers, numbers of documents, best first.
        scores: per query, float32, their scores in the same order.
        arrival: per query, int64, places in `documents` in the order in which these got their scores: that of the
            candidates, or the library's. None after a search by vectors, for which mteb keeps a heap.
        notes: what a reader of the numbers must know.
    """

    documents: Sequence[NDArray[np.int64]]
    scores: Sequence[NDArray[np.float32]]
    arrival: Sequence[NDArray[np.int64]] | None = None
    notes: tuple[str, ...] = ()

    def as_they_came(self) -> list[NDArray[np.int64]]:
        """Per query, its documents in the order of their arrival; best first after a search."""
        if self.arrival is None:
            return list(self.documents)
        return [documents[order] for documents, order in zip(self.documents, self.arrival, strict=True)]


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A ranking with the ids of what it ranks: queries, and documents by number."""

    query_ids: Sequence[str]
    corpus_ids: Sequence[str]
    ranking: Ranking

    def __iter__(self) -> Iterator[tuple[str, dict[str, float]]]:
        """For each query its id, and document id -> score, best first."""
        for query, found, scores in zip(self.query_ids, self.ranking.documents, self.ranking.scores, strict=True):
            names = [self.corpus_ids[number] for number in found.tolist()]
            yield query, dict(zip(names, scores.tolist(), strict=True))
