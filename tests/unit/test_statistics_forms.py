"""Scores that are no mean under resampling, against sklearn and scipy on items that are really repeated or swapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support

from evalharness.metrics.forms import (
    NOT_TESTED,
    Correlation,
    CorrelationKind,
    Decision,
    Form,
    LabelMeasure,
    Labels,
    LabelSets,
    Mean,
    PairMeasure,
)
from evalharness.metrics.pairs import pair_scores
from evalharness.metrics.statistics.influence import influence, trusted_from
from evalharness.metrics.statistics.recompute import reweighted, swapped
from evalharness.metrics.statistics.scales import on_one_scale, standardised

Array = NDArray[np.float64]

ITEMS, DRAWS = 80, 9
RANDOM = np.random.default_rng(7)
GOLD = RANDOM.integers(0, 6, ITEMS).astype(np.float64)
# ties on purpose
ONE, OTHER = (np.round(GOLD + RANDOM.normal(0, spread, ITEMS)) for spread in (2, 3))
BINARY = RANDOM.integers(0, 2, ITEMS)
SEVERAL = [np.stack([values, np.round(values * RANDOM.random(ITEMS), 1)]) for values in (ONE, OTHER)]
CLASSES = RANDOM.integers(0, 4, ITEMS)
GUESSES = [
    np.stack([np.where(RANDOM.random(ITEMS) < 0.6, CLASSES, RANDOM.integers(0, 5, ITEMS)) for _ in range(3)])
    for _ in range(2)
]
HARD = [np.stack([np.where(RANDOM.random(ITEMS) < 0.7, BINARY, 1 - BINARY) for _ in range(3)]) for _ in range(2)]
SETS = RANDOM.random((ITEMS, 3)) < 0.4
GUESSED_SETS = [RANDOM.random((2, ITEMS, 3)) < 0.4 for _ in range(2)]

# scores of (gold, prediction), where a prediction is an array whose second to last or last axis is items
ByHand = Callable[[Array, Array], float]


def correlation(kind: str) -> ByHand:
    test = pearsonr if kind == "pearson" else spearmanr
    return lambda gold, values: float(test(gold, values).statistic)


def best_decision(measure: str) -> ByHand:
    def score(labels: Array, rows: Array) -> float:
        return max(float(getattr(pair_scores(labels.astype(int).tolist(), row.tolist()), measure)) for row in rows)

    return score


def labels(measure: str, *, is_weighted: bool = False) -> ByHand:
    def score(gold: Array, predicted: Array) -> float:
        average = "weighted" if is_weighted else "macro"
        found = [precision_recall_fscore_support(gold, row, average=average, zero_division=0) for row in predicted]
        return float(np.mean([row[("precision", "recall", "f1").index(measure)] for row in found]))

    return score


labels_f1 = labels("f1")


def hard_ap(gold: Array, predicted: Array) -> float:
    return float(np.mean([average_precision_score(gold, row) for row in predicted]))


def sets_f1(gold: Array, predicted: Array) -> float:
    return float(np.mean([f1_score(gold, row, average="macro", zero_division=0) for row in predicted]))


MACRO: tuple[LabelMeasure, ...] = ("precision", "recall", "f1")
CASES: dict[str, tuple[Form, Form, ByHand]] = {
    "mean": (Mean(ONE), Mean(OTHER), lambda _, values: float(values.mean())),
    **{
        kind: (Correlation(GOLD, ONE, kind), Correlation(GOLD, OTHER, kind), correlation(kind))
        for kind in get_args(CorrelationKind)
    },
    **{
        f"pairs {measure}": (
            Decision(BINARY, SEVERAL[0], measure),
            Decision(BINARY, SEVERAL[1], measure),
            best_decision(measure),
        )
        for measure in get_args(PairMeasure)
    },
    **{
        f"labels {measure} {is_weighted}": (
            Labels(CLASSES, GUESSES[0], measure, is_weighted),
            Labels(CLASSES, GUESSES[1], measure, is_weighted),
            labels(measure, is_weighted=is_weighted),
        )
        for measure in MACRO
        for is_weighted in (False, True)
    },
    "labels ap": (Labels(BINARY, HARD[0], "ap", positive=1), Labels(BINARY, HARD[1], "ap", positive=1), hard_ap),
    "labels accuracy": (
        Labels(CLASSES, GUESSES[0], "accuracy"),
        Labels(CLASSES, GUESSES[1], "accuracy"),
        lambda gold, predicted: float((gold == predicted).mean()),
    ),
    "sets": (LabelSets(SETS, GUESSED_SETS[0]), LabelSets(SETS, GUESSED_SETS[1]), sets_f1),
}


def parts(form: Form) -> tuple[Array, Array, int]:
    """Gold, prediction, and the prediction's axis of items."""
    match form:
        case Mean():
            return form.values, form.values, -1
        case Correlation():
            return form.gold, form.similarities, -1
        case Decision():
            return form.labels.astype(np.float64), form.similarities, -1
        case Labels():
            return form.gold.astype(np.float64), form.predicted.astype(np.float64), -1
        case LabelSets():
            return form.gold.astype(np.float64), form.predicted.astype(np.float64), -2


@pytest.mark.parametrize("name", CASES)
def test_items_that_count_more_often_are_items_repeated(name: str) -> None:
    form, _, by_hand = CASES[name]
    gold, predicted, axis = parts(form)
    counts = np.random.default_rng(1).multinomial(ITEMS, [1 / ITEMS] * ITEMS, size=DRAWS)
    wanted = [by_hand(np.repeat(gold, times, axis=0), np.repeat(predicted, times, axis=axis)) for times in counts]
    assert reweighted(form)(counts) == pytest.approx(wanted, abs=1e-12)
    assert reweighted(form)(np.ones((1, ITEMS), dtype=np.int64)) == pytest.approx([by_hand(gold, predicted)], abs=1e-12)


def swappable(form: Form, first: Array, second: Array) -> tuple[Array, Array]:
    """What of predictions means the same in two systems."""
    if isinstance(form, Correlation) and form.kind == "pearson":
        return standardised(first), standardised(second)
    if isinstance(form, Correlation):
        one, other = on_one_scale([standardised(first), standardised(second)])
        return one, other
    if isinstance(form, Decision):
        # the highest first
        rows = [on_one_scale([standardised(-a), standardised(-b)]) for a, b in zip(first, second, strict=True)]
        return np.stack([-row[0] for row in rows]), np.stack([-row[1] for row in rows])
    return first, second


@pytest.mark.parametrize("name", CASES)
def test_swapped_items_are_scored_as_if_the_systems_had_predicted_so(name: str) -> None:
    base, candidate, by_hand = CASES[name]
    gold, first, axis = parts(base)
    second = parts(candidate)[1]
    first, second = swappable(base, first, second)
    masks = np.random.default_rng(2).random((DRAWS, ITEMS)) < 0.5
    shaped = masks if axis == -1 else masks[:, :, None]
    wanted = [
        by_hand(gold, np.where(mask, first, second)) - by_hand(gold, np.where(mask, second, first)) for mask in shaped
    ]
    assert swapped(base, candidate)(masks) == pytest.approx(wanted, abs=1e-12)
    # all or none swapped: the difference itself, and its opposite
    whole = by_hand(gold, second) - by_hand(gold, first)
    ends = np.array([[False] * ITEMS, [True] * ITEMS])
    assert swapped(base, candidate)(ends) == pytest.approx([whole, -whole], abs=1e-12)


# two thresholds are equally good there, so that there is no derivative
@pytest.mark.parametrize("name", [name for name in CASES if name != "pairs accuracy"])
def test_influence_is_the_derivative_by_an_items_weight(name: str) -> None:
    form, _, _ = CASES[name]
    values = influence(form)
    assert values.mean() == pytest.approx(0, abs=1e-9)
    # weights need not be whole numbers
    step = 1e-6
    weights = np.ones((ITEMS, ITEMS)) + step * np.eye(ITEMS)
    before = reweighted(form)(np.ones((1, ITEMS)))
    assert values == pytest.approx(ITEMS * (reweighted(form)(weights) - before) / step, abs=1e-3)


def test_influence_on_the_accuracy_is_being_right_at_the_best_threshold() -> None:
    form = Decision(np.array([1, 1, 0, 1, 0]), np.array([[9.0, 8.0, 3.0, 2.0, 1.0]]), "accuracy")
    assert influence(form) == pytest.approx([0.2, 0.2, 0.2, -0.8, 0.2])


def test_items_that_an_experiment_did_not_test_count_in_the_others_alone() -> None:
    folds = np.where(np.arange(ITEMS) % 3 == np.arange(3)[:, None], GUESSES[0], NOT_TESTED)
    form = Labels(CLASSES, folds, "f1")
    tested = [labels("f1")(CLASSES[row != NOT_TESTED], row[row != NOT_TESTED][None]) for row in folds]
    assert reweighted(form)(np.ones((1, ITEMS))) == pytest.approx([np.mean(tested)], abs=1e-12)
    step = 1e-6
    moved = reweighted(form)(np.ones((ITEMS, ITEMS)) + step * np.eye(ITEMS))
    assert influence(form) == pytest.approx(ITEMS * (moved - np.mean(tested)) / step, abs=1e-3)


def test_codes_of_two_systems_mean_what_their_numbers_say() -> None:
    # the candidate never predicts the label 7, which the base does
    numbers = np.array([3.0, 5.0, 7.0, 9.0])
    gold = RANDOM.choice(numbers[[0, 1, 3]], ITEMS)
    found = [RANDOM.choice(numbers, ITEMS), RANDOM.choice(numbers[[0, 1, 3]], ITEMS)]
    forms = []
    for values in found:
        labels, codes = np.unique(np.concatenate([gold, values]), return_inverse=True)
        forms.append(Labels(codes[:ITEMS], codes[None, ITEMS:], "f1", numbers=labels))
    assert len(forms[0].numbers) == len(forms[1].numbers) + 1  # type: ignore[arg-type]
    masks = np.random.default_rng(2).random((DRAWS, ITEMS)) < 0.5
    wanted = [
        labels_f1(gold, np.where(mask, *found)[None]) - labels_f1(gold, np.where(mask, *found[::-1])[None])
        for mask in masks
    ]
    assert swapped(*forms)(masks) == pytest.approx(wanted, abs=1e-12)


def test_items_without_a_value_have_no_influence() -> None:
    form = Mean(np.array([1.0, np.nan, 3.0, 8.0]))
    assert influence(form).tolist() == [4 / 3 * -3, 0.0, 4 / 3 * -1, 4 / 3 * 4]
    assert reweighted(form)(np.array([[1, 5, 1, 0]])).tolist() == [2.0]


def test_forms_that_differ_cannot_be_swapped() -> None:
    with pytest.raises(TypeError, match="Mean and Labels are not of the same form"):
        swapped(CASES["mean"][0], CASES["labels ap"][0])


def test_ap_of_folds_is_of_what_each_fold_tested() -> None:
    fold = np.arange(ITEMS) % 2
    one, other = (
        Labels(BINARY, np.where(fold == np.arange(2)[:, None], rows[:2], NOT_TESTED), "ap", positive=1) for rows in HARD
    )
    by_hand = [
        np.mean([hard_ap(BINARY[fold == number], rows[number][fold == number][None]) for number in range(2)])
        for rows in HARD
    ]
    nothing = np.ones((1, ITEMS), dtype=np.int64)
    assert reweighted(one)(nothing) == pytest.approx(by_hand[0])
    assert swapped(one, other)(nothing == 0) == pytest.approx(by_hand[1] - by_hand[0])
    assert swapped(one, other)(nothing == 1) == pytest.approx(by_hand[0] - by_hand[1])


def test_influence_is_trusted_where_labels_have_items_enough() -> None:
    gold = np.arange(60) % 10
    f1 = Labels(gold, gold[None], "f1")
    assert trusted_from(f1) == 120
    assert trusted_from(Labels(gold, gold[None], "accuracy")) == 0
    assert trusted_from(Labels(gold, gold[None], "f1", is_weighted=True)) == 0
    sets = np.zeros((60, 2), dtype=bool)
    sets[:20, 0] = sets[:10, 1] = True
    # 15 of 60 have a label, on average
    assert trusted_from(LabelSets(sets, sets[None])) == 48
    assert trusted_from(Correlation(np.arange(3.0), np.arange(3.0), "spearman")) == 0
