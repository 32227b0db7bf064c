"""Scores from items: which form a metric has in the columns of an item file, and the metric again, to the last digit.

What the columns hold is told in docs/results.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast, get_args

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import UsageError
from evalharness.metrics import trec_eval
from evalharness.metrics.classification import classification_score, hamming_scores, set_score
from evalharness.metrics.correlation import correlate
from evalharness.metrics.forms import (
    NOT_TESTED,
    Codes,
    Correlation,
    Decision,
    Form,
    LabelMeasure,
    Labels,
    LabelSets,
    Mean,
    PairMeasure,
    SetMeasure,
    Values,
)
from evalharness.metrics.measures import (
    GROUP,
    LABEL,
    PREDICTED,
    RANKING_DIGITS,
    SIMILARITIES,
    Metric,
    parse,
    similarity_column,
)
from evalharness.metrics.pairs import pair_scores

Columns: TypeAlias = Mapping[str, Sequence[float]]
Sets: TypeAlias = NDArray[np.bool_]

# of topics, which several queries share
_OF_TOPICS = ("p-MRR", "paired_accuracy", "robustness")
_CORRELATIONS = ("pearson", "spearman")


def form_of(name: str, columns: Columns, names: Sequence[object] = ()) -> Form | None:
    """How a metric is made of the items; None where they do not suffice, or where the metric does not exist.

    They suffice for every metric that can be a main score, but for the standard deviations of clustering. Columns of
    an older version may lack what a metric needs.

    Args:
        name: of the metric, in results.
        columns: of the items, without the ids.
        names: what the numbers in columns of labels stand for; empty where they are the labels.

    Raises:
        UsageError: there is no such metric.

    >>> form_of("recall_at_100", {"recall_at_100": [0.5, 1.0]})
    Mean(values=array([0.5, 1. ]), digits=5, one_by_one=True, summed=None)
    >>> form_of("ndcg_at_5", {"ndcg_at_10": [0.5, 1.0]}) is None
    True
    """
    try:
        metric = parse(name)
    except UsageError:
        if name not in columns:
            raise
        return _of_trec_eval(name, columns)
    if metric.confidence or metric.variant == "std":
        return None
    made = next((makes for column, makes in _BY_COLUMN.items() if column in columns), _mean)
    return made(metric, _Items(columns, names))


@dataclass(frozen=True, slots=True)
class _Items:
    """Columns of items, and what the numbers in those of labels stand for."""

    columns: Columns
    names: Sequence[object]

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Values:
        return np.asarray(self.columns[name], dtype=np.float64)

    @property
    def predicted(self) -> list[Values]:
        """What each experiment predicts."""
        return [self[name] for name in self.columns if name.startswith(PREDICTED)]


def _of_trec_eval(name: str, columns: Columns) -> Mean | None:
    """The mean of one of trec_eval's measures, which stand under its own names; it does not take that of all."""
    try:
        measure = trec_eval.parse(name)
    except UsageError:
        return None
    summed_up_else = measure.name.startswith(("num_", "gm_"))
    return None if summed_up_else else Mean(np.asarray(columns[name], dtype=np.float64))


def _mean(metric: Metric, items: _Items) -> Mean | None:
    """Of rankings, topics, clusters, summaries, and of every type whose column has the metric's name."""
    name = str(metric)
    if metric == Metric("accuracy") and name not in items:
        # of a ranking
        return _mean(Metric("recall", 1), items)
    if name not in items:
        return None
    values = items[name]
    if metric.measure in _OF_TOPICS:
        # topics are numbered in mteb's order, which need not be that of their queries
        topics = np.flatnonzero(~np.isnan(values))
        order = np.argsort(items[GROUP][topics], kind="stable") if GROUP in items else slice(None)
        # pandas adds up p-MRR as NumPy does
        return Mean(values, one_by_one=metric.measure != "p-MRR", summed=values[topics][order])
    if metric.measure in _CORRELATIONS:
        return _of_texts(name, items)
    if metric.k is None:
        return Mean(values)
    return Mean(values, None if metric.measure == "mrr" else RANKING_DIGITS, one_by_one=True)


def _of_texts(name: str, items: _Items) -> Mean | None:
    """Correlations of texts' summaries; mteb's deprecated evaluator takes the mean of them and their p-values."""
    # older files lack it, and do not tell whether p-values count
    if "spearman" not in items:
        return None
    parts = np.stack([items[part] for part in (name, f"{name}_p") if part in items], axis=1)
    # what mteb leaves out has no cosine; where another similarity has no correlation, the score has to show it
    counted = ~np.isnan(items["cosine_spearman"])
    return Mean(parts.mean(axis=1), summed=parts[counted].ravel())


def _correlation(metric: Metric, items: _Items) -> Correlation | None:
    column = similarity_column(metric.similarity)
    if metric.measure not in _CORRELATIONS or column not in items:
        return None
    return Correlation(items["gold"], items[column], "pearson" if metric.measure == "pearson" else "spearman")


def _decision(metric: Metric, items: _Items) -> Decision | None:
    named = list(map(similarity_column, SIMILARITIES if metric.similarity == "max" else (metric.similarity,)))
    if metric.measure not in get_args(PairMeasure) or not metric.similarity or any(name not in items for name in named):
        return None
    similarities = np.stack([items[name] for name in named])
    return Decision(items[LABEL].astype(np.int64), similarities, cast("PairMeasure", metric.measure))


def _translations(metric: Metric, items: _Items) -> Labels | None:
    found = _coded(metric, items["gold"], [items["found"]])
    # mteb weights the measures of translations by how often each is right, and has no other ones
    return None if metric.variant or metric.measure == "ap" else found and replace(found, is_weighted=True)


def _labels(metric: Metric, items: _Items) -> Labels | None:
    # there is no average precision of texts
    if LABEL not in items or (metric.measure == "ap" and items.names):
        return None
    found = _coded(metric, items[LABEL], items.predicted)
    return found and replace(found, is_weighted=metric.variant == "weighted")


def _coded(metric: Metric, gold: Values, predicted: Sequence[Values]) -> Labels | None:
    if metric.measure not in get_args(LabelMeasure) or metric.similarity or metric.k is not None:
        return None
    labels = np.unique(np.concatenate([gold, *predicted]))
    labels = labels[~np.isnan(labels)]
    positive = np.flatnonzero(labels == 1)
    return Labels(
        gold=_codes(gold, labels),
        predicted=np.stack([_codes(values, labels) for values in predicted]),
        measure=cast("LabelMeasure", metric.measure),
        positive=int(positive[0]) if len(positive) else None,
        numbers=labels,
    )


def _codes(values: Values, labels: Values) -> Codes:
    return np.where(np.isnan(values), NOT_TESTED, np.searchsorted(labels, values)).astype(np.int64)


def _label_sets(metric: Metric, items: _Items) -> LabelSets | None:
    if LABEL not in items or metric != Metric(metric.measure) or metric.measure not in get_args(SetMeasure):
        return None
    sets = [cast("Sequence[str]", members) for members in items.names]
    gold = items[LABEL].astype(np.int64)
    # a label that no item has does not count
    place = {label: number for number, label in enumerate(sorted({label for code in gold for label in sets[code]}))}
    has = np.zeros((len(sets), len(place)), dtype=np.bool_)
    for code, members in enumerate(sets):
        has[code, [place[label] for label in members]] = True
    found = np.stack([has[values.astype(np.int64)] for values in items.predicted])
    return LabelSets(has[gold], found, cast("SetMeasure", metric.measure))


# by a column that only these items have; the first counts
_BY_COLUMN: Mapping[str, Callable[[Metric, _Items], Form | None]] = {
    "found": _translations,
    "exact_match": _label_sets,
    f"{PREDICTED}0": _labels,
    LABEL: _decision,
    "gold": _correlation,
}


def score_of(form: Form) -> float:
    """The metric, equal to the stored one to the last digit.

    >>> score_of(Mean(np.array([0.5, np.nan, 1.0])))
    0.75
    """
    if isinstance(form, Mean):
        return _mean_of(form)
    if isinstance(form, Correlation):
        return float(getattr(correlate(form.gold, form.similarities), form.kind))
    if isinstance(form, Decision):
        return _best(form)
    if isinstance(form, Labels):
        return classification_score(form)
    # numbers, as sklearn takes truth values for something else where there is a single label
    gold = form.gold.astype(np.int64)
    return float(np.mean([set_score(form.measure, gold, found.astype(np.int64)) for found in form.predicted]))


def _mean_of(form: Mean) -> float:
    numbers = form.values[~np.isnan(form.values)] if form.summed is None else form.summed
    if not len(numbers):
        return float("nan")
    mean = sum(numbers.tolist()) / len(numbers) if form.one_by_one else float(np.mean(numbers))
    return mean if form.digits is None else round(mean, form.digits)


def _best(form: Decision) -> float:
    first, *others = (float(getattr(pair_scores(form.labels, values), form.measure)) for values in form.similarities)
    best = first
    for value in others:
        best = max(value, best)
    return best


def contributions(form: Form) -> Values | None:
    """What each item adds to a score that is a mean over items.

    Returns:
        Shape (items,), NaN for items that do not count; the mean of the rest is the score up to rounding. None where
        the score is no mean over items.

    >>> contributions(Labels(np.array([0, 1, 1]), np.array([[0, 1, 0], [0, 0, -1]]), "accuracy")).tolist()
    [1.25, 0.5, 0.0]
    """
    if isinstance(form, Mean):
        return form.values
    if isinstance(form, Labels) and form.measure == "accuracy":
        tested = form.predicted != NOT_TESTED
        right = (form.predicted == form.gold) & tested
        # an item counts by the share that it has in each experiment
        counts = tested.any(axis=0)
        shares: Values = (right / tested.sum(axis=1, keepdims=True)).sum(axis=0) * (counts.sum() / len(tested))
        return np.where(counts, shares, np.nan)
    if isinstance(form, LabelSets) and form.measure != "f1":
        each = _OF_EACH_SET[form.measure]
        return np.asarray(np.mean([each(form.gold, found) for found in form.predicted], axis=0), dtype=np.float64)
    return None


def _is_equal(gold: Sets, found: Sets) -> Values:
    return np.asarray((gold == found).all(axis=1), dtype=np.float64)


def _label_ranking_precision(gold: Sets, found: Sets) -> Values:
    """What sklearn takes the mean of; labels that are predicted share a rank, and so do the others."""
    wanted, chosen, hits = gold.sum(axis=1), found.sum(axis=1), (gold & found).sum(axis=1)
    among_chosen = np.divide(hits * hits, chosen, out=np.zeros(len(gold)), where=chosen > 0)
    summed = among_chosen + (wanted - hits) * wanted / gold.shape[1]
    counts = (wanted > 0) & (wanted < gold.shape[1])
    return np.asarray(np.divide(summed, wanted, out=np.ones(len(gold)), where=counts))


_OF_EACH_SET: Mapping[str, Callable[[Sets, Sets], Values]] = {
    "accuracy": _is_equal,
    "hamming": hamming_scores,
    "lrap": _label_ranking_precision,
}
