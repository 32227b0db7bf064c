"""Questions that are asked in several ways: a document counts by its best score among the sub-queries of a question.

Source: mteb's max_over_subqueries (MindSmall).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalharness.metrics.abstention import heap_places
from evalharness.metrics.ragged import Ragged, starts_of
from evalharness.ranking.order import id_ranks, keys
from evalharness.ranking.records import Ranking


def question_of(query: str) -> str:
    """The question that a sub-query is of, by their ids.

    >>> question_of("q_12_3")
    'q_12'
    """
    return query.rpartition("_")[0]


def members_of(questions: Sequence[str]) -> Ragged:
    """The rows of each different question, by first appearance.

    >>> [rows.tolist() for rows in members_of(["b", "a", "b"])]
    [[0, 2], [1]]
    """
    numbers = {question: number for number, question in enumerate(dict.fromkeys(questions))}
    number = np.fromiter(map(numbers.__getitem__, questions), dtype=np.int64, count=len(questions))
    return Ragged(np.argsort(number, kind="stable"), starts_of(np.bincount(number)))


def merge(found: Ranking, members: Ragged, corpus_ids: Sequence[str]) -> Ranking:
    """One ranking per question, from those of its sub-queries.

    Args:
        found: for the sub-queries.
        members: per question, numbers of its sub-queries, one at least.
        corpus_ids: which decide among equal scores.
    """
    ranks = id_ranks(corpus_ids)
    documents, scores = Ragged.of(found.documents), Ragged.of(found.scores, np.float32)
    order = None if found.arrival is None else Ragged.of(found.arrival)
    sizes = np.add.reduceat(np.r_[documents.lengths[members.values], 0], members.starts[:-1])
    parts = []
    for some in Ragged(np.empty(0), starts_of(sizes)).blocks():
        rows = members[some].values
        named, values = documents.take(rows), scores.take(rows).values
        places = heap_places(named.lengths) if order is None else order.take(rows)
        arrived = np.repeat(named.starts[:-1], named.lengths) + places.values
        question = np.repeat(np.arange(some.stop - some.start), sizes[some])
        parts.append(_best(_Found(question, named.values[arrived], values[arrived]), ranks, some.stop - some.start))
    starts = starts_of(np.concatenate([np.empty(0, dtype=np.int64), *(part.documents.lengths for part in parts)]))
    empty = np.empty(0, dtype=np.int64)
    return Ranking(
        Ragged(np.concatenate([empty, *(part.documents.values for part in parts)]), starts),
        Ragged(np.concatenate([empty.astype(np.float32), *(part.scores for part in parts)]), starts),
        Ragged(np.concatenate([empty, *(part.arrival for part in parts)]), starts),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Documents in the order in which they were found, question by question: question, document, score."""

    question: NDArray[np.int64]
    document: NDArray[np.integer]
    score: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class _Best:
    """Each document of a question once: best first, with its score and its place among them by arrival."""

    documents: Ragged
    scores: NDArray[np.float32]
    arrival: NDArray[np.int64]


def _best(found: _Found, ranks: NDArray[np.int64], count: int) -> _Best:
    named = found.question * len(ranks) + found.document
    # of equal ones, the first stays first
    order = np.argsort(named, kind="stable")
    starts = np.flatnonzero(np.diff(named[order], prepend=-1))
    first = order[starts]
    question, document = found.question[first], found.document[first]
    score = np.maximum.reduceat(found.score[order], starts) if len(starts) else found.score
    best = np.lexsort((~keys(score, ranks[document]), question))
    place = np.empty(len(best), dtype=np.int64)
    borders = starts_of(np.bincount(question, minlength=count))
    place[best] = np.arange(len(best)) - borders[question[best]]
    return _Best(Ragged(document[best].astype(np.int64), borders), score[best], place[np.argsort(first)])
