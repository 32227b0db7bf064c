"""Scores of a yes/no decision about pairs, at the best threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalharness.metrics.precision import average_precision


@dataclass(frozen=True, slots=True)
class PairScores:
    """Best accuracy over all thresholds; best F1 with its precision and recall; average precision."""

    accuracy: float
    f1: float
    precision: float
    recall: float
    ap: float


def pair_scores(labels: ArrayLike, scores: ArrayLike) -> PairScores:
    """Scores of deciding that the pairs above a threshold are positive.

    A threshold lies between two different scores, so it never splits equal ones and never takes all pairs; where no
    threshold exists (one pair, or all scores equal) accuracy and F1 are 0. Among equally good thresholds the highest
    counts. Source: mteb's pair classification; average precision is sklearn's.

    Args:
        labels: 1 for positive pairs, 0 for others.
        scores: higher means more alike.

    >>> pair_scores([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]).accuracy
    0.75
    """
    gold, values = np.asarray(labels, dtype=np.int64), np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    ordered, hits = values[order], np.cumsum(gold[order] == 1)
    cuts = np.flatnonzero(ordered[1:] != ordered[:-1])
    accuracy = _best_accuracy(gold, hits, cuts)
    return PairScores(accuracy, **_best_f1(gold, hits, cuts), ap=_average_precision(gold, values, hits, cuts))


def _average_precision(
    gold: NDArray[np.int64], values: NDArray[np.float64], hits: NDArray[np.int64], cuts: NDArray[np.int64]
) -> float:
    if not 0 < hits[-1] < len(gold) or not np.isfinite(values).all() or ((gold != 0) & (gold != 1)).any():
        from sklearn.metrics import average_precision_score

        # odd data: what it makes of them, or says, is sklearn's business
        return float(average_precision_score(gold, values))
    thresholds = np.append(cuts, len(gold) - 1)
    return average_precision(hits[thresholds], thresholds + 1)


def _best_accuracy(gold: NDArray[np.int64], hits: NDArray[np.int64], cuts: NDArray[np.int64]) -> float:
    if not len(cuts):
        return 0.0
    rejected = int((gold == 0).sum()) - (cuts + 1 - hits[cuts])
    return float(((hits[cuts] + rejected) / len(gold)).max())


def _best_f1(gold: NDArray[np.int64], hits: NDArray[np.int64], cuts: NDArray[np.int64]) -> dict[str, float]:
    cuts = cuts[hits[cuts] > 0]
    if not len(cuts):
        return {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    found = hits[cuts]
    precision, recall = found / (cuts + 1), found / gold.sum()
    f1 = 2 * precision * recall / (precision + recall)
    best = int(f1.argmax())
    return {"f1": float(f1[best]), "precision": float(precision[best]), "recall": float(recall[best])}
