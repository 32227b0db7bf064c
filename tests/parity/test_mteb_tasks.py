"""The same embeddings into mteb's task classes and into ours: equal to the digit that mteb keeps."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from support.compare import compare
from support.lookup import Vectorize, coarse, constant, smooth
from support.synthetic import make_task, retrieval_split, table_splits
from support.texts import sentence

VECTORS = pytest.mark.parametrize("vectorize", [smooth, coarse], ids=["smooth", "ties"])


def retrieval_data(seed: int, documents: int = 60, queries: int = 25) -> dict[str, Any]:
    """Titles, empty and duplicate texts, ids shared by queries and documents, grades of 0, queries without relevant
    documents, judged documents that are not in the corpus, and a query that is not judged at all."""
    rng = random.Random(seed)
    corpus: list[dict[str, str]] = []
    for number in range(documents):
        text = corpus[-1]["text"] if number % 7 == 6 else sentence(rng)
        corpus.append(
            {"id": f"d{number}", "title": rng.choice(["", sentence(rng)]), "text": "" if number % 13 == 5 else text}
        )
    corpus += [{"id": f"q{number}", "title": "", "text": f"  {sentence(rng)} "} for number in range(0, queries, 3)]
    asked = [{"id": f"q{number}", "text": f" {sentence(rng)}"} for number in range(queries)]
    asked.append({"id": "unjudged", "text": sentence(rng)})
    ids = [row["id"] for row in corpus]
    qrels = {row["id"]: {doc: rng.choice([0, 1, 1, 2]) for doc in rng.sample(ids, 5)} for row in asked[:-1]}
    qrels["q1"] = dict.fromkeys(ids[:3], 0)
    qrels["q2"] = {"absent": 1, ids[0]: 1}
    return retrieval_split(corpus, asked, qrels)


@VECTORS
@pytest.mark.parametrize("identical", [False, True])
def test_retrieval_equals_mteb(vectorize: Vectorize, identical: bool) -> None:
    task = make_task("Retrieval", {"default": {"test": retrieval_data(1)}}, ignore_identical_ids=identical)
    found = compare(task, "test", "default", vectorize)
    if identical and vectorize is coarse:
        # mteb's scores stand in the order in which torch gives equal ones, which is arbitrary; dropping a document out
        # of the middle then moves the last bit of their standard deviation, and with it who is how confident
        found = [line for line in found if not re.match(r"/nauc_\w+_std:", line)]
    assert found == []


def test_retrieval_beyond_the_depth_of_the_search() -> None:
    # distinct texts: where equal scores straddle rank 1000, torch chooses arbitrarily in mteb, and we by document id
    corpus = [{"id": f"d{number}", "text": f"text {number}"} for number in range(2500)]
    queries = [{"id": f"q{number}", "text": f"query {number}"} for number in range(40)]
    rng = random.Random(2)
    qrels = {query["id"]: {f"d{n}": rng.choice([1, 2]) for n in rng.sample(range(2500), 30)} for query in queries}
    task = make_task("Retrieval", {"default": {"test": retrieval_split(corpus, queries, qrels)}})
    assert compare(task, "test", "default", smooth) == []


def test_retrieval_where_every_score_is_equal() -> None:
    task = make_task("Retrieval", {"default": {"test": retrieval_data(3, documents=400)}})
    assert compare(task, "test", "default", constant) == []


def test_retrieval_with_other_depths() -> None:
    task = make_task("Retrieval", {"default": {"test": retrieval_data(4)}}, k_values=(1, 2, 10, 100))
    assert compare(task, "test", "default", smooth) == []


@VECTORS
def test_retrieval_with_several_subsets_and_splits(vectorize: Vectorize) -> None:
    data = {
        subset: {split: retrieval_data(10 * a + b) for b, split in enumerate(("validation", "test"))}
        for a, subset in enumerate(("en", "de"))
    }
    task = make_task("Retrieval", data, subsets=["en", "de"])
    for subset in ("en", "de"):
        for split in ("validation", "test"):
            assert compare(task, split, subset, vectorize) == []


def test_queries_with_instructions_and_conversations() -> None:
    plain = retrieval_data(5)
    for rows in (
        [{"id": "q0", "text": "What is it?", "instruction": "Find a definition."}],
        [{"id": "q0", "text": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "What is it?"}]}],
        [{"id": "q0", "text": ["Hi", "What is it?"]}],
    ):
        split = retrieval_split(plain["corpus"], rows, {"q0": {"d0": 1, "d3": 2}})
        task = make_task("Retrieval", {"default": {"test": split}})
        assert compare(task, "test", "default", smooth) == []


def sts_rows(seed: int, count: int = 200) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        first = sentence(rng)
        rows.append(
            {
                "sentence1": first,
                "sentence2": first if number % 5 == 0 else sentence(rng),
                "score": rng.choice([0.0, 1.0, 2.5, 4.0, 5.0]),
            }
        )
    return rows


@VECTORS
def test_sts_equals_mteb(vectorize: Vectorize) -> None:
    data = {"en": table_splits({"test": sts_rows(1), "dev": sts_rows(2)}), "de": table_splits({"test": sts_rows(3)})}
    task = make_task("STS", data, subsets=["en", "de"], min_score=0, max_score=5)
    for split, subset in (("test", "en"), ("dev", "en"), ("test", "de")):
        assert compare(task, split, subset, vectorize) == []


def test_sts_with_own_columns_and_range() -> None:
    rows = [{"a": row["sentence1"], "b": row["sentence2"], "score": 1 + row["score"] * 3 / 5} for row in sts_rows(4)]
    task = make_task("STS", table_splits({"test": rows}), column_names=("a", "b"), min_score=1, max_score=4)
    assert compare(task, "test", "default", smooth) == []


def labelled_rows(seed: int, count: int, labels: list[Any]) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = [{"text": sentence(rng), "label": rng.choice(labels), "other": 1} for _ in range(count)]
    return [*rows, *rows[: count // 10]]  # with duplicates


@VECTORS
@pytest.mark.parametrize("labels", [[0, 1], [1, 2], [0, 1, 2, 3, 4, 5], ["a", "b", "c"]], ids=str)
def test_classification_equals_mteb(vectorize: Vectorize, labels: list[Any]) -> None:
    data = table_splits({"train": labelled_rows(1, 150, labels), "test": labelled_rows(2, 90, labels)})
    # two labels with the usual number of experiments; more labels take longer
    few: dict[str, Any] = {} if len(labels) == 2 else {"n_experiments": 3}
    task = make_task("Classification", data, **few)
    assert compare(task, "test", "default", vectorize) == []


def test_classification_with_few_rows_of_a_label_and_unseen_labels() -> None:
    train = [*labelled_rows(1, 60, [0, 1]), {"text": "lemon", "label": 2, "other": 1}]
    data = table_splits({"train": train, "test": labelled_rows(2, 50, [0, 1, 2, 3])})
    task = make_task("Classification", data, samples_per_label=16, n_experiments=5)
    assert compare(task, "test", "default", smooth) == []


def test_classification_with_several_subsets_and_splits() -> None:
    data = {
        name: table_splits(
            {"train": labelled_rows(n, 80, [0, 1, 2]), "test": labelled_rows(n + 5, 40, [0, 1, 2]),
             "validation": labelled_rows(n + 9, 40, [0, 1, 2])}
        )
        for n, name in enumerate(("en", "de"))
    }  # fmt: skip
    task = make_task("Classification", data, subsets=["en", "de"])
    for subset in ("en", "de"):
        for split in ("test", "validation"):
            assert compare(task, split, subset, smooth) == []


def test_cross_validated_classification() -> None:
    data = table_splits({"train": labelled_rows(1, 103, [0, 1, 2])})
    task = make_task("Classification", data, is_cross_validation=True)
    assert compare(task, "train", "default", smooth) == []
