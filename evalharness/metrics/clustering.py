"""How well clusters agree with true groups: sklearn's measures to the last digit, from one table of counts."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST = float(np.finfo("float64").eps)


@dataclass(frozen=True, slots=True)
class Agreement:
    """V-measure, and adjusted mutual information if it was asked for."""

    v_measure: float
    ami: float | None = None


def agreement(labels: NDArray[Any], assigned: NDArray[np.integer[Any]], *, adjusted: bool) -> Agreement:
    """Compare clusters with labels, as sklearn's `v_measure_score` and `adjusted_mutual_info_score` do.

    Args:
        labels: true groups, at least one row.
        assigned: the cluster of each row.
        adjusted: whether to give the adjusted mutual information, too; its expectation takes longer than the rest.

    >>> agreement(np.array(["a", "a", "b"]), np.array([1, 1, 0]), adjusted=True)
    Agreement(v_measure=1.0, ami=1.0)
    """
    from scipy.sparse import csr_array
    from sklearn.metrics import mutual_info_score
    from sklearn.metrics.cluster import expected_mutual_information

    _, rows, of_labels = np.unique(labels, return_inverse=True, return_counts=True)
    _, columns, of_clusters = np.unique(assigned, return_inverse=True, return_counts=True)
    shape = (len(of_labels), len(of_clusters))
    table = csr_array(np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape))
    shared = mutual_info_score(None, None, contingency=table)
    h_labels, h_clusters = _entropy(of_labels), _entropy(of_clusters)
    homogeneity = shared / h_labels if h_labels else 1.0
    completeness = shared / h_clusters if h_clusters else 1.0
    both = homogeneity + completeness
    v_measure = float(2.0 * homogeneity * completeness / both) if both else 0.0
    if not adjusted:
        return Agreement(v_measure)
    if 1 in shape:
        return Agreement(v_measure, ami=float(shape == (1, 1)))
    expected = expected_mutual_information(table, len(labels))
    ami = _away_from_zero(shared - expected) / _away_from_zero(np.mean([h_labels, h_clusters]) - expected)
    return Agreement(v_measure, float(ami))


def _entropy(counts: NDArray[np.int64]) -> float:
    if len(counts) == 1:
        return 0.0
    shares = counts.astype(np.float64)
    total = np.sum(shares)
    return float(-np.sum((shares / total) * (np.log(shares) - log(total))))


def _away_from_zero(value: float) -> float:
    return min(value, -_LEAST) if value < 0 else max(value, _LEAST)
