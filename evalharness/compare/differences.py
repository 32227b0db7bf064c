"""From pairs of items to a difference with its interval and p-values: of a task, and of means over tasks.

Of a score that is a mean over items all is known of a difference from the items' differences. Of one that is not
(Spearman's correlation, AP, F1), the score is computed again for each resample where items are few, and its influence
values stand for items' differences where they are many. Items that belong together are one cluster, which is flipped,
swapped and resampled as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from evalharness.compare.clusters import Clustered, cluster_differences
from evalharness.compare.comparison import Settings
from evalharness.compare.matching import PairedJob
from evalharness.metrics.forms import Form, Values, items_of
from evalharness.metrics.from_items import contributions
from evalharness.metrics.statistics.draws import chunks, generator, indices, signs, uniforms
from evalharness.metrics.statistics.influence import trusted_from as influence_trusted_from
from evalharness.metrics.statistics.intervals import (
    BCA_TRUSTED_FROM,
    MEANS_TRUSTED_FROM,
    Estimate,
    Interval,
    bca,
    count_differing,
    padded_t,
    studentised,
    welch_mean,
)
from evalharness.metrics.statistics.paired_tests import Alternative, Test, from_null, paired_t, sign_flip
from evalharness.metrics.statistics.recompute import cost, reweighted, swapped

# numbers that computing a task's scores once may touch, if it is to be done for every draw
RECOMPUTED = 2_000
# the same, where there are too few items for influence values
_RECOMPUTED_AT_MOST = 50_000
# from so many clusters that differ on the sign flip and the t test say the same, and the flip takes a second
_FLIPPED = 20_000
# elements that fit a processor's cache: twice as fast as those that do not
_CHUNK = 2**17
LEVEL = 0.95

# resamples of a job's items, shape (draws, items) -> the difference in each, shape (draws,)
OfResamples: TypeAlias = Callable[[NDArray[Any]], Values]


@dataclass(frozen=True, slots=True)
class Difference:
    """What is known of a difference, candidate minus base, 0-1.

    Attributes:
        estimate: the difference of the scores, its standard error, and its 95% interval on items like these.
        p_value: of no difference, two-sided.
        p_beyond: of a loss of at most the tolerance, one-sided.
        null: draws of the estimate where there is no difference, shape (draws,).
        items, clusters: how many there are.
        method: of the test and of the interval, for people.
        tasks: how many it is of.
        differing: clusters that differ at all.
        is_trusted: whether there are enough of them for an interval that covers what it says.
        trusted_from: how many are; 0 of a mean, which has those of its tasks.
    """

    estimate: Estimate
    p_value: float
    p_beyond: float
    null: Values
    items: int
    clusters: int
    method: str
    differing: int
    is_trusted: bool
    trusted_from: int = 0
    tasks: int = 1


def task_difference(name: str, jobs: Sequence[PairedJob], settings: Settings) -> Difference:
    """The difference of a task's scores.

    Args:
        name: of the task; its draws come from it and the seed alone.
        jobs: its pairs of items.
        settings: draws, seed and tolerance.
    """
    task = _Task(jobs, Sample(name, [job.weight for job in jobs], cluster_differences(jobs), settings))
    if all(contributions(job.base) is not None for job in jobs):
        found = _of_means(task)
    elif is_recomputed([job.base for job in jobs]):
        found = _recomputed(task)
    else:
        found = _linearised(task)
    null = found.no_difference.null
    differing = int(count_differing(task.clustered.linear))
    return Difference(
        estimate=found.estimate,
        p_value=found.no_difference.p_value,
        p_beyond=found.beyond.p_value,
        null=_student(found.estimate, task) if null is None else null,
        items=task.clustered.items,
        clusters=len(task.clustered.totals),
        method=f"{found.no_difference.method}; interval: {found.estimate.interval.method}",
        differing=differing,
        is_trusted=differing == 0 or differing >= found.trusted_from,
        trusted_from=found.trusted_from,
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """A task's items as they are drawn again.

    Attributes:
        name: of the task; its draws come from it and the seed alone.
        weights: per job, of its score in the task's.
        clustered: what is drawn.
        settings: draws and seed.
    """

    name: str
    weights: Sequence[float]
    clustered: Clustered
    settings: Settings

    def draws_of(self, what: str) -> np.random.Generator:
        """A generator of its own for each thing that is drawn."""
        return generator(self.settings.seed, self.name, what)


@dataclass(frozen=True, slots=True)
class _Task:
    jobs: Sequence[PairedJob]
    sample: Sample

    @property
    def difference(self) -> float:
        return self.sample.clustered.whole

    @property
    def clustered(self) -> Clustered:
        return self.sample.clustered

    @property
    def tolerance(self) -> float:
        return self.sample.settings.tolerance_of(self.sample.name)


@dataclass(frozen=True, slots=True)
class _Found:
    no_difference: Test
    beyond: Test
    estimate: Estimate
    trusted_from: int = MEANS_TRUSTED_FROM


def is_recomputed(forms: Sequence[Form]) -> bool:
    """Whether scores that are no means are computed again for every draw, or their influence values stand for them.

    Args:
        forms: of the jobs of a task.
    """
    numbers = sum(map(cost, forms))
    return numbers <= RECOMPUTED or (numbers <= _RECOMPUTED_AT_MOST and not all(map(_is_linear, forms)))


def _is_linear(form: Form) -> bool:
    return items_of(form) >= influence_trusted_from(form)


def _of_means(task: _Task) -> _Found:
    """Flip signs where few enough clusters differ; the t test says the same where many do."""
    totals, draws = task.clustered.totals, task.sample.settings.draws
    shifted = totals + task.tolerance * task.clustered.sizes

    def test(differences: Values, what: str, alternative: Alternative) -> Test:
        if np.count_nonzero(differences) > _FLIPPED:
            return paired_t(differences, alternative)
        return sign_flip(differences, generator=task.sample.draws_of(what), alternative=alternative, draws=draws)

    estimate = resampled_mean(task.sample, task.clustered.linear)
    return _Found(test(totals, "flips", "two-sided"), test(shifted, "beyond", "less"), estimate)


def _linearised(task: _Task) -> _Found:
    values = task.clustered.linear
    return _Found(
        no_difference=paired_t(values),
        beyond=paired_t(values + task.tolerance, "less"),
        estimate=resampled_mean(task.sample, values),
        trusted_from=max(MEANS_TRUSTED_FROM, *(influence_trusted_from(job.base) for job in task.jobs)),
    )


def resampled_mean(sample: Sample, values: Values) -> Estimate:
    """The mean of a value per cluster; their studentised interval."""
    source, draws = sample.draws_of("resamples"), sample.settings.draws
    return studentised(values, generator=source, level=LEVEL, draws=draws)


def resampled_score(sample: Sample, scores: Sequence[OfResamples]) -> Estimate:
    """A score that is no mean, or a difference of such: its BCa interval, and a standard error by its influence values.

    Args:
        sample: what is resampled.
        scores: per job, see `_resampled`.
    """
    replicates = _resampled(sample, "resamples", _counts, scores)
    values, whole = sample.clustered.linear, sample.clustered.whole
    # of the influence of a cluster: what leaving it out changes has the other sign, and is a small share of it
    interval = bca(whole, replicates, -values, level=LEVEL)
    return replace(padded_t(values, level=LEVEL), difference=whole, interval=interval)


def _student(estimate: Estimate, task: _Task) -> Values:
    """What the t test's null looks like, for means over tasks."""
    drawn = uniforms(task.sample.draws_of("null"), task.sample.settings.draws)
    return np.asarray(estimate.standard_error * stdtrit(estimate.df, drawn), dtype=np.float64)


def _recomputed(task: _Task) -> _Found:
    """Compute the scores again for every swap and for every resample."""
    null = _resampled(task.sample, "swaps", _coins, [swapped(job.base, job.candidate) for job in task.jobs])
    return _Found(
        no_difference=from_null(task.difference, null),
        beyond=from_null(task.difference + task.tolerance, null, "less"),
        estimate=resampled_score(task.sample, [_reweighted(job) for job in task.jobs]),
        trusted_from=max(BCA_TRUSTED_FROM, *(influence_trusted_from(job.base) for job in task.jobs)),
    )


def _reweighted(job: PairedJob) -> OfResamples:
    one, other = reweighted(job.base), reweighted(job.candidate)
    return lambda counts: other(counts) - one(counts)


def _resampled(
    sample: Sample,
    what: str,
    draw: Callable[[np.random.Generator, int, int], NDArray[Any]],
    scores: Sequence[OfResamples],
) -> Values:
    """The task's score, or difference, in every resample of its clusters, shape (draws,).

    Args:
        sample: what is drawn.
        what: is drawn, which names its generator.
        draw: (generator, draws, clusters) to what becomes of each cluster, shape (draws, clusters).
        scores: per job, from what becomes of its items, shape (draws, items), to its score.
    """
    source, found = sample.draws_of(what), np.zeros(sample.settings.draws)
    items = sum(len(code) for code in sample.clustered.codes)
    for part in chunks(sample.settings.draws, items, _CHUNK):
        drawn = draw(source, part.stop - part.start, len(sample.clustered.totals))
        for weight, code, score in zip(sample.weights, sample.clustered.codes, scores, strict=True):
            found[part] += weight * score(drawn[:, code])
    return found


def _coins(source: np.random.Generator, draws: int, clusters: int) -> NDArray[np.bool_]:
    """Which clusters are swapped, each as likely as not."""
    return signs(source, draws, clusters) > 0


def _counts(source: np.random.Generator, draws: int, clusters: int) -> NDArray[np.int64]:
    """How often each cluster is in a resample of all of them."""
    drawn = indices(source, draws, clusters) + clusters * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * clusters).reshape(draws, clusters)


def beyond(difference: Difference, tolerance: float) -> Difference:
    """The same difference, its loss tested against another tolerance.

    Args:
        difference: of a task, or of a task type.
        tolerance: a loss that nobody minds, 0-1.
    """
    found = from_null(difference.estimate.difference + tolerance, difference.null, "less")
    return replace(difference, p_beyond=found.p_value)


def mean_difference(differences: Sequence[Difference], tolerance: float) -> Difference:
    """The difference of the mean of scores whose items have nothing to do with each other.

    Args:
        differences: of its tasks, or of its task types.
        tolerance: a loss that nobody minds, 0-1.
    """
    estimate = welch_mean([difference.estimate for difference in differences], level=LEVEL)
    null = np.mean([difference.null for difference in differences], axis=0)
    return Difference(
        estimate=estimate,
        p_value=from_null(estimate.difference, null).p_value,
        p_beyond=from_null(estimate.difference + tolerance, null, "less").p_value,
        null=null,
        items=sum(difference.items for difference in differences),
        clusters=sum(difference.clusters for difference in differences),
        method=f"permutation of all tasks' items; interval: {estimate.interval.method}",
        differing=sum(difference.differing for difference in differences),
        is_trusted=all(difference.is_trusted for difference in differences),
        tasks=sum(difference.tasks for difference in differences),
    )


def over_tasks(types: Mapping[str, Sequence[float]], *, by_type: bool) -> Interval | None:
    """The interval of a mean difference with tasks resampled: on tasks like these.

    Tasks alone are resampled, with the differences that they have: that already holds what their items add (Davison &
    Hinkley 1997, section 3.8).

    Args:
        types: differences of the tasks of each type.
        by_type: whether the mean is that of the types' means; then tasks are resampled within types.

    Returns:
        None where nobody can tell: of a single task, or of a type that has only one.
    """
    if not by_type:
        values = np.array([value for found in types.values() for value in found])
        return padded_t(values, level=LEVEL).interval if len(values) > 1 else None
    if any(len(found) == 1 for found in types.values()):
        return None
    return welch_mean([padded_t(np.array(found), level=LEVEL) for found in types.values()], level=LEVEL).interval
