"""How well is one score known, of a task or of a mean: its 95% interval on items like these.

A score is a difference from 0, and its interval is made as a difference's is (`differences`): items are resampled by
clusters. In one thing the two are not the same. Of two similar models most items do not differ at all, and 0 is what
most have; of a score it is whatever value most items have (1 where most are right), so the distance from that is what
takes the place of the difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evalharness.compare.clusters import Clustered, cluster_scores
from evalharness.compare.comparison import Settings
from evalharness.compare.differences import LEVEL, Sample, is_recomputed, resampled_mean, resampled_score
from evalharness.compare.matching import PairedJob
from evalharness.metrics.forms import Correlation, Form, Mean, Values
from evalharness.metrics.from_items import contributions
from evalharness.metrics.statistics.influence import trusted_from as influence_trusted_from
from evalharness.metrics.statistics.intervals import (
    BCA_TRUSTED_FROM,
    MEANS_TRUSTED_FROM,
    Estimate,
    Interval,
    count_differing,
    padded_standard_error,
    welch_mean,
)
from evalharness.metrics.statistics.recompute import reweighted

_LOWEST, _HIGHEST = -1.0, 1.0


@dataclass(frozen=True, slots=True)
class ScoreEstimate:
    """What is known of a score, 0-1.

    Attributes:
        estimate: the score, its standard error, and its 95% interval on items like these, within what a score can be.
        items, clusters: how many there are.
        differing: clusters whose value is not the one that most have.
        is_trusted: whether there are enough of those for an interval that covers what it says. Where all are equal
            there are none: that items like these are, too, is not known.
        lowest: what the score can be at least.
        values: what each cluster says of the score, which is their mean; none of a mean over tasks.
        method: of the interval, for people.
        which: the same for two scores of the same items.
    """

    estimate: Estimate
    items: int
    clusters: int
    differing: int
    is_trusted: bool
    lowest: float
    values: Values
    method: str
    which: int = 0

    @property
    def interval(self) -> Interval | None:
        """None where nothing can be said, as of a single item."""
        found = self.estimate.interval
        return found if math.isfinite(found.low) and math.isfinite(found.high) else None


def score_estimate(name: str, jobs: Sequence[PairedJob], settings: Settings) -> ScoreEstimate:
    """What is known of a task's score.

    Args:
        name: of the task; its draws come from it and the seed alone.
        jobs: with the items of the score on both sides, see `matching.alone`.
        settings: draws and seed.
    """
    forms = [job.candidate for job in jobs]
    # as `matching.alone` found them to be
    scores = [job.records[0].metrics[job.records[0].main_score] for job in jobs]
    sample = Sample(name, [job.weight for job in jobs], cluster_scores(jobs, scores), settings)
    values = sample.clustered.linear
    usual = _usual(values)
    needed = max(MEANS_TRUSTED_FROM, *map(influence_trusted_from, forms))
    if any(contributions(form) is None for form in forms) and is_recomputed(forms):
        found = resampled_score(sample, [reweighted(form) for form in forms])
        found = replace(found, standard_error=float(padded_standard_error(values - usual)))
        needed = max(BCA_TRUSTED_FROM, needed)
    else:
        found = _moved(resampled_mean(sample, values - usual), usual)
    differing, lowest = int(count_differing(values - usual)), min(map(_lowest, forms))
    return ScoreEstimate(
        estimate=_within(found, lowest),
        items=sample.clustered.items,
        clusters=len(values),
        differing=differing,
        is_trusted=differing >= needed,
        lowest=lowest,
        values=values,
        method=found.interval.method,
        which=_which(jobs, sample.clustered),
    )


def mean_estimate(scores: Sequence[ScoreEstimate]) -> ScoreEstimate:
    """What is known of the mean of scores whose items have nothing to do with each other; of a single one, all of it.

    Args:
        scores: of tasks, or of task types.
    """
    if len(scores) == 1:
        return scores[0]
    lowest = float(np.mean([score.lowest for score in scores]))
    found = welch_mean([score.estimate for score in scores], level=LEVEL)
    return ScoreEstimate(
        estimate=_within(found, lowest),
        items=sum(score.items for score in scores),
        clusters=sum(score.clusters for score in scores),
        differing=sum(score.differing for score in scores),
        is_trusted=all(score.is_trusted for score in scores),
        lowest=lowest,
        values=np.zeros(0),
        method=found.interval.method,
    )


def _usual(values: Values) -> float:
    """The value that more than half of them are; the mean if none is."""
    middle = float(np.median(values))
    return middle if 2 * np.count_nonzero(values == middle) > len(values) else float(values.mean())


def _moved(found: Estimate, by: float) -> Estimate:
    interval = found.interval
    moved = replace(interval, low=interval.low + by, high=interval.high + by)
    return replace(found, difference=found.difference + by, interval=moved)


def _within(found: Estimate, lowest: float) -> Estimate:
    """The same with an interval that ends where scores end, and has the score in it, which BCa does not promise."""
    low, high, score = found.interval.low, found.interval.high, found.difference
    if not (math.isfinite(low) and math.isfinite(high)):
        return found
    inside = replace(found.interval, low=min(max(low, lowest), score), high=max(min(high, _HIGHEST), score))
    return replace(found, interval=inside)


def _lowest(form: Form) -> float:
    """What a score of this kind can be at least, as far as its items tell."""
    if isinstance(form, Correlation) or (isinstance(form, Mean) and (form.values < 0).any()):
        return _LOWEST
    return 0.0


def _which(jobs: Sequence[PairedJob], clustered: Clustered) -> int:
    """The same for scores of the same items of the same data, within this process."""
    records = [job.records[0] for job in jobs]
    data = tuple((record.dataset_revision, record.main_score) for record in records)
    items = tuple((*job.groups, each.tobytes()) for job, each in zip(jobs, clustered.counted, strict=True))
    return hash((data, items))
