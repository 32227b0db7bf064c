"""Is there a difference? Tests of paired differences, which decide; p values are never a bootstrap's."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from evalharness.metrics.statistics.draws import all_signed_sums, signed_sums

Alternative: TypeAlias = Literal["two-sided", "less", "greater"]
Values: TypeAlias = NDArray[np.float64]

# so that the last bits of a sum, which depend on its order, decide nothing
TOLERANCE = 1e-12
# of (count + 1) / (draws + 1): with this many expected hits its relative error is a fifth
_HITS = 25


@dataclass(frozen=True, slots=True)
class Test:
    """What a test found.

    Attributes:
        p_value: the chance of a statistic at least as extreme where there is no difference; in (0, 1].
        method: how it was found, as a reader may be told.
        null: draws of the statistic (a mean difference, in units of the scores) where there is no difference, shape
            (draws,), about 0: also where the p value is exact, so that those of several tasks add up; None for the t.
    """

    __test__ = False  # no test class, whatever pytest makes of its name

    p_value: float
    method: str
    null: Values | None = None


def sign_flip(
    differences: Values,
    *,
    generator: np.random.Generator,
    alternative: Alternative = "two-sided",
    draws: int = 10_000,
) -> Test:
    """The paired permutation test of a mean difference (Fisher's randomisation): each difference may change its sign.

    Formula: p = share of the 2^n assignments of signs with a mean at least as extreme as the one observed. Zeros do not
    matter and are left out of n. Where 2^n <= draws, all are counted; otherwise p = (count + 1) / (draws + 1) of random
    ones, which is valid as a p value at any number of draws.

    Assumes: differences are independent (of clusters: one value each) and, where there is no difference, as likely
    positive as negative. Applies from a handful of items on; with n non-zero differences no p is below 2^(1-n).
    References: R. A. Fisher, The Design of Experiments, 1935; M. Smucker, J. Allan, B. Carterette, CIKM 2007;
    B. Phipson, G. Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010 (the + 1).

    Args:
        differences: candidate minus base, shape (n,), finite. To test against a margin, subtract it before.
        generator: of the signs.
        alternative: "less": the mean is below 0; "greater"; "two-sided".
        draws: see `draws_for` where small p values matter.

    Raises:
        ValueError: no differences, or some are not finite.

    >>> from evalharness.metrics.statistics.draws import SEED, generator
    >>> sign_flip(np.array([0.1, 0.3, 0.2, 0.0]), generator=generator(SEED)).p_value
    0.25
    """
    moved = _checked(differences)
    moved = moved[moved != 0]
    observed, sizes = float(moved.sum()), np.abs(moved)
    if len(sizes) == 0:
        return Test(1.0, "sign-flip permutation, exact", np.zeros(draws))
    slack, sums = TOLERANCE * float(sizes.sum()), signed_sums(sizes, draws, generator)
    null = sums / len(differences)
    if 2 ** len(sizes) <= draws:
        everything = all_signed_sums(sizes[None])[0]
        hits = int(_extreme(observed, everything, alternative, slack).sum())
        return Test(hits / len(everything), "sign-flip permutation, exact", null)
    hits = int(_extreme(observed, sums, alternative, slack).sum())
    return Test((hits + 1) / (draws + 1), f"sign-flip permutation, {draws:,} draws", null)


def from_null(observed: float, null: Values, alternative: Alternative = "two-sided") -> Test:
    """The test of a statistic that is no mean, among its values when base and candidate were swapped at random.

    Formula: p = (count of replicates at least as extreme + 1) / (draws + 1). Assumes that where there is no difference
    the two systems' values of an item may be swapped, so that the null is symmetric about 0. Replicates that are NaN
    (the metric was not defined) count as extreme: they make nothing significant. References: as of `sign_flip`.

    Args:
        observed: the difference, in units of the scores.
        null: the difference under random swaps, shape (draws,).
        alternative: as of `sign_flip`.

    Raises:
        ValueError: no replicates, or what was observed is not finite.

    >>> from_null(0.5, np.array([0.1, -0.6, 0.2])).p_value
    0.5
    """
    if len(null) == 0 or not np.isfinite(observed):
        raise ValueError(f"a test needs a finite observed difference and replicates; got {observed}, {len(null)}")
    slack = TOLERANCE * max(abs(observed), float(np.abs(null[np.isfinite(null)]).max(initial=0.0)))
    hits = int((_extreme(observed, null, alternative, slack) | np.isnan(null)).sum())
    return Test((hits + 1) / (len(null) + 1), f"paired permutation of systems, {len(null):,} draws", null)


def paired_t(differences: Values, alternative: Alternative = "two-sided") -> Test:
    """Student's t test of a mean difference, as scipy's `ttest_1samp` and `ttest_rel` have it.

    Formula: t = mean / (sd / sqrt(n)), n - 1 degrees of freedom. Assumes independent differences whose mean is about
    normal: for many items, or for tasks. Where all differences are equal there is no t: p is that of the sign flip then
    (2^(1-n) two-sided; 1 if all are 0). References: Student, Biometrika 6, 1908; on scores of search, Urbano et al.
    2019 (see the package).

    Args:
        differences: candidate minus base, shape (n,), finite.
        alternative: as of `sign_flip`.

    Raises:
        ValueError: no differences, or some are not finite.

    >>> round(paired_t(np.array([0.1, 0.3, 0.2, 0.0])).p_value, 4)
    0.1027
    """
    given = _checked(differences)
    n, mean = len(given), float(given.mean())
    if np.ptp(given) <= TOLERANCE * np.abs(given).max():
        return Test(_constant(mean, n, alternative), f"paired t, {n} equal differences")
    t = mean / (float(given.std(ddof=1)) / np.sqrt(n))
    if alternative == "two-sided":
        p = 2 * float(stdtr(n - 1, -abs(t)))
    else:
        p = float(stdtr(n - 1, t if alternative == "less" else -t))
    # beyond the smallest double there is still no certainty
    return Test(min(1.0, max(p, float(np.finfo(float).tiny))), f"paired t, {n - 1:,} degrees of freedom")


def draws_for(alpha: float, least: int = 10_000) -> int:
    """How many draws make a p value near alpha known well enough to decide at alpha.

    With d draws no Monte Carlo p value is below 1 / (d + 1), so that a small alpha (many tasks, many looks) needs more:
    25 / alpha, where about 25 hits are expected and their number's relative error is a fifth.

    >>> draws_for(0.05), draws_for(0.0001)
    (10000, 250000)
    """
    return max(least, int(np.ceil(_HITS / alpha)))


def _extreme(observed: float, null: Values, alternative: Alternative, slack: float) -> NDArray[np.bool_]:
    if alternative == "less":
        return null <= observed + slack
    if alternative == "greater":
        return null >= observed - slack
    return np.abs(null) >= abs(observed) - slack


def _constant(value: float, n: int, alternative: Alternative) -> float:
    """The sign flip's p value of n differences that are all the same."""
    if value == 0:
        return 1.0
    if alternative == "two-sided":
        return 2.0 ** (1 - n) or float(np.finfo(float).tiny)
    expected = -inf if alternative == "less" else inf
    return (2.0**-n or float(np.finfo(float).tiny)) if value * expected > 0 else 1.0


def _checked(differences: Values) -> Values:
    given = np.asarray(differences, np.float64)
    if len(given) == 0 or not np.isfinite(given).all():
        raise ValueError(
            f"a test needs finite differences; got {len(given)}, of them not finite: {int((~np.isfinite(given)).sum())}"
        )
    return given
