"""The published comparison of significance tests, again: t, permutation, bootstrap, Wilcoxon and sign test.

The last three are here alone; nothing in the package decides by them.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from calibrating.tables import table
from calibrating.trials import ALPHA, Share, spread
from evalharness.metrics.forms import Values
from evalharness.metrics.statistics import SEED
from evalharness.metrics.statistics.draws import generator, indices
from evalharness.metrics.statistics.paired_tests import paired_t, sign_flip

TESTS = {"t": "t", "p": "permutation", "b": "bootstrap", "w": "Wilcoxon", "s": "sign"}
_COLLECTIONS = ("adhoc5_ap", "adhoc6_ap", "adhoc7_ap", "adhoc8_ap")
_DRAWS, _PAIRS = 999, 500


@dataclass(frozen=True, slots=True)
class Topics:
    """Trials with so many topics, of pairs of systems' differences, each row a pair."""

    count: int
    differences: Values
    trials: int


def centred_pairs(folder: Path) -> Values:
    """Differences of AP per topic, less their mean, of random pairs among the better three quarters of systems."""
    source, found = generator(SEED, "pairs"), []
    for name in _COLLECTIONS:
        scores = np.loadtxt(folder / f"{name}.csv", delimiter=",", skiprows=1)
        order = np.argsort(-scores.mean(axis=0))[: 3 * scores.shape[1] // 4]
        for _ in range(_PAIRS):
            one, other = source.choice(order, 2, replace=False)
            # some runs were handed in twice
            if (moved := scores[:, one] - scores[:, other]).any():
                found.append(moved)
    values = np.stack(found)
    return np.asarray(values - values.mean(axis=1, keepdims=True))


def alarms(topics: Topics) -> dict[str, Share]:
    """False alarms of each test, two-tailed at .05.

    Topics are drawn from a pair's 50, smoothed by a normal kernel: half of Silverman's width.
    """
    source, hits = generator(SEED, "published", str(topics.count)), dict.fromkeys(TESTS, 0)
    pool, n = topics.differences, topics.count
    for _ in range(topics.trials):
        values = pool[source.integers(0, len(pool))]
        width = 0.5 * 1.06 * values.std() * len(values) ** -0.2
        drawn = source.choice(values, n) + width * source.normal(size=n)
        hits["t"] += paired_t(drawn).p_value <= ALPHA
        hits["p"] += sign_flip(drawn, generator=source, draws=_DRAWS).p_value <= ALPHA
        hits["b"] += _bootstrap(drawn, source) <= ALPHA
        hits["w"] += float(stats.wilcoxon(drawn, method="approx").pvalue) <= ALPHA
        hits["s"] += float(stats.binomtest(int((drawn > 0).sum()), n).pvalue) <= ALPHA
    return {name: Share(count, topics.trials) for name, count in hits.items()}


def _bootstrap(values: Values, source: np.random.Generator) -> float:
    """The p-value of means of resamples, shifted to 0."""
    mean = float(values.mean())
    means = (values - mean)[indices(source, _DRAWS, len(values))].mean(axis=1)
    return float(((np.abs(means) >= abs(mean)).sum() + 1) / (_DRAWS + 1))


def published_rates(folder: Path, topics: int) -> dict[str, float]:
    """The published rates, AP, two-tailed at .05."""
    with (folder / f"type_1_ap_{topics}.csv").open(encoding="utf-8") as file:
        row = next(row for row in csv.DictReader(file) if float(row["alpha"]) == ALPHA)
    return {name: float(row[f"{name}2"]) for name in TESTS}


def in_order(found: dict[int, dict[str, Share]]) -> list[str]:
    """What of the published ordering does not show; nothing if all of it does."""
    wrong = []
    for topics, rates in found.items():
        far = [name for name in "tp" if abs(rates[name].value - ALPHA) > 0.01 + 2 * rates[name].error]
        wrong += [f"{TESTS[name]} is not near .05 at {topics}" for name in far]
        if topics <= 25 and rates["b"].value <= max(rates["t"].value, rates["p"].value):
            wrong.append(f"the bootstrap is not above at {topics}")
        if topics >= 100:
            wrong += [f"{TESTS[name]} is not above at {topics}" for name in "ws" if rates[name].value < 1.3 * ALPHA]
    return wrong


def published_table(data: Path, published: Path | None, counts: Sequence[int], trials: int) -> str:
    """Rates of each test beside the published ones, and whether their ordering is the same."""
    differences = centred_pairs(data)
    cells = [Topics(count, differences, trials) for count in counts]
    found = dict(zip(counts, spread(alarms, cells), strict=True))
    rows = []
    for count, rates in found.items():
        known = published_rates(published, count) if published else {}
        shown = [f"{rates[name]}" + (f" ({100 * known[name]:.2f})" if known else "") for name in TESTS]
        rows.append([str(count), *shown])
    wrong = in_order(found)
    verdict = f"Not as published: {'; '.join(wrong)}." if wrong else "The ordering is the published one."
    return f"{table(['topics', *TESTS.values()], rows)}\n\n{verdict}"
