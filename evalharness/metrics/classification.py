"""Scores of predicted labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import accuracy_score, average_precision_score, precision_recall_fscore_support

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
    macro, weighted = (
        precision_recall_fscore_support(gold, predicted, average=average, zero_division=0)
        for average in ("macro", "weighted")
    )
    labels = np.unique(np.asarray(gold))
    binary = len(labels) == BINARY and not isinstance(labels[0], str) and 1 in labels
    return {
        "accuracy": float(accuracy_score(gold, predicted)),
        "f1": float(macro[2]),
        "f1_weighted": float(weighted[2]),
        "precision": float(macro[0]),
        "precision_weighted": float(weighted[0]),
        "recall": float(macro[1]),
        "recall_weighted": float(weighted[1]),
        "ap": float(average_precision_score(gold, predicted, average="macro")) if binary else None,
        "ap_weighted": float(average_precision_score(gold, predicted, average="weighted")) if binary else None,
    }


def hamming_scores(gold: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
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
