"""Scores by counting are those of sklearn to the last digit, ties, odd labels and odd sizes among them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    label_ranking_average_precision_score,
    precision_recall_fscore_support,
)

from evalharness.metrics.classification import classification_scores, set_score
from evalharness.metrics.forms import SetMeasure
from evalharness.metrics.pairs import pair_scores


def sklearn_scores(gold: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float | None]:
    found: dict[str, float | None] = {"accuracy": float(accuracy_score(gold, predicted))}
    for average, suffix in (("macro", ""), ("weighted", "_weighted")):
        of = precision_recall_fscore_support(gold, predicted, average=average, zero_division=0)
        found |= {f"{name}{suffix}": float(of[n]) for n, name in enumerate(("precision", "recall", "f1"))}
    labels = np.unique(gold)
    is_binary = len(labels) == 2 and not isinstance(labels[0], str) and 1 in labels
    for average, suffix in (("macro", ""), ("weighted", "_weighted")):
        ap = float(average_precision_score(gold, predicted, average=average)) if is_binary else None
        found[f"ap{suffix}"] = ap
    return found


LABELS: Mapping[str, list[Any]] = {
    "two": [0, 1],
    "two others": [1, 5],
    "two without 1": [0, 2],
    "many": list(range(30)),
    "negative": [-3, -1, 0, 1],
    "texts": ["b", "a", "ä", "a b"],
    "truth values": [False, True],
    "whole floats": [0.0, 1.0, 2.0],
    "one": [7],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("rows", [1, 2, 3, 17, 1000])
def test_scores_of_labels_are_those_of_sklearn(labels: list[Any], rows: int) -> None:
    rng = np.random.default_rng(rows)
    for trial in range(20):
        # in some trials a label is never right, never predicted, or the only one
        true, possible = np.asarray(labels), np.asarray(labels[trial % len(labels) :])
        gold = true[rng.integers(len(true) if trial % 3 else 1 + trial % len(true), size=rows)]
        predicted = np.where(rng.random(rows) < 0.6, gold, possible[rng.integers(len(possible), size=rows)])
        found = classification_scores(gold, predicted)
        assert found == sklearn_scores(gold, predicted)
        assert list(found)[:2] == ["accuracy", "f1"]


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [(["1", "2"], [1, 2]), ([0.5, 1.5, 2.5], [0.5, 1.5, 2.5]), ([0.0, float("nan")], [0.0, 1.0])],
    ids=["texts and numbers", "no classes", "no number"],
)
def test_what_sklearn_refuses_is_refused(gold: list[Any], predicted: list[Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- sklearn's, in its own words
        sklearn_scores(np.asarray(gold), np.asarray(predicted))
    with pytest.raises(ValueError):  # noqa: PT011 -- as above
        classification_scores(gold, predicted)


OF_SETS: Mapping[SetMeasure, Any] = {
    "accuracy": accuracy_score,
    "f1": lambda gold, predicted: f1_score(gold, predicted, average="macro", zero_division=0),
    "lrap": label_ranking_average_precision_score,
}


@pytest.mark.parametrize("measure", OF_SETS)
@pytest.mark.parametrize("labels", [1, 2, 3, 9, 40, 200])
def test_scores_of_sets_are_those_of_sklearn(measure: SetMeasure, labels: int) -> None:
    rng = np.random.default_rng(labels)
    for rows in (1, 2, 50, 333):
        # full and empty sets, labels that nobody has, rows that are wholly right
        gold = (rng.random((rows, labels)) < rng.random((rows, 1)) ** 2).astype(np.int64)
        gold[rng.random(rows) < 0.1], gold[rng.random(rows) < 0.1] = 0, 1
        predicted = np.where(rng.random((rows, labels)) < 0.8, gold, rng.integers(2, size=(rows, labels)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert set_score(measure, gold, predicted) == float(OF_SETS[measure](gold, predicted))


@pytest.mark.parametrize("kind", ["different", "ties", "few values"])
def test_average_precision_of_pairs_is_that_of_sklearn(kind: str) -> None:
    rng = np.random.default_rng(3)
    for rows in (2, 3, 10, 129, 4000):
        values = rng.normal(size=rows).astype(np.float32).astype(np.float64)
        values = {"different": values, "ties": values.round(1), "few values": np.sign(values)}[kind]
        labels = (values + rng.normal(size=rows) > 0).astype(int)
        labels[:2] = 0, 1
        assert pair_scores(labels, values).ap == float(average_precision_score(labels, values))


def test_pairs_without_positive_ones_and_similarities_that_are_no_numbers() -> None:
    with pytest.warns(UserWarning, match="No positive class"):
        assert asdict(pair_scores([0, 0], [0.3, 0.2]))["ap"] == 0.0
    assert pair_scores([1, 1], [0.3, 0.2]).ap == 1.0
    with pytest.raises(ValueError, match="NaN"):
        pair_scores([0, 1], [float("nan"), 0.2])
