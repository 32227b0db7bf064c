"""Scores of predicted labels, by counting: to the last digit those of sklearn, which checks its input each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalharness.metrics.forms import NOT_TESTED, Codes, Labels, SetMeasure, Values
from evalharness.metrics.precision import average_precision

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
    from sklearn.utils.multiclass import unique_labels

    true, found = np.asarray(gold), np.asarray(predicted)
    # texts and numbers together, and numbers that name no class, are refused
    labels = unique_labels(true, found)
    return coded_scores(np.searchsorted(labels, true), np.searchsorted(labels, found), positive_code(labels))


def positive_code(labels: NDArray[Any]) -> int | None:
    """The code of the label 1, for `ap`; None where there is none, or labels are texts.

    >>> positive_code(np.array([0, 1])), positive_code(np.array(["0", "1"]))
    (1, None)
    """
    if labels.dtype.kind not in "biuf":
        return None
    found = np.flatnonzero(labels == 1)
    return int(found[0]) if len(found) else None


def coded_scores(gold: Codes, predicted: Codes, positive: int | None) -> dict[str, float | None]:
    """As `classification_scores`, of labels as codes.

    Args:
        gold: codes from 0, in the labels' order, shape (rows,).
        predicted: the same.
        positive: see `positive_code`.

    >>> coded_scores(np.array([0, 1, 1]), np.array([0, 1, 0]), 1)["ap"]
    0.8333333333333333
    """
    counts = _counted(gold, predicted)
    by_label = _by_label(counts)
    macro, weighted = by_label.means(), by_label.means(counts.gold[counts.present])
    ap = _hard_precision(gold, predicted, positive)
    return {
        "accuracy": _share(gold == predicted),
        "f1": macro["f1"],
        "f1_weighted": weighted["f1"],
        "precision": macro["precision"],
        "precision_weighted": weighted["precision"],
        "recall": macro["recall"],
        "recall_weighted": weighted["recall"],
        # of two labels there is one that counts, and so nothing to weigh
        "ap": ap,
        "ap_weighted": ap,
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


def _of_one_experiment(form: Labels, gold: Codes, predicted: Codes) -> float | None:
    if form.measure == "accuracy":
        return _share(gold == predicted)
    if form.measure == "ap":
        return _hard_precision(gold, predicted, form.positive)
    counts = _counted(gold, predicted)
    return _by_label(counts).means(counts.gold[counts.present] if form.is_weighted else None)[form.measure]


@dataclass(frozen=True, slots=True)
class _Counts:
    """Of each label, how many rows have it, were given it, and both."""

    gold: Codes
    predicted: Codes
    both: Codes

    @property
    def present(self) -> NDArray[np.bool_]:
        return (self.gold + self.predicted) > 0


def _counted(gold: Codes, predicted: Codes) -> _Counts:
    size = int(max(gold.max(), predicted.max())) + 1
    return _Counts(
        np.bincount(gold, minlength=size),
        np.bincount(predicted, minlength=size),
        np.bincount(gold[gold == predicted], minlength=size),
    )


@dataclass(frozen=True, slots=True)
class _ByLabel:
    """Precision, recall and F1 of each label."""

    precision: Values
    recall: Values
    f1: Values

    def means(self, weights: Codes | None = None) -> dict[str, float]:
        """Means over labels, plain or by weight."""
        named = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {name: float(np.average(values, weights=weights)) for name, values in named.items()}


def _by_label(counts: _Counts) -> _ByLabel:
    """Of the labels that some row has or was given; 0 where nothing is divided by nothing."""
    kept = counts.present
    gold, predicted, both = counts.gold[kept], counts.predicted[kept], counts.both[kept]
    # as sklearn puts F1: what it is made of decides the last digit
    return _ByLabel(_divided(both, predicted), _divided(both, gold), _divided(2.0 * both, gold + predicted))


def _divided(part: NDArray[Any], whole: Codes) -> Values:
    shares: Values = np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
    return shares


def _hard_precision(gold: Codes, predicted: Codes, positive: int | None) -> float | None:
    """Average precision where the predicted label is the score; None unless there are two labels, one of them 1."""
    present = np.bincount(gold)
    if positive is None or np.count_nonzero(present) != BINARY or positive >= len(present) or not present[positive]:
        return None
    taken = np.bincount(predicted)
    hits = np.bincount(predicted[gold == positive], minlength=len(taken))
    # a threshold on labels, by which they are in the same order as their codes
    thresholds = np.flatnonzero(taken)[::-1]
    return average_precision(np.cumsum(hits[thresholds]), np.cumsum(taken[thresholds]))


def _share(right: NDArray[np.bool_]) -> float:
    return float(np.mean(right))


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
    if measure == "accuracy":
        return _share((gold == predicted).all(axis=1))
    if measure == "f1":
        return _set_f1(gold == 1, predicted == 1)
    if measure == "lrap":
        return label_ranking_precision(gold == 1, predicted == 1)
    return float(np.mean(hamming_scores(gold, predicted)))


def _set_f1(gold: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """Macro F1; of a single label sklearn takes having it and not having it for two."""
    if gold.shape[1] == 1:
        return _by_label(_counted(gold[:, 0].astype(np.int64), predicted[:, 0].astype(np.int64))).means()["f1"]
    both = np.count_nonzero(gold & predicted, axis=0)
    either = np.count_nonzero(gold, axis=0) + np.count_nonzero(predicted, axis=0)
    return float(np.average(_divided(2.0 * both, either)))


def label_ranking_precision(gold: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """sklearn's label ranking average precision where the scores are 0 and 1, to the last digit.

    Labels that are predicted share a rank, and so do the others. A row that has all labels or none counts as 1.

    Args:
        gold: which labels a row has, shape (rows, labels).
        predicted: which it was given.

    >>> label_ranking_precision(np.array([[True, False, False]]), np.array([[True, True, False]]))
    0.5
    """
    labels = gold.shape[1]
    wanted, chosen = np.count_nonzero(gold, axis=1), np.count_nonzero(predicted, axis=1)
    hits = np.count_nonzero(gold & predicted, axis=1)
    rows = np.ones(len(gold))
    for count in np.unique(wanted[(wanted > 0) & (wanted < labels)]).tolist():
        chosen_rows = np.flatnonzero(wanted == count)
        is_hit = predicted[chosen_rows][gold[chosen_rows]].reshape(-1, count)
        # a label's rank among those wanted, by its rank among all
        of_hits = hits[chosen_rows] / np.maximum(chosen[chosen_rows], 1)
        rows[chosen_rows] = np.where(is_hit, of_hits[:, None], count / labels).mean(axis=1)
    # one after the other, as sklearn adds them
    return float(np.cumsum(rows)[-1] / len(rows))


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
