"""Tests, adjustments and intervals against scipy, statsmodels and ranx, within Monte Carlo error."""

from __future__ import annotations

from math import nan

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, nct, permutation_test, spearmanr, t, ttest_1samp, ttest_rel

from evalharness.metrics.statistics.draws import SEED, generator, indices
from evalharness.metrics.statistics.intervals import bca
from evalharness.metrics.statistics.multiple import benjamini_hochberg, holm
from evalharness.metrics.statistics.paired_tests import Alternative, paired_t, sign_flip
from evalharness.metrics.statistics.power import power_of, smallest_detectable

Values = NDArray[np.float64]
ALTERNATIVES: list[Alternative] = ["two-sided", "less", "greater"]
# scores as queries have them: many equal, few levels
LEVELS = np.array([0.0, 0.0, 0.0, 0.3869, 0.4307, 0.5, 0.6309, 1.0])


def scores(name: str, n: int, shift: float = 0.0) -> tuple[Values, Values]:
    """Base and candidate, of which about a third of the items agree."""
    draw = generator(SEED, name)
    base, other = draw.choice(LEVELS, n), draw.choice(LEVELS, n)
    return base, np.where(draw.random(n) < 1 / 3, base, np.minimum(1.0, other + shift * (draw.random(n) < 0.5)))


def ours(differences: Values, alternative: Alternative, draws: int) -> float:
    return sign_flip(differences, generator=generator(SEED), alternative=alternative, draws=draws).p_value


def monte_carlo_error(p: float, draws: int) -> float:
    return float(5 * np.sqrt(2 * p * (1 - p) / draws) + 2 / draws)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("n", [2, 5, 11])
def test_exact_sign_flips_are_scipys(alternative: Alternative, n: int) -> None:
    base, candidate = scores(f"exact {n}", n, 0.2)
    theirs = permutation_test(
        (candidate, base),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        alternative=alternative,
        n_resamples=np.inf,
    )
    assert ours(candidate - base, alternative, 4096) == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize(("n", "shift"), [(30, 0.0), (50, 0.2), (323, 0.05)])
def test_drawn_sign_flips_are_scipys(alternative: Alternative, n: int, shift: float) -> None:
    base, candidate = scores(f"drawn {n}", n, shift)
    theirs = permutation_test(
        (candidate, base),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        alternative=alternative,
        n_resamples=9999,
        rng=generator(SEED, "theirs"),
    ).pvalue
    assert abs(ours(candidate - base, alternative, 10_000) - theirs) < monte_carlo_error(theirs, 10_000)


@pytest.mark.parametrize(("n", "shift"), [(50, 0.0), (50, 0.2), (323, 0.05)])
def test_drawn_sign_flips_are_ranx_fishers(n: int, shift: float) -> None:
    from ranx.statistical_tests import fisher_randomization_test

    base, candidate = scores(f"ranx {n}", n, shift)
    theirs, _ = fisher_randomization_test(base, candidate, n_permutations=10_000, random_seed=42)
    assert abs(ours(candidate - base, "two-sided", 10_000) - theirs) < monte_carlo_error(theirs, 10_000)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("n", [2, 10, 500])
def test_paired_t_is_scipys(alternative: Alternative, n: int) -> None:
    base, candidate = scores(f"t {n + 1}", n, 0.1)
    found = paired_t(candidate - base, alternative).p_value
    assert found == pytest.approx(ttest_rel(candidate, base, alternative=alternative).pvalue, rel=1e-9)
    assert found == pytest.approx(ttest_1samp(candidate - base, 0, alternative=alternative).pvalue, rel=1e-9)


@pytest.mark.parametrize("m", [1, 2, 40, 500])
def test_adjusted_p_values_are_statsmodels(m: int) -> None:
    from statsmodels.stats.multitest import multipletests

    values = generator(SEED, "p", str(m)).random(m) ** 3
    values[: m // 4] = values[0]
    for adjust, method in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        theirs = multipletests(values, method=method)[1]
        np.testing.assert_allclose(adjust(values.tolist()), theirs, rtol=1e-12)
        # what was not tested changes nothing
        assert adjust([nan, *values.tolist()])[1:] == adjust(values.tolist())


@pytest.mark.parametrize("df", [1, 3, 30, 3000])
@pytest.mark.parametrize("alpha", [0.05, 0.0005])
def test_power_is_scipys_noncentral_t(df: int, alpha: float) -> None:
    for noncentrality in (0.5, 2.8, 6.0):
        expected = nct.sf(t.ppf(1 - alpha / 2, df), df, noncentrality)
        assert power_of(noncentrality * 0.1, 0.1, df, alpha) == pytest.approx(expected, abs=1e-6)
    needed = smallest_detectable(0.1, df, alpha) / 0.1
    assert nct.sf(t.ppf(1 - alpha / 2, df), df, needed) == pytest.approx(0.8, abs=1e-5)


@pytest.mark.parametrize("n", [10, 60, 400])
def test_power_is_statsmodels(n: int) -> None:
    from statsmodels.stats.power import TTestPower

    # theirs counts what is shown in the wrong direction, too: next to nothing here
    theirs = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert smallest_detectable(0.2 / np.sqrt(n), n - 1) == pytest.approx(0.2 * theirs, rel=1e-4)


@pytest.mark.parametrize("n", [20, 200])
@pytest.mark.parametrize("kind", ["spearman", "mean"])
def test_bca_is_scipys(n: int, kind: str) -> None:
    draw = generator(SEED, kind, str(n))
    gold, noise = draw.normal(size=n), draw.exponential(size=(2, n))
    base, candidate = gold + 2 * noise[0], gold + noise[1]

    def difference(gold: Values, base: Values, candidate: Values) -> float:
        if kind == "mean":
            return float((candidate - base).mean())
        return float(spearmanr(gold, candidate).statistic - spearmanr(gold, base).statistic)

    data = (gold, base, candidate)
    theirs = bootstrap(
        data, difference, paired=True, vectorized=False, method="BCa", n_resamples=2000, rng=generator(SEED, "theirs")
    )
    jackknife = np.array([difference(*(np.delete(values, item) for values in data)) for item in range(n)])
    # of the same replicates, the very interval
    same = bca(difference(*data), theirs.bootstrap_distribution, jackknife)
    np.testing.assert_allclose([same.low, same.high], theirs.confidence_interval, rtol=1e-9)
    resamples = indices(generator(SEED, "ours"), 2000, n)
    own = bca(difference(*data), np.array([difference(*(v[chosen] for v in data)) for chosen in resamples]), jackknife)
    spread = theirs.bootstrap_distribution.std()
    # a 97.5% quantile of 2,000 normal draws is known to about 0.06 standard deviations, and both are drawn
    np.testing.assert_allclose([own.low, own.high], theirs.confidence_interval, atol=5 * 0.085 * spread)
