"""Tests of paired differences: small cases by hand, what does not matter, and false alarms."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evalharness.metrics.statistics.draws import (
    SEED,
    all_signed_sums,
    chunks,
    generator,
    indices,
    signed_sums,
    signs,
    uniforms,
)
from evalharness.metrics.statistics.paired_tests import Alternative, draws_for, from_null, paired_t, sign_flip

ALTERNATIVES: list[Alternative] = ["two-sided", "less", "greater"]
DIFFERENCES = st.lists(st.floats(-1, 1, allow_subnormal=False).map(lambda x: round(x, 3)), min_size=1, max_size=30)


def flip(values: NDArray[np.float64] | list[float], alternative: Alternative = "two-sided", draws: int = 2000) -> float:
    found = sign_flip(np.array(values), generator=generator(SEED), alternative=alternative, draws=draws)
    return found.p_value


def test_generators_are_the_same_everywhere_and_one_per_name() -> None:
    # raw bits of PCG64, which numpy's policy never changes
    assert signs(generator(1, "a"), 2, 4).tolist() == [[1, -1, -1, -1], [1, -1, 1, 1]]
    assert indices(generator(1, "a"), 2, 3).tolist() == [[2, 1, 2], [2, 0, 2]]
    names = [("a",), ("b",), ("a", "b"), ("ab",), ("b", "a"), ()]
    assert len({generator(1, *name).integers(2**60) for name in names} | {generator(2, "a").integers(2**60)}) == 7


def test_draws_are_uniform() -> None:
    made = generator(SEED)
    assert abs(signs(made, 1000, 101).mean()) < 4 / np.sqrt(101_000)
    assert set(np.unique(signs(made, 3, 5))) == {-1, 1}
    counts = np.bincount(indices(made, 700, 143).ravel(), minlength=143)
    assert len(counts) == 143
    assert ((counts - 700) ** 2 / 700).sum() < 143 + 5 * np.sqrt(2 * 143)
    numbers = uniforms(made, 100_000)
    assert 0 < numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 4 / np.sqrt(12 * 100_000)


@pytest.mark.parametrize(("draws", "size", "limit"), [(10, 3, 7), (1, 100, 5), (5, 0, 3), (0, 3, 3), (7, 1, 100)])
def test_chunks_cover_all_rows_and_stay_small(draws: int, size: int, limit: int) -> None:
    found = list(chunks(draws, size, limit))
    assert [row for part in found for row in range(part.start, part.stop)] == list(range(draws))
    assert all((part.stop - part.start) * size <= max(limit, size) for part in found)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 100])
def test_signed_sums_have_the_moments_of_random_signs(n: int) -> None:
    values = np.linspace(0.5, 2, n)
    sums = signed_sums(values, 40_000, generator(SEED, str(n)))
    size = np.sqrt((values**2).sum())
    assert abs(sums.mean()) < 4 * size / 200
    assert abs(sums.std() / size - 1) < 4 / 200
    fourth = 3 - 2 * (values**4).sum() / size**4
    assert abs((sums**4).mean() / size**4 - fourth) < 4 * np.sqrt(96) / 200


def test_signed_sums_need_not_fit_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = generator(1).random(100)
    whole = signed_sums(values, 64, generator(SEED))
    monkeypatch.setattr(chunks, "__defaults__", (64 * 3,))
    assert len(list(chunks(13, 256))) == 13
    parts = signed_sums(values, 64, generator(SEED))
    np.testing.assert_array_equal(parts, whole)


def test_all_signed_sums_are_all() -> None:
    values = np.array([1.0, 2.0, 4.0])
    expected = sorted(float(np.dot(values, choice)) for choice in product((-1, 1), repeat=3))
    assert sorted(all_signed_sums(values[None])[0].tolist()) == expected


@pytest.mark.parametrize(
    ("values", "alternative", "expected"),
    [
        ([1.0, 2.0, 3.0], "two-sided", 2 / 8),
        ([1.0, 2.0, 3.0], "greater", 1 / 8),
        ([1.0, 2.0, 3.0], "less", 1.0),
        ([-1.0, -2.0, -3.0], "less", 1 / 8),
        # sums 6, 4, 2, 0, 0, -2, -4, -6
        ([-1.0, 2.0, 3.0], "two-sided", 4 / 8),
        ([-1.0, 2.0, 3.0], "greater", 2 / 8),
        ([1.0, 1.0, -2.0], "two-sided", 1.0),
        # 0.1 + 0.2 - 0.3 is not 0 in floating point, and counts as 0
        ([0.1, 0.2, -0.3], "greater", 5 / 8),
        ([0.1, 0.2, -0.3], "less", 5 / 8),
        # zeros do not matter
        ([1.0, 0.0, 2.0, 0.0, 3.0, *[0.0] * 50], "two-sided", 2 / 8),
        ([0.0, 0.0], "greater", 1.0),
        ([0.5], "two-sided", 1.0),
        ([0.5], "greater", 0.5),
    ],
)
def test_sign_flip_by_hand(values: list[float], alternative: Alternative, expected: float) -> None:
    assert flip(values, alternative) == expected


def test_exact_and_drawn_agree() -> None:
    values = generator(3).normal(0.3, 1, 12)
    for alternative in ALTERNATIVES:
        exact, drawn = flip(values, alternative, 4096), flip(values, alternative, 4095)
        assert abs(exact - drawn) < 4 * np.sqrt(exact * (1 - exact) / 4095) + 1 / 4096


def test_a_drawn_p_value_is_never_0_and_names_its_draws() -> None:
    found = sign_flip(np.ones(100), generator=generator(SEED), draws=999)
    assert found.p_value == 1 / 1000
    assert found.method == "sign-flip permutation, 999 draws"


@pytest.mark.parametrize("n", [3, 40])
def test_the_null_is_of_the_mean_also_where_p_is_exact(n: int) -> None:
    values = np.append(np.linspace(0.1, 1, n), np.zeros(n))
    found = sign_flip(values, generator=generator(SEED), draws=10_000)
    assert ("exact" in found.method) == (n == 3)
    assert found.null is not None
    assert found.null.shape == (10_000,)
    spread = np.sqrt((values**2).sum()) / (2 * n)
    assert abs(found.null.mean()) < 4 * spread / 100
    assert abs(found.null.std() / spread - 1) < 4 / 100


@given(DIFFERENCES, st.sampled_from(ALTERNATIVES))
def test_sign_flip_has_no_side_and_no_unit(values: list[float], alternative: Alternative) -> None:
    p = flip(values, alternative, 500)
    assert 0 < p <= 1
    other: Alternative = {"less": "greater", "greater": "less"}.get(alternative, alternative)  # type: ignore[assignment]
    array = np.array(values)
    # the same signs are drawn for the same sizes
    assert flip(array * 100, alternative, 500) == p
    if (array != 0).sum() <= 8:
        assert flip(-array, other, 500) == p
        assert flip(array[::-1], alternative, 500) == p
    else:
        assert abs(flip(-array, other, 500) - p) < 0.15
        assert abs(flip(array[::-1], alternative, 500) - p) < 0.15


@given(DIFFERENCES, st.sampled_from(ALTERNATIVES))
def test_paired_t_has_no_side_no_unit_no_order(values: list[float], alternative: Alternative) -> None:
    array, p = np.array(values), paired_t(np.array(values), alternative).p_value
    assert 0 < p <= 1
    other: Alternative = {"less": "greater", "greater": "less"}.get(alternative, alternative)  # type: ignore[assignment]
    assert paired_t(-array, other).p_value == pytest.approx(p)
    assert paired_t(array[::-1] * 100, alternative).p_value == pytest.approx(p)


@pytest.mark.parametrize(
    ("values", "alternative", "expected"),
    [
        ([0.0, 0.0, 0.0], "two-sided", 1.0),
        ([0.0, 0.0, 0.0], "less", 1.0),
        ([0.1] * 5, "two-sided", 2**-4),
        ([0.1] * 5, "greater", 2**-5),
        ([0.1] * 5, "less", 1.0),
        ([-0.1] * 5, "less", 2**-5),
        ([0.1 + 0.2, 0.3, 0.3], "two-sided", 2**-2),
        ([0.7], "two-sided", 1.0),
    ],
)
def test_paired_t_without_variance(values: list[float], alternative: Alternative, expected: float) -> None:
    assert paired_t(np.array(values), alternative).p_value == expected


def test_no_p_value_is_0() -> None:
    for values in (np.ones(5000), generator(1).normal(1, 1e-3, 5000)):
        for alternative in ("two-sided", "greater"):
            assert 0 < paired_t(values, alternative).p_value < 1e-300


def test_from_null_counts_ties_and_what_is_no_number() -> None:
    null = np.array([-0.3, -0.1, 0.0, 0.1, 0.1 + 0.2, np.nan])
    assert from_null(0.3, null).p_value == 4 / 7
    assert from_null(0.3, null, "greater").p_value == 3 / 7
    assert from_null(0.3, null, "less").p_value == 1.0
    assert from_null(0.0, np.zeros(3)).p_value == 1.0


@pytest.mark.parametrize("values", [[], [np.nan, 1.0], [np.inf]])
def test_no_test_of_nothing_or_of_what_is_no_number(values: list[float]) -> None:
    with pytest.raises(ValueError, match="a test needs finite differences; got"):
        flip(values)
    with pytest.raises(ValueError, match="a test needs finite differences; got"):
        paired_t(np.array(values))


def test_from_null_needs_numbers() -> None:
    with pytest.raises(ValueError, match="got nan, 1"):
        from_null(float("nan"), np.ones(1))
    with pytest.raises(ValueError, match=r"got 0\.1, 0"):
        from_null(0.1, np.zeros(0))


def test_draws_for_small_alphas() -> None:
    assert draws_for(0.05) == 10_000
    assert draws_for(0.05 / 56) == 28_000
    assert draws_for(0.01, least=100) == 2_500


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_false_alarms_of_both_tests_are_those_promised(alternative: Alternative) -> None:
    draw, trials = generator(7, alternative), 2000
    alarms = np.zeros(2)
    for _ in range(trials):
        values = draw.normal(size=20) * (draw.random(20) < 0.6)
        found = sign_flip(values, generator=draw, alternative=alternative, draws=499)
        alarms += [found.p_value <= 0.05, paired_t(values, alternative).p_value <= 0.05]
    # four standard errors of the trials about .05
    assert (abs(alarms / trials - 0.05) < 4 * np.sqrt(0.05 * 0.95 / trials)).all()
