"""One scale: no order changes, other shapes do, and swaps change what systems differ in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from evalharness.metrics.forms import Correlation, Values
from evalharness.metrics.statistics.draws import SEED, generator, signs
from evalharness.metrics.statistics.recompute import swapped
from evalharness.metrics.statistics.scales import common_codes, on_one_scale, standardised

VALUES = st.lists(st.floats(-1, 1).map(lambda value: round(value, 2)), min_size=60, max_size=60)


@given(VALUES, VALUES)
def test_no_order_changes(first: list[float], second: list[float]) -> None:
    systems = [standardised(np.array(values)) for values in (first, second)]
    for before, after, codes in zip(systems, on_one_scale(systems), common_codes(*systems), strict=True):
        order = rankdata(np.round(before, 9))
        assert np.array_equal(rankdata(np.round(after, 9)), order)
        assert np.array_equal(rankdata(codes), order)


def test_the_same_similarities_on_another_scale_are_the_same() -> None:
    values = generator(SEED, "scales").normal(size=300)
    first, second = common_codes(values, 7 * values - 3)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("shape", [np.exp, np.cbrt, lambda values: values**3])
def test_another_shape_becomes_about_the_same(shape: np.ufunc) -> None:
    values = generator(SEED, "shapes").normal(size=400)
    before = [standardised(values), standardised(shape(values))]
    after = on_one_scale(before)
    assert np.abs(after[0] - after[1]).mean() < np.abs(before[0] - before[1]).mean() / 3


def _null_and_differences(noise: float) -> tuple[Values, Values]:
    """Spreads of what swaps make of the difference of two equally good systems, and of the difference itself."""
    source, nulls, differences = generator(SEED, "nearly the same", str(noise)), [], []
    for _ in range(150):
        gold = source.normal(size=60)
        shared = gold + source.normal(size=60)
        forms = [Correlation(gold, shared + noise * source.normal(size=60), "spearman") for _ in range(2)]
        masks = signs(source, 100, 60) > 0
        masks[0] = False
        found = swapped(*forms)(masks)
        nulls.append(found[1:].std())
        differences.append(found[0])
    return np.array(nulls), np.array(differences)


@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_swaps_change_as_much_as_systems_differ(noise: float) -> None:
    # ranks within systems would change less where these are nearly the same: 14% false alarms at .05
    nulls, differences = _null_and_differences(noise)
    assert np.sqrt((nulls**2).mean()) == pytest.approx(differences.std(), rel=0.15)
