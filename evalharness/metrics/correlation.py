"""Correlations of similarity scores with human judgements."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Values: TypeAlias = NDArray[np.float64]
# of so many values, or fewer, scipy rounds, or has no correlation
_FEW = 2


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
    first, second = np.asarray(gold), np.asarray(predicted)
    if not _is_usual(first, second):
        found = correlate_tested(gold, predicted)
        return Correlation(found.pearson, found.spearman)
    return Correlation(_pearson(first, second), float(np.corrcoef(_mean_ranks(first), _mean_ranks(second))[1, 0]))


def _is_usual(first: _Values, second: _Values) -> bool:
    """Whether the formulas below are what scipy computes; its import takes a second, and its tests as long again."""
    return first.shape == second.shape and all(
        side.ndim == 1
        and side.dtype == np.float64
        and len(side) > _FEW
        and np.isfinite(side).all()
        and np.ptp(side) > 0
        for side in (first, second)
    )


def _pearson(first: _Values, second: _Values) -> float:
    """The steps of scipy's pearsonr, so that the last digit is the same."""
    units = []
    for side in (first, second):
        deviations = side - np.mean(side, axis=-1, keepdims=True)
        largest = np.max(np.abs(deviations), axis=-1, keepdims=True)
        units.append(deviations / (largest * np.linalg.norm(deviations / largest, ord=2, axis=-1, keepdims=True)))
    return float(np.clip(np.vecdot(*units), -1.0, 1.0))


def _mean_ranks(values: _Values) -> _Values:
    """From 1 on; equal values have the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: _Values = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks
