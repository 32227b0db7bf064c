"""The exact search in blocks, against a sort of all keys; whatever the blocks, threads, ties and expectations are."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.small_blocks import search_in_small_blocks

from evalharness.ranking import exact, order
from evalharness.ranking.exact import search_all
from evalharness.ranking.records import Ranking, RetrievalRecords
from evalharness.ranking.scores import score_ranking
from evalharness.store.index import VECTORS, StoredRows, reading_order
from evalharness.store.shard_files import write_shard
from evalharness.types import Dense


def whole_numbers(rng: np.random.Generator, count: int, levels: int) -> NDArray[np.float32]:
    # every product is exact, and many are equal
    return rng.integers(-levels, levels + 1, (count, 3)).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    documents=st.integers(1, 600),
    k=st.integers(1, 60),
    levels=st.integers(0, 3),
    width=st.sampled_from([8, 16, 128, 2048]),
    step=st.sampled_from([2, 5, 48]),
)
def test_equals_a_sort_of_all_keys(seed: int, documents: int, k: int, levels: int, width: int, step: int) -> None:
    rng = np.random.default_rng(seed)
    corpus, queries = whole_numbers(rng, documents, levels), whole_numbers(rng, int(rng.integers(1, 40)), levels)
    ids = [str(number) for number in rng.permutation(2 * documents)[:documents]]
    with pytest.MonkeyPatch.context() as patch:
        search_in_small_blocks(patch, width, step)
        found = search_all(Dense(queries, "dot"), Dense(corpus, "dot"), ids, k)
    scores = queries @ corpus.T
    best = np.argsort(order.keys(scores, order.id_ranks(ids)[None]), axis=1)[:, ::-1][:, :k]
    assert np.array(found.documents).tolist() == best.tolist()
    assert np.array(found.scores).tolist() == np.take_along_axis(scores, best, axis=1).tolist()


@pytest.mark.parametrize("expected", [np.inf, 0.0])
def test_a_query_of_which_too_much_was_expected_is_searched_again(
    monkeypatch: pytest.MonkeyPatch, expected: float
) -> None:
    rng = np.random.default_rng(0)
    corpus, queries = rng.standard_normal((900, 8), dtype=np.float32), rng.standard_normal((50, 8), dtype=np.float32)
    ids = [str(number) for number in range(900)]
    usual = search_all(Dense(queries), Dense(corpus), ids, 460)
    expectations = np.full(50, -np.inf, dtype=np.float32)
    expectations[::3] = expected
    monkeypatch.setattr(exact, "_expected", lambda *_: expectations)
    found = search_all(Dense(queries), Dense(corpus), ids, 460)
    assert np.array_equal(found.documents, usual.documents)
    assert np.array_equal(found.scores, usual.scores)


@pytest.mark.parametrize("dimensions", [1, 3, 30, 384, 1030])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_equal_vectors_have_equal_scores_wherever_they_stand(dimensions: int, similarity: Any) -> None:
    rng = np.random.default_rng(1)
    corpus = rng.standard_normal((5000, dimensions), dtype=np.float32)
    same = rng.random(5000) < 0.3
    same[[0, 4999]] = True
    corpus[same] = corpus[0]
    queries = rng.standard_normal((37, dimensions), dtype=np.float32)
    queries[:] = np.where(queries @ corpus[:1].T < 0, -queries, queries)
    ids = [f"{number:04}" for number in range(5000)]
    found = search_all(Dense(queries, similarity), Dense(corpus, similarity), ids, 5000)
    for documents, scores in zip(found.documents, found.scores, strict=True):
        places = np.flatnonzero(same[documents])
        assert len(set(scores[places].tolist())) == 1
        # among them the id decides
        assert (np.diff(documents[places]) < 0).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_documents_whose_products_are_no_number_are_found() -> None:
    corpus = np.array([[1.0, 0.0], [3e38, -3e38], [2.0, 0.0]], dtype=np.float32)
    query = np.array([[3e38, 3e38]], dtype=np.float32)
    found = search_all(Dense(query, "dot"), Dense(corpus, "dot"), ["a", "b", "c"], 3)
    assert sorted(found.documents[0].tolist()) == [0, 1, 2]


def test_stored_vectors_are_read_file_by_file_and_found_by_their_places() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((700, 16), dtype=np.float32)
    shards = rng.integers(0, 5, 700).astype(np.int32)
    rows = np.array([int((shards[:place] == shard).sum()) for place, shard in enumerate(shards)], dtype=np.int32)
    ids = [str(number) for number in range(700)]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.shard" for number in range(5)]
        for number, path in enumerate(paths):
            write_shard(path, {VECTORS: vectors[shards == number]})
        source = StoredRows(paths, shards, rows, 16)
        read = reading_order(Dense(source))
        assert sorted(read.tolist()) == list(range(700))
        assert (np.diff(shards[read]) >= 0).all()
        assert np.array_equal(np.asarray(source[read]), vectors[read])
        queries = Dense(rng.standard_normal((9, 16), dtype=np.float32))
        stored, usual = (search_all(queries, Dense(corpus), ids, 50) for corpus in (source, vectors))
    assert np.array_equal(stored.documents, usual.documents)
    assert np.array_equal(stored.scores, usual.scores)


def in_torch(queries: Dense, corpus: Dense, ids: list[str], k: int) -> Ranking:
    """As mteb: torch's product of everything at once."""
    left, right = (torch.nn.functional.normalize(torch.from_numpy(each.vectors)) for each in (queries, corpus))
    scores = torch.mm(left, right.T).numpy()
    best = np.argsort(order.keys(scores, order.id_ranks(ids)[None]), axis=1)[:, ::-1][:, :k]
    return Ranking(list(best), list(np.take_along_axis(scores, best, axis=1)))


@pytest.mark.parametrize("noise", [0.0, 1e-3, 0.3])
def test_no_main_score_moves_against_torchs_products(noise: float) -> None:
    """Also among documents that are nearly the same, or quite (without noise): the last bits move no main score."""
    rng = np.random.default_rng(3)
    topics = rng.standard_normal((40, 384), dtype=np.float32)
    corpus = np.repeat(topics, 100, axis=0) + noise * rng.standard_normal((4000, 384), dtype=np.float32)
    queries = topics[rng.integers(0, 40, 200)] + 0.5 * rng.standard_normal((200, 384), dtype=np.float32)
    ids = [f"d{number}" for number in rng.permutation(4000)]
    qrels = [{ids[place]: int(rng.integers(0, 3)) for place in rng.integers(0, 4000, 40)} for _ in range(200)]
    for judged in qrels:
        judged[ids[int(rng.integers(0, 4000))]] = 1
    records = RetrievalRecords(
        corpus_ids=ids,
        corpus=[""] * 4000,
        query_ids=[str(number) for number in range(200)],
        queries=[""] * 200,
        qrels=qrels,
        main_score="ndcg_at_10",
    )
    ours, theirs = (
        score_ranking(records, find(Dense(queries), Dense(corpus), ids, 1000)).metrics
        for find in (search_all, in_torch)
    )
    assert ours["ndcg_at_10"] == pytest.approx(theirs["ndcg_at_10"], abs=1e-6)
    # it is rounded to five digits, and a thousand documents that are nearly one have an order by last bits alone
    assert ours["map_at_1000"] == pytest.approx(theirs["map_at_1000"], abs=1.1e-5)
