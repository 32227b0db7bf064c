"""What a score is made of: the forms in which scores follow from items, as values that hold the items' arrays.

Only `Mean` is a mean over items; what comparing the others under resampling takes is in `statistics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
CorrelationKind: TypeAlias = Literal["pearson", "spearman"]
PairMeasure: TypeAlias = Literal["accuracy", "f1", "precision", "recall", "ap"]
LabelMeasure: TypeAlias = Literal["accuracy", "f1", "precision", "recall", "ap"]

# in a row of predictions: this experiment did not test the item
NOT_TESTED = -1


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of a value per item.

    Attributes:
        values: shape (items,); NaN for an item that the score leaves out.
        digits: to which mteb rounds the mean; None if it does not.
    """

    values: Values
    digits: int | None = None


@dataclass(frozen=True, slots=True)
class Correlation:
    """A correlation of what people say with similarities, both of shape (items,)."""

    gold: Values
    similarities: Values
    kind: CorrelationKind


@dataclass(frozen=True, slots=True)
class Decision:
    """A yes/no decision about pairs at its best threshold, or AP; the best of several similarities.

    Attributes:
        labels: 0 or 1, shape (items,).
        similarities: shape (similarities, items).
        measure: see `pairs.pair_scores`.
    """

    labels: Codes
    similarities: Values
    measure: PairMeasure


@dataclass(frozen=True, slots=True)
class Labels:
    """A measure of predicted labels, the mean over experiments.

    Attributes:
        gold: codes of labels, shape (items,).
        predicted: codes, shape (experiments, items); `NOT_TESTED` where an experiment did not test the item.
        measure: see `classification.classification_scores`.
        is_weighted: whether labels count by their frequency.
    """

    gold: Codes
    predicted: Codes
    measure: LabelMeasure
    is_weighted: bool = False


@dataclass(frozen=True, slots=True)
class LabelSets:
    """Macro F1 of predicted sets of labels, the mean over experiments.

    Attributes:
        gold: shape (items, labels).
        predicted: shape (experiments, items, labels).
    """

    gold: NDArray[np.bool_]
    predicted: NDArray[np.bool_]


Form: TypeAlias = Mean | Correlation | Decision | Labels | LabelSets
