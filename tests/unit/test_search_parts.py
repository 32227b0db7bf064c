"""A corpus searched in parts against the same search at once: equal numbers to the last bit, however it is cut."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.small_blocks import search_in_small_blocks

from evalharness.ranking import best, exact, order
from evalharness.ranking.best import Found, merge
from evalharness.ranking.exact import search_all, search_part
from evalharness.ranking.parts import Part, searched_by
from evalharness.ranking.records import Ranking
from evalharness.store.index import VECTORS, StoredRows
from evalharness.store.shard_files import write_shard
from evalharness.types import Dense, Similarity


@dataclass(frozen=True)
class Cut:
    """A `PartMap` that cuts at any borders of blocks and searches in any order, some of the parts far away."""

    rng: np.random.Generator

    def __call__(self, whole: Part, vectors: NDArray[np.float32], k: int) -> Iterator[Found]:
        blocks = len(whole.cut(1))
        # each part costs a millisecond, however few its documents are
        borders = np.flatnonzero(self.rng.random(blocks + 1) < self.rng.random() * min(1, 16 / blocks))
        borders = whole.width * np.unique(np.r_[0, borders, blocks])
        places = [whole.places[first:end] for first, end in pairwise(borders)]
        for number in self.rng.permutation(len(places)).tolist():
            part = Part(whole.corpus, whole.ids, places[number], whole.width)
            if self.rng.random() < 0.5:
                yield search_part(part, vectors, k)
            else:
                there = pickle.loads(pickle.dumps(part.alone()))  # noqa: S301 -- made here
                yield part.from_alone(search_part(there, vectors, k, threads=int(self.rng.integers(1, 4))))


def assert_same(found: Ranking, wanted: Ranking) -> None:
    """The same documents, and the same bits of their scores."""
    assert np.array_equal(found.documents, wanted.documents)
    assert np.array(found.scores).tobytes() == np.array(wanted.scores).tobytes()


def vectors_with_ties(rng: np.random.Generator, count: int, dimensions: int) -> NDArray[np.float32]:
    """Many times the same ones, some that are nearly the same, some of nothing, and some of small whole numbers."""
    few = rng.standard_normal((max(1, count // 8), dimensions), dtype=np.float32)
    made = few[rng.integers(0, len(few), count)]
    kinds = rng.integers(0, 5, count)
    made[kinds == 1] *= np.float32(1 + 1e-6)
    made[kinds == 2] = rng.integers(-1, 2, (int((kinds == 2).sum()), dimensions))
    made[kinds == 3] = 0.0
    return made


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    documents=st.integers(1, 700),
    k=st.integers(1, 90),
    width=st.sampled_from([8, 16, 128]),
    step=st.sampled_from([2, 5, 48]),
    similarity=st.sampled_from(["cosine", "dot"]),
)
def test_any_parts_give_what_the_whole_does(
    seed: int, documents: int, k: int, width: int, step: int, similarity: Similarity
) -> None:
    rng = np.random.default_rng(seed)
    dimensions = int(rng.integers(1, 40))
    corpus = Dense(vectors_with_ties(rng, documents, dimensions), similarity)
    queries = Dense(vectors_with_ties(rng, int(rng.integers(1, 80)), dimensions), similarity)
    ids = [str(number) for number in rng.permutation(2 * documents)[:documents]]
    with pytest.MonkeyPatch.context() as patch:
        search_in_small_blocks(patch, width, step)
        patch.setattr(best, "_ROWS", 7)
        usual = search_all(queries, corpus, ids, k)
        with searched_by(Cut(rng)):
            found = search_all(queries, corpus, ids, k)
    assert_same(found, usual)


@pytest.mark.parametrize("dimensions", [3, 384, 1030])
@pytest.mark.parametrize("documents", [6000, 6145])
def test_blocks_of_the_usual_size_have_the_same_bits(dimensions: int, documents: int) -> None:
    rng = np.random.default_rng(dimensions)
    corpus, queries = (Dense(vectors_with_ties(rng, count, dimensions)) for count in (documents, 37))
    ids = [f"d{number}" for number in rng.permutation(documents)]
    usual = search_all(queries, corpus, ids, 1000)
    for _ in range(3):
        with searched_by(Cut(rng)):
            assert_same(search_all(queries, corpus, ids, 1000), usual)


@pytest.mark.parametrize("expected", [np.inf, 0.0])
def test_a_query_that_is_searched_again_has_the_bits_of_the_others(
    monkeypatch: pytest.MonkeyPatch, expected: float
) -> None:
    rng = np.random.default_rng(4)
    corpus, queries = (Dense(rng.standard_normal((count, 48), dtype=np.float32)) for count in (4500, 1100))
    ids = [str(number) for number in range(4500)]
    usual = search_all(queries, corpus, ids, 460)
    # one in each block of queries, by themselves in a block of another shape
    expectations = np.full(1100, -np.inf, dtype=np.float32)
    expectations[[3, 1050]] = expected
    monkeypatch.setattr(exact, "_expected", lambda *_: expectations)
    assert_same(search_all(queries, corpus, ids, 460), usual)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 30), parts=st.integers(1, 6), levels=st.integers(0, 4))
def test_merged_parts_are_the_best_of_all_their_documents(seed: int, k: int, parts: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    ids = [str(number) for number in rng.permutation(400)[:200]]
    ranks, queries = order.id_ranks(ids), int(rng.integers(1, 9))
    cut = np.split(rng.permutation(200), np.sort(rng.integers(1, 199, parts - 1)))
    scores = rng.integers(-levels, levels + 1, (queries, 200)).astype(np.float32)
    scores[scores == 0] *= rng.choice([-1, 1], int((scores == 0).sum())).astype(np.float32)
    found = []
    for numbers in cut:
        if len(numbers):
            arranged = np.argsort(order.keys(scores[:, numbers], ranks[numbers]), axis=1)[:, ::-1][:, :k]
            documents = numbers[arranged].astype(np.int32)
            found.append(Found(documents, np.take_along_axis(scores, documents, axis=1)))
    merged = merge(found, ids, k)
    wanted = np.argsort(order.keys(scores, ranks[None]), axis=1)[:, ::-1][:, :k]
    assert merged.documents.tolist() == wanted.tolist()
    assert merged.scores.tobytes() == np.take_along_axis(scores, wanted, axis=1).tobytes()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_documents_whose_products_are_no_number_come_first_into_a_merge() -> None:
    found = [
        Found(np.array([[0, 1]], dtype=np.int32), np.array([[3.0, 1.0]], dtype=np.float32)),
        Found(np.array([[2, 3]], dtype=np.int32), np.array([[2.0, np.nan]], dtype=np.float32)),
    ]
    assert sorted(merge(found, ["a", "b", "c", "d"], 2).documents[0].tolist()) == [0, 3]


def test_a_part_is_pickled_without_vectors_and_with_its_own_ids_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((3000, 256), dtype=np.float32)
    paths = [tmp_path / f"{number}.shard" for number in range(3)]
    for number, path in enumerate(paths):
        write_shard(path, {VECTORS: vectors[number * 1000 : (number + 1) * 1000]})
    mixed = rng.permutation(3000)
    source = StoredRows(paths, (mixed // 1000).astype(np.int32), (mixed % 1000).astype(np.int32), 256)
    ids, queries = [f"document {number}" for number in range(3000)], Dense(vectors[:5] + 1)
    (whole,) = (Part(Dense(source), ids, np.argsort(mixed), 128),)
    parts = whole.cut(1000)
    assert [len(part) for part in parts] == [1024, 1024, 952]
    for part in parts:
        packed = pickle.dumps(part.alone())
        # eight bytes of a place, eight of a number, and an id
        assert len(packed) < 50 * len(part) < 4 * vectors.shape[1] * len(part)
        assert len(pickle.loads(packed).ids) == len(part)  # noqa: S301 -- made here
    with searched_by(Cut(rng)):
        found = search_all(queries, Dense(source), ids, 50)
    assert_same(found, search_all(queries, Dense(vectors[mixed]), ids, 50))


def test_a_map_counts_inside_its_block_alone() -> None:
    asked = []

    def listening(whole: Part, vectors: NDArray[np.float32], k: int) -> Iterator[Found]:
        asked.append((len(whole), len(vectors), k))
        yield search_part(whole, vectors, k)

    one = Dense(np.ones((3, 4), dtype=np.float32))
    with searched_by(listening):
        search_all(one, one, ["a", "b", "c"], 2)
        search_all(one, Dense(np.empty((0, 4), dtype=np.float32)), [], 2)
    search_all(one, one, ["a", "b", "c"], 2)
    assert asked == [(3, 3, 2)]


def test_last_bits_are_those_of_a_kind_of_products() -> None:
    assert exact.last_bits(64, "cosine") == exact.last_bits(64, "cosine")
    assert len({exact.last_bits(64, "cosine"), exact.last_bits(64, "dot"), exact.last_bits(65, "dot")}) == 3
