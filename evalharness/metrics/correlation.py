"""Correlations of similarity scores with human judgements."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evalharness.metrics.forms import Values

# values on a side, of which there is a correlation
_LEAST = 2


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
    return correlations(gold, [predicted])[0]


def correlations(gold: ArrayLike, predicted: Sequence[ArrayLike]) -> list[Correlation]:
    """As `correlate` for each of several: what it takes of `gold` is made once.

    To the last digit scipy's, whose tests and checks take longer than the correlations.

    Raises:
        ValueError: there are fewer than two values.

    >>> [round(found.pearson) for found in correlations([0, 1, 2], [[0, 1, 2], [2, 1, 0]])]
    [1, -1]
    """
    wanted = _Side.of(gold)
    if len(wanted.ranks) < _LEAST:
        raise ValueError("a correlation takes at least two values")
    return [_correlated(wanted, _Side.of(values)) for values in predicted]


@dataclass(frozen=True, slots=True)
class _Side:
    """One of two sides of a correlation.

    Attributes:
        direction: distances from the mean, of length 1.
        ranks: from 1; equal values have the mean of theirs.
        is_defined: whether there are numbers, and different ones.
    """

    direction: Values
    ranks: Values
    is_defined: bool

    @classmethod
    def of(cls, values: ArrayLike) -> _Side:
        numbers = np.asarray(values, dtype=np.float64)
        if np.isnan(numbers).any() or (numbers == numbers[0]).all():
            return cls(numbers, numbers, is_defined=False)
        apart = numbers - np.mean(numbers)
        largest = np.max(np.abs(apart))
        with np.errstate(invalid="ignore", divide="ignore"):
            # along an axis NumPy adds the squares up, as scipy wants it; without one it takes a dot product
            length = largest * np.linalg.norm(apart / largest, axis=-1)
            return cls(apart / length, _ranks(numbers), is_defined=True)


def _correlated(gold: _Side, predicted: _Side) -> Correlation:
    if not (gold.is_defined and predicted.is_defined):
        return Correlation(float("nan"), float("nan"))
    pearson = float(np.clip(gold.direction[None, :] @ predicted.direction[:, None], -1.0, 1.0)[0, 0])
    if len(gold.ranks) == _LEAST:
        pearson = float(np.round(pearson))
    both = np.asarray(np.corrcoef(np.stack([gold.ranks, predicted.ranks])))
    return Correlation(pearson, float(both[1, 0]))


def _ranks(values: Values) -> Values:
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    counts = np.diff(np.append(starts, len(values)))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + 1 + (counts - 1) / 2, counts)
    return ranks
