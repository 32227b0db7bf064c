"""Scores that are no mean, computed again for many resamples at once.

Two things are done to items. Their number changes (`reweighted`, for a bootstrap), or the two systems swap their
predictions of some of them (`swapped`, for the permutation test of systems). What systems swap must mean the same in
both: similarities are brought to one scale first, to which Spearman's correlation, AP and best thresholds are blind;
for Pearson's correlation they are standardised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from evalharness.metrics.forms import NOT_TESTED, Codes, Correlation, Decision, Form, Labels, LabelSets, Mean, Values
from evalharness.metrics.statistics.influence import LabelCounts, mid_ranks
from evalharness.metrics.statistics.scales import common_codes, standardised

Counts: TypeAlias = NDArray[Any]
Masks: TypeAlias = NDArray[Any]
# counts of the items, shape (draws, items) -> scores, shape (draws,)
Reweighted: TypeAlias = Callable[[Counts], Values]
# which items are swapped, shape (draws, items) -> candidate's score minus base's, shape (draws,)
Swapped: TypeAlias = Callable[[Masks], Values]


def cost(form: Form) -> int:
    """About how many numbers are touched to compute a score once."""
    match form:
        case Mean() | Correlation():
            return len(form.gold) if isinstance(form, Correlation) else len(form.values)
        case Decision():
            return form.similarities.size
        case Labels() | LabelSets():
            return form.predicted.size


def reweighted(form: Form) -> Reweighted:
    """The score as a function of how often each item counts; NaN where it is not defined.

    >>> gold, similarities = np.array([0.0, 1, 2]), np.array([1.0, 5, 2])
    >>> reweighted(Correlation(gold, similarities, "spearman"))(np.array([[1, 1, 1]])).tolist()
    [0.5]
    """
    match form:
        case Mean():
            return _mean(form)
        case Correlation():
            return _reweighted_correlation(form)
        case Decision():
            return _decision(form)
        case Labels():
            return _reweighted_labels(form)
        case LabelSets():
            return _label_sets(form)


def swapped(base: Form, candidate: Form) -> Swapped:
    """The difference of two systems' scores as a function of the items whose predictions they swap.

    Raises:
        TypeError: the two are not of the same form.
    """
    match base, candidate:
        case Mean(), Mean():
            return lambda masks: _swapped_means(base, candidate, masks)
        case Correlation(), Correlation():
            return _swapped_correlation(base, candidate)
        case Decision(), Decision():
            return _swapped_decision(base, candidate)
        case Labels(), Labels():
            pair = _coded_alike(base, candidate)
            return _swapped_binary(*pair) if base.measure == "ap" else _swapped_labels(*pair)
        case LabelSets(), LabelSets():
            return _swapped_sets(base, candidate)
    raise TypeError(f"{type(base).__name__} and {type(candidate).__name__} are not of the same form")


def _average(parts: Sequence[Callable[[NDArray[Any]], Values]]) -> Callable[[NDArray[Any]], Values]:
    return lambda resampled: _array(np.mean([part(resampled) for part in parts], axis=0))


def _array(values: object) -> Values:
    return np.asarray(values, dtype=np.float64)


def _both_ways(score: Callable[[NDArray[Any]], Values], first: NDArray[Any], second: NDArray[Any]) -> Swapped:
    """The candidate takes the base's value where the mask is set, and the base the candidate's."""
    return lambda masks: score(np.where(masks, first, second)) - score(np.where(masks, second, first))


# --- means


def _mean(form: Mean) -> Reweighted:
    there, values = ~np.isnan(form.values), np.nan_to_num(form.values)

    def score(counts: Counts) -> Values:
        with np.errstate(invalid="ignore"):
            return np.asarray((counts @ values) / (counts @ there), dtype=np.float64)

    return score


def _swapped_means(base: Mean, candidate: Mean, masks: Masks) -> Values:
    first, second = np.where(masks, candidate.values, base.values), np.where(masks, base.values, candidate.values)
    difference: Values = np.nanmean(second, axis=1) - np.nanmean(first, axis=1)
    return difference


# --- correlations


class _Groups:
    """Values in order, equal ones together."""

    def __init__(self, values: Values) -> None:
        _, self._codes = np.unique(values, return_inverse=True)
        self._order = np.argsort(self._codes, kind="stable")
        self._starts = np.flatnonzero(np.diff(self._codes[self._order], prepend=-1))

    def mid_ranks(self, counts: Counts) -> Values:
        """Mid-ranks, from 0 to 1, of items that count so often; shape (draws, items)."""
        sums = counts[:, self._order]
        if len(self._starts) < len(self._order):
            sums = np.add.reduceat(sums, self._starts, axis=1)
        ranks = (np.cumsum(sums, axis=1) - sums / 2) / counts.sum(axis=1, keepdims=True)
        found: Values = ranks[:, self._codes]
        return found


def _correlation(first: Values, second: Values, counts: Counts | None) -> Values:
    """Pearson's, along the last axis, of items that count so often (None: once)."""
    if counts is None:
        left = first - first.mean(axis=-1, keepdims=True)
        right = second - second.mean(axis=-1, keepdims=True)
        joint, squares = (left * right).sum(axis=-1), (left**2).sum(axis=-1) * (right**2).sum(axis=-1)
    else:
        # once, for each of the products would do it
        counts = counts.astype(np.float64)
        total = counts.sum(axis=1)
        left = first - ((counts * first).sum(axis=1) / total)[:, None]
        right = second - ((counts * second).sum(axis=1) / total)[:, None]
        weighted = counts * left
        joint = (weighted * right).sum(axis=1)
        squares = (weighted * left).sum(axis=1) * (counts * right**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(joint / np.sqrt(squares), dtype=np.float64)


def _reweighted_correlation(form: Correlation) -> Reweighted:
    if form.kind == "pearson":
        return lambda counts: _correlation(form.gold, form.similarities, counts)
    gold, similarities = _Groups(form.gold), _Groups(form.similarities)
    return lambda counts: _correlation(gold.mid_ranks(counts), similarities.mid_ranks(counts), counts)


def _swapped_correlation(base: Correlation, candidate: Correlation) -> Swapped:
    if base.kind == "pearson":
        first, second = standardised(base.similarities), standardised(candidate.similarities)
        return _both_ways(lambda values: _correlation(base.gold, values, None), first, second)
    gold, codes = mid_ranks(base.gold), common_codes(base.similarities, candidate.similarities)
    return _both_ways(lambda mixed: _correlation(gold, _ranks_of_codes(mixed), None), *codes)


def _histogram(codes: Codes, size: int, weights: Values | None = None) -> Values:
    """Per draw, how often each code is there; shape (draws, size)."""
    draws = len(codes)
    places = (codes + size * np.arange(draws)[:, None]).ravel()
    repeated = None if weights is None else np.broadcast_to(weights, codes.shape).ravel()
    counted = np.bincount(places, weights=repeated, minlength=draws * size)
    return np.asarray(counted, dtype=np.float64).reshape(draws, size)


def _ranks_of_codes(codes: Codes) -> Values:
    """Mid-ranks, anew, of ranks that come from two systems."""
    counted = _histogram(codes, 2 * codes.shape[1] + 1)
    ranks = np.cumsum(counted, axis=1) - counted / 2
    return _array(np.take_along_axis(ranks, codes, axis=1))


# --- decisions about pairs


def _decide(hits: Values, taken: Values, measure: str) -> Values:
    """A decision's score from how many positives and how many pairs have each similarity, the highest first."""
    found, accepted = np.cumsum(hits, axis=1), np.cumsum(taken, axis=1)
    positives, total = found[:, -1:], accepted[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.divide(found, accepted, out=np.zeros_like(found), where=accepted > 0)
        if measure == "ap":
            return np.asarray(((hits * precision).sum(axis=1)) / positives[:, 0], dtype=np.float64)
        # a threshold never takes all pairs
        is_cut = (taken > 0) & (accepted < total)
        if measure == "accuracy":
            right = (2 * found - accepted + total - positives) / total
            return _array(np.where(is_cut, right, 0.0).max(axis=1))
        f1 = np.where(is_cut, 2 * found / (accepted + positives), 0.0)
    best = f1.argmax(axis=1)[:, None]
    values = {"f1": f1, "precision": precision, "recall": found / np.maximum(positives, 1)}[measure]
    chosen: Values = np.where(np.take_along_axis(f1, best, axis=1) > 0, np.take_along_axis(values, best, axis=1), 0.0)
    return chosen[:, 0]


def _decision(form: Decision) -> Reweighted:
    positive = form.labels == 1
    orders, starts = [], []
    for values in form.similarities:
        order = np.argsort(-values, kind="stable")
        orders.append(order)
        starts.append(np.flatnonzero(np.diff(values[order], prepend=np.inf)))

    def score(counts: Counts) -> Values:
        found = []
        for order, start in zip(orders, starts, strict=True):
            ordered = counts[:, order]
            taken = np.add.reduceat(ordered, start, axis=1).astype(np.float64)
            hits = np.add.reduceat(ordered * positive[order], start, axis=1).astype(np.float64)
            found.append(_decide(hits, taken, form.measure))
        return _array(np.max(found, axis=0))

    return score


def _swapped_decision(base: Decision, candidate: Decision) -> Swapped:
    positive = (base.labels == 1).astype(np.float64)
    items = len(positive)
    pairs = [common_codes(*rows) for rows in zip(-base.similarities, -candidate.similarities, strict=True)]

    def best(masks: Masks, *, swap: bool) -> Values:
        found = []
        for first, second in pairs:
            codes = np.where(masks, first, second) if swap else np.where(masks, second, first)
            size = 2 * items + 1
            found.append(_decide(_histogram(codes, size, positive), _histogram(codes, size), base.measure))
        return _array(np.max(found, axis=0))

    return lambda masks: best(masks, swap=True) - best(masks, swap=False)


# --- labels


def _reweighted_binary(form: Labels, experiment: int) -> Reweighted:
    """A decision by the predicted label itself, which AP of hard predictions is."""
    tested = np.flatnonzero(form.predicted[experiment] != NOT_TESTED)
    positive = (form.gold[tested] == form.positive).astype(np.int64)
    score = _decision(Decision(positive, form.predicted[experiment, tested].astype(np.float64)[None], "ap"))
    return lambda counts: score(counts[:, tested])


def _reweighted_labels(form: Labels) -> Reweighted:
    numbers = range(len(form.predicted))
    if form.measure == "ap":
        return _average([_reweighted_binary(form, number) for number in numbers])
    return _average([_Confusion(form, number).reweighted for number in numbers])


def _coded_alike(base: Labels, candidate: Labels) -> tuple[Labels, Labels]:
    """The same, where a code means the same label in both."""
    if base.numbers is None or candidate.numbers is None or np.array_equal(base.numbers, candidate.numbers):
        return base, candidate
    numbers = np.union1d(base.numbers, candidate.numbers)

    def recoded(form: Labels, own: Values) -> Labels:
        # the last is that of what was not tested
        codes = np.append(np.searchsorted(numbers, own), NOT_TESTED)
        positive = None if form.positive is None else int(codes[form.positive])
        return replace(form, gold=codes[form.gold], predicted=codes[form.predicted], positive=positive, numbers=numbers)

    return recoded(base, base.numbers), recoded(candidate, candidate.numbers)


def _swapped_binary(base: Labels, candidate: Labels) -> Swapped:
    positive = (base.gold == base.positive).astype(np.float64)
    labels, codes = np.unique(np.stack([base.predicted, candidate.predicted]), return_inverse=True)
    # the highest label first
    first, second = len(labels) - 1 - codes.reshape(2, *base.predicted.shape)

    def part(experiment: int) -> Swapped:
        tested = np.flatnonzero(base.predicted[experiment] != NOT_TESTED)

        def score(mixed: Codes) -> Values:
            return _decide(_histogram(mixed, len(labels), positive[tested]), _histogram(mixed, len(labels)), "ap")

        both = _both_ways(score, first[experiment, tested], second[experiment, tested])
        return lambda masks: both(masks[:, tested])

    return _average([part(number) for number in range(len(base.predicted))])


@dataclass(frozen=True, slots=True)
class _Tables:
    """Per item (a row) and label (a column) whether it was right, predicted, true."""

    hits: csr_array
    taken: csr_array
    wanted: csr_array


def _tables(form: Labels, experiment: int, labels: Codes) -> _Tables:
    tested = np.flatnonzero(form.predicted[experiment] != NOT_TESTED)
    gold = np.searchsorted(labels, form.gold[tested])
    predicted = np.searchsorted(labels, form.predicted[experiment][tested])
    shape = (len(form.gold), len(labels))

    def table(rows: Codes, columns: Codes) -> csr_array:
        return csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)

    right = gold == predicted
    return _Tables(table(tested[right], gold[right]), table(tested, predicted), table(tested, gold))


def _labels_of(*forms: Labels) -> Codes:
    found: Codes = np.unique(
        np.concatenate([values.ravel() for form in forms for values in (form.gold, form.predicted)])
    )
    tested: Codes = found[found != NOT_TESTED]
    return tested


class _Confusion:
    """What an experiment predicted, for scores under other counts of the items."""

    def __init__(self, form: Labels, experiment: int) -> None:
        self._form = form
        self._tables = _tables(form, experiment, _labels_of(form))

    def reweighted(self, counts: NDArray[Any]) -> Values:
        """Scores, shape (draws,)."""
        weights, tables = counts.astype(np.float64), self._tables
        return _averaged(self._form, weights @ tables.hits, weights @ tables.taken, weights @ tables.wanted)


def _averaged(form: Labels, hits: Values, taken: Values, wanted: Values) -> Values:
    if form.measure == "accuracy":
        right: Values = hits.sum(axis=-1) / wanted.sum(axis=-1)
        return right
    return LabelCounts(hits, taken, wanted).average(form.measure, is_weighted=form.is_weighted)


def _swapped_labels(base: Labels, candidate: Labels) -> Swapped:
    labels = _labels_of(base, candidate)

    def part(experiment: int) -> Callable[[NDArray[Any]], Values]:
        first, second = _tables(base, experiment, labels), _tables(candidate, experiment, labels)
        hits, taken = second.hits - first.hits, second.taken - first.taken

        def score(masks: NDArray[Any]) -> Values:
            weights, wanted = masks.astype(np.float64), first.wanted.sum(axis=0)[None]
            hit, took = weights @ hits, weights @ taken
            after = _averaged(base, second.hits.sum(axis=0) - hit, second.taken.sum(axis=0) - took, wanted)
            return after - _averaged(base, first.hits.sum(axis=0) + hit, first.taken.sum(axis=0) + took, wanted)

        return score

    return _average([part(number) for number in range(len(base.predicted))])


def _label_sets(form: LabelSets) -> Reweighted:
    gold = form.gold.astype(np.float64)

    def score(counts: Counts) -> Values:
        weights, found = counts.astype(np.float64), []
        wanted = weights @ gold
        for predicted in form.predicted:
            hits, taken = weights @ (gold * predicted), weights @ predicted.astype(np.float64)
            found.append(LabelCounts(hits, taken, wanted).measure("f1").mean(axis=-1))
        return _array(np.mean(found, axis=0))

    return score


def _swapped_sets(base: LabelSets, candidate: LabelSets) -> Swapped:
    gold, wanted = base.gold.astype(np.float64), base.gold.sum(axis=0, dtype=np.float64)

    def score(masks: Masks) -> Values:
        weights, found = masks.astype(np.float64), []
        for first, second in zip(base.predicted, candidate.predicted, strict=True):
            more = second.astype(np.float64) - first
            hit, took = weights @ (gold * more), weights @ more
            after = LabelCounts((gold * second).sum(axis=0) - hit, second.sum(axis=0) - took, wanted).measure("f1")
            before = LabelCounts((gold * first).sum(axis=0) + hit, first.sum(axis=0) + took, wanted).measure("f1")
            found.append(after.mean(axis=-1) - before.mean(axis=-1))
        return _array(np.mean(found, axis=0))

    return score
