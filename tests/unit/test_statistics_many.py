"""Many tests, many looks, and what could be shown: by hand, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalharness.metrics.statistics.draws import generator
from evalharness.metrics.statistics.multiple import benjamini_hochberg, holm
from evalharness.metrics.statistics.paired_tests import paired_t
from evalharness.metrics.statistics.power import items_needed, power_of, shown_no_worse_from, smallest_detectable
from evalharness.metrics.statistics.spending import alpha_at, per_pair

P_VALUES = st.lists(st.one_of(st.floats(1e-9, 1), st.just(math.nan)), max_size=20)


@pytest.mark.parametrize(
    ("given_p", "by_holm", "by_bh"),
    [
        ([], [], []),
        ([0.2], [0.2], [0.2]),
        ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06], [0.04, 0.04, 0.04, 0.04]),
        ([0.5, 0.001, 0.9], [1.0, 0.003, 1.0], [0.75, 0.003, 0.9]),
        ([math.nan, 0.02, math.nan, 0.03], [math.nan, 0.04, math.nan, 0.04], [math.nan, 0.03, math.nan, 0.03]),
        ([math.nan], [math.nan], [math.nan]),
    ],
)
def test_adjusted_by_hand(given_p: list[float], by_holm: list[float], by_bh: list[float]) -> None:
    assert holm(given_p) == pytest.approx(by_holm, nan_ok=True)
    assert benjamini_hochberg(given_p) == pytest.approx(by_bh, nan_ok=True)


@given(P_VALUES)
def test_adjusted_values_keep_the_order_and_are_no_smaller(values: list[float]) -> None:
    tested = [place for place, value in enumerate(values) if not math.isnan(value)]
    for adjusted in (holm(values), benjamini_hochberg(values)):
        assert [math.isnan(value) for value in adjusted] == [math.isnan(value) for value in values]
        assert all(values[place] <= adjusted[place] * (1 + 1e-12) and adjusted[place] <= 1 for place in tested)
        ordered = [adjusted[place] for place in sorted(tested, key=values.__getitem__)]
        assert ordered == sorted(ordered)
    assert all(holm(values)[place] * (1 + 1e-12) >= benjamini_hochberg(values)[place] for place in tested)


def test_power_is_what_a_simulation_finds() -> None:
    draw, trials = generator(1), 3000
    shown = sum(
        paired_t(values).p_value <= 0.05 and values.mean() > 0
        for values in (draw.normal(0.7, 1, 15) for _ in range(trials))
    )
    expected = power_of(0.7, 1 / np.sqrt(15), 14)
    assert abs(shown / trials - expected) < 4 * np.sqrt(expected * (1 - expected) / trials)


@pytest.mark.parametrize("df", [1, 2, 9, 100, 99_999, 100_000, 10**7])
@pytest.mark.parametrize(("alpha", "power"), [(0.05, 0.8), (0.001, 0.8), (0.05, 0.95)])
def test_the_smallest_detectable_difference_has_that_power(df: int, alpha: float, power: float) -> None:
    difference = smallest_detectable(0.02, df, alpha, power)
    assert power_of(difference, 0.02, df, alpha) == pytest.approx(power, abs=1e-4)
    assert power_of(-difference, 0.02, df, alpha) == power_of(difference, 0.02, df, alpha)


def test_power_where_there_is_nothing_to_divide_by() -> None:
    assert math.isnan(smallest_detectable(1.0, 0))
    assert smallest_detectable(0.0, 10) == 0
    assert power_of(0.1, 0.0, 10) == 1
    assert power_of(0.0, 0.0, 10) == 0
    assert power_of(0.1, 0.1, 0) == 0
    assert power_of(0.0, 0.1, 10) == pytest.approx(0.025)


@pytest.mark.parametrize(("difference", "sd"), [(0.003, 0.1), (-0.003, 0.1), (0.3, 0.2), (0.01, 0.05), (1e-4, 0.2)])
def test_items_needed_are_just_enough(difference: float, sd: float) -> None:
    n = items_needed(difference, sd)
    assert n is not None
    assert power_of(difference, sd / np.sqrt(n), n - 1) >= 0.8 > power_of(difference, sd / np.sqrt(n - 1), n - 2)
    assert shown_no_worse_from(abs(difference), sd) == n


def test_items_that_never_suffice() -> None:
    assert items_needed(0.0, 0.1) is None
    assert items_needed(1e-9, 0.5) is None
    assert items_needed(math.nan, 0.5) is None
    assert items_needed(0.1, math.nan) is None
    assert items_needed(0.1, 0.0) == 2


def test_no_worse_is_shown_as_often_as_promised() -> None:
    n, draw, trials = shown_no_worse_from(0.5, 1.0), generator(2), 2000
    assert n is not None
    shown = sum(paired_t(draw.normal(size=n) + 0.5, "greater").p_value < 0.025 for _ in range(trials))
    assert abs(shown / trials - 0.8) < 4 * np.sqrt(0.8 * 0.2 / trials) + 0.01


def test_all_looks_spend_alpha_together() -> None:
    assert sum(alpha_at(look, 0.1) for look in range(1, 1001)) == pytest.approx(0.1 * 1000 / 1001)
    assert per_pair(1) == alpha_at(1) == 0.025
    assert per_pair(4) * 4 == alpha_at(4)
    for spent in (alpha_at, per_pair):
        with pytest.raises(ValueError, match="looks count from 1; got 0"):
            spent(0)


def test_twenty_looks_at_the_best_so_far_raise_few_false_alarms() -> None:
    looks, items, trials, draw = 20, 200, 400, generator(3)
    honest = naive = 0
    for _ in range(trials):
        # equally good checkpoints; row 0 is the base
        scores = draw.random(items) + 0.2 * draw.normal(size=(looks + 1, items))
        means = scores.mean(axis=1)
        p_values = [
            paired_t(scores[look] - scores[int(means[:look].argmax())], "less").p_value for look in range(1, looks + 1)
        ]
        honest += any(p <= per_pair(look) for look, p in enumerate(p_values, start=1))
        naive += any(p <= 0.05 for p in p_values)
    assert honest / trials <= 0.05
    assert naive / trials > 0.5
