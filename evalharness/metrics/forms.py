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
SetMeasure: TypeAlias = Literal["accuracy", "f1", "hamming", "lrap"]

# in a row of predictions: this experiment did not test the item
NOT_TESTED = -1


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of a value per item.

    Attributes:
        values: shape (items,); NaN for an item that the score leaves out.
        digits: to which mteb rounds the mean; None if it does not.
        one_by_one: whether the values are added one after the other, and not as NumPy does; it decides the last bit.
        summed: the numbers of which mteb takes the mean, where these are not `values` in their order: of topics in
            another order, or several of an item. Their mean is that of `values` up to rounding.
    """

    values: Values
    digits: int | None = None
    one_by_one: bool = False
    summed: Values | None = None


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
        labels: 1 for positive pairs, 0 for others, shape (items,).
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
        gold: codes of labels from 0, in the labels' order, shape (items,).
        predicted: codes, shape (experiments, items); `NOT_TESTED` where an experiment did not test the item.
        measure: see `classification.classification_score`.
        is_weighted: whether labels count by their frequency.
        positive: for ap, the code of the label 1; None where no label is.
        numbers: the label of each code, ascending; None where codes are the labels. Codes of two systems compare by it.
    """

    gold: Codes
    predicted: Codes
    measure: LabelMeasure
    is_weighted: bool = False
    positive: int | None = None
    numbers: Values | None = None


@dataclass(frozen=True, slots=True)
class LabelSets:
    """A measure of predicted sets of labels, the mean over experiments.

    Attributes:
        gold: shape (items, labels).
        predicted: shape (experiments, items, labels).
        measure: see `classification.set_score`.
    """

    gold: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    measure: SetMeasure = "f1"


Form: TypeAlias = Mean | Correlation | Decision | Labels | LabelSets


def items_of(form: Form) -> int:
    """How many items a score is made of.

    >>> items_of(Mean(np.array([0.5, 1.0])))
    2
    """
    match form:
        case Mean():
            return len(form.values)
        case Decision():
            return len(form.labels)
        case Correlation() | Labels() | LabelSets():
            return len(form.gold)
