"""Correlations of similarity scores with human judgements."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import DegenerateDataWarning, pearsonr, spearmanr


@dataclass(frozen=True, slots=True)
class Correlation:
    """Pearson's r and Spearman's rank correlation; NaN where one side is constant."""

    pearson: float
    spearman: float


def correlate(gold: Sequence[float], predicted: Sequence[float]) -> Correlation:
    """Correlate two equally long lists, as scipy's pearsonr and spearmanr do (ties get mean ranks).

    >>> correlate([0.0, 0.5, 1.0], [1.0, 2.0, 4.0]).spearman
    1.0
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        return Correlation(float(pearsonr(gold, predicted)[0]), float(spearmanr(gold, predicted)[0]))
