"""Which items changed most, and what the two sides say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
from numpy.typing import NDArray

from evalharness.compare.clusters import item_differences
from evalharness.compare.explanation import Fact
from evalharness.compare.matching import PairedJob
from evalharness.metrics.classification import hamming_scores
from evalharness.metrics.forms import NOT_TESTED, Correlation, Decision, Form, Labels, LabelSets, Mean, Values
from evalharness.metrics.from_items import contributions
from evalharness.metrics.measures import GROUP, LABEL, PREDICTED, SIMILARITIES, parse, similarity_column
from evalharness.metrics.statistics.influence import above_threshold, best_similarity, mid_ranks
from evalharness.types import ItemScores

# below it an item changed nothing: the last bits of a score
_NOTHING = 1e-12


@dataclass(frozen=True, slots=True)
class JobItems:
    """A job of both sides with its items.

    Attributes:
        paired: what its scores are made of.
        base, candidate: the same items in the same order.
        lengths: of their texts in characters; None where nobody has them.
        relevant: how many documents are relevant to each; None where items are no queries, or nobody knows.
    """

    paired: PairedJob
    base: ItemScores
    candidate: ItemScores
    lengths: Sequence[int] | None = None
    relevant: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Pick:
    """An item: number of the job, row in it; and what it adds to the task's difference."""

    job: int
    row: int
    adds: float


@dataclass(frozen=True, slots=True)
class Picked:
    """The items that take most from a score and those that add most to it, and how many there are of both."""

    losses: Sequence[Pick]
    gains: Sequence[Pick]
    lost: int
    gained: int


def _is_other(job: PairedJob) -> NDArray[np.bool_]:
    """Which items the two sides say different things of."""
    one, other = job.base, job.candidate
    if isinstance(one, Labels) and isinstance(other, Labels):
        return np.asarray((one.predicted != other.predicted).any(axis=0), dtype=np.bool_)
    if isinstance(one, LabelSets) and isinstance(other, LabelSets):
        return np.asarray((one.predicted != other.predicted).any(axis=(0, 2)), dtype=np.bool_)
    return np.ones(len(job.groups), dtype=bool)


@dataclass(frozen=True, slots=True)
class Measured:
    """What may be averaged over any items: its name for people, and a value per item, 0-1, NaN where there is none."""

    name: str
    values: Values


def pick(jobs: Sequence[JobItems], most: int) -> Picked:
    """The items that changed most, by what each adds to the difference of the task's scores.

    Args:
        jobs: of one task.
        most: losses, and as many gains.
    """
    adds = np.concatenate([_adds(job.paired) for job in jobs])
    places = np.concatenate([np.full(len(job.base.ids), number) for number, job in enumerate(jobs)])
    rows = np.concatenate([np.arange(len(job.base.ids)) for job in jobs])

    def picked(order: Sequence[int]) -> list[Pick]:
        return [Pick(int(places[n]), int(rows[n]), float(adds[n])) for n in order]

    worst = np.argsort(adds, kind="stable")
    lost, gained = adds < -_NOTHING, adds > _NOTHING
    return Picked(
        losses=picked([n for n in worst[:most].tolist() if lost[n]]),
        gains=picked([n for n in np.argsort(-adds, kind="stable")[:most].tolist() if gained[n]]),
        lost=int(lost.sum()),
        gained=int(gained.sum()),
    )


def _adds(job: PairedJob) -> Values:
    """What each item adds to the difference; of a score that is no mean, to its linear part.

    In those, an item counts otherwise as soon as others change; where nothing is said of it that was not said before,
    it does not count here.
    """
    one, other = contributions(job.base), contributions(job.candidate)
    if one is None or other is None:
        return np.where(_is_other(job), job.weight * item_differences(job) / len(job.groups), 0.0)
    moved = other - one
    counts = ~np.isnan(moved)
    return np.where(counts, job.weight * moved / max(counts.sum(), 1), 0.0)


def measured(form: Form, metric: str) -> Measured:
    """What may be averaged over any of the items, where the score itself may not.

    Args:
        form: of the score.
        metric: its name.
    """
    if isinstance(form, Mean):
        return Measured(metric, form.values)
    if isinstance(form, Correlation):
        return Measured("agreement of ranks (1 - how far those by people and by the model are apart)", 1 - _apart(form))
    if isinstance(form, Decision):
        return Measured("share of pairs on the right side of the best threshold", _is_right(form))
    if isinstance(form, Labels):
        tested = form.predicted != NOT_TESTED
        right = ((form.predicted == form.gold) & tested).sum(axis=0)
        share = right / np.where(tested.any(axis=0), tested.sum(axis=0), np.nan)
        return Measured("share of right predictions", share)
    found = contributions(form)
    if found is None:
        return Measured("Hamming score", np.mean([hamming_scores(form.gold, row) for row in form.predicted], axis=0))
    return Measured(metric, found)


def _apart(form: Correlation) -> Values:
    """How far an item's ranks by gold and by similarity are apart, as a share of all items."""
    found: Values = np.abs(mid_ranks(form.gold) - mid_ranks(form.similarities))
    return found


def _is_right(form: Decision) -> Values:
    positive = form.labels == 1
    values = form.similarities[best_similarity(form)]
    above = above_threshold(positive, values, by_accuracy=form.measure in ("accuracy", "ap"))
    return np.asarray(above == positive, dtype=np.float64)


def facts(job: JobItems, rows: Sequence[int]) -> list[list[Fact]]:
    """What the two sides say of some items.

    Args:
        job: has them.
        rows: which.
    """
    forms, metric = (job.paired.base, job.paired.candidate), job.paired.records[0].main_score
    if isinstance(forms[0], Correlation) and isinstance(forms[1], Correlation):
        return _of_correlation((forms[0], forms[1]), rows, metric)
    if isinstance(forms[0], Decision) and isinstance(forms[1], Decision):
        return _of_decision((forms[0], forms[1]), rows, metric)
    if LABEL in job.base.columns:
        return [_of_labels(job, row) for row in rows]
    return [_of_columns(job, row) for row in rows]


def _of_correlation(forms: tuple[Correlation, Correlation], rows: Sequence[int], metric: str) -> list[list[Fact]]:
    name = _similarity(parse(metric).similarity)
    apart = [_apart(form) for form in forms]
    one, other = forms
    return [
        [
            Fact("rated by people, 0-1", float(one.gold[row]), float(other.gold[row])),
            Fact(name, float(one.similarities[row]), float(other.similarities[row])),
            Fact("ranks apart, share of all pairs", float(apart[0][row]), float(apart[1][row])),
        ]
        for row in rows
    ]


def _of_decision(forms: tuple[Decision, Decision], rows: Sequence[int], metric: str) -> list[list[Fact]]:
    asked = parse(metric).similarity
    names = SIMILARITIES if asked == "max" else (asked,)
    best = [best_similarity(form) for form in forms]
    right = [_is_right(form) > 0 for form in forms]
    shown = [_similarity(names[number]) for number in best]
    label = {1: "belong together", 0: "do not"}
    found = []
    for row in rows:
        values = [float(form.similarities[number][row]) for form, number in zip(forms, best, strict=True)]
        said = label[int(forms[0].labels[row])]
        same = (
            [Fact(shown[0], *values)]
            if shown[0] == shown[1]
            else [Fact("similarity", *(f"{value:.4f} ({name})" for value, name in zip(values, shown, strict=True)))]
        )
        decided = [_yes(is_so=bool(flags[row])) for flags in right]
        found.append([Fact("label", said, said), *same, Fact("right at the best threshold", decided[0], decided[1])])
    return found


def _similarity(name: str) -> str:
    column = similarity_column(name)
    return "similarity by the model's own measure" if column == "similarity" else column.replace("_", " ")


def _yes(*, is_so: bool) -> str:
    return "yes" if is_so else "no"


def _of_labels(job: JobItems, row: int) -> list[Fact]:
    sides = (job.base, job.candidate)
    gold = [label_name(items, items.columns[LABEL][row]) for items in sides]
    predicted = [_predictions(items, row) for items in sides]
    told = [Fact("label", gold[0], gold[1]), Fact("predicted", predicted[0], predicted[1])]
    return [*told, *_of_columns(job, row)]


def label_name(items: ItemScores, code: float) -> str:
    """What a number in a column of labels stands for, for people.

    >>> items = ItemScores(["0"], {"label": [1.0]}, [["cat"], ["cat", "dog"]])
    >>> label_name(items, 1.0)
    'cat, dog'
    """
    if not items.names:
        return f"{code:g}"
    name = items.names[int(code)]
    return str(name) if isinstance(name, str | int | float) else ", ".join(map(str, name)) or "none"


def _predictions(items: ItemScores, row: int) -> str:
    """What the experiments predict, the most frequent first."""
    codes = [values[row] for name, values in items.columns.items() if name.startswith(PREDICTED)]
    counts = Counter(label_name(items, code) for code in codes if not np.isnan(code))
    every = sum(counts.values())
    if every == 1:
        return next(iter(counts))
    return "; ".join(f"{name} ({count} of {every})" for name, count in counts.most_common())


def _of_columns(job: JobItems, row: int) -> list[Fact]:
    one, other = job.base.columns, job.candidate.columns
    names = [name for name in one if name in other and name not in _CODES and not name.startswith(PREDICTED)]
    there = [name for name in names if not (isnan(one[name][row]) and isnan(other[name][row]))]
    return [Fact(name, float(one[name][row]), float(other[name][row])) for name in there]


# numbers that stand for something else
_CODES = (GROUP, LABEL, "gold", "found")
