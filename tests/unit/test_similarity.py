from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evalharness.ranking import exact, similarity
from evalharness.ranking.order import id_ranks
from evalharness.ranking.similarity import nearest, nearest_scores, pairwise, top_k
from evalharness.types import Dense, Similarity


def best(scores: NDArray[np.float32], ids: list[str], k: int) -> list[list[int]]:
    """Sort everything by (score, id) descending, query by query."""
    found = []
    for row in scores.tolist():
        pairs = sorted(zip(row, ids, range(len(ids)), strict=True), reverse=True)
        found.append([number for _, _, number in pairs[:k]])
    return found


def grid(rng: random.Random, count: int) -> Dense:
    # powers of two: every product is exact, so that equal scores are equal in any order of summation
    values = [[rng.choice([-1.0, 0.0, 1.0]) for _ in range(3)] + [4.0] for _ in range(count)]
    return Dense(np.array(values, dtype=np.float32), similarity="dot")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 40), chunk=st.integers(1, 8), count=st.integers(1, 200))
def test_chunks_and_ties_do_not_matter(seed: int, k: int, chunk: int, count: int) -> None:
    rng = random.Random(seed)
    corpus, queries = grid(rng, count), grid(rng, 4)
    ids = [str(number) for number in rng.sample(range(1000), count)]
    scores = queries.vectors @ corpus.vectors.T
    wanted = best(scores, ids, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "_DOCUMENTS", chunk * 8)
        patch.setattr(exact, "_FEW_DOCUMENTS", 8)
        patch.setattr(exact, "_QUERIES", 2)
        patch.setattr(exact, "_TOGETHER", 3)
        found = top_k(queries, corpus, ids, k)
    assert [row.tolist() for row in found.documents] == wanted
    assert np.array(found.scores).tolist() == np.take_along_axis(scores, np.array(wanted), axis=1).tolist()


def test_cosine_search_equals_a_naive_one() -> None:
    rng = np.random.default_rng(7)
    corpus = Dense(rng.normal(size=(3000, 24)).astype(np.float32))
    queries = Dense(rng.normal(size=(20, 24)).astype(np.float32))
    ids = [f"d{n}" for n in range(3000)]
    found = top_k(queries, corpus, ids, 50)
    left, right = (x.vectors / np.linalg.norm(x.vectors, axis=1, keepdims=True) for x in (queries, corpus))
    wanted = best(left @ right.T, ids, 50)
    assert [row.tolist() for row in found.documents] == wanted
    np.testing.assert_allclose(found.scores, np.take_along_axis(left @ right.T, np.array(wanted), axis=1), atol=1e-6)


def test_negative_zero_equals_zero() -> None:
    corpus = Dense(np.array([[-0.0], [0.0], [-0.0]], dtype=np.float32), similarity="dot")
    query = Dense(np.array([[1.0]], dtype=np.float32), similarity="dot")
    assert top_k(query, corpus, ["a", "b", "c"], 3).documents[0].tolist() == [2, 1, 0]


def test_an_empty_corpus_gives_nothing() -> None:
    empty = Dense(np.empty((0, 2), dtype=np.float32))
    found = top_k(Dense(np.ones((3, 2), dtype=np.float32)), empty, [], 10)
    assert [row.tolist() for row in found.documents] == [[], [], []]


def test_ids_are_ordered_by_code_point() -> None:
    assert id_ranks(["b", "a", "é", "中", "B"]).tolist() == [2, 1, 3, 4, 0]


def test_pairwise_similarity() -> None:
    first = np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)
    second = np.array([[6.0, 8.0], [1.0, 0.0]], dtype=np.float32)
    assert pairwise(Dense(first), Dense(second)) == pytest.approx([1.0, 0.0])
    assert pairwise(Dense(first, "dot"), Dense(second, "dot")) == pytest.approx([50.0, 0.0])


def test_read_only_vectors_are_searched() -> None:
    vectors = np.eye(3, dtype=np.float32)
    vectors.flags.writeable = False
    found = top_k(Dense(vectors), Dense(vectors), ["a", "b", "c"], 1)
    assert [row.tolist() for row in found.documents] == [[0], [1], [2]]


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
@pytest.mark.parametrize("chunk", [1, 4, 9, 100])
@pytest.mark.parametrize("similarity_name", ["dot", "cosine"])
def test_the_nearest_row_in_any_blocks(
    monkeypatch: pytest.MonkeyPatch, rows: int, chunk: int, similarity_name: Similarity
) -> None:
    rng = np.random.default_rng(3)
    scale = rng.uniform(0.1, 3.0, size=(9, 1)).astype(np.float32)
    first = rng.normal(size=(5, 4)).astype(np.float32)
    second = rng.normal(size=(9, 4)).astype(np.float32) * scale
    lengths = np.linalg.norm(second, axis=1) if similarity_name == "cosine" else 1.0
    monkeypatch.setattr(similarity, "_NEAREST_ROWS", rows)
    monkeypatch.setattr(similarity, "_NEAREST_CHUNK", chunk)
    found = nearest(Dense(first, similarity_name), Dense(second, similarity_name))
    assert found == ((first @ second.T) / lengths).argmax(axis=1).tolist()


def test_the_first_of_equally_near_rows_in_different_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "_NEAREST_CHUNK", 1)
    rows = Dense(np.ones((3, 2), dtype=np.float32), "dot")
    assert nearest(rows, rows) == [0, 0, 0]


@pytest.mark.parametrize("one_by_one", [False, True])
def test_scores_of_the_nearest_rows(one_by_one: bool) -> None:
    first = Dense(np.array([[1, 0], [-2, 0], [0, 3]], dtype=np.float32), "dot")
    second = Dense(np.array([[3, 4], [1, 0]], dtype=np.float32), "dot")
    assert nearest_scores(first, second, "dot", one_by_one=one_by_one) == [3.0, -2.0, 12.0]
    cosines = nearest_scores(first, second, "cosine", one_by_one=one_by_one)
    assert cosines == pytest.approx([1.0, -0.6, 0.8])
