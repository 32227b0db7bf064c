"""What mteb's statistics say of the texts that jobs encode."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from evalharness.catalog.amounts import Amount, JobAmounts, mteb_amounts
from evalharness.catalog.tasks import mteb_task, mteb_task_names
from evalharness.data.mteb_amounts import describe_amounts


def test_a_classification_has_the_texts_that_its_classifiers_are_fitted_on() -> None:
    found = mteb_amounts("Banking77Classification", "test", "default")
    assert found is not None
    assert found.columns["test"] == Amount(3080, 167036, 368)
    # the run draws 4,616 different ones of 10,003
    assert found.columns["train"].texts == pytest.approx(4616, rel=0.01)
    assert (found.labels, found.fits, found.rows) == (77, 10, 616)


def test_retrieval_has_sides_and_reranking_candidates() -> None:
    assert mteb_amounts("NFCorpus", "test", "default") == JobAmounts(
        {"queries": Amount(323, 7030, 72), "corpus": Amount(3593, 5715687, 10090)}
    )
    found = mteb_amounts("AskUbuntuDupQuestions", "test", "default")
    assert found is not None
    assert found.candidates == 7220


def test_what_nobody_counted_is_unknown() -> None:
    assert mteb_amounts("NFCorpus", "dev", "default") is None
    assert mteb_amounts("NoSuchTask", "test", "default") is None


def test_most_tasks_are_known() -> None:
    known = [
        name
        for name in mteb_task_names()
        if (spec := mteb_task(name)) is not None
        and mteb_amounts(name, spec.splits[0], next(iter(spec.languages))) is not None
    ]
    assert len(known) > 0.95 * len(mteb_task_names())


def stats(texts: list[str]) -> dict[str, Any]:
    lengths = list(map(len, texts))
    return {
        "total_text_length": sum(lengths),
        "average_text_length": sum(lengths) / len(lengths),
        "max_text_length": max(lengths),
        "unique_texts": len(set(texts)),
    }


def pairs(pool: int, rows: int) -> tuple[list[str], list[str]]:
    draws = random.Random(0)
    first, second = ([f"{draws.randrange(pool):08}" for _ in range(rows)] for _ in range(2))
    return first, second


@pytest.mark.parametrize(("pool", "shrinks"), [(600, True), (1200, True), (100_000, False)])
def test_pairs_of_few_texts_are_taken_to_share_them(pool: int, shrinks: bool) -> None:
    first, second = pairs(pool, 2000)
    part = {"num_samples": 2000, "text1_statistics": stats(first), "text2_statistics": stats(second)}
    metadata = SimpleNamespace(type="STS", descriptive_stats={"test": part}, hf_subsets_to_langscripts={"default": []})
    task = SimpleNamespace(metadata=metadata, is_aggregate=False, eval_splits=["test"])
    columns = describe_amounts(task)["test"]["default"]["columns"]
    counted = sum(column[0] for column in columns.values())
    assert (counted < len(set(first)) + len(set(second))) is shrinks
    # what the union really is
    assert counted == pytest.approx(len({*first, *second}), rel=0.05)
