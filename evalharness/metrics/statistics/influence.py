"""How much each item counts in a score that is no mean: influence values, the derivative by an item's weight.

With n items and a score that is a smooth function of their weights, score + influence_i is what item i "says": for a
mean it is its value. Influence values have mean 0, and the standard deviation of a difference of two systems' values,
divided by sqrt(n), is the standard error of the difference (infinitesimal jackknife; Efron & Tibshirani 1993,
chapter 21). A best threshold, and the best of several similarities, count as given: at an optimum their derivative is
0. That holds where items are many; where they are few, `recompute` computes the score again.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evalharness.metrics.forms import NOT_TESTED, Codes, Correlation, Decision, Form, Labels, LabelSets, Mean, Values

Flags = NDArray[np.bool_]
# items of a label, on average, from which its F1 is linear enough
_PER_LABEL = 12


def influence(form: Form) -> Values:
    """Influence values of the items of a score, shape (items,); their mean is 0.

    >>> influence(Mean(np.array([1.0, 2.0, 6.0]))).tolist()
    [-2.0, -1.0, 3.0]
    """
    match form:
        case Mean():
            return _of_mean(form.values)
        case Correlation(kind="pearson"):
            return _of_pearson(form.gold, form.similarities)
        case Correlation():
            return _of_spearman(form.gold, form.similarities)
        case Decision():
            return _of_decision(form)
        case Labels():
            return _of_experiments(form)
        case LabelSets():
            return _of_label_sets(form)


def trusted_from(form: Form) -> int:
    """From how many items on influence values say what computing the score again does; 0 if from the first.

    Measured of macro F1 with 77 labels: of four items a label 14% of tests at .05 raise a false alarm, of 13 5.5%.
    """
    match form:
        case Labels(measure="precision" | "recall" | "f1", is_weighted=False):
            return _PER_LABEL * len(np.unique(form.gold))
        case LabelSets():
            # items that have a label, on average
            each = float(form.gold.sum(axis=0).mean())
            return int(np.ceil(_PER_LABEL * len(form.gold) / max(each, 1)))
        case _:
            return 0


def _of_mean(values: Values) -> Values:
    there = ~np.isnan(values)
    mean = values[there].mean()
    return np.where(there, (values - mean) * (len(values) / there.sum()), 0.0)


def _of_pearson(gold: Values, similarities: Values) -> Values:
    first, second = ((values - values.mean()) / values.std() for values in (gold, similarities))
    correlation = float((first * second).mean())
    values: Values = first * second - correlation / 2 * (first**2 + second**2)
    return values


def mid_ranks(values: Values) -> Values:
    """Ranks from 0 to 1, equal values sharing the middle of theirs, minus their mean 1/2; shape (items,).

    >>> mid_ranks(np.array([5.0, 1.0, 5.0, 9.0])).tolist()
    [0.0, -0.375, 0.0, 0.375]
    """
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Values = ((np.cumsum(counts) - counts / 2) / len(values))[codes] - 0.5
    return ranks


def _above(values: Values, summed: Values) -> Values:
    """Per item the mean over all items of `summed`, counting those with a larger value, and half of the equal ones."""
    _, codes = np.unique(values, return_inverse=True)
    sums = np.bincount(codes, weights=summed)
    after = np.cumsum(sums[::-1])[::-1] - sums / 2
    found: Values = after[codes] / len(values)
    return found


def _of_spearman(gold: Values, similarities: Values) -> Values:
    """Pearson's of the mid-ranks, which an item's weight changes, too: it lifts the ranks of all above it."""
    first, second = mid_ranks(gold), mid_ranks(similarities)
    joint, left, right = (float((a * b).mean()) for a, b in ((first, second), (first, first), (second, second)))
    correlation = joint / np.sqrt(left * right)
    of_joint = first * second + _above(gold, second) + _above(similarities, first) - 3 * joint
    of_left = first**2 + 2 * _above(gold, first) - 3 * left
    of_right = second**2 + 2 * _above(similarities, second) - 3 * right
    values: Values = of_joint / np.sqrt(left * right) - correlation / 2 * (of_left / left + of_right / right)
    return values


def _of_decision(form: Decision) -> Values:
    """Of the best of the similarities, at its best threshold."""
    positive, values = form.labels == 1, form.similarities[best_similarity(form)]
    if form.measure == "ap":
        return _of_average_precision(positive, values)
    return _of_accepted(
        positive, above_threshold(positive, values, by_accuracy=form.measure == "accuracy"), form.measure
    )


def best_similarity(form: Decision) -> int:
    """Which of the similarities has the best score."""
    if len(form.similarities) == 1:
        return 0
    return int(np.argmax([decided(form.labels == 1, row, form.measure) for row in form.similarities]))


def decided(positive: Flags, values: Values, measure: str) -> float:
    """The score of one similarity, up to rounding."""
    if measure == "ap":
        return _Precisions(positive, values).score
    accepted = above_threshold(positive, values, by_accuracy=measure == "accuracy")
    if measure == "accuracy":
        return float((accepted == positive).mean())
    taken, wanted, found = int(accepted.sum()), int(positive.sum()), int((accepted & positive).sum())
    return found / max({"precision": taken, "recall": wanted, "f1": (taken + wanted) / 2}[measure], 1)


def _of_accepted(positive: Flags, accepted: Flags, measure: str) -> Values:
    count, right, hit = len(positive), accepted == positive, accepted & positive
    taken, wanted, found = max(accepted.sum(), 1), max(positive.sum(), 1), hit.sum()
    if measure == "accuracy":
        return np.asarray(right - right.mean(), dtype=np.float64)
    if measure == "precision":
        return np.asarray(count * accepted * (positive - found / taken) / taken, dtype=np.float64)
    if measure == "recall":
        return np.asarray(count * positive * (accepted - found / wanted) / wanted, dtype=np.float64)
    return _of_f1(hit, accepted, positive)


def _of_f1(hit: Flags, accepted: Flags, positive: Flags) -> Values:
    total = max(accepted.sum() + positive.sum(), 1)
    f1 = 2 * hit.sum() / total
    values: Values = len(hit) * (2.0 * hit - f1 * (accepted.astype(np.float64) + positive)) / total
    return values


def above_threshold(positive: Flags, values: Values, *, by_accuracy: bool) -> Flags:
    """Which pairs are above the best threshold, as `pairs.pair_scores` chooses it."""
    order = np.argsort(-values, kind="stable")
    hits, ordered = np.cumsum(positive[order]), values[order]
    cuts = np.flatnonzero(ordered[1:] != ordered[:-1])
    if not len(cuts):
        return np.zeros(len(values), dtype=bool)
    taken = cuts + 1
    quality = 2 * hits[cuts] - taken if by_accuracy else 2 * hits[cuts] / (taken + positive.sum())
    return np.asarray(values >= ordered[cuts[int(quality.argmax())]], dtype=bool)


class _Precisions:
    """Of the groups of equal values, the highest first: their precision, and the AP that follows."""

    __slots__ = ("codes", "hits", "precision", "score", "taken", "wanted")

    def __init__(self, positive: Flags, values: Values) -> None:
        _, self.codes = np.unique(-values, return_inverse=True)
        self.hits = np.bincount(self.codes, weights=positive)
        self.taken, found = np.cumsum(np.bincount(self.codes)), np.cumsum(self.hits)
        self.precision, self.wanted = found / self.taken, max(float(found[-1]), 1.0)
        self.score = float((self.hits * self.precision).sum() / self.wanted)


def _of_average_precision(positive: Flags, values: Values) -> Values:
    at = _Precisions(positive, values)
    below = np.cumsum((at.hits / at.taken)[::-1])[::-1] / at.wanted
    lost = np.cumsum((at.hits * at.precision / at.taken)[::-1])[::-1] / at.wanted
    gained = (at.precision - at.score) / at.wanted + below
    found_values: Values = len(values) * (positive * gained[at.codes] - lost[at.codes])
    return found_values


def _of_experiments(form: Labels) -> Values:
    total = np.zeros(len(form.gold))
    for predicted in form.predicted:
        tested = predicted != NOT_TESTED
        values = _of_labels(replace(form, gold=form.gold[tested], predicted=predicted[tested][None]))
        # an item that only some experiments test counts in those alone
        total[tested] += values * (len(form.gold) / tested.sum())
    averaged: Values = total / len(form.predicted)
    return averaged


def _of_labels(form: Labels) -> Values:
    """Of one experiment that tests all items."""
    gold, predicted = form.gold, form.predicted[0]
    if form.measure == "ap":
        return _of_average_precision(gold == form.positive, predicted.astype(np.float64))
    if form.measure == "accuracy":
        right = gold == predicted
        return np.asarray(right - right.mean(), dtype=np.float64)
    labels, codes = np.unique(np.concatenate([gold, predicted]), return_inverse=True)
    wanted, taken = codes[: len(gold)], codes[len(gold) :]
    counts = LabelCounts.of(wanted, taken, len(labels))
    return _of_counts(counts, wanted, taken, form)


class LabelCounts:
    """Per label, how often it was right, predicted, and true; arrays whose last axis is labels."""

    __slots__ = ("hits", "taken", "wanted")

    def __init__(self, hits: Values, taken: Values, wanted: Values) -> None:
        self.hits, self.taken, self.wanted = hits, taken, wanted

    @classmethod
    def of(cls, gold: Codes, predicted: Codes, labels: int) -> LabelCounts:
        """Counted from codes."""
        return cls(
            np.bincount(gold[gold == predicted], minlength=labels).astype(np.float64),
            np.bincount(predicted, minlength=labels).astype(np.float64),
            np.bincount(gold, minlength=labels).astype(np.float64),
        )

    def measure(self, name: str) -> Values:
        """Precision, recall or F1 of each label; 0 where it is not defined."""
        over = {"precision": self.taken, "recall": self.wanted, "f1": (self.taken + self.wanted) / 2}[name]
        return np.where(over > 0, self.hits / np.where(over > 0, over, 1.0), 0.0)

    def average(self, name: str, *, is_weighted: bool) -> Values:
        """Over the labels that there are: plain, or weighted by how often each is true; the last axis goes."""
        values = self.measure(name)
        weights = self.wanted if is_weighted else ((self.taken + self.wanted) > 0).astype(np.float64)
        averaged: Values = (values * weights).sum(axis=-1) / weights.sum(axis=-1)
        return averaged


def _of_counts(counts: LabelCounts, gold: Codes, predicted: Codes, form: Labels) -> Values:
    """Each item counts in the label that it has, and in the one that was predicted."""
    values = counts.measure(form.measure)
    number = len(gold)
    if form.is_weighted:
        weights = counts.wanted / number
        own = values[gold] - counts.average(form.measure, is_weighted=True)
    else:
        weights = np.full(len(values), 1 / len(values))
        own = np.zeros(number)
    by_hit, by_taken, by_wanted = _derivatives(counts, values, form.measure)
    found: Values = own + number * (
        np.where(gold == predicted, (weights * by_hit)[gold], 0.0)
        + (weights * by_taken)[predicted]
        + (weights * by_wanted)[gold]
    )
    return found


def _derivatives(counts: LabelCounts, values: Values, measure: str) -> tuple[Values, Values, Values]:
    """Of each label's measure, by how often it was right, predicted, and true."""
    over = {"precision": counts.taken, "recall": counts.wanted, "f1": counts.taken + counts.wanted}[measure]
    one = np.divide(1.0, over, out=np.zeros(len(over)), where=over > 0)
    nothing = np.zeros(len(over))
    if measure == "precision":
        return one, -values * one, nothing
    if measure == "recall":
        return one, nothing, -values * one
    return 2 * one, -values * one, -values * one


def _of_label_sets(form: LabelSets) -> Values:
    total = np.zeros(len(form.gold))
    for predicted in form.predicted:
        for label in range(form.gold.shape[1]):
            gold, accepted = form.gold[:, label], predicted[:, label]
            total += _of_f1(gold & accepted, accepted, gold)
    averaged: Values = total / (len(form.predicted) * form.gold.shape[1])
    return averaged
