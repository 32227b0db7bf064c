"""Scores by counting are those of sklearn to the last digit, ties, odd labels and odd sizes among them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import (
    accuracy_score,
    adjusted_mutual_info_score,
    average_precision_score,
    f1_score,
    label_ranking_average_precision_score,
    precision_recall_fscore_support,
    v_measure_score,
)
from sklearn.metrics.pairwise import paired_cosine_distances, paired_euclidean_distances, paired_manhattan_distances

from evalharness.metrics.classification import classification_scores, set_score
from evalharness.metrics.clustering import Agreement, agreement
from evalharness.metrics.correlation import correlations
from evalharness.metrics.forms import SetMeasure
from evalharness.metrics.pairs import pair_scores
from evalharness.ranking.similarity import pairwise
from evalharness.tasks.multilabel_classification import _coded
from evalharness.tasks.pairs import dots_within, similarities_within
from evalharness.types import Dense


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


def vectors_of(rows: int, width: int, seed: int) -> NDArray[np.float32]:
    """Some are zero, some almost, some equal to the next."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(rows, width)).astype(np.float32)
    found[::7] = 0
    found[3::11] *= np.float32(1e-20)
    return found


@pytest.mark.parametrize(
    ("rows", "width"), [(1, 1), (1, 384), (2, 7), (511, 33), (512, 384), (513, 384), (1025, 64), (1536, 5), (40, 4096)]
)
def test_similarities_of_pairs_are_those_of_the_whole_matrices(rows: int, width: int) -> None:
    first, second = vectors_of(rows, width, 1), vectors_of(rows, width, 2)
    second[::5] = first[::5]
    sides = {"first": Dense(first), "second": Dense(second)}
    assert similarities_within(sides) == {
        "similarity": pairwise(sides["first"], sides["second"]),
        "cosine": (1 - paired_cosine_distances(first, second)).tolist(),
        "manhattan": (-paired_manhattan_distances(first, second)).tolist(),
        "euclidean": (-paired_euclidean_distances(first, second)).tolist(),
    }
    assert dots_within(sides) == [float(np.dot(left, right)) for left, right in zip(first, second, strict=True)]


def test_vectors_that_are_no_numbers_are_refused() -> None:
    first = np.ones((3, 4), dtype=np.float32)
    second = first.copy()
    second[1, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        similarities_within({"first": Dense(first), "second": Dense(second)})


@pytest.mark.parametrize("rows", [2, 3, 4, 7, 8, 9, 16, 100, 1000, 20_001])
def test_correlations_are_those_of_scipy(rows: int) -> None:
    rng = np.random.default_rng(rows)
    gold = rng.integers(6, size=rows) / 5
    sides = [
        gold,
        -gold,
        gold + rng.normal(size=rows),
        rng.normal(size=rows).round(1),
        1 + 1e-9 * rng.normal(size=rows),
        np.full(rows, 0.3),
        np.where(np.arange(rows) == 1, np.nan, gold),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [
            (float(pearsonr(gold, values).statistic), float(spearmanr(gold, values).statistic)) for values in sides
        ]
    assert repr([(found.pearson, found.spearman) for found in correlations(gold, sides)]) == repr(expected)


def test_a_single_value_has_no_correlation() -> None:
    with pytest.raises(ValueError, match="at least two"):
        correlations([1.0], [[2.0]])


@pytest.mark.parametrize("labels", [["a"], ["a", "b"], list(range(-1, 40)), [f"group {n}" for n in range(300)]])
@pytest.mark.parametrize("clusters", [1, 2, 37, 300])
def test_agreement_of_clusters_is_that_of_sklearn(labels: list[Any], clusters: int) -> None:
    rng = np.random.default_rng(clusters)
    for rows, noise in ((1, 0.0), (2, 1.0), (50, 0.0), (700, 0.3), (700, 1.0)):
        codes = rng.integers(len(labels), size=rows)
        assigned = np.where(rng.random(rows) < noise, rng.integers(clusters, size=rows), codes % clusters)
        gold = np.array(labels)[codes]
        found = agreement(gold, assigned.astype(np.int32), adjusted=True)
        assert found.v_measure == float(v_measure_score(gold, assigned))
        assert found.ami == float(adjusted_mutual_info_score(gold, assigned))
        assert agreement(gold, assigned, adjusted=False) == Agreement(found.v_measure)


@pytest.mark.parametrize("labels", [1, 3, 8, 63, 64, 65, 200])
def test_sets_of_labels_are_numbered_as_their_rows_are_sorted(labels: int) -> None:
    rng = np.random.default_rng(labels)
    sets = [(rng.random((rows, labels)) < rng.choice([0.02, 0.5])).astype(np.int64) for rows in [90] * 3]
    found = _coded(sets, [f"label {n}" for n in range(labels)])
    different, codes = np.unique(np.concatenate(sets), axis=0, return_inverse=True)
    assert found.names == [[f"label {n}" for n in np.flatnonzero(row)] for row in different]
    assert found.codes == codes.reshape(3, 90).astype(np.float64).tolist()
