"""From vectors, or from scores of pairs, to the ranking of each query's documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalharness.metrics.abstention import heap_order
from evalharness.multipart import only, products
from evalharness.rankings import Ranking, RetrievalRecords
from evalharness.similarity import best_order, rank_candidates, top_k
from evalharness.types import Embeddings, MultiPart, TextColumn

# about a quarter of an hour on a few cores; the same everywhere, so that a result does not depend on the machine
MOST_PRODUCTS = 5e13


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found.

    Attributes:
        documents: per query, numbers of documents, best first.
        scores: per query, float32, their scores in the same order.
        notes: what a reader of the numbers must know.
    """

    documents: Sequence[NDArray[np.int64]]
    scores: Sequence[NDArray[np.float32]]
    notes: tuple[str, ...] = ()


def text_columns(records: RetrievalRecords) -> list[TextColumn]:
    """The texts of a search: queries and documents."""
    return [TextColumn("queries", records.queries, "query"), TextColumn("corpus", records.corpus, "document")]


def search(records: RetrievalRecords, queries: Embeddings, corpus: Embeddings) -> Hits:
    """Rank each query's candidates, or the whole corpus, by the model's similarity; as deep as the metrics need.

    Exact, but for multi-vectors of more than `MOST_PRODUCTS`, which get a first step by dense vectors and a note.
    """
    depth = max(records.k_values)
    if records.candidates is not None:
        return _ranked_candidates(records, queries, corpus, records.candidates)
    if isinstance(queries, MultiPart) and isinstance(corpus, MultiPart) and _is_too_much(queries, corpus):
        return _in_two_steps(records, queries, corpus)
    found = top_k(queries, corpus, records.corpus_ids, depth)
    return Hits(list(found.documents), list(found.scores))


def _is_too_much(queries: MultiPart, corpus: MultiPart) -> bool:
    return "multi-vector" in queries.weights and products(queries, corpus) > MOST_PRODUCTS


def _in_two_steps(records: RetrievalRecords, queries: MultiPart, corpus: MultiPart) -> Hits:
    """The best by the dense vectors alone, then these by all kinds that count."""
    depth = max(records.k_values)
    first = top_k(only(queries, "dense"), only(corpus, "dense"), records.corpus_ids, depth)
    found = _ranked_candidates(records, queries, corpus, list(first.documents))
    note = f"multi-vector scores of the {depth} best documents by dense vectors only; all of them would take too long"
    return Hits(found.documents, found.scores, (note,))


def _ranked_candidates(
    records: RetrievalRecords,
    queries: Embeddings,
    corpus: Embeddings,
    wanted: Sequence[Sequence[int] | NDArray[np.int64]],
) -> Hits:
    depth = max(records.k_values)
    documents: list[NDArray[np.int64]] = []
    scores: list[NDArray[np.float32]] = []
    for number, candidates in enumerate(wanted):
        chosen = np.asarray(candidates, dtype=np.int64)
        if not len(chosen):
            documents.append(chosen)
            scores.append(np.empty(0, dtype=np.float32))
            continue
        names = [records.corpus_ids[document] for document in chosen]
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
