"""Trials: samples of a population, decided by the functions that `evalharness compare` decides by."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import sqrt
from typing import Literal, TypeAlias, TypeVar

import numpy as np

from calibrating.pools import Pool, differing, samples, swap, take, tilted
from evalharness.compare import differences
from evalharness.metrics.forms import Form, Values, items_of
from evalharness.metrics.statistics import SEED
from evalharness.metrics.statistics.draws import generator, signs
from evalharness.metrics.statistics.influence import influence
from evalharness.metrics.statistics.paired_tests import from_null, paired_t, sign_flip
from evalharness.metrics.statistics.recompute import swapped

Method: TypeAlias = Literal["sign flip", "recomputed", "linearised"]
Null: TypeAlias = Literal["swapped", "tilted"]

ALPHA = 0.05
# alpha x (draws + 1) is whole, so that the level is alpha exactly at so few draws
FLIPS, SWAPS = 199, 99

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Share:
    """How often something happened.

    Attributes:
        hits: so often.
        trials: of so many.
    """

    hits: int
    trials: int

    @property
    def value(self) -> float:
        """From 0 to 1."""
        return self.hits / self.trials if self.trials else float("nan")

    @property
    def error(self) -> float:
        """Its standard error: that of Monte Carlo."""
        return sqrt(max(self.value * (1 - self.value), 1 / self.trials) / self.trials) if self.trials else float("nan")

    def __str__(self) -> str:
        return f"{100 * self.value:.2f} ± {100 * self.error:.2f}"

    def judged(self, low: float, high: float) -> str:
        """Whether it is in the band; within two standard errors of an end, nobody can say otherwise.

        Args:
            low: end of the band, 0-1.
            high: end of the band, 0-1.
        """
        if low <= self.value <= high:
            return "in"
        if low - 2 * self.error <= self.value <= high + 2 * self.error:
            return "in, within the error"
        return "BELOW" if self.value < low else "ABOVE"


@dataclass(frozen=True, slots=True)
class Rates:
    """What trials of a population found.

    Attributes:
        shown: a difference, two-sided at alpha.
        lost: a loss among them.
        beyond: a loss beyond the tolerance, one-sided at alpha.
        differing: items that differ at all, on average.
    """

    shown: Share
    lost: Share
    beyond: Share
    differing: float


def method_of(pool: Pool, items: int) -> Method:
    """What `compare` decides by, if a task has so many items like these."""
    if pool.is_mean:
        return "sign flip"
    rows = np.arange(items) % pool.items
    return "recomputed" if differences.is_recomputed([take(pool.base, rows)]) else "linearised"


@dataclass(frozen=True, slots=True)
class Cell:
    """One population, sampled in one way.

    Attributes:
        pool: of which.
        items: in a sample.
        null: how there is no difference: each item's systems swapped at random, or items as often as it takes.
        method: what decides.
        trials: how many samples.
        difference: in the population, where it is tilted.
        tolerance: of the test of a loss beyond it.
    """

    pool: Pool
    items: int
    null: Null
    method: Method
    trials: int
    difference: float = 0.0
    tolerance: float = 0.0


def rates(cell: Cell) -> Rates:
    """Run all trials of a cell."""
    source = generator(SEED, cell.pool.name, cell.pool.kind, cell.null, str(cell.items), str(cell.difference))
    decide = _of_means if cell.method == "sign flip" else _of_forms
    found = np.array(list(decide(cell, source)))
    shown = found[:, 0] <= ALPHA
    return Rates(
        Share(int(shown.sum()), cell.trials),
        Share(int((shown & (found[:, 2] < 0)).sum()), cell.trials),
        Share(int(((found[:, 1] <= ALPHA) & (found[:, 2] < -cell.tolerance)).sum()), cell.trials),
        float(found[:, 3].mean()),
    )


def _weights(cell: Cell) -> Values | None:
    if cell.null == "swapped":
        return None
    found = tilted(cell.pool, cell.difference)
    if found is None:
        raise ValueError(f"{cell.pool.name} cannot be tilted to {cell.difference}")
    return found


# per trial: p of no difference, p of a loss within the tolerance, the difference, how many differ
_Row: TypeAlias = tuple[float, float, float, int]


def _of_means(cell: Cell, source: np.random.Generator) -> Iterator[_Row]:
    weights, moved = _weights(cell), cell.pool.differences()
    for _ in range(cell.trials):
        values = moved[samples(cell.pool, cell.items, weights, source)]
        if cell.null == "swapped":
            values = values * signs(source, 1, cell.items)[0]
        two, mean = sign_flip(values, generator=source, draws=FLIPS), float(values.mean())
        # against no tolerance, the same flips tell
        less = (
            sign_flip(values + cell.tolerance, generator=source, alternative="less", draws=FLIPS)
            if cell.tolerance or two.null is None
            else from_null(mean, two.null, "less")
        )
        yield two.p_value, less.p_value, mean, int(np.count_nonzero(values))


def _of_forms(cell: Cell, source: np.random.Generator) -> Iterator[_Row]:
    weights = _weights(cell)
    for _ in range(cell.trials):
        rows = samples(cell.pool, cell.items, weights, source)
        pair = take(cell.pool.base, rows), take(cell.pool.candidate, rows)
        if cell.null == "swapped":
            pair = swap(*pair, signs(source, 1, cell.items)[0] > 0)
        yield (_recomputed if cell.method == "recomputed" else _linearised)(*pair, source, cell.tolerance)


def _recomputed(base: Form, candidate: Form, source: np.random.Generator, tolerance: float) -> _Row:
    items = items_of(base)
    masks = signs(source, SWAPS + 1, items) > 0
    masks[0] = False  # nothing is swapped: the difference itself
    found = swapped(base, candidate)(masks)
    observed, null = float(found[0]), found[1:]
    if not np.isfinite(observed):
        return 1.0, 1.0, 0.0, items
    less = from_null(observed + tolerance, null, "less").p_value
    return from_null(observed, null).p_value, less, observed, differing(base, candidate)


def _linearised(base: Form, candidate: Form, source: np.random.Generator, tolerance: float) -> _Row:
    del source  # nothing is drawn
    observed = linear(base, candidate)
    if not np.isfinite(observed).all():
        return 1.0, 1.0, 0.0, len(observed)
    less = paired_t(observed + tolerance, "less").p_value
    return paired_t(observed).p_value, less, float(observed.mean()), differing(base, candidate)


def linear(base: Form, candidate: Form) -> Values:
    """What each item says of the difference of scores that are no means: the difference, and its influence on it."""
    moved = influence(candidate) - influence(base)
    difference = float(swapped(base, candidate)(np.zeros((1, len(moved)), dtype=bool))[0])
    return difference + moved


def spread(work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """Results of all parts, by two processes; whatever is already loaded is shared with them."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as workers:
        return list(workers.map(work, parts))


def linear_cell(cell: Cell) -> Values:
    """Per trial of a score that is no mean: the difference, and its standard error; shape (trials, 2)."""
    source, weights, found = generator(SEED, "linear", cell.pool.name, cell.pool.kind), _weights(cell), []
    for _ in range(cell.trials):
        rows = samples(cell.pool, cell.items, weights, source)
        pair = take(cell.pool.base, rows), take(cell.pool.candidate, rows)
        if cell.null == "swapped":
            pair = swap(*pair, signs(source, 1, cell.items)[0] > 0)
        values = linear(*pair)
        found.append([values.mean(), values.std(ddof=1) / sqrt(cell.items)])
    return np.array(found)
