"""What is done to all queries at once gives the same as query by query, to the last bit."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.query_by_query import plain_scores

from evalharness.metrics import ragged
from evalharness.metrics.ragged import Ragged
from evalharness.ranking.judgements import Judgements
from evalharness.ranking.records import K_VALUES, Ranking, RetrievalRecords
from evalharness.ranking.scores import score_ranking

SEEDS = st.integers(0, 2**32 - 1)


def records(rng: random.Random) -> RetrievalRecords:
    """Queries that share ids with documents, sub-queries that need not stand together, judgements of any grade."""
    documents = [f"d{rng.random()}_{number}" for number in range(rng.randint(1, 60))]
    count = rng.randint(1, 25)
    drawn = [f"q{rng.randint(0, 4)}_{n}" if rng.random() < 0.8 else rng.choice(documents) for n in range(count)]
    queries = list(dict.fromkeys(drawn))
    names = [*documents, "not in the corpus", "nor this"]
    return RetrievalRecords(
        corpus_ids=documents,
        corpus=[""] * len(documents),
        query_ids=queries,
        queries=[f"question {rng.randint(0, 9)}" for _ in queries],
        qrels=[{rng.choice(names): rng.randint(-1, 4) for _ in range(rng.randint(1, 12))} for _ in queries],
        ignore_identical_ids=rng.random() < 0.5,
        has_subqueries=rng.random() < 0.5,
        k_values=rng.choice([K_VALUES, (1, 3), (2, 5, 7)]),
        main_score=rng.choice(["ndcg_at_10", "accuracy", "map_at_20", "max_over_subqueries_map_at_1000"]),
    )


def ranking(rng: random.Random, queries: int, documents: int) -> Ranking:
    """Rankings with ties; some are empty, some shorter than the depths. Their documents came in any order, or none."""
    found, scores, arrival = [], [], []
    for _ in range(queries):
        count = rng.choice([0, min(2, documents), rng.randint(0, documents), documents])
        values = sorted((rng.choice([-1.0, -0.0, 0.0, 0.25, 0.5, rng.random()]) for _ in range(count)), reverse=True)
        found.append(np.array(rng.sample(range(documents), count), dtype=np.int64))
        scores.append(np.array(values, dtype=np.float32))
        arrival.append(np.array(rng.sample(range(count), count), dtype=np.int64))
    return Ranking(found, scores, arrival if rng.random() < 0.5 else None)


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_scores_are_those_of_single_queries(seed: int) -> None:
    rng = random.Random(seed)
    data = records(rng)
    found = ranking(rng, len(data.query_ids), len(data.corpus_ids))
    wanted, scores = plain_scores(data, found), score_ranking(data, found)
    assert repr(sorted(scores.metrics.items())) == repr(sorted(wanted.metrics.items()))
    for metric, values in wanted.values.items():
        if str(metric) in scores.items.columns:
            assert list(scores.items.columns[str(metric)]) == values.tolist()
    for metric, values in wanted.questions.items():
        if str(metric) in scores.items.columns:
            column = np.array(scores.items.columns[str(metric)])
            assert column[~np.isnan(column)].tolist() == values.tolist()


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, block=st.integers(1, 100))
def test_blocks_do_not_matter(seed: int, block: int) -> None:
    rng = random.Random(seed)
    data = records(rng)
    found = ranking(rng, len(data.query_ids), len(data.corpus_ids))
    whole = score_ranking(data, found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragged, "BLOCK", block)
        parts = score_ranking(data, found)
    assert repr((whole.metrics, whole.items)) == repr((parts.metrics, parts.items))


@settings(deadline=None)
@given(rows=st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=12), block=st.integers(1, 12), seed=SEEDS)
def test_rows_of_different_lengths(rows: list[list[int]], block: int, seed: int) -> None:
    made = Ragged.of(rows)
    assert [row.tolist() for row in made] == rows == [made[n].tolist() for n in range(len(rows))]
    assert [row.tolist() for row in Ragged.of([np.array(row, dtype=np.int64) for row in rows])] == rows
    assert Ragged.of(made) is made
    assert all(
        [row.tolist() for row in made[some]] == rows[some]
        for some in (slice(1, -1), slice(3, 1), slice(None, None, -2))
    )
    blocks = list(made.blocks(block))
    assert [row.tolist() for some in blocks for row in made[some]] == rows
    assert all(some.stop - some.start == 1 or len(made[some].values) <= block for some in blocks)
    even = {
        int(n): row.tolist()
        for part in made.matrices(block)
        for n, row in zip(part.rows, made.values[part.at], strict=True)
    }
    assert even == {number: row for number, row in enumerate(rows) if row}
    chosen = random.Random(seed).choices(range(len(rows)), k=5) if rows else []
    assert [row.tolist() for row in made.take(np.array(chosen, dtype=np.int64))] == [rows[n] for n in chosen]


@settings(deadline=None)
@given(qrels=st.lists(st.dictionaries(st.sampled_from("abcdz"), st.integers(-1, 3)), max_size=5))
def test_judgements_are_mappings_still(qrels: list[dict[str, int]]) -> None:
    made = Judgements.of(qrels, list("abcd"))
    assert list(made) == qrels
    assert [made[number] for number in range(len(made))] == qrels
    assert list(made[1:]) == qrels[1:]
    assert Judgements.of(made, []) is made
