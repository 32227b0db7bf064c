"""What could be shown at all: power of the two-sided paired t test, before anything is run.

The sign-flip test has the same power but for few items (it is the t test's permutation twin). Power is the chance to
show a difference in its own direction; the chance to show the opposite, below alpha / 2, is no success. References:
J. Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988; N. L. Johnson, S. Kotz, N. Balakrishnan,
Continuous Univariate Distributions 2, chapter 31 (the noncentral t).
"""

from __future__ import annotations

from math import ceil, inf, isfinite, nan, sqrt

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtr, ndtr, ndtri, stdtrit

# from here on the t distribution is the normal one to five digits
_NORMAL_FROM = 100_000.0
# where the normal part of a noncentral t is, in steps that are as fine as the other part needs at that many df
_Z = np.linspace(-9, 9, 4001)
_WEIGHTS = np.exp(-(_Z**2) / 2) / np.exp(-(_Z**2) / 2).sum()
# items that no data set has
_TOO_MANY = 10**12


def power_of(difference: float, standard_error: float, df: float, alpha: float = 0.05) -> float:
    """The chance that a true difference is shown, two-sided at alpha: P(T > t(1 - alpha/2)), T noncentral t.

    Assumes independent, about normal mean differences. Applies where df >= 1.

    Args:
        difference: true mean difference, in units of the scores; its sign does not matter.
        standard_error: of the mean difference, in the same units.
        df: degrees of freedom, n - 1 for n items.
        alpha: of the test, after all corrections for many tests.

    >>> round(power_of(2.8, 1.0, 1000), 3)
    0.799
    """
    if standard_error == 0:
        return 1.0 if difference else 0.0
    return _power(abs(difference) / standard_error, df, alpha)


def smallest_detectable(standard_error: float, df: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference that would be shown with this power; the inverse of `power_of`.

    Formula: standard error x noncentrality d with P(T(df, d) > t(1 - alpha/2)) = power; about (1.96 + 0.84) standard
    errors for many items. NaN where df < 1: one item shows nothing. Assumptions and units as of `power_of`.

    >>> round(smallest_detectable(1.0, 1000), 3), round(smallest_detectable(1.0, 9), 3)
    (2.804, 3.15)
    """
    if df < 1:
        return nan
    least = float(ndtri(1 - alpha / 2) + ndtri(power))
    most = 2 * least
    while _power(most, df, alpha) < power:
        most *= 2
    return standard_error * float(brentq(lambda size: _power(size, df, alpha) - power, 0.0, most))


def items_needed(difference: float, sd: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """How many items (or tasks) show a true difference with this power; None if no number would.

    Formula: the smallest n >= 2 with power_of(difference, sd / sqrt(n), n - 1) >= power. Assumptions as of `power_of`.

    Args:
        difference: true mean difference, in units of the scores.
        sd: standard deviation of the items' differences, in the same units.
        alpha: of the test, two-sided.
        power: asked for.

    >>> items_needed(0.003, 0.1)
    8723
    """
    if difference == 0 or not isfinite(sd) or not isfinite(difference):
        return None
    effect = abs(difference) / sd if sd > 0 else inf
    if effect == inf:
        return 2
    # what a normal test would need is never more than the t test needs
    low = max(1, ceil(((ndtri(1 - alpha / 2) + ndtri(power)) / effect) ** 2) - 1)
    if low > _TOO_MANY:
        return None
    step = 1
    while _power(effect * sqrt(low + step), low + step - 1, alpha) < power:
        low, step = low + step, 2 * step
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        if _power(effect * sqrt(middle), middle - 1, alpha) < power:
            low = middle
        else:
            high = middle
    return high


def shown_no_worse_from(tolerance: float, sd: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """How many items show "no worse than the tolerance" with this power, if truly nothing changed.

    The lower end of the interval of level 1 - alpha lies above -tolerance just where the one-sided test at alpha / 2
    against -tolerance says so, and no difference at all is a tolerance away from that: the question is that of
    `items_needed` for a difference as large as the tolerance. Reference: E. Walker, A. Nowacki, Understanding
    Equivalence and Noninferiority Testing, Journal of General Internal Medicine 26, 2011.

    Args:
        tolerance: in units of the scores.
        sd: as of `items_needed`.
        alpha: 1 - level of the interval.
        power: asked for.

    >>> shown_no_worse_from(0.003, 0.1)
    8723
    """
    return items_needed(tolerance, sd, alpha, power)


def _power(noncentrality: float, df: float, alpha: float) -> float:
    """P((Z + noncentrality) / sqrt(X / df) > t), Z normal, X chi-squared: the chance over X, averaged over Z.

    scipy's noncentral t does not come back at few degrees of freedom and a small alpha.
    """
    if df < 1:
        return 0.0
    if df >= _NORMAL_FROM:
        return float(ndtr(noncentrality - ndtri(1 - alpha / 2)))
    bound = np.maximum(0.0, _Z + noncentrality) / stdtrit(df, 1 - alpha / 2)
    return float(_WEIGHTS @ chdtr(df, df * bound**2))
