"""How well a difference in a task would be known: from stored items of several models, of one, or from typical ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations
from math import nan, sqrt
from statistics import median

import numpy as np

from evalharness.catalog.tasks import Member, TaskSpec, find_task
from evalharness.compare.clusters import cluster_candidate, cluster_differences
from evalharness.compare.differences import LEVEL
from evalharness.compare.pairing import pair_task
from evalharness.compare.power.typical import Typical, typical_of
from evalharness.compare.sides import Results
from evalharness.errors import shorten
from evalharness.metrics.statistics.intervals import Estimate, estimate, padded_t, welch_mean

# of ten models, all; of more, evenly chosen ones
MOST_PAIRS = 45
# a standard error that is smaller is that of the same vectors, but for rounding
_ROUNDING = 1e-7


class Source(StrEnum):
    """Where a standard deviation comes from, the best first."""

    PAIRS = "stored pairs"
    ONE = "one stored model"
    TYPICAL = "typical"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Spread:
    """How well a difference would be known.

    Attributes:
        source: where that comes from.
        standard_error: of a difference of scores, 0-1; NaN where it is unknown.
        df: its degrees of freedom.
        items: independent items (clusters); None where unknown.
        sd: standard deviation of the paired difference per independent item, 0-1; NaN where unknown.
        said: more about the source, or why it is unknown.
    """

    source: Source
    standard_error: float = nan
    df: float = 0.0
    items: int | None = None
    sd: float = nan
    said: str = ""

    @property
    def estimate(self) -> Estimate:
        """As that of a difference of 0."""
        return estimate_of(self.standard_error, self.df)


@dataclass(frozen=True, slots=True)
class Observed:
    """Standard errors of a task that follow from stored items.

    Attributes:
        errors: one for each pair of models, or for each model; 0-1.
        clusters: independent items.
        items: all of them; more, where some belong together.
        problems: why there are no others.
    """

    errors: Sequence[float]
    clusters: int
    items: int
    problems: Sequence[str]


def spread_of(member: Member, spec: TaskSpec | None, results: Sequence[Results]) -> Spread:
    """What is known of a task before it is run.

    Args:
        member: which task, and which of its splits and subsets.
        spec: what the catalogue knows of it; None if nothing.
        results: stored ones, of any models.
    """
    pairs = of_pairs(member, spec, results)
    if pairs.errors:
        said = f"median of {len(pairs.errors)} pairs of models" if len(pairs.errors) > 1 else "a pair of models"
        return _spread(Source.PAIRS, estimate_of(median(pairs.errors), pairs.clusters - 1), pairs.clusters, said)
    models, typical = of_models(member, spec, results), _typical_of(spec) or _typical_recorded(member, results)
    if models.errors and typical is not None:
        error = typical.ratio * median(models.errors)
        said = f"{typical.ratio:.2f} times the spread of its items, as is typical of {_like(typical)}"
        return _spread(Source.ONE, estimate_of(error, models.clusters - 1), models.clusters, said)
    spread = Spread(Source.UNKNOWN, said="the catalogue does not have it") if spec is None else _typical(member, spec)
    problems = dict.fromkeys([*pairs.problems, *models.problems])
    return replace(spread, said="; ".join([spread.said, *problems]))


def estimate_of(standard_error: float, df: float) -> Estimate:
    """As that of a difference of 0."""
    return estimate(0.0, standard_error, df, level=LEVEL, method="")


def _spread(source: Source, found: Estimate, items: int, said: str) -> Spread:
    return Spread(source, found.standard_error, found.df, items, found.standard_error * sqrt(items), said)


def of_pairs(member: Member, spec: TaskSpec | None, results: Sequence[Results]) -> Observed:
    """Standard errors of the differences between stored models, which comparisons would find."""
    errors, problems, clusters, items = [], [], 0, 0
    for one, other in _chosen([result for result in results if _has(result, member, spec)]):
        if one.side.protocol != other.side.protocol:
            problems.append("stored results follow different protocols")
            continue
        pair = pair_task(member, spec, one, other)
        if not pair.jobs:
            problems.append(pair.why)
            continue
        found = cluster_differences(pair.jobs)
        error = padded_t(found.linear, level=LEVEL).standard_error
        # two copies of one model say nothing of two models
        if error > _ROUNDING:
            errors.append(error)
            clusters, items = len(found.linear), found.items
    return Observed(errors, clusters, items, problems)


def of_models(member: Member, spec: TaskSpec | None, results: Sequence[Results]) -> Observed:
    """Standard errors of stored models' own scores."""
    errors, problems, clusters, items = [], [], 0, 0
    for result in results:
        if not _has(result, member, spec):
            continue
        alone = pair_task(member, spec, result, result)
        if not alone.jobs:
            problems.append(alone.why)
            continue
        found = cluster_candidate(alone.jobs)
        # about the mean, for a score of 0 is a value as any other
        error = padded_t(found.linear - found.linear.mean(), level=LEVEL).standard_error
        if error > _ROUNDING:
            errors.append(error)
            clusters, items = len(found.linear), found.items
    return Observed(errors, clusters, items, problems)


def _has(result: Results, member: Member, spec: TaskSpec | None) -> bool:
    names = [member.task, *(spec.parts if spec is not None else ())]
    return any(name in result.tasks for name in names)


def _chosen(results: Sequence[Results]) -> list[tuple[Results, Results]]:
    every = list(combinations(results, 2))
    if len(every) <= MOST_PAIRS:
        return every
    return [every[place] for place in np.linspace(0, len(every) - 1, MOST_PAIRS).astype(int)]


def _typical_of(spec: TaskSpec | None) -> Typical | None:
    return None if spec is None else typical_of(spec.scoring, spec.main_score)


def _typical_recorded(member: Member, results: Sequence[Results]) -> Typical | None:
    """What is typical of a task that only results know."""
    tasks = [result.tasks[member.task] for result in results if member.task in result.tasks]
    recorded = ((task.type, job.record.main_score) for task in tasks for job in task.jobs if job.record and task.type)
    return next((typical_of(kind, metric) for kind, metric in recorded), None)


def _like(typical: Typical) -> str:
    return f"{typical.type} by {typical.metric}"


def _typical(member: Member, spec: TaskSpec) -> Spread:
    """From the number of items that the catalogue has, as if they were independent."""
    if spec.parts:
        return _of_parts(spec)
    typical = _typical_of(spec)
    if typical is None:
        return Spread(Source.UNKNOWN, said=f"nothing is known of the type {spec.scoring}; give results that have it")
    counts = dict(_counts(member, spec))
    if absent := [place for place, count in counts.items() if count is None]:
        whole = "" if len(absent) == len(counts) else f" in {shorten(absent)}"
        why = f"how many items it has{whole} is not known; give results that have them"
        return Spread(Source.UNKNOWN, sd=typical.sd, said=why)
    items = [count for count in counts.values() if count]
    mean = welch_mean([estimate_of(typical.sd / sqrt(count), count - 1) for count in items], level=LEVEL)
    return _spread(Source.TYPICAL, mean, sum(items), f"of {_like(typical)}")


def _of_parts(spec: TaskSpec) -> Spread:
    """Of a task that is the mean of others."""
    found = [(part, find_task(part)) for part in spec.parts]
    parts = [_typical(Member(task=name), part) for name, part in found if part is not None]
    unknown = next((part for part in parts if part.source is Source.UNKNOWN), None)
    if unknown is not None or len(parts) < len(found):
        return Spread(Source.UNKNOWN, said=unknown.said if unknown is not None else "it has unknown parts")
    mean = welch_mean([part.estimate for part in parts], level=LEVEL)
    items = sum(part.items or 0 for part in parts)
    return _spread(Source.TYPICAL, mean, items, parts[0].said)


def _counts(member: Member, spec: TaskSpec) -> Iterator[tuple[str, int | None]]:
    for split in member.splits or spec.splits:
        for subset in member.subsets or spec.languages:
            yield f"[{split}, {subset}]", spec.items.get(split, {}).get(subset)
