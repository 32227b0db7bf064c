"""How often 95% intervals hold the true difference: of candidates for means, of scores that are none, of clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from calibrating.pools import Pool, samples, take
from calibrating.tables import table
from calibrating.trials import Share, linear, spread
from evalharness.compare.comparison import Settings
from evalharness.compare.differences import task_difference
from evalharness.compare.matching import PairedJob
from evalharness.metrics.forms import Form, Mean, Values
from evalharness.metrics.from_items import score_of
from evalharness.metrics.statistics import SEED
from evalharness.metrics.statistics.draws import generator, indices
from evalharness.metrics.statistics.influence import influence
from evalharness.metrics.statistics.intervals import MEANS_TRUSTED_FROM, Interval, bca, padded_t, studentised
from evalharness.metrics.statistics.recompute import reweighted

LOW, HIGH = 0.93, 0.97
_DRAWS = 999
USED = "studentised, padded"
CANDIDATES = (USED, "padded t", "Student's t", "studentised", "BCa")
_IN_CLUSTER = 5


@dataclass(frozen=True, slots=True)
class Sampled:
    """A population of differences, and how it is sampled."""

    name: str
    values: Values
    items: int
    trials: int


def populations(pools: Sequence[Pool]) -> dict[str, Values]:
    """Differences per item by name: real ones of means, and made-up ones of the hard kinds.

    Args:
        pools: of each kind one.
    """
    found = {f"{pool.kind} ({pool.name})": pool.differences() for pool in pools if pool.is_mean and pool.items > 2 * 10}
    draw = generator(SEED, "populations")
    gains = np.append(1 / np.log2(np.arange(2, 12)), np.zeros(3))
    sizes = np.abs(draw.choice(gains, 100_000) - draw.choice(gains, 100_000))
    sizes = draw.choice(sizes[sizes > 0], 50_000)
    for zeros, ups in ((0.5, 0.5), (0.8, 0.7), (0.8, 0.9), (0.9, 0.7), (0.9, 0.9)):
        values = sizes * (draw.random(50_000) >= zeros) * np.where(draw.random(50_000) < ups, 1, -1)
        found[f"nDCG-like, {zeros:.0%} zeros, {ups:.0%} of the rest up"] = values
    found["exponential, no zeros"] = draw.exponential(size=50_000)
    found["log-normal, no zeros"] = draw.lognormal(size=50_000)
    found["normal"] = draw.normal(0.1, 1, 50_000)
    return found


def _alternatives(values: Values, source: np.random.Generator) -> dict[str, Interval]:
    """Intervals of a mean that `compare` could use; the first is the one that it does."""
    n, mean = len(values), float(values.mean())
    drawn = values[indices(source, _DRAWS, n)]
    means, errors = drawn.mean(axis=1), drawn.std(axis=1, ddof=1) / np.sqrt(n)
    error = float(values.std(ddof=1)) / np.sqrt(n)
    reach = float(stdtrit(n - 1, 0.975)) * error
    there = errors > 1e-9 * error
    low, high = np.quantile((means[there] - mean) / errors[there], [0.025, 0.975])
    without = (values.sum() - values) / (n - 1)
    return {
        USED: studentised(values, generator=source, draws=_DRAWS).interval,
        "padded t": padded_t(values).interval,
        "Student's t": Interval(mean - reach, mean + reach, ""),
        "studentised": Interval(mean - high * error, mean - low * error, ""),
        "BCa": bca(mean, means, without),
    }


@dataclass(frozen=True, slots=True)
class Covered:
    """What intervals of samples did.

    Attributes:
        shares: how often each kind held the true difference, of the samples where anything differs.
        widths: mean width of each, in units of the first.
        differing: items that differ, on average.
        nothing: samples where nothing differs at all, of which nobody can say anything.
    """

    shares: dict[str, Share]
    widths: dict[str, float]
    differing: float
    nothing: Share


def covered(sampled: Sampled) -> Covered:
    """Run the trials of a population."""
    source, truth = generator(SEED, "coverage", sampled.name, str(sampled.items)), float(sampled.values.mean())
    hits, widths = dict.fromkeys(CANDIDATES, 0), dict.fromkeys(CANDIDATES, 0.0)
    nothing, differing = 0, 0
    for _ in range(sampled.trials):
        values = source.choice(sampled.values, sampled.items)
        if np.ptp(values) == 0:
            nothing += 1
            continue
        differing += int(np.count_nonzero(values))
        for name, interval in _alternatives(values, source).items():
            hits[name] += interval.low <= truth <= interval.high
            widths[name] += interval.high - interval.low
    told = sampled.trials - nothing
    return Covered(
        {name: Share(count, told) for name, count in hits.items()},
        {name: width / widths[USED] for name, width in widths.items()},
        differing / max(1, told),
        Share(nothing, sampled.trials),
    )


def of_means(pools: Sequence[Pool], sizes: Sequence[int], trials: int) -> str:
    """The table of means, and what it says of each candidate."""
    cells = [Sampled(name, values, n, trials) for name, values in populations(pools).items() for n in sizes]
    found = spread(covered, cells)
    rows = [
        [
            cell.name,
            f"{cell.items:,}",
            f"{one.differing:.0f}",
            *(f"{100 * one.shares[name].value:.1f}" for name in CANDIDATES),
            one.shares[USED].judged(LOW, HIGH),
        ]
        for cell, one in zip(cells, found, strict=True)
    ]
    text = table(["population", "items", "differ", *CANDIDATES, "the first is"], rows)
    trusted = [one for one in found if one.differing >= MEANS_TRUSTED_FROM]
    summed = [_summed(name, trusted) for name in CANDIDATES]
    error = 100 * float(np.sqrt(0.05 * 0.95 / trials))
    return (
        f"Coverage in %, {trials:,} samples each, Monte Carlo error {error:.1f}; the band is 93-97.\n\n{text}\n\n"
        f"Of the {len(trusted)} rows in which {MEANS_TRUSTED_FROM} items or more differ on average:\n\n"
        + table(["interval", "below 93", "93-97", "above 97", "lowest", "highest", "width"], summed)
    )


def _summed(name: str, found: Sequence[Covered]) -> list[str]:
    values = np.array([one.shares[name].value for one in found])
    width = float(np.mean([one.widths[name] for one in found]))
    low, high = int((values < LOW).sum()), int((values > HIGH).sum())
    ends = [f"{100 * values.min():.1f}", f"{100 * values.max():.1f}"] if len(values) else ["", ""]
    return [name, str(low), str(len(values) - low - high), str(high), *ends, f"{width:.2f}"]


# --- scores that are no means


@dataclass(frozen=True, slots=True)
class Job:
    """Samples of a score that is no mean."""

    pool: Pool
    items: int
    recomputes: bool
    trials: int


def covered_form(job: Job) -> Share:
    """How often BCa (of the metric computed again) or the interval of influence values holds the difference."""
    pool, hits = job.pool, 0
    source = generator(SEED, "forms", pool.name, pool.kind, str(job.items), str(job.recomputes))
    truth = score_of(pool.candidate) - score_of(pool.base)
    for _ in range(job.trials):
        rows = samples(pool, job.items, None, source)
        base, candidate = take(pool.base, rows), take(pool.candidate, rows)
        interval = (_bca if job.recomputes else _of_influence)(base, candidate, source)
        hits += interval.low <= truth <= interval.high
    return Share(hits, job.trials)


def _bca(base: Form, candidate: Form, source: np.random.Generator) -> Interval:
    moved = influence(candidate) - influence(base)
    n = len(moved)
    drawn = indices(source, _DRAWS, n) + n * np.arange(_DRAWS)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=_DRAWS * n).reshape(_DRAWS, n)
    counts = np.concatenate([np.ones((1, n), dtype=counts.dtype), counts])
    values = reweighted(candidate)(counts) - reweighted(base)(counts)
    return bca(float(values[0]), values[1:], -moved)


def _of_influence(base: Form, candidate: Form, source: np.random.Generator) -> Interval:
    return studentised(linear(base, candidate), generator=source, draws=_DRAWS).interval


def of_forms(pools: Sequence[Pool], sizes: Sequence[int], trials: int) -> str:
    """The table of scores that are no means."""
    jobs = [
        Job(pool, n, recomputes, trials)
        for pool in pools
        if not pool.is_mean
        for recomputes, ns in ((True, [n for n in sizes if n <= 100]), (False, [n for n in sizes if n >= 100]))
        for n in ns
    ]
    rows = [
        [
            f"{job.pool.kind} ({job.pool.name})",
            "recomputed, BCa" if job.recomputes else "influence, studentised",
            f"{job.items:,}",
            str(share),
            share.judged(LOW, HIGH),
        ]
        for job, share in zip(jobs, spread(covered_form, jobs), strict=True)
    ]
    return table(["score", "interval", "items", "covers, %", ""], rows)


# --- clusters


@dataclass(frozen=True, slots=True)
class Clustered:
    """Samples of clusters, taken as such or not."""

    values: Values
    clusters: int
    is_told: bool
    trials: int


def covered_clusters(job: Clustered) -> Share:
    """Coverage of `task_difference`'s interval; half of a cluster's items are the same."""
    source, hits, n = generator(SEED, "clusters", str(job.clusters)), 0, job.clusters * _IN_CLUSTER
    truth, settings = float(job.values.mean()), Settings(draws=_DRAWS)
    groups = [str(row // _IN_CLUSTER if job.is_told else row) for row in range(n)]
    for _ in range(job.trials):
        shared = np.repeat(source.choice(job.values, job.clusters), _IN_CLUSTER)
        values = np.where(source.random(n) < 0.5, shared, source.choice(job.values, n))
        found = task_difference("clusters", [PairedJob(1.0, Mean(np.zeros(n)), Mean(values), groups)], settings)
        hits += found.estimate.interval.low <= truth <= found.estimate.interval.high
    return Share(hits, job.trials)


def of_clusters(values: Values, sizes: Sequence[int], trials: int) -> str:
    """The table of clusters of five items, half of which are the same."""
    jobs = [Clustered(values, n, told, trials) for n in sizes for told in (True, False)]
    rows = [
        [
            str(job.clusters),
            "by cluster" if job.is_told else "as if independent",
            str(share),
            share.judged(LOW, HIGH) if job.is_told else "for contrast",
        ]
        for job, share in zip(jobs, spread(covered_clusters, jobs), strict=True)
    ]
    return table(["clusters of 5", "resampled", "covers, %", ""], rows)
