"""Metrics of labels, pairs, correlations and confidences by hand."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from heapq import heappush
from itertools import product
from typing import Any

import numpy as np
import pytest

from evalharness.metrics.abstention import Levels, confidences, heap_order, naucs
from evalharness.metrics.classification import classification_scores, hamming_scores
from evalharness.metrics.correlation import correlate, correlate_tested
from evalharness.metrics.pairs import pair_scores
from evalharness.metrics.ranking import Grades, judge, reciprocal_rank


def test_scores_of_labels() -> None:
    assert classification_scores([0, 1, 1, 1], [0, 1, 0, 1]) == pytest.approx(
        {
            "accuracy": 3 / 4,
            "f1": (2 / 3 + 4 / 5) / 2,
            "f1_weighted": (2 / 3 + 3 * 4 / 5) / 4,
            "precision": (1 / 2 + 1) / 2,
            "precision_weighted": (1 / 2 + 3) / 4,
            "recall": (1 + 2 / 3) / 2,
            "recall_weighted": 3 / 4,
            "ap": 2 / 3 + 1 / 3 * 3 / 4,
            "ap_weighted": 2 / 3 + 1 / 3 * 3 / 4,
        }
    )


@pytest.mark.parametrize("gold", [[0, 2, 2], ["0", "1", "1"], ["a", "b", "b"], [0, 1, 2], [1, 1, 1]], ids=str)
def test_labels_without_average_precision(gold: list[Any]) -> None:
    scores = classification_scores(gold, gold)
    assert [scores["ap"], scores["ap_weighted"]] == [None, None]
    assert scores["accuracy"] == scores["f1"] == 1.0


def test_a_label_that_is_never_predicted_has_precision_0_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = classification_scores([0, 0, 1, 2], [0, 0, 0, 0])
    assert scores["precision"] == pytest.approx(1 / 6)
    assert scores["recall"] == pytest.approx(1 / 3)


def test_shared_labels_over_labels_of_either() -> None:
    gold = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 1]])
    predicted = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 1], [1, 0, 0, 0]])
    assert hamming_scores(gold, predicted).tolist() == [1 / 3, 1.0, 1.0, 0.0]


def test_correlations_and_their_p_values() -> None:
    # both are 0.8; with 4 values the t distribution has 2 degrees of freedom, where p = 1 - r
    found = correlate_tested([1, 2, 3, 4], [1, 3, 2, 4])
    assert [found.pearson, found.pearson_p, found.spearman, found.spearman_p] == pytest.approx([0.8, 0.2, 0.8, 0.2])
    # the ranks agree, the values do not lie on a line
    curved = correlate_tested([1, 2, 3, 4], [1, 2, 3, 40])
    assert curved.spearman == pytest.approx(1.0)
    assert curved.pearson < 0.9
    assert curved.spearman_p < 0.01 < curved.pearson_p
    assert asdict(correlate([1, 2, 3, 4], [1, 2, 3, 40])) == {"pearson": curved.pearson, "spearman": curved.spearman}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 9, 16, 17, 100, 129, 1001, 5000])
def test_correlations_are_scipys_to_the_last_digit(count: int) -> None:
    draws = np.random.default_rng(count)
    grades, noise = draws.integers(0, 5, count) / 4, draws.normal(size=count)
    twice = np.repeat(draws.random(count), 2)[:count]
    close = 5 + 1e-7 * draws.random(count)
    sides = [grades, noise, twice, close, 1e200 * noise, grades + 1e-12 * noise, draws.integers(0, 9, count)]
    for first, second in product(sides, repeat=2):
        if count == 1:
            with pytest.raises(ValueError, match="at least two values"):
                correlate(first, second)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found, theirs = correlate(first.tolist(), second), correlate_tested(first.tolist(), second)
        # as text, for NaN equals nothing
        assert (repr(found.pearson), repr(found.spearman)) == (repr(theirs.pearson), repr(theirs.spearman))


def test_the_correlation_with_a_constant_is_no_number_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = correlate([1.0, 2.0, 3.0], [0.5, 0.5, 0.5])
    assert np.isnan([found.pearson, found.spearman]).all()


def test_the_best_thresholds_of_pairs() -> None:
    # accuracy: 3/4 above 0.8 and above 0.1; F1: 2/3 above 0.8, 1/2 above 0.7, 4/5 above 0.1
    found = asdict(pair_scores([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]))
    assert found == pytest.approx({"accuracy": 3 / 4, "f1": 4 / 5, "precision": 2 / 3, "recall": 1.0, "ap": 5 / 6})


def test_the_highest_of_equally_good_thresholds_counts() -> None:
    # F1 is 2/3 for the first pair alone and for the first four
    found = pair_scores([1, 0, 0, 1, 0], [5.0, 4.0, 3.0, 2.0, 1.0])
    assert [found.f1, found.precision, found.recall] == pytest.approx([2 / 3, 1.0, 1 / 2])


@pytest.mark.parametrize(("labels", "scores"), [([1], [0.5]), ([1, 1, 0], [0.5, 0.5, 0.5])])
def test_pairs_without_a_threshold(labels: list[int], scores: list[float]) -> None:
    found = pair_scores(labels, scores)
    assert [found.accuracy, found.f1, found.precision, found.recall] == [0.0] * 4


def test_a_threshold_above_which_nothing_is_positive_has_no_f1() -> None:
    found = pair_scores([0, 1], [0.9, 0.1])
    assert asdict(found) == {"accuracy": 0.0, "f1": 0.0, "precision": 0.0, "recall": 0.0, "ap": 0.5}


def test_equal_scores_are_never_split() -> None:
    # the threshold lies above the last pair only: two right of the first three, and the last one
    found = pair_scores([1, 0, 1, 0], [0.7, 0.7, 0.7, 0.1])
    assert [found.accuracy, found.precision, found.recall] == pytest.approx([3 / 4, 2 / 3, 1.0])


@pytest.mark.parametrize(
    ("confidence", "metric", "wanted"),
    [
        ([0.1, 0.5, 0.9], [0.0, 0.5, 1.0], 1.0),
        ([0.9, 0.5, 0.1], [0.0, 0.5, 1.0], -1.0),
        ([0.5, 0.5, 0.5], [0.0, 0.5, 1.0], 0.0),
        # the first two count as 0.25 each, in either order
        ([0.1, 0.1, 0.9], [0.0, 0.5, 1.0], 0.875),
        ([0.1, 0.1, 0.9], [0.5, 0.0, 1.0], 0.875),
    ],
)
def test_the_area_under_the_abstention_curve(confidence: list[float], metric: list[float], wanted: float) -> None:
    assert naucs([Levels.of(np.array(confidence))], np.array(metric))[0] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("confidence", "metric"), [([], []), ([0.1, np.inf], [0.0, 1.0]), ([np.nan, 1.0], [0.0, 1.0]), ([0.1, 0.2], [1, 1])]
)
def test_no_area_under_the_abstention_curve(confidence: list[float], metric: list[float]) -> None:
    assert np.isnan(naucs([Levels.of(np.array(confidence))], np.array(metric))[0])


def test_confidences_of_scores() -> None:
    found = confidences([np.array([3.0, 2.5, 1.0], np.float32), np.array([5.0], np.float32), np.array([], np.float32)])
    assert {name: values.tolist() for name, values in found.items()} == {
        "max": [3.0, 5.0, 0.0],
        "std": pytest.approx([np.std([1.0, 3.0, 2.5]), 0.0, 0.0]),
        "diff1": [0.5, 0.0, 0.0],
    }


@pytest.mark.parametrize("count", [0, 1, 2, 5, 7, 20])
def test_places_are_those_of_a_heap_that_documents_were_pushed_into_best_first(count: int) -> None:
    # as mteb does; the document at place n, counted from the best, has the score -n
    heap: list[tuple[float, int]] = []
    for place in range(count):
        heappush(heap, (-float(place), place))
    assert heap_order(count).tolist() == [place for _, place in heap]


def test_a_heap_is_not_the_reverse_of_an_order() -> None:
    assert heap_order(7).tolist() == [6, 3, 5, 0, 2, 1, 4]


def test_grades_of_several_queries() -> None:
    ranked = [np.array([7, 3, 5]), np.array([], dtype=np.int64), np.array([1])]
    found = judge(ranked, Grades.of([{3: 2, 5: 3, 9: 1}, {1: 1}, {1: -1}]))
    assert [found.found.query.tolist(), found.found.rank.tolist()] == [[0, 0], [1, 2]]
    assert [found.found.nth.tolist(), found.found.grade.tolist()] == [[1, 2], [2, 3]]
    assert [found.ideal.query.tolist(), found.ideal.grade.tolist()] == [[0, 0, 0, 1], [3, 2, 1, 1]]
    assert found.relevant.tolist() == [3, 1, 0]
    assert reciprocal_rank(found, 2).tolist() == [0.5, 0.0, 0.0]
    assert reciprocal_rank(found, 1).tolist() == [0.0, 0.0, 0.0]
