"""Candidates of many queries at once are ranked as those of each by itself."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evalharness.metrics.ragged import Ragged
from evalharness.ranking import candidates as module
from evalharness.ranking.candidates import best_first, rank_candidates
from evalharness.ranking.order import best_order, id_ranks
from evalharness.ranking.similarity import comparable
from evalharness.store.unstored import PackedArrays
from evalharness.types import Dense, MultiPart, Similarity

IDS = [str(number) for number in range(60)]


def drawn(rng: random.Random, count: int) -> list[list[int]]:
    """Candidates of queries; several that follow each other may share theirs, and some have none."""
    found: list[list[int]] = []
    while len(found) < count:
        some = rng.sample(range(len(IDS)), rng.choice([0, 1, 2, rng.randint(0, 50), 40]))
        found += [some] * rng.choice([1, 1, 2, 30])
    return found[:count]


def one_by_one(
    queries: Dense, corpus: Dense, candidates: list[list[int]], k: int
) -> list[tuple[list[int], list[float]]]:
    """Each query's candidates by a product of their own."""
    ranks, found = id_ranks(IDS), []
    for number, row in enumerate(candidates):
        chosen = np.array(row, dtype=np.int64)
        scores: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        if row:
            scores = torch.mm(comparable(queries.rows([number])), comparable(corpus.rows(chosen)).T).numpy()[0]
        best = best_order(scores, ranks[chosen])[:k]
        found.append((chosen[best].tolist(), scores[best].tolist()))
    return found


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    similarity=st.sampled_from(["cosine", "dot"]),
    dimensions=st.sampled_from([1, 3, 16, 100, 384, 768]),
    k=st.sampled_from([1, 5, 1000]),
)
def test_scores_are_those_of_a_product_per_query_to_the_last_bit(
    seed: int, similarity: Similarity, dimensions: int, k: int
) -> None:
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    candidates = drawn(rng, rng.randint(1, 60))
    queries, corpus = (
        Dense(numbers.normal(size=(count, dimensions)).astype(np.float32), similarity)
        for count in (len(candidates), len(IDS))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_KEPT", rng.choice([module._MOST_KEPT, 20 * dimensions]))
        patch.setattr(module, "_MOST_AT_ONCE", rng.choice([module._MOST_AT_ONCE, 100 * dimensions]))
        found = rank_candidates(queries, corpus, candidates, IDS, k)
    rows = zip(found.documents, found.scores, strict=True)
    assert [(documents.tolist(), scores.tolist()) for documents, scores in rows] == one_by_one(
        queries, corpus, candidates, k
    )


def test_candidates_are_ranked_by_score_then_id() -> None:
    corpus = Dense(np.array([[1], [-2], [3], [1], [0]], dtype=np.float32), "dot")
    query = Dense(np.array([[2]], dtype=np.float32), "dot")
    found = rank_candidates(query, corpus, [[0, 1, 2, 3, 4]], ["a", "e", "c", "b", "d"], 4)
    assert [row.tolist() for row in found.documents] == [[2, 3, 0, 4]]
    assert [row.tolist() for row in found.scores] == [[6.0, 2.0, 2.0, 0.0]]
    assert found.arrival is None


def test_what_comes_with_scores_remembers_its_order() -> None:
    documents, scores = (
        Ragged.of([[2, 0, 1]]),
        Ragged.of([np.array([1, 3, 2], dtype=np.float32)], np.float32),
    )
    found = best_first(documents, scores, id_ranks(["a", "b", "c"]))
    assert found.arrival is not None
    assert [found.documents[0].tolist(), found.arrival[0].tolist()] == [[0, 1, 2], [2, 0, 1]]


def test_vectors_of_different_kinds_have_no_similarity() -> None:
    dense = Dense(np.ones((1, 2), dtype=np.float32))
    packed = MultiPart(PackedArrays([np.zeros(3, dtype=np.float32)]), {"sparse": 1.0})
    for query, corpus in ((dense, packed), (packed, dense)):
        with pytest.raises(TypeError, match="embeddings of different kinds"):
            rank_candidates(query, corpus, [[0]], ["a"], 1)
