"""Correlations of similarity scores with human judgements."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class Correlation:
    """Pearson's r and Spearman's rank correlation; NaN where one side is constant."""

    pearson: float
    spearman: float


@dataclass(frozen=True, slots=True)
class TestedCorrelation:
    """Both correlations with their p-values."""

    __test__ = False  # no test class, whatever pytest makes of its name

    pearson: float
    pearson_p: float
    spearman: float
    spearman_p: float


def correlate_tested(gold: ArrayLike, predicted: ArrayLike) -> TestedCorrelation:
    """As `correlate`, with the two-sided p-values of scipy's tests."""
    from scipy.stats import DegenerateDataWarning, pearsonr, spearmanr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        pearson, spearman = pearsonr(gold, predicted), spearmanr(gold, predicted)
    return TestedCorrelation(
        float(pearson.statistic), float(pearson.pvalue), float(spearman.statistic), float(spearman.pvalue)
    )


def correlate(gold: ArrayLike, predicted: ArrayLike) -> Correlation:
    """Correlate two lists or arrays of one length, as scipy's pearsonr and spearmanr do (ties get mean ranks).

    >>> correlate([0.0, 0.5, 1.0], [1.0, 2.0, 4.0]).spearman
    1.0
    """
    found = correlate_tested(gold, predicted)
    return Correlation(found.pearson, found.spearman)
