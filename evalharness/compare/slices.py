"""Slices of a task's items: where the difference is, and whether it is another one there than in the rest.

They are many and nobody chose them beforehand, so they explore and prove nothing. Whether a slice differs from the rest
is decided by Welch's t test of its clusters' differences against the others', adjusted over all slices by Benjamini and
Hochberg.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evalharness.compare.changes import JobItems, label_name, measured
from evalharness.compare.clusters import item_differences
from evalharness.compare.comparison import Range, Settings
from evalharness.compare.differences import LEVEL, task_difference
from evalharness.compare.explanation import Slice, SliceKind
from evalharness.metrics.forms import Values
from evalharness.metrics.from_items import score_of
from evalharness.metrics.measures import LABEL
from evalharness.metrics.statistics.intervals import padded_t
from evalharness.metrics.statistics.multiple import benjamini_hochberg

# fewer independent items say nothing of a slice
LEAST = 10
_QUARTERS = 4
_ALPHA = 0.05

_Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Pool:
    """Items of all jobs: a value of both sides, 0-1, and what each belongs to."""

    base: Values
    candidate: Values
    groups: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Part:
    """Some items, by a flag for each of the pool, and what they are called."""

    kind: SliceKind
    name: str
    flags: _Flags


def slices(jobs: Sequence[JobItems], settings: Settings) -> list[Slice]:
    """Slices by subset, label, length of the text and number of relevant documents, as far as there are any.

    Args:
        jobs: of one task.
        settings: draws and seed.
    """
    pool = _pooled(jobs)
    sliced = [*_subsets(jobs, settings), *(_slice(part, pool) for part in _parts(jobs))]
    found = [item for item in sliced if math.isfinite(item.base) and math.isfinite(item.candidate)]
    adjusted = benjamini_hochberg([math.nan if item.p_value is None else item.p_value for item in found])
    return [
        item if math.isnan(p) else replace(item, adjusted=p, differs=p <= _ALPHA)
        for item, p in zip(found, adjusted, strict=True)
    ]


def _pooled(jobs: Sequence[JobItems]) -> _Pool:
    metric = jobs[0].paired.records[0].main_score
    return _Pool(
        np.concatenate([measured(job.paired.base, metric).values for job in jobs]),
        np.concatenate([measured(job.paired.candidate, metric).values for job in jobs]),
        [group for job in jobs for group in job.paired.groups],
    )


def _parts(jobs: Sequence[JobItems]) -> Iterator[_Part]:
    yield from _labels(jobs)
    yield from _quarters("length", [job.lengths for job in jobs])
    yield from _quarters("relevant documents", [job.relevant for job in jobs])


def _labels(jobs: Sequence[JobItems]) -> Iterator[_Part]:
    """A slice for each label; a text of several labels is in each of theirs."""
    if any(LABEL not in job.base.columns for job in jobs):
        return
    labels = [_labels_of(job, code) for job in jobs for code in job.base.columns[LABEL]]
    every = sorted({name for names in labels for name in names})
    if len(every) < 2:  # noqa: PLR2004 -- one is all
        return
    rows: dict[str, list[int]] = {name: [] for name in every}
    for row, names in enumerate(labels):
        for name in names:
            rows[name].append(row)
    for name, found in rows.items():
        flags = np.zeros(len(labels), dtype=bool)
        flags[found] = True
        yield _Part("label", name, flags)


def _labels_of(job: JobItems, code: float) -> list[str]:
    if not job.base.names:
        return [label_name(job.base, code)]
    name = job.base.names[int(code)]
    return [str(name)] if isinstance(name, str | int | float) else list(map(str, name))


def _quarters(kind: SliceKind, known: Sequence[Sequence[int] | None]) -> Iterator[_Part]:
    """Four slices of about as many items, or one for each count where there are no more.

    Args:
        kind: of the slices.
        known: of each job, a count per item; None where nobody knows.
    """
    there = [np.asarray(found, dtype=np.int64) for found in known if found is not None]
    if len(there) < len(known):
        return
    counts = np.concatenate(there)
    distinct = np.unique(counts)
    if len(distinct) == 1:
        return
    few = len(distinct) <= _QUARTERS
    edges = distinct if few else np.unique(np.quantile(counts, [0.25, 0.5, 0.75], method="higher"))
    number = np.searchsorted(edges, counts, side="left")
    for place in np.unique(number):
        flags = number == place
        low, high = int(counts[flags].min()), int(counts[flags].max())
        yield _Part(kind, f"{low:,}" if low == high else f"{low:,} to {high:,}", flags)


def _slice(part: _Part, pool: _Pool) -> Slice:
    there = ~np.isnan(pool.base) & ~np.isnan(pool.candidate)
    inside, outside = part.flags & there, ~part.flags & there
    found = Slice(
        kind=part.kind,
        name=part.name,
        items=int(inside.sum()),
        base=_mean(pool.base[inside]),
        candidate=_mean(pool.candidate[inside]),
    )
    moved, groups = pool.candidate - pool.base, np.asarray(pool.groups)
    own, others = (by_cluster(moved[flags], groups[flags]) for flags in (inside, outside))
    if len(own) < LEAST:
        return found
    interval = padded_t(own, level=LEVEL).interval
    return replace(found, interval=_range(interval.low, interval.high), p_value=_not_the_rest(own, others))


def _subsets(jobs: Sequence[JobItems], settings: Settings) -> Iterator[Slice]:
    """A slice for each split and subset, the worst first; their scores are their own, not means over items."""
    if len(jobs) == 1:
        return
    moved = [_of_clusters(item_differences(job.paired), np.asarray(job.paired.groups)) for job in jobs]
    found = []
    for number, job in enumerate(jobs):
        where = job.paired.records[0].job
        name = f"{where.task} [{where.split}, {where.subset}]"
        one = Slice(
            kind="subset",
            name=name,
            items=len(job.base.ids),
            base=score_of(job.paired.base),
            candidate=score_of(job.paired.candidate),
        )
        if len(moved[number]) >= LEAST:
            interval = task_difference(name, [replace(job.paired, weight=1.0)], settings).estimate.interval
            rest = np.concatenate([values for other, values in enumerate(moved) if other != number])
            p_value = _not_the_rest(moved[number], rest)
            one = replace(one, interval=_range(interval.low, interval.high), p_value=p_value)
        found.append(one)
    yield from sorted(found, key=lambda item: item.difference)


def _mean(values: Values) -> float:
    return float(values.mean()) if len(values) else math.nan


def _of_clusters(differences: Values, groups: NDArray[np.str_]) -> Values:
    counted = ~np.isnan(differences)
    return by_cluster(differences[counted], groups[counted])


def by_cluster(differences: Values, groups: NDArray[np.str_]) -> Values:
    """Differences of clusters, whose mean is that of the items: what a cluster adds beyond the mean of its items.

    >>> by_cluster(np.array([1.0, 1.0, -2.0, 0.0]), np.array(["a", "a", "b", "b"])).tolist()
    [1.0, -1.0]
    """
    if not len(differences):
        return differences
    _, codes = np.unique(groups, return_inverse=True)
    sizes, mean = np.bincount(codes), differences.mean()
    totals = np.bincount(codes, weights=differences)
    values: Values = mean + (totals - mean * sizes) * (len(sizes) / len(differences))
    return values


def _range(low: float, high: float) -> Range | None:
    return Range(low, high) if math.isfinite(low) and math.isfinite(high) else None


def _not_the_rest(own: Values, others: Values) -> float | None:
    """The p-value of Welch's t test; None where there is no rest, or nothing varies."""
    from scipy.stats import ttest_ind

    if len(others) < LEAST or (np.ptp(own) == 0 and np.ptp(others) == 0):
        return None
    p_value = float(ttest_ind(own, others, equal_var=False).pvalue)
    return p_value if math.isfinite(p_value) else None
