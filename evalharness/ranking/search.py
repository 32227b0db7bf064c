"""From vectors, or from scores of pairs, to the ranking of each query's documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evalharness.metrics.ragged import Ragged
from evalharness.ranking.multipart import only, products
from evalharness.ranking.order import id_ranks
from evalharness.ranking.records import Ranking, RetrievalRecords
from evalharness.types import Embeddings, MultiPart, TextColumn

# about a quarter of an hour on a few cores; the same everywhere, so that a result does not depend on the machine
MOST_PRODUCTS = 5e13


def text_columns(records: RetrievalRecords) -> list[TextColumn]:
    """The texts of a search: queries and documents."""
    return [TextColumn("queries", records.queries, "query"), TextColumn("corpus", records.corpus, "document")]


def search(records: RetrievalRecords, queries: Embeddings, corpus: Embeddings) -> Ranking:
    """Rank each query's candidates, or the whole corpus, by the model's similarity; as deep as the metrics need.

    Exact, but for multi-vectors of more than `MOST_PRODUCTS`, which get a first step by dense vectors and a note.
    """
    from evalharness.ranking.candidates import rank_candidates
    from evalharness.ranking.similarity import top_k

    depth = max(records.k_values)
    if records.candidates is not None:
        return rank_candidates(queries, corpus, records.candidates, records.corpus_ids, depth)
    if isinstance(queries, MultiPart) and isinstance(corpus, MultiPart) and _is_too_much(queries, corpus):
        return _in_two_steps(records, queries, corpus)
    return top_k(queries, corpus, records.corpus_ids, depth)


def _is_too_much(queries: MultiPart, corpus: MultiPart) -> bool:
    return "multi-vector" in queries.weights and products(queries, corpus) > MOST_PRODUCTS


def _in_two_steps(records: RetrievalRecords, queries: MultiPart, corpus: MultiPart) -> Ranking:
    """The best by the dense vectors alone, then these by all kinds that count."""
    from evalharness.ranking.candidates import rank_candidates
    from evalharness.ranking.similarity import top_k

    depth = max(records.k_values)
    first = top_k(only(queries, "dense"), only(corpus, "dense"), records.corpus_ids, depth)
    found = rank_candidates(queries, corpus, first.documents, records.corpus_ids, depth)
    note = f"multi-vector scores of the {depth} best documents by dense vectors only; all of them would take too long"
    return replace(found, notes=(note,))


def ranked(
    documents: Sequence[NDArray[np.int64]],
    scores: Sequence[NDArray[np.float32]],
    ids: Sequence[str],
    notes: tuple[str, ...] = (),
) -> Ranking:
    """Documents that come with their scores, in any order, which the ranking remembers.

    Args:
        documents: per query, numbers of documents.
        scores: per query, a score for each of them.
        ids: of all documents.
        notes: what a reader of the numbers must know.
    """
    from evalharness.ranking.candidates import best_first

    found = best_first(Ragged.of(documents), Ragged.of(scores, np.float32), id_ranks(ids))
    return replace(found, notes=notes)
