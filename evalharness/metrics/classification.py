"""Scores of predicted labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalharness.metrics.forms import NOT_TESTED, Labels, SetMeasure

BINARY = 2


def classification_scores(gold: ArrayLike, predicted: ArrayLike) -> dict[str, float | None]:
    """mteb's metrics of one experiment.

    Args:
        gold: true labels (all int or all str), shape (rows,).
        predicted: labels of the same kind, same length.

    Returns:
        accuracy; f1, precision and recall, as plain mean over labels and weighted by label frequency (a label that is
        never predicted has precision 0); ap and ap_weighted from the hard predictions if there are exactly two gold
        labels, numbers with a 1 among them, else None (there mteb has none, or fails).

    >>> scores = classification_scores([0, 1, 1], [0, 1, 0])
    >>> round(scores["accuracy"], 4), round(scores["f1"], 4)
    (0.6667, 0.6667)
    """
    from sklearn.metrics import accuracy_score, average_precision_score

    macro, weighted = (_by_label(gold, predicted, average) for average in ("macro", "weighted"))
    labels = np.unique(np.asarray(gold))
    binary = len(labels) == BINARY and not isinstance(labels[0], str) and 1 in labels
    return {
        "accuracy": float(accuracy_score(gold, predicted)),
        "f1": macro["f1"],
        "f1_weighted": weighted["f1"],
        "precision": macro["precision"],
        "precision_weighted": weighted["precision"],
        "recall": macro["recall"],
        "recall_weighted": weighted["recall"],
        "ap": float(average_precision_score(gold, predicted, average="macro")) if binary else None,
        "ap_weighted": float(average_precision_score(gold, predicted, average="weighted")) if binary else None,
    }


def classification_score(form: Labels) -> float:
    """The mean over experiments of one of `classification_scores`, from codes; NaN where there is none.

    >>> classification_score(Labels(np.array([0, 1, 1]), np.array([[0, 1, 0]]), "accuracy"))
    0.6666666666666666
    """
    found = []
    for row in form.predicted:
        tested = row != NOT_TESTED
        value = _of_one_experiment(form, form.gold[tested], row[tested])
        found += [] if value is None else [value]
    return float(np.mean(found)) if found else float("nan")


def _of_one_experiment(form: Labels, gold: NDArray[np.int64], predicted: NDArray[np.int64]) -> float | None:
    from sklearn.metrics import accuracy_score, average_precision_score

    if form.measure == "accuracy":
        return float(accuracy_score(gold, predicted))
    if form.measure != "ap":
        return _by_label(gold, predicted, "weighted" if form.is_weighted else "macro")[form.measure]
    if len(np.unique(gold)) != BINARY or form.positive not in gold:
        return None
    # a threshold on labels, by which they are in the same order as their codes
    return float(average_precision_score(gold == form.positive, predicted))


def _by_label(gold: ArrayLike, predicted: ArrayLike, average: str) -> dict[str, float]:
    from sklearn.metrics import precision_recall_fscore_support

    found = precision_recall_fscore_support(gold, predicted, average=average, zero_division=0)
    return dict(zip(("precision", "recall", "f1"), map(float, found[:3]), strict=True))


def set_score(
    measure: SetMeasure, gold: NDArray[np.integer[Any] | np.bool_], predicted: NDArray[np.integer[Any] | np.bool_]
) -> float:
    """How well sets of labels are predicted in one experiment.

    Args:
        measure: `accuracy` (the whole set), macro `f1`, label ranking average precision (`lrap`), or `hamming`.
        gold: 0 and 1, shape (rows, labels).
        predicted: the same.

    >>> set_score("accuracy", np.array([[1, 1, 0], [0, 0, 1]]), np.array([[1, 0, 0], [0, 0, 1]]))
    0.5
    """
    from sklearn.metrics import accuracy_score, f1_score, label_ranking_average_precision_score

    if measure == "accuracy":
        return float(accuracy_score(gold, predicted))
    if measure == "f1":
        return float(f1_score(gold, predicted, average="macro", zero_division=0))
    if measure == "lrap":
        return float(label_ranking_average_precision_score(gold, predicted))
    return float(np.mean(hamming_scores(gold, predicted)))


def hamming_scores(
    gold: NDArray[np.integer[Any] | np.bool_], predicted: NDArray[np.integer[Any] | np.bool_]
) -> NDArray[np.float64]:
    """Per row, shared labels over all labels of either; 1 where both have none. Source: mteb's Hamming score.

    Args:
        gold: 0 and 1, shape (rows, labels).
        predicted: the same.

    >>> hamming_scores(np.array([[1, 1, 0], [0, 0, 0]]), np.array([[1, 0, 0], [0, 0, 0]])).tolist()
    [0.5, 1.0]
    """
    shared, either = ((gold == 1) & (predicted == 1)).sum(axis=1), ((gold == 1) | (predicted == 1)).sum(axis=1)
    scores: NDArray[np.float64] = np.divide(shared, either, out=np.ones(len(gold)), where=either > 0)
    return scores
