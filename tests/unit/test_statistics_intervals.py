"""Intervals: by hand, what does not matter to them, and how often they cover the truth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evalharness.metrics.statistics import intervals
from evalharness.metrics.statistics.draws import SEED, generator
from evalharness.metrics.statistics.intervals import (
    MEANS_TRUSTED_FROM,
    Interval,
    bca,
    count_differing,
    estimate,
    padded_standard_error,
    padded_t,
    studentised,
    welch_mean,
)
from evalharness.metrics.statistics.paired_tests import sign_flip

NDCG = np.array([0.0, 0.0, 0.0, 0.3010, 0.3333, 0.3869, 0.4307, 0.5, 0.6309, 1.0])
DIFFERENCES = st.lists(st.floats(-1, 1).map(lambda value: round(value, 3)), min_size=2, max_size=40)


def test_without_zeros_it_is_students_interval() -> None:
    values = generator(SEED).normal(1, 1, 30)
    found = padded_t(values)
    assert found.difference == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(30))
    assert found.df == 29
    assert found.interval.high - found.difference == pytest.approx(2.0452296 * found.standard_error)


def test_padded_by_hand() -> None:
    # of four, half are 0; the others' mean square is 1; squares about the mean 0 are 2
    error = padded_standard_error(np.array([1.0, -1.0, 0.0, 0.0]))
    assert float(error) == pytest.approx(math.sqrt((2 + 2 * (0.5 * 1 + 0.5 * 2 / 3)) / (4 * 5)))
    rows = np.array([[1.0, -1.0, 0.0, 0.0], [0.1, 0.2, 0.3, 0.5]])
    assert padded_standard_error(rows).tolist() == [float(padded_standard_error(row)) for row in rows]


@pytest.mark.parametrize("differing", [4, 5, 6, 8, 12])
def test_with_many_zeros_the_interval_agrees_with_the_exact_test(differing: int) -> None:
    values = np.append(np.ones(differing), np.zeros(1000))
    exact = sign_flip(values, generator=generator(SEED)).p_value
    found = padded_t(values)
    for level in (0.9, 0.95, 0.99):
        # a level near the exact p value may go either way
        if abs(exact / (1 - level) - 1) > 0.3:
            assert (padded_t(values, level=level).interval.low > 0) == (exact < 1 - level)
    assert found.interval.low > 0 or differing < 6


@given(DIFFERENCES, st.floats(0.01, 100))
def test_intervals_have_no_side_no_unit_no_order(values: list[float], unit: float) -> None:
    array = np.array(values)
    found = padded_t(array).interval
    assert found.low <= array.mean() + 1e-12
    assert found.high >= array.mean() - 1e-12
    turned = padded_t(-array[::-1] * unit).interval
    assert -turned.high / unit == pytest.approx(found.low, abs=1e-9)
    assert -turned.low / unit == pytest.approx(found.high, abs=1e-9)
    wider = padded_t(array, level=0.99).interval
    assert wider.low <= found.low <= found.high <= wider.high


def test_points_and_none() -> None:
    assert (padded_t(np.zeros(9)).interval.low, padded_t(np.zeros(9)).interval.high) == (0, 0)
    same = padded_t(np.full(9, 0.1))
    assert (same.interval.low, same.interval.high) == pytest.approx((0.1, 0.1), abs=1e-12)
    alone = padded_t(np.array([0.3]))
    assert alone.difference == 0.3
    assert math.isnan(alone.standard_error)
    assert math.isnan(alone.interval.low)
    assert math.isnan(alone.interval.high)
    for values in ([], [0.1, math.nan], [math.inf, 0.1]):
        with pytest.raises(ValueError, match="an interval needs finite differences; got"):
            padded_t(np.array(values))


def test_rounding_is_no_difference() -> None:
    assert count_differing(np.array([[0.5, 1e-17, -1e-16], [0.0, 0.0, 0.0]])).tolist() == [1, 0]
    clean, rounded = np.array([0.5, -0.2, *[0.0] * 20]), np.array([0.5, -0.2, *[1e-17] * 20])
    assert padded_t(rounded).standard_error == pytest.approx(padded_t(clean).standard_error)


def of_studentised(values: NDArray[np.float64], level: float = 0.95, draws: int = 999) -> Interval:
    return studentised(values, generator=generator(SEED), level=level, draws=draws).interval


def test_studentised_by_hand() -> None:
    draw = generator(SEED, "by hand")
    values = draw.exponential(size=12)
    resampled = draw.choice(values, (40_000, 12))
    errors = resampled.std(axis=1, ddof=1) / np.sqrt(12)
    reach = np.quantile(np.abs(resampled.mean(axis=1) - values.mean()) / errors, 0.95)
    expected = values.mean() + reach * values.std(ddof=1) / np.sqrt(12)
    assert of_studentised(values, draws=40_000).high == pytest.approx(expected, rel=0.01)


def test_studentised_has_two_items_more_where_some_do_not_differ() -> None:
    draw = generator(SEED, "more")
    values = np.append(np.zeros(20), [0.5, 0.25, 0.4, 0.1])
    size = np.sqrt((values**2).sum() / 4)
    pool = np.append(values, [size, -size])
    resampled = draw.choice(pool, (40_000, 24))
    errors = resampled.std(axis=1, ddof=1) / np.sqrt(24)
    there = errors > 0
    reach = np.quantile(np.abs(resampled.mean(axis=1) - pool.mean())[there] / errors[there], 0.95)
    expected = values.mean() + reach * float(padded_standard_error(values))
    assert of_studentised(values, draws=40_000).high == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("skewed", [False, True])
def test_what_is_resampled_and_what_is_expanded_agree(skewed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = generator(SEED, "expanded")
    values = draw.exponential(size=400) if skewed else draw.normal(size=400)
    drawn = of_studentised(values, draws=20_000)
    monkeypatch.setattr(intervals, "_RESAMPLED", 300)
    found = of_studentised(values)
    assert "expansion" in found.method
    assert "draws" in drawn.method
    assert found.high - found.low == pytest.approx(drawn.high - drawn.low, rel=0.02)
    plain = padded_t(values).interval
    assert (found.high - found.low) / (plain.high - plain.low) == pytest.approx(1.01 if skewed else 1.0, abs=0.009)


@given(DIFFERENCES)
def test_studentised_has_no_side_and_ends_that_mean_something(values: list[float]) -> None:
    array = np.array(values)
    found = of_studentised(array, draws=99)
    assert found == of_studentised(array, draws=99)
    assert found.low <= array.mean() + 1e-12
    assert found.high >= array.mean() - 1e-12
    turned = of_studentised(-array, draws=99)
    # the same resamples, turned round
    assert -turned.high == pytest.approx(found.low, abs=1e-9)


def test_studentised_of_points_and_none() -> None:
    for values in (np.zeros(9), np.full(9, 0.1)):
        assert of_studentised(values) == padded_t(values).interval
    assert math.isnan(of_studentised(np.array([0.3])).low)
    with pytest.raises(ValueError, match="an interval needs finite differences; got"):
        of_studentised(np.array([0.1, math.nan]))


Makes = Callable[[NDArray[np.float64]], Interval]


def of_padded(values: NDArray[np.float64]) -> Interval:
    return padded_t(values).interval


def coverage(population: NDArray[np.float64], n: int, makes: Makes = of_padded, trials: int = 2500) -> float:
    draw, truth = generator(SEED, str(n), str(population[:3])), population.mean()
    covered = 0
    for _ in range(trials):
        values = draw.choice(population, n)
        # no difference at all is a point, of which nothing is claimed
        found = makes(values)
        covered += bool(found.low <= truth <= found.high)
    return covered / trials


def test_where_items_are_skewed_it_covers_more_than_students() -> None:
    population = generator(SEED, "skewed").exponential(size=20_000)
    widened = coverage(population, 20, of_studentised, trials=1500)
    assert widened > coverage(population, 20, of_padded, trials=1500) + 0.01
    assert widened > 0.915


@pytest.mark.parametrize("positive", [0.5, 0.7, 0.85])
@pytest.mark.parametrize(("n", "zeros"), [(30, 0.0), (50, 0.5), (75, 0.7), (300, 0.9)])
def test_it_covers_the_truth_where_enough_items_differ(n: int, zeros: float, positive: float) -> None:
    draw = generator(SEED, "population")
    sizes = np.abs(draw.choice(NDCG, 20_000) - draw.choice(NDCG, 20_000))
    sizes = draw.choice(sizes[sizes > 0], 20_000) * (draw.random(20_000) >= zeros)
    assert n * (1 - zeros) >= MEANS_TRUSTED_FROM
    share = coverage(sizes * np.where(draw.random(20_000) < positive, 1, -1), n)
    # four standard errors of the trials beyond 93-97%
    error = 4 * np.sqrt(0.06 * 0.94 / 2500)
    assert 0.93 - error < share < 0.97 + error


def test_bca_by_hand() -> None:
    replicates = np.arange(1.0, 101)
    # as many below as above, no skew: the plain quantiles
    plain = bca(50.5, replicates, np.array([1.0, -1.0]), level=0.9)
    assert (plain.low, plain.high) == pytest.approx(tuple(np.quantile(replicates, [0.05, 0.95])))
    # half below or tied half
    tied = bca(50.0, np.append(replicates[:49], [50.0] * 2 + [60.0] * 49), np.zeros(3))
    assert tied.low == pytest.approx(np.quantile(np.append(replicates[:49], [50.0] * 2 + [60.0] * 49), 0.025))
    # more below than above moves it up, and so does a jackknife that is skewed to the left
    assert bca(70.0, replicates, np.zeros(3), level=0.9).low > plain.low
    assert bca(50.5, replicates, np.array([-5.0, 1.0, 1.0, 1.0, 1.0]), level=0.9).low > plain.low


def test_bca_without_spread_without_numbers() -> None:
    point = bca(0.2, np.full(100, 0.2), np.full(5, 0.2))
    assert (point.low, point.high) == (0.2, 0.2)
    assert math.isnan(bca(0.2, np.full(3, np.nan), np.zeros(2)).low)
    replicates = generator(1).normal(size=500)
    with_nan = bca(0.0, np.append(replicates, np.nan), np.array([0.1, -0.1, np.nan]))
    assert with_nan == bca(0.0, replicates, np.array([0.1, -0.1]))
    beyond = bca(1e9, replicates, np.zeros(2))
    assert replicates.min() <= beyond.low <= beyond.high <= replicates.max()


def test_welch_mean_of_tasks() -> None:
    tasks = [estimate(0.1, 0.3, 9, level=0.95, method="t"), estimate(0.3, 0.0, 4, level=0.95, method="t")]
    found = welch_mean(tasks)
    assert found.difference == pytest.approx(0.2)
    assert found.standard_error == pytest.approx(0.15)
    # what is known exactly takes no degrees of freedom
    assert found.df == pytest.approx(9)
    exact = welch_mean([tasks[1]] * 3)
    assert (exact.interval.low, exact.interval.high) == pytest.approx((0.3, 0.3))
    assert math.isnan(welch_mean([*tasks, padded_t(np.array([0.1]))]).interval.low)
    with pytest.raises(ValueError, match="a mean over tasks needs tasks"):
        welch_mean([])


def test_welch_mean_covers_the_mean_over_tasks() -> None:
    draw, trials, covered = generator(SEED, "tasks"), 2000, 0
    sizes = (8, 20, 60)
    for _ in range(trials):
        found = welch_mean([padded_t(draw.normal(task, 1 + task, n)) for task, n in enumerate(sizes)])
        covered += found.interval.low <= 1 <= found.interval.high
    assert abs(covered / trials - 0.95) < 4 * np.sqrt(0.05 * 0.95 / trials)
