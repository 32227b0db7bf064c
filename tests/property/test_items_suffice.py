"""From the item files alone, every metric that can be a main score is computed again, to the last digit."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from support.lookup import Vectorize, coarse, constant, lookup_model, smooth

from evalharness.metrics.forms import LabelSets, Mean
from evalharness.metrics.from_items import contributions, form_of, score_of
from evalharness.ranking.records import RetrievalRecords
from evalharness.results.items import read_items, write_items
from evalharness.tasks import native_types, task_type
from evalharness.tasks.bitext_mining import BitextRecords
from evalharness.tasks.classification import Experiment, LabelledRecords
from evalharness.tasks.clustering import ClusteringRecords, Fit
from evalharness.tasks.multilabel_classification import MultilabelRecords, MultilabelTable
from evalharness.tasks.pairs import JudgedPairs
from evalharness.tasks.summarization import SummaryRecords
from evalharness.types import ItemScores, Scores, ignore_event

SEEDS = st.integers(0, 2**32 - 1)
VECTORS = st.sampled_from([smooth, smooth, coarse, constant])
# no main score, and nothing that one would compare
SPREADS = {"v_measure_std", "ami_std"}


def texts(rng: random.Random, count: int) -> list[str]:
    """Some of them are equal."""
    return [f"text {rng.randrange(2 * count)}" for _ in range(count)]


def sts(rng: random.Random) -> JudgedPairs[float]:
    count = rng.randint(3, 40)
    gold = [0.0, 0.2, *(rng.randint(0, 5) / 5 for _ in range(count - 2))]
    return JudgedPairs(texts(rng, count), texts(rng, count), gold)


def pairs(rng: random.Random) -> JudgedPairs[int]:
    count = rng.randint(2, 40)
    return JudgedPairs(texts(rng, count), texts(rng, count), [0, 1, *(rng.randint(0, 1) for _ in range(count - 2))])


LABELS: Sequence[Sequence[Any]] = (
    [0, 1], [1, 2], [-1, 0, 1], [3, 7, 20], [0, 2], ["yes", "no"], ["b", "ä", "B", "aa"], ["1", "10", "2"],
)  # fmt: skip


def classification(rng: random.Random) -> LabelledRecords:
    labels = rng.choice(LABELS)
    train = [*labels, *labels, *rng.choices(labels, k=6)]
    # the split that is tested may lack some of them, all but one even
    tested = rng.choices(rng.sample(labels, rng.randint(1, len(labels))), k=rng.randint(3, 40))
    rows = range(len(tested))
    experiments = [Experiment(rng.sample(range(len(train)), len(train)), rows) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.5:
        # folds of different sizes, and rows that none tests
        fold = [rng.randrange(3) for _ in rows]
        parts = [[row for row in rows if fold[row] == number] for number in range(2)]
        experiments = [
            Experiment(each.train, part) for part, each in zip(parts, experiments, strict=False) if part
        ] or experiments
    classifier = rng.choice([LogisticRegression(max_iter=20), KNeighborsClassifier(n_neighbors=1)])
    return LabelledRecords(texts(rng, len(train)), train, texts(rng, len(tested)), tested, experiments, classifier)


def multilabel(rng: random.Random) -> MultilabelRecords:
    labels: list[Any] = list(rng.choice([[0, 1, 2], [5, 10, 1], ["b", "a"], ["x", "ü", "X", "xx"]]))

    def table(count: int) -> MultilabelTable:
        sets = [rng.sample(labels, rng.randint(0, len(labels))) for _ in range(count)]
        return MultilabelTable(texts(rng, count + 1), [labels[:2], *sets])

    train = table(rng.randint(6, 12))
    experiments = [rng.sample(range(len(train.texts)), 6) for _ in range(rng.randint(1, 4))]
    return MultilabelRecords(train, table(rng.randint(1, 20)), experiments, KNeighborsClassifier(n_neighbors=3))


def bitext(rng: random.Random) -> BitextRecords:
    count = rng.randint(2, 30)
    second = texts(rng, count)
    gold = rng.choice([list(range(count)), [rng.randrange(count) for _ in range(count)]])
    first = [second[number] if rng.random() < 0.5 else f"other {rng.randrange(count)}" for number in gold]
    return BitextRecords(first, second, gold)


def summaries(rng: random.Random) -> SummaryRecords:
    count = rng.randint(1, 8)
    human = [texts(rng, rng.randint(1, 3)) for _ in range(count)]
    machine = [texts(rng, rng.randint(3, 6)) for _ in range(count)]
    gold = [[rng.randint(0, 3) / 3 for _ in rated] for rated in machine]
    return SummaryRecords(human, machine, gold, averages_p_values=rng.random() < 0.5)


def clusters(rng: random.Random) -> ClusteringRecords:
    members = texts(rng, rng.randint(6, 30))
    is_fast, fits = rng.random() < 0.5, []
    for number in range(rng.randint(1, 12)):
        rows = np.array([rng.randrange(len(members)) for _ in range(rng.randint(4, 20))])
        labels = np.array([0, 1, *(rng.randrange(3) for _ in rows[2:])])
        fits.append(Fit(f"Level 0/{number}" if is_fast else str(number), rows, labels, len(set(labels.tolist()))))
    return ClusteringRecords(members, fits, 512, 1 if is_fast else None)


def rankings(rng: random.Random) -> RetrievalRecords:
    documents, count = texts(rng, rng.randint(1, 30)), rng.randint(1, 30)
    ids = [f"d{number}" for number in range(len(documents))]
    has_subqueries = rng.random() < 0.4
    names = rng.sample([f"q{number // 3}_{number % 3}" for number in range(count)], count)
    return RetrievalRecords(
        corpus_ids=ids,
        corpus=documents,
        query_ids=names,
        queries=texts(rng, count),
        qrels=[{rng.choice(ids): rng.randint(0, 2) for _ in range(3)} for _ in names],
        has_subqueries=has_subqueries,
        main_score=rng.choice(task_type("Retrieval").metric_names),
    )


MADE: dict[str, Callable[[random.Random], Any]] = {
    "STS": sts,
    "PairClassification": pairs,
    "Classification": classification,
    "MultilabelClassification": multilabel,
    "BitextMining": bitext,
    "Summarization": summaries,
    "Clustering": clusters,
    "Retrieval": rankings,
}
EXAMPLES = dict.fromkeys(MADE, 60) | {"Retrieval": 40, "Clustering": 25}


def scored(kind: str, records: Any, vectorize: Vectorize) -> Scores:
    made = task_type(kind)
    embeddings = lookup_model(vectorize).encode_columns(made.columns(records), None, ignore_event)
    return made.score(records, embeddings)


def stored(items: ItemScores, folder: Path) -> ItemScores:
    path = folder / "test.default.parquet"
    write_items(path, items)
    return read_items(path)


def wanted(kind: str, records: Any) -> Sequence[str]:
    """Metrics that can be the main score of these records."""
    if kind != "Retrieval":
        return [name for name in task_type(kind).metric_names if name not in SPREADS]
    usual = ["ndcg_at_10", "map_at_1000", "mrr_at_10", "recall_at_100"]
    over = [f"max_over_subqueries_{name}" for name in usual] if records.has_subqueries else []
    return [*usual, *over, records.main_score]


def exists(name: str, scores: Scores) -> bool:
    """Whether these records have the metric: legacy clustering has no ami, and texts have no average precision."""
    are_texts = any(isinstance(label, str) for label in scores.items.names)
    return name in scores.metrics and not (name.startswith("ap") and are_texts)


def test_every_type_is_tried() -> None:
    assert {id(task_type(name)) for name in native_types() if name != "Reranking"} == {id(task_type(n)) for n in MADE}
    assert task_type("Reranking").score is task_type("Retrieval").score


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", MADE)
def test_every_metric_is_made_of_the_stored_items(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(max_examples=EXAMPLES[kind], deadline=None)
    @given(seed=SEEDS, vectorize=VECTORS)
    def holds(seed: int, vectorize: Vectorize) -> None:
        records = MADE[kind](random.Random(seed))
        scores = scored(kind, records, vectorize)
        items = stored(scores.items, tmp_path_factory.mktemp("items"))
        for name in wanted(kind, records):
            form = form_of(name, items.columns, items.names)
            if not exists(name, scores):
                assert form is None, name
                continue
            assert form is not None, name
            again, value = score_of(form), scores.metrics[name]
            assert again == value or (math.isnan(again) and math.isnan(value)), name
            parts = contributions(form)
            if parts is not None and not math.isnan(value):
                assert parts.shape == (len(items.ids),)
                assert np.nanmean(parts) == pytest.approx(value, rel=1e-12, abs=1e-5 if is_rounded(form) else 1e-12)

    holds()


def is_rounded(form: object) -> bool:
    return isinstance(form, Mean) and form.digits is not None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", MADE)
def test_what_is_a_mean_has_a_part_for_each_item(kind: str) -> None:
    have = set()
    for seed in range(6):
        records = MADE[kind](random.Random(seed))
        items = scored(kind, records, smooth).items
        forms = {name: form_of(name, items.columns, items.names) for name in wanted(kind, records)}
        have |= {name for name, form in forms.items() if form is not None and contributions(form) is not None}
    expected = {
        "STS": set(),
        "PairClassification": set(),
        "Classification": {"accuracy"},
        "MultilabelClassification": {"accuracy", "hamming", "lrap"},
        "BitextMining": {"accuracy"},
    }
    if kind in expected:
        assert have == expected[kind]
    else:
        assert have >= set(wanted(kind, MADE[kind](random.Random(0)))) - {"ami"}


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_sets_of_labels_are_those_that_were_given_and_predicted(seed: int) -> None:
    records = multilabel(random.Random(seed))
    items = scored("MultilabelClassification", records, smooth).items
    known = {label for labels in records.test.labels for label in labels}
    names: Sequence[Any] = items.names
    assert [set(names[int(code)]) for code in items.columns["label"]] == [set(found) for found in records.test.labels]
    assert all(set(found) <= known for found in names)
    form = form_of("f1", items.columns, items.names)
    assert isinstance(form, LabelSets)
    assert form.predicted.shape == (len(records.experiments), len(records.test.texts), len(known))


TEXTS_OF: dict[str, Callable[[Any], Sequence[str]]] = {
    "Classification": lambda records: records.test_texts,
    "MultilabelClassification": lambda records: records.test.texts,
    "BitextMining": lambda records: records.first,
    "Retrieval": lambda records: [
        query.rpartition("_")[0] if records.has_subqueries else text
        for query, text in zip(records.query_ids, records.queries, strict=True)
    ],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", TEXTS_OF)
def test_items_of_one_text_are_a_group(kind: str) -> None:
    for seed in range(10):
        records = MADE[kind](random.Random(seed))
        shared = TEXTS_OF[kind](records)
        groups = scored(kind, records, smooth).items.columns.get("group")
        if groups is None:
            assert len(set(shared)) == len(shared)
        else:
            assert len(set(zip(groups, shared, strict=True))) == len(set(shared)) == len(set(groups)) < len(shared)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_pairs_of_one_text_are_a_group(seed: int) -> None:
    records = pairs(random.Random(seed))
    groups = scored("PairClassification", records, smooth).items.columns.get("group") or range(len(records.gold))
    # of one side at least, where all pairs that are linked would be most of them
    apart = [len(set(zip(side, groups, strict=True))) - len(set(side)) for side in (records.first, records.second)]
    assert min(apart) == 0
