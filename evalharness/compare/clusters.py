"""Items that belong together are one cluster: what each cluster says of a difference of scores, or of a score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress, repeat

import numpy as np
from numpy.typing import NDArray

from evalharness.compare.matching import PairedJob
from evalharness.metrics.forms import Codes, Values
from evalharness.metrics.from_items import contributions, score_of
from evalharness.metrics.statistics.influence import influence

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Clustered:
    """Differences by cluster; the mean of both kinds is the difference of the scores (or one side's score).

    Attributes:
        whole: that difference, or score.
        codes: per job, the cluster of each item.
        counted: per job, which items count in its score at all.
        totals: what a cluster's items add to the difference, times the number of clusters; shape (clusters,).
        linear: the same for a ratio: a cluster of twice the items is not twice the difference.
        sizes: what a cluster's items weigh; their mean is 1.
    """

    whole: float
    codes: Sequence[Codes]
    counted: Sequence[NDArray[np.bool_]]
    totals: Values
    linear: Values
    sizes: Values

    @property
    def items(self) -> int:
        """How many count in the score."""
        return sum(int(there.sum()) for there in self.counted)


def cluster_differences(jobs: Sequence[PairedJob]) -> Clustered:
    """What each cluster of a task's items says of the difference, candidate minus base."""
    difference = sum(job.weight * (score_of(job.candidate) - score_of(job.base)) for job in jobs)
    return _cluster(jobs, difference, item_differences)


def cluster_candidate(jobs: Sequence[PairedJob]) -> Clustered:
    """What each cluster of a task's items says of the candidate's score."""
    alone = [replace(job, base=job.candidate) for job in jobs]
    return cluster_scores(alone, [score_of(job.candidate) for job in jobs])


def cluster_scores(jobs: Sequence[PairedJob], scores: Sequence[float]) -> Clustered:
    """What each cluster of a task's items says of its score.

    Args:
        jobs: with the same items on both sides.
        scores: of each, which are known.
    """
    values = {id(job): _item_values(job, score) for job, score in zip(jobs, scores, strict=True)}
    whole = sum(job.weight * score for job, score in zip(jobs, scores, strict=True))
    return _cluster(jobs, whole, lambda job: values[id(job)])


def _cluster(jobs: Sequence[PairedJob], whole: float, values_of: Callable[[PairedJob], Values]) -> Clustered:
    counted = [_counted(job) for job in jobs]
    present = chain.from_iterable(compress(job.groups, each) for job, each in zip(jobs, counted, strict=True))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(present))}
    codes = [
        np.where(each, np.fromiter(map(numbers.get, job.groups, repeat(-1)), np.int64, len(job.groups)), -1)
        for job, each in zip(jobs, counted, strict=True)
    ]
    count = len(numbers)
    totals, sizes, expected = np.zeros(count), np.zeros(count), np.zeros(count)
    for job, code, there in zip(jobs, codes, counted, strict=True):
        values, places = values_of(job)[there], code[there]
        weight = job.weight * count / len(places)
        size = np.bincount(places, minlength=count)
        totals += weight * np.bincount(places, weights=values, minlength=count)
        sizes += weight * size
        expected += weight * size * values.mean()
    # clusters of equal size need no ratio, whose rounding would blur equal differences
    linear = totals if np.ptp(sizes) < _ROUNDING else totals - expected + whole
    return Clustered(whole, codes, counted, totals, linear, sizes)


def _counted(job: PairedJob) -> NDArray[np.bool_]:
    """Which items have a value on one side at least; both leave out the same, as a rule."""
    one = contributions(job.base)
    other = one if job.candidate is job.base else contributions(job.candidate)
    if one is None or other is None:
        return np.ones(len(job.groups), dtype=bool)
    return np.asarray(~(np.isnan(one) & np.isnan(other)), dtype=np.bool_)


def item_differences(job: PairedJob) -> Values:
    """Per item, what it says of the difference; the mean of those that count is the difference of the scores."""
    one, other = contributions(job.base), contributions(job.candidate)
    if one is not None and other is not None and (np.isnan(one) == np.isnan(other)).all():
        return np.asarray(other - one, dtype=np.float64)
    difference = score_of(job.candidate) - score_of(job.base)
    moved: Values = difference + influence(job.candidate) - influence(job.base)
    return moved


def _item_values(job: PairedJob, score: float) -> Values:
    """Per item, what it says of the candidate's score; the mean of those that count is that score."""
    values = contributions(job.candidate)
    found: Values = score + influence(job.candidate) if values is None else values
    return found
