"""The cheapest tasks whose mean can show a difference.

Of K tasks the standard error of the mean is sqrt(sum v) / K, v the squared standard errors of the tasks. For each K
this is a knapsack with K things in it: the least cost with sum v <= (K x tolerance / (z(1 - alpha/2) + z(power)))^2. Of
few tasks all choices are tried. Of more, the K tasks with the smallest cost + weight x v are tried for each K and each
weight at which their order changes (Lagrangian relaxation: H. Everett, Operations Research 11, 1963), and the best
choice is improved by dropping and swapping tasks until nothing helps. Where orders change one pair at a time, it costs
at most one task more than the optimum: two neighbouring choices, one of which suffices, differ by a swap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from evalharness.metrics.statistics.intervals import estimate, welch_mean
from evalharness.metrics.statistics.power import smallest_detectable

ALPHA, POWER = 0.05, 0.8
# 2^16 choices take a few milliseconds
EXACT_UP_TO = 16
_NORMAL = float(ndtri(1 - ALPHA / 2) + ndtri(POWER))
# weights that are tried; of more tasks than about 60, evenly chosen of those at which the order changes
_MOST_WEIGHTS = 2_000


@dataclass(frozen=True, slots=True)
class Option:
    """A task that may be chosen.

    Attributes:
        name: of the task.
        cost: characters to encode.
        standard_error: of a difference in it, 0-1.
        df: degrees of freedom of that.
    """

    name: str
    cost: int
    standard_error: float
    df: float


@dataclass(frozen=True, slots=True)
class Choice:
    """Tasks whose mean is looked at.

    Attributes:
        names: of the tasks, in the order in which they were given.
        cost: characters to encode.
        smallest: the smallest difference, 0-1, that their mean shows with a power of 0.8.
        is_exact: whether no other choice is better.
    """

    names: tuple[str, ...]
    cost: int
    smallest: float
    is_exact: bool


def cheapest(options: Sequence[Option], tolerance: float, *, exact_up_to: int = EXACT_UP_TO) -> Choice | None:
    """The choice of least cost that shows the tolerance; None if none does.

    Args:
        options: tasks, of which each item tells something (df >= 1).
        tolerance: difference to be shown, 0-1.
        exact_up_to: how many tasks there may be for all choices to be tried.
    """
    pool = _Pool(options, tolerance)
    if len(options) <= exact_up_to:
        found = next((rows for rows in _every_choice(pool) if pool.suffices(rows)), None)
        return None if found is None else pool.choice(found, is_exact=True)
    found = next((rows for rows in pool.by_cost(_prefixes(pool)) if pool.suffices(rows)), None)
    return None if found is None else pool.choice(_improved(pool, found), is_exact=False)


def most_telling(options: Sequence[Option]) -> Choice | None:
    """The choice whose mean shows the smallest difference at all; None without options.

    It is of the tasks with the smallest standard errors; only degrees of freedom could make another one better.
    """
    pool = _Pool(options, 0.0)
    order = np.argsort(pool.variances, kind="stable")
    if not len(order):
        return None
    sizes = np.arange(1, len(order) + 1)
    best = int(np.argmin(np.sqrt(np.cumsum(pool.variances[order])) / sizes))
    return pool.choice(sorted(order[: best + 1].tolist()), is_exact=False)


@dataclass(frozen=True, slots=True)
class _Tried:
    """A choice by its rows, and what is known of it without its degrees of freedom."""

    rows: tuple[int, ...]
    cost: int


class _Pool:
    """Options as arrays."""

    def __init__(self, options: Sequence[Option], tolerance: float) -> None:
        self.options = options
        self.costs = np.array([option.cost for option in options], dtype=np.float64)
        self.variances = np.array([option.standard_error for option in options], dtype=np.float64) ** 2
        self.tolerance = tolerance

    def may_suffice(self, variance: NDArray[np.float64], size: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether it would with degrees of freedom without end, which no choice has."""
        return np.asarray(_NORMAL * np.sqrt(variance) <= self.tolerance * size * (1 + 1e-12))

    def smallest(self, rows: Sequence[int]) -> float:
        estimates = [
            estimate(0.0, self.options[row].standard_error, self.options[row].df, level=1 - ALPHA, method="")
            for row in rows
        ]
        mean = welch_mean(estimates, level=1 - ALPHA)
        return smallest_detectable(mean.standard_error, mean.df, ALPHA, POWER)

    def suffices(self, rows: Sequence[int]) -> bool:
        return _NORMAL * sqrt(self.variances[list(rows)].sum()) / len(rows) <= self.tolerance * (1 + 1e-12) and (
            self.smallest(rows) <= self.tolerance
        )

    def cost(self, rows: Iterable[int]) -> int:
        return sum(self.options[row].cost for row in rows)

    def by_cost(self, tried: Iterable[_Tried]) -> Iterator[tuple[int, ...]]:
        """Rows of choices, the cheapest first, of equal ones the one with fewer tasks."""
        for item in sorted(set(tried), key=lambda item: (item.cost, len(item.rows), item.rows)):
            yield item.rows

    def choice(self, rows: Sequence[int], *, is_exact: bool) -> Choice:
        names = tuple(self.options[row].name for row in sorted(rows))
        return Choice(names, self.cost(rows), self.smallest(rows), is_exact)


def _every_choice(pool: _Pool) -> Iterator[tuple[int, ...]]:
    """Rows of all that may suffice, the cheapest first, of equal ones the one with fewer tasks."""
    sums, costs, sizes = np.zeros(1), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    for option, variance in zip(pool.options, pool.variances, strict=True):
        sums, costs = np.concatenate([sums, sums + variance]), np.concatenate([costs, costs + option.cost])
        sizes = np.concatenate([sizes, sizes + 1])
    codes = np.flatnonzero((sizes > 0) & pool.may_suffice(sums, sizes))
    for code in codes[np.lexsort((sizes[codes], costs[codes]))].tolist():
        yield tuple(row for row in range(len(pool.options)) if code >> row & 1)


def _weights(pool: _Pool) -> NDArray[np.float64]:
    """Between each two weights at which the order of cost + weight x v changes, one; none first."""
    cost = pool.costs[:, None] - pool.costs[None, :]
    variance = pool.variances[None, :] - pool.variances[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        at = cost / variance
    at = np.unique(at[np.isfinite(at) & (at > 0)])
    ends = np.concatenate([[0.0], at, [2 * at[-1] + 1 if len(at) else 1.0]])
    between = (ends[1:] + ends[:-1]) / 2
    if len(between) > _MOST_WEIGHTS:
        between = between[np.linspace(0, len(between) - 1, _MOST_WEIGHTS).astype(int)]
    return np.concatenate([[0.0], between])


def _prefixes(pool: _Pool) -> Iterator[_Tried]:
    """For each weight and each K the K tasks that are best, if they may suffice."""
    sizes = np.arange(1, len(pool.options) + 1)
    # by v alone: the last to give up
    orders = [np.lexsort((pool.costs, pool.variances))]
    orders += [np.argsort(pool.costs + weight * pool.variances, kind="stable") for weight in _weights(pool)]
    seen: set[tuple[int, ...]] = set()
    for order in orders:
        enough = np.flatnonzero(pool.may_suffice(np.cumsum(pool.variances[order]), sizes))
        # of one order, a longer choice costs more; the first may still lack degrees of freedom
        for size in sizes[enough][:3].tolist():
            rows = tuple(sorted(order[:size].tolist()))
            if rows not in seen:
                seen.add(rows)
                yield _Tried(rows, pool.cost(rows))


def _improved(pool: _Pool, rows: tuple[int, ...]) -> tuple[int, ...]:
    """Drop or swap one task after the other, as long as it saves anything."""
    while True:
        outside = [row for row in range(len(pool.options)) if row not in rows]
        nearby = [tuple(other for other in rows if other != row) for row in rows if len(rows) > 1]
        nearby += [tuple(sorted((*(other for other in rows if other != row), new))) for row in rows for new in outside]
        now = pool.cost(rows)
        cheaper = (_Tried(found, cost) for found in nearby if (cost := pool.cost(found)) < now)
        better = next((found for found in pool.by_cost(cheaper) if pool.suffices(found)), None)
        if better is None:
            return rows
        rows = better
