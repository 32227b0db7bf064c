"""From vectors, or from scores of pairs, to the ranking of each query's documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalharness.metrics.abstention import heap_order
from evalharness.rankings import Ranking, RetrievalRecords
from evalharness.similarity import best_order, rank_candidates, top_k
from evalharness.types import Embeddings, TextColumn


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found.

    Attributes:
        documents: per query, numbers of documents, best first.
        scores: per query, float32, their scores in the same order.
    """

    documents: Sequence[NDArray[np.int64]]
    scores: Sequence[NDArray[np.float32]]


def text_columns(records: RetrievalRecords) -> list[TextColumn]:
    """The texts of a search: queries and documents."""
    return [TextColumn("queries", records.queries, "query"), TextColumn("corpus", records.corpus, "document")]


def search(records: RetrievalRecords, queries: Embeddings, corpus: Embeddings) -> Hits:
    """Rank each query's candidates, or the whole corpus, by the model's similarity; as deep as the metrics need."""
    depth = max(records.k_values)
    if records.candidates is None:
        found = top_k(queries, corpus, records.corpus_ids, depth)
        return Hits(list(found.documents), list(found.scores))
    documents: list[NDArray[np.int64]] = []
    scores: list[NDArray[np.float32]] = []
    for number, candidates in enumerate(records.candidates):
        chosen = np.asarray(candidates, dtype=np.int64)
        if not len(chosen):
            documents.append(chosen)
            scores.append(np.empty(0, dtype=np.float32))
            continue
        names = [records.corpus_ids[document] for document in candidates]
        best = rank_candidates(queries.rows([number]), corpus.rows(chosen), names, depth)
        documents.append(chosen[best.documents[0]])
        scores.append(best.scores[0])
    return Hits(documents, scores)


def ranking(records: RetrievalRecords, hits: Hits) -> Ranking:
    """What a search found, as it is scored: without documents of the query's own id, if the task wants that."""
    documents, scores = [], []
    for query, found, values in zip(records.query_ids, hits.documents, hits.scores, strict=True):
        layout = heap_order(len(found))
        # after the search, as in mteb: a query with a document of its own id keeps one document fewer
        other = _not_itself(records, query, found)
        scores.append(values[layout][other[layout]])
        documents.append(found[other])
    return Ranking(documents, scores)


def _not_itself(records: RetrievalRecords, query: str, documents: NDArray[np.int64]) -> NDArray[np.bool_]:
    if not records.ignore_identical_ids:
        return np.ones(len(documents), dtype=bool)
    return np.array([records.corpus_ids[number] != query for number in documents], dtype=bool)


def reranking(
    records: RetrievalRecords, candidates: Sequence[NDArray[np.int64]], scores: Sequence[NDArray[np.float32]]
) -> Ranking:
    """Candidates ranked by new scores; documents that are no candidates are not in it, as in mteb.

    Args:
        records: the task's data.
        candidates: per query, numbers of documents.
        scores: per query, a score for each of them.
    """
    documents, kept = [], []
    for query, numbers, values in zip(records.query_ids, candidates, scores, strict=True):
        other = _not_itself(records, query, numbers)
        names = [records.corpus_ids[number] for number in numbers]
        order = best_order(values, names)
        documents.append(numbers[order][other[order]])
        # mteb keeps them in the candidates' order, which decides the last bit of a standard deviation
        kept.append(values[other])
    return Ranking(documents, kept)
