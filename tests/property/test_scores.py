"""What must not matter does not, and what must be perfect is."""

from __future__ import annotations

import random
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.lookup import lookup_model, smooth

from evalharness.metrics.abstention import Levels, naucs
from evalharness.metrics.correlation import correlate
from evalharness.metrics.pairs import pair_scores
from evalharness.ranking.records import RetrievalRecords
from evalharness.ranking.scores import score_ranking
from evalharness.run.without_model import ranking_of
from evalharness.tasks.bitext_mining import TASK_TYPE as BITEXT
from evalharness.tasks.bitext_mining import BitextRecords
from evalharness.tasks.classification import TASK_TYPE as CLASSIFICATION
from evalharness.tasks.classification import Experiment, LabelledRecords, shuffles, undersample
from evalharness.tasks.clustering import TASK_TYPE as CLUSTERING
from evalharness.tasks.clustering import ClusteringRecords, Fit
from evalharness.tasks.retrieval import TASK_TYPE as RETRIEVAL
from evalharness.types import Scores, ignore_event

SEEDS = st.integers(0, 2**32 - 1)


def retrieval(seed: int) -> RetrievalRecords:
    rng = random.Random(seed)
    documents = [f"d{n}" for n in range(rng.randint(1, 30))]
    queries = [f"q{n}" for n in range(rng.randint(1, 8))]
    return RetrievalRecords(
        corpus_ids=documents,
        # distinct texts: the last bit of a product depends on its place in the matrix (in mteb as well), so that which
        # of two equal texts comes first may depend on the order
        corpus=[f"text {n}" for n in range(len(documents))],
        query_ids=queries,
        queries=[f"question {rng.randint(0, 5)}" for _ in queries],
        qrels=[{rng.choice(documents): rng.randint(0, 2) for _ in range(3)} for _ in queries],
        # few, for each takes many milliseconds; corpora are smaller and larger than the deepest
        k_values=(1, 10),
    )


def scored(records: RetrievalRecords) -> Scores:
    columns = RETRIEVAL.columns(records)
    return RETRIEVAL.score(records, lookup_model(smooth).encode_columns(columns, None, ignore_event))


def plain(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("nauc")}


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_the_order_of_corpus_and_queries_does_not_matter(seed: int) -> None:
    records = retrieval(seed)
    rng = random.Random(seed + 1)
    corpus = rng.sample(range(len(records.corpus_ids)), len(records.corpus_ids))
    queries = rng.sample(range(len(records.query_ids)), len(records.query_ids))
    shuffled = RetrievalRecords(
        corpus_ids=[records.corpus_ids[n] for n in corpus],
        corpus=[records.corpus[n] for n in corpus],
        query_ids=[records.query_ids[n] for n in queries],
        queries=[records.queries[n] for n in queries],
        qrels=[records.qrels[n] for n in queries],
        k_values=records.k_values,
    )
    first, second = scored(records), scored(shuffled)
    assert plain(first.metrics) == pytest.approx(plain(second.metrics), abs=1.1e-5)
    by_id = dict(zip(second.items.ids, second.items.columns["ndcg_at_10"], strict=True))
    assert [by_id[query] for query in first.items.ids] == pytest.approx(first.items.columns["ndcg_at_10"])


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_scores_are_within_their_range_and_the_items_make_the_mean(seed: int) -> None:
    scores = scored(retrieval(seed))
    assert all(0 <= value <= 1 for value in plain(scores.metrics).values())
    assert np.mean(scores.items.columns["ndcg_at_10"]) == pytest.approx(scores.metrics["ndcg_at_10"], abs=5.1e-6)
    assert np.mean(scores.items.columns["mrr_at_10"]) == pytest.approx(scores.metrics["mrr_at_10"])


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_a_perfect_run_scores_one(seed: int) -> None:
    rng = random.Random(seed)
    texts = [f"text {n}" for n in range(rng.randint(2, 25))]
    ids = [f"d{rng.random()}" for _ in texts]
    records = RetrievalRecords(
        ids,
        texts,
        [f"q{n}" for n in range(len(texts))],
        texts,
        [{name: rng.randint(1, 3)} for name in ids],
        k_values=(1, 10, 1000),
    )
    metrics = scored(records).metrics
    assert {metrics[name] for name in ("ndcg_at_10", "map_at_1000", "mrr_at_1", "recall_at_1", "accuracy")} == {1.0}


@settings(max_examples=100, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60), per_label=st.integers(1, 9), count=st.integers(1, 12)
)
def test_every_experiment_draws_each_label_up_to_the_limit(labels: list[int], per_label: int, count: int) -> None:
    for order in shuffles(len(labels), count):
        assert sorted(order) == list(range(len(labels)))
        drawn = [labels[row] for row in undersample(labels, order, per_label)]
        for label in set(labels):
            assert drawn.count(label) == min(per_label, labels.count(label))


def test_separable_labels_are_classified_perfectly() -> None:
    from sklearn.linear_model import LogisticRegression

    labels = ["a", "b"] * 10
    texts = [f"{label} {n}" for n, label in enumerate(labels)]
    experiments = [Experiment(list(range(8)), range(20))]
    records = LabelledRecords(texts, labels, texts, labels, experiments, LogisticRegression())
    model = lookup_model(lambda text: np.array([1.0, 0.0] if text[0] == "a" else [0.0, 1.0], dtype=np.float32))
    scores = CLASSIFICATION.score(records, model.encode_columns(CLASSIFICATION.columns(records), None, ignore_event))
    assert scores.metrics["accuracy"] == scores.metrics["f1"] == 1.0
    assert set(scores.items.columns["correct"]) == {1.0}


numbers = st.lists(st.floats(-100, 100), min_size=3, max_size=30, unique=True)


@settings(max_examples=100, deadline=None)
@given(values=numbers)
def test_spearman_sees_only_the_order(values: list[float]) -> None:
    ranks = [float(sorted(values).index(value)) for value in values]
    assert correlate(values, ranks).spearman == pytest.approx(1.0)
    assert correlate(values, [-rank for rank in ranks]).spearman == pytest.approx(-1.0)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_confidence_equal_to_the_metric_is_an_oracle(values: list[float]) -> None:
    (found,) = naucs([Levels.of(np.array(values))], np.array(values))
    assert np.isnan(found) or found == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 1), min_size=2, max_size=60).filter(lambda found: len(set(found)) > 1), seed=SEEDS
)
def test_pairs_told_apart_perfectly_score_one_in_any_order(labels: list[int], seed: int) -> None:
    rng = random.Random(seed)
    scores = [label + rng.random() / 2 for label in labels]
    found = pair_scores(labels, scores)
    assert [found.accuracy, found.f1, found.ap] == pytest.approx([1.0, 1.0, 1.0])
    order = rng.sample(range(len(labels)), len(labels))
    noisy = [rng.randint(0, 3) / 3 for _ in labels]
    # sums in another order differ in the last bit
    assert asdict(pair_scores([labels[n] for n in order], [noisy[n] for n in order])) == pytest.approx(
        asdict(pair_scores(labels, noisy))
    )


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 40), seed=SEEDS)
def test_equal_sentences_are_their_own_translations(count: int, seed: int) -> None:
    texts = [f"{seed} sentence {number}" for number in range(count)]
    records = BitextRecords(texts, texts, list(range(count)))
    embeddings = lookup_model(smooth).encode_columns(BITEXT.columns(records), None, ignore_event)
    scores = BITEXT.score(records, embeddings)
    assert scores.metrics["f1"] == 1
    assert scores.items.columns["correct"] == [1.0] * count


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_groups_that_lie_apart_are_found(seed: int) -> None:
    rng = random.Random(seed)
    labels = [rng.randrange(3) for _ in range(60)] + [0, 1, 2]
    texts = [f"{label} {number}" for number, label in enumerate(labels)]

    def corner(text: str) -> NDArray[np.float32]:
        vector = (smooth(text) / 1000).astype(np.float32)
        vector[int(text.split(maxsplit=1)[0])] += 1
        return vector

    rows = np.arange(len(texts))
    records = ClusteringRecords(texts, [Fit("0", rows, np.array(labels), 3)], 500, None)
    embeddings = lookup_model(corner).encode_columns(CLUSTERING.columns(records), None, ignore_event)
    assert CLUSTERING.score(records, embeddings).metrics["v_measure"] > 0.7


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_candidates_in_any_order_are_ranked_the_same(seed: int) -> None:
    rng = random.Random(seed)
    records = retrieval(seed)
    candidates = [rng.sample(range(len(records.corpus)), rng.randint(0, len(records.corpus))) for _ in records.queries]
    shuffled = [rng.sample(chosen, len(chosen)) for chosen in candidates]
    first, second = (scored(replace(records, candidates=chosen)) for chosen in (candidates, shuffled))
    assert plain(first.metrics) == plain(second.metrics)


def test_a_run_and_its_own_rankings_score_the_same() -> None:
    for seed in range(20):
        records = retrieval(seed)
        whole = scored(records)
        assert whole.retrieved is not None
        again = score_ranking(records, ranking_of(records, dict(whole.retrieved), "here"))
        assert plain(again.metrics) == plain(whole.metrics)
