"""The cheapest tasks that show a difference, against trying everything."""

from __future__ import annotations

from itertools import combinations
from math import inf, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.compare.power.cheapest import Option, cheapest, most_telling
from evalharness.metrics.statistics.power import power_of, smallest_detectable

MANY = 10.0**6


def of_mean(options: tuple[Option, ...]) -> tuple[float, float]:
    """Standard error and degrees of freedom of their mean, from the textbook."""
    variances = [option.standard_error**2 for option in options]
    weights = sum(v**2 / option.df for v, option in zip(variances, options, strict=True))
    return sqrt(sum(variances)) / len(options), sum(variances) ** 2 / weights


def brute_force(options: list[Option], tolerance: float) -> float:
    """The least cost; infinite where nothing suffices."""
    every = [chosen for size in range(1, len(options) + 1) for chosen in combinations(options, size)]
    enough = (chosen for chosen in every if power_of(tolerance, *of_mean(chosen)) >= 0.8)
    return min((sum(one.cost for one in chosen) for chosen in enough), default=inf)


def options_of(df: st.SearchStrategy[float]) -> st.SearchStrategy[list[Option]]:
    one = st.tuples(st.integers(1, 10_000), st.floats(0.0005, 0.05), df)
    return st.lists(one, min_size=1, max_size=6).map(
        lambda rows: [Option(f"task {n}", cost, error, df) for n, (cost, error, df) in enumerate(rows)]
    )


@settings(max_examples=40, deadline=None)
@given(options=options_of(st.floats(1, 50)), tolerance=st.floats(0.001, 0.1))
def test_of_few_tasks_nothing_is_cheaper(options: list[Option], tolerance: float) -> None:
    found, best = cheapest(options, tolerance), brute_force(options, tolerance)
    assert (inf if found is None else found.cost) == best
    if found is not None:
        assert found.is_exact
        chosen = tuple(option for option in options if option.name in found.names)
        assert smallest_detectable(*of_mean(chosen)) == pytest.approx(found.smallest)
        assert found.smallest <= tolerance


@settings(max_examples=40, deadline=None)
@given(options=options_of(st.just(MANY)), tolerance=st.floats(0.001, 0.1))
def test_of_many_tasks_it_is_near_the_cheapest(options: list[Option], tolerance: float) -> None:
    found, best = cheapest(options, tolerance, exact_up_to=0), brute_force(options, tolerance)
    assert (found is None) == (best == inf)
    if found is not None:
        assert not found.is_exact
        assert found.smallest <= tolerance
        # no more than the dearest task above the optimum: the gap of the relaxation
        assert best <= found.cost <= best + max(option.cost for option in options)


def test_a_dear_task_is_left_out() -> None:
    options = [Option("small", 100, 0.002, 1000), Option("dear", 10**9, 0.0005, 1000), Option("other", 200, 0.002, 500)]
    found = cheapest(options, 0.005)
    assert found is not None
    assert found.names == ("small", "other")
    assert found.cost == 300


def test_what_all_of_them_cannot_show() -> None:
    options = [Option("noisy", 10, 0.5, 9), Option("calm", 10, 0.01, 99), Option("calm too", 10, 0.01, 99)]
    assert cheapest(options, 0.003) is None
    best = most_telling(options)
    assert best is not None
    # the noisy one would spoil the mean
    assert best.names == ("calm", "calm too")
    assert best.smallest == pytest.approx(smallest_detectable(*of_mean((options[1], options[2]))))
    assert most_telling([]) is None


def test_hundreds_of_tasks() -> None:
    options = [Option(str(n), 1000 + 997 * n % 5003, 0.002 + 0.001 * (n * 31 % 17), 500) for n in range(300)]
    found = cheapest(options, 0.003)
    assert found is not None
    assert found.smallest <= 0.003
    assert found.cost < sum(option.cost for option in options) / 10
