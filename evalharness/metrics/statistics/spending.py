"""Repeated looks: a series of checkpoints, each judged against the best so far, with one false alarm rate for all.

Why: twenty looks at .05 raise a false alarm in far more than a twentieth of series. And the best so far was chosen
because its scores were high, by luck, too: whatever comes next looks worse than it.

How: look k (k = 1 compares the first candidate with the base) may spend alpha_k = alpha / (k (k + 1)), which sums to
alpha over any number of looks, so that nobody has to say how many there will be (spending as such: K. K. G. Lan,
D. L. DeMets, Discrete Sequential Boundaries for Clinical Trials, Biometrika 70, 1983). At look k there are k earlier
checkpoints of which any could have been the best. If each of these k pairs, had it been the one compared, is tested at
alpha_k / k, the chance that any of them raises a false alarm is alpha_k at most, whichever was chosen and why. Both
steps are the union bound: valid however the looks depend on each other, which sharing items they do; the price is power
(`power` says how much).

Applies to p values that are valid each by themselves. Those by Monte Carlo need the draws to be that small:
`paired_tests.draws_for(per_pair(look))`.
"""

from __future__ import annotations


def alpha_at(look: int, alpha: float = 0.05) -> float:
    """What look number `look` (from 1) may spend: alpha / (look (look + 1)).

    >>> [round(alpha_at(look), 4) for look in (1, 2, 3)]
    [0.025, 0.0083, 0.0042]

    Raises:
        ValueError: there is no such look.
    """
    if look < 1:
        raise ValueError(f"looks count from 1; got {look}")
    return alpha / (look * (look + 1))


def per_pair(look: int, alpha: float = 0.05) -> float:
    """The level of the one test of this look, against the best of its `look` earlier checkpoints.

    >>> [round(per_pair(look), 4) for look in (1, 2, 3)]
    [0.025, 0.0042, 0.0014]

    Raises:
        ValueError: there is no such look.
    """
    return alpha_at(look, alpha) / look
