"""As test_mteb_tasks.py, for the other task types."""

from __future__ import annotations

import random
from typing import Any

import pytest
from mteb._evaluators.retrieval_metrics import evaluate_p_mrr_change, max_over_subqueries
from mteb._evaluators.text.summarization_evaluator import DeprecatedSummarizationEvaluator
from support.compare import compare
from support.lookup import Vectorize, coarse, constant, smooth
from support.synthetic import make_task, retrieval_split, table_splits
from support.texts import sentence

VECTORS = pytest.mark.parametrize("vectorize", [smooth, coarse, constant], ids=["smooth", "ties", "equal"])


def candidates_data(seed: int, queries: int = 30) -> dict[str, Any]:
    """Candidates per query: repeated ones, relevant ones that are no candidates, and a query that has none."""
    rng = random.Random(seed)
    corpus = [{"id": f"d{number}", "title": rng.choice(["", "A title"]), "text": sentence(rng)} for number in range(80)]
    corpus += [{"id": f"e{number}", "title": "", "text": corpus[number]["text"]} for number in range(10)]
    asked = [{"id": f"q{number // 3}_{number % 3}", "text": sentence(rng)} for number in range(queries)]
    ids = [row["id"] for row in corpus]
    top = {row["id"]: rng.sample(ids, rng.randint(1, 25)) for row in asked}
    qrels = {row["id"]: {doc: rng.choice([0, 1, 1]) for doc in rng.sample(ids, 6)} for row in asked}
    top[asked[1]["id"]] *= 2
    del top[asked[2]["id"]]
    qrels[asked[3]["id"]] = dict.fromkeys(top[asked[3]["id"]], 1)
    return retrieval_split(corpus, asked, qrels, top)


@VECTORS
def test_reranking_equals_mteb(vectorize: Vectorize) -> None:
    data = {
        subset: {split: candidates_data(10 * a + b) for b, split in enumerate(("dev", "test"))}
        for a, subset in enumerate(("en", "de"))
    }
    task = make_task("Reranking", data, subsets=["en", "de"])
    for subset in ("en", "de"):
        for split in ("dev", "test"):
            assert compare(task, split, subset, vectorize) == []


def own_scores(task: Any, scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str) -> Any:
    del scores, hf_split, hf_subset
    return max_over_subqueries(qrels, results, task.k_values)


@VECTORS
def test_the_maximum_over_sub_queries_equals_mteb(vectorize: Vectorize) -> None:
    task = make_task(
        "Reranking",
        {"default": {"test": candidates_data(5)}},
        task_specific_scores=own_scores,
        main_score="max_over_subqueries_map_at_1000",
    )
    assert compare(task, "test", "default", vectorize) == []


def test_instruction_reranking_equals_mteb() -> None:
    rng = random.Random(6)
    corpus = [{"id": f"d{number}", "text": sentence(rng)} for number in range(50)]
    asked = [
        {"id": f"{number}-{kind}", "text": f"question {number}", "instruction": f"{kind} {sentence(rng)}"}
        for number in range(12)
        for kind in ("og", "changed")
    ]
    ids = [row["id"] for row in corpus]
    qrels = {row["id"]: dict.fromkeys(rng.sample(ids, 8), 1) for row in asked}
    changed = {str(number): rng.sample(list(qrels[f"{number}-og"]), 3) for number in range(12)}
    top = {row["id"]: rng.sample(ids, 30) for row in asked}

    def p_mrr(task: Any, scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str) -> Any:
        del scores, hf_split, hf_subset
        return evaluate_p_mrr_change(qrels, results, changed, task.k_values)

    data = {"default": {"test": retrieval_split(corpus, asked, qrels, top)}}
    task = make_task("InstructionReranking", data, task_specific_scores=p_mrr)
    assert compare(task, "test", "default", smooth) == []


def pair_rows(seed: int, count: int = 150) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        first = sentence(rng)
        second = first if number % 6 == 0 else sentence(rng)
        rows.append({"sentence1": first, "sentence2": second, "labels": rng.choice([0, 0, 1])})
    return rows


@VECTORS
def test_pair_classification_equals_mteb(vectorize: Vectorize) -> None:
    data = {name: table_splits({"test": pair_rows(n), "dev": pair_rows(n + 5)}) for n, name in enumerate(("en", "de"))}
    task = make_task("PairClassification", data, subsets=["en", "de"])
    for subset in ("en", "de"):
        for split in ("test", "dev"):
            assert compare(task, split, subset, vectorize) == []


@VECTORS
def test_pairs_in_a_single_row(vectorize: Vectorize) -> None:
    rows = pair_rows(3)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    task = make_task("PairClassification", table_splits({"test": [columns]}))
    assert compare(task, "test", "default", vectorize) == []


def test_pairs_with_few_rows() -> None:
    for count in (2, 3, 4):
        rows = [{**row, "labels": number % 2} for number, row in enumerate(pair_rows(7, count))]
        task = make_task("PairClassification", table_splits({"test": rows}))
        assert compare(task, "test", "default", smooth) == []


def cluster_rows(seed: int, count: int, labels: list[Any]) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = [{"sentences": sentence(rng), "labels": rng.choice(labels)} for _ in range(count)]
    return [*rows, *rows[: count // 10]]


FAST: dict[str, Any] = {"max_documents_per_cluster": 120, "n_clusters": 3}
LIMITS = pytest.mark.parametrize(
    "limits",
    [
        {"max_fraction_of_documents_to_embed": None, "max_document_to_embed": None},
        {"max_fraction_of_documents_to_embed": 0.5, "max_document_to_embed": None},
        {"max_fraction_of_documents_to_embed": None, "max_document_to_embed": 60},
        {"max_fraction_of_documents_to_embed": None, "max_document_to_embed": 5000},
    ],
    ids=["all", "share", "number", "more than there are"],
)


@LIMITS
@pytest.mark.parametrize("labels", [[0, 1, 2], ["a", "b", "c", "d"]], ids=["numbers", "texts"])
def test_fast_clustering_equals_mteb(limits: dict[str, Any], labels: list[Any]) -> None:
    task = make_task("Clustering", table_splits({"test": cluster_rows(1, 200, labels)}), **FAST, **limits)
    for vectorize in (smooth, coarse):
        fresh = type(task)()
        fresh.load_data()
        assert compare(fresh, "test", "default", vectorize) == []


HIERARCHIES: dict[str, list[list[Any]]] = {
    "numbers with holes": [[0, 1], [0, 2], [1], [1, 3], [2, 1, 5]],
    "numbers with -1": [[0, 1], [0, -1], [1, 2], [1, -1]],
    "texts with holes": [["a", "x"], ["a"], ["b", "y"], ["b", "x", "deep"]],
}


@pytest.mark.parametrize("labels", HIERARCHIES.values(), ids=HIERARCHIES)
@pytest.mark.parametrize("depth", [None, 1, 2])
def test_hierarchical_clustering_equals_mteb(labels: list[list[Any]], depth: int | None) -> None:
    data = table_splits({"test": cluster_rows(2, 150, labels)})
    limits: dict[str, Any] = {"max_fraction_of_documents_to_embed": None, "max_document_to_embed": 100}
    limits["max_depth"] = depth
    assert compare(make_task("Clustering", data, **FAST, **limits), "test", "default", smooth) == []


def test_draws_follow_splits_and_subsets() -> None:
    data = {
        name: table_splits({"dev": cluster_rows(n, 90, [0, 1, 2]), "test": cluster_rows(n + 5, 120, [0, 1])})
        for n, name in enumerate(("en", "de"))
    }
    limits: dict[str, Any] = {"max_fraction_of_documents_to_embed": 0.6, "max_document_to_embed": None}
    task = make_task("Clustering", data, subsets=["en", "de"], **FAST, **limits)
    # one mteb task object, in the order of its splits and subsets, as a fresh run of mteb goes
    for split in task.eval_splits:
        for subset in ("en", "de"):
            assert compare(task, split, subset, smooth) == [], (split, subset)


def cluster_sets(seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    sets = [cluster_rows(seed + number, 60, labels) for number, labels in enumerate(([0, 1], [0, 1, 2, 3], [5]))]
    sets.append(cluster_rows(rng.randint(1, 99), 8, ["only"]))
    return [
        {"sentences": [row["sentences"] for row in rows], "labels": [str(row["labels"]) for row in rows]}
        for rows in sets
    ]


@VECTORS
def test_legacy_clustering_equals_mteb(vectorize: Vectorize) -> None:
    data = {name: table_splits({"test": cluster_sets(n), "dev": cluster_sets(n + 3)}) for n, name in enumerate("ab")}
    task = make_task("ClusteringLegacy", data, subsets=["a", "b"])
    for subset in "ab":
        for split in ("dev", "test"):
            assert compare(task, split, subset, vectorize) == []


def test_legacy_clustering_where_every_set_has_one_label() -> None:
    data = table_splits({"test": cluster_sets(4)[2:]})
    assert compare(make_task("ClusteringLegacy", data), "test", "default", smooth) == []


def summary_rows(seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = []
    for number in range(12):
        ratings = [rng.choice([1.0, 2.0, 3.5, 5.0]) for _ in range(6)]
        rows.append(
            {
                "text": sentence(rng),
                "human_summaries": [sentence(rng) for _ in range(rng.randint(1, 4))],
                "machine_summaries": [sentence(rng) for _ in range(6)],
                "relevance": [3.0] * 6 if number == 4 else ratings,
            }
        )
    rows[5]["machine_summaries"] = ["the same"] * 6
    return rows


@pytest.mark.parametrize("vectorize", [smooth, coarse], ids=["smooth", "ties"])
@pytest.mark.parametrize("deprecated", [False, True])
def test_summarization_equals_mteb(vectorize: Vectorize, deprecated: bool) -> None:
    attributes = {"evaluator": DeprecatedSummarizationEvaluator} if deprecated else {}
    data = {name: table_splits({"test": summary_rows(n)}) for n, name in enumerate(("en", "fr"))}
    task = make_task("Summarization", data, subsets=["en", "fr"], min_score=1, max_score=5, **attributes)
    for subset in ("en", "fr"):
        assert compare(task, "test", subset, vectorize) == []


def multilabel_rows(seed: int, count: int, labels: list[Any]) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = [{"text": sentence(rng), "label": rng.sample(labels, rng.randint(0, 3))} for _ in range(count)]
    return [*rows, *rows[: count // 10]]


@pytest.mark.parametrize("vectorize", [smooth, coarse], ids=["smooth", "ties"])
@pytest.mark.parametrize("labels", [[0, 1, 2], ["a", "b", "c", "d", "e"]], ids=["numbers", "texts"])
def test_multilabel_classification_equals_mteb(vectorize: Vectorize, labels: list[Any]) -> None:
    data = {
        name: table_splits(
            {
                "train": multilabel_rows(n, 150, [*labels, labels[0]]),
                "dev": multilabel_rows(n + 5, 60, labels),
                "test": multilabel_rows(n + 9, 80, labels[:-1] + labels[:1]),
            }
        )
        for n, name in enumerate(("en", "de"))
    }
    # numbers with the usual number of experiments
    few = {} if labels[0] == 0 else {"n_experiments": 3}
    task = make_task("MultilabelClassification", data, subsets=["en", "de"], **few)
    for split in task.eval_splits:
        for subset in ("en", "de"):
            assert compare(task, split, subset, vectorize) == [], (split, subset)


def test_multilabel_classification_of_too_many_rows() -> None:
    data = table_splits({"train": multilabel_rows(1, 90, [0, 1, 2]), "test": multilabel_rows(2, 200, [0, 1, 2, 3])})
    task = make_task("MultilabelClassification", data, max_eval_samples=70, samples_per_label=4, n_experiments=4)
    assert compare(task, "test", "default", smooth) == []


@VECTORS
def test_bitext_mining_equals_mteb(vectorize: Vectorize) -> None:
    def rows(seed: int, count: int) -> list[dict[str, str]]:
        rng = random.Random(seed)
        return [{"sentence1": (text := sentence(rng)), "sentence2": text[: rng.randint(4, 30)]} for _ in range(count)]

    data = {name: table_splits({"test": rows(n, 130 + n)}) for n, name in enumerate(("de-en", "fr-en"))}
    task = make_task("BitextMining", data, subsets=["de-en", "fr-en"])
    for subset in ("de-en", "fr-en"):
        assert compare(task, "test", subset, vectorize) == []


def test_bitext_mining_of_parallel_columns() -> None:
    rng = random.Random(3)
    rows = [
        {language: f"{language} {number} {sentence(rng)}" for language in ("en", "de", "fr")} for number in range(50)
    ]
    subsets = ["en-de", "de-en", "fr-en"]
    task = make_task("BitextMining", table_splits({"test": rows}), subsets=subsets, parallel_subsets=True)
    for subset in subsets:
        assert compare(task, "test", subset, coarse) == []
