"""Populations of pairs of items: of results folders, of TREC matrices, and made up where neither has any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from evalharness.catalog.tasks import Member, find_task
from evalharness.compare.pairing import pair_task
from evalharness.compare.sides import read_side
from evalharness.metrics.forms import Correlation, Decision, Form, Labels, LabelSets, Mean, Values, items_of
from evalharness.metrics.from_items import contributions
from evalharness.metrics.statistics import SEED
from evalharness.metrics.statistics.draws import generator
from evalharness.metrics.statistics.influence import influence
from evalharness.metrics.statistics.recompute import reweighted

Rows = NDArray[np.int64]
# how far weights may be tilted: e^40 is more than any sample holds
_MOST = 40.0
_TREC = {"AP": "adhoc8_ap", "P@10": "adhoc8_p10", "RR": "adhoc8_rr", "nDCG@20": "web2013_ndcg20"}
_LABELS = 12
_MADE_UP = "made-up"
# enough of ten for F1, which is slow to compute again
_EXPERIMENTS = 3


@dataclass(frozen=True, slots=True)
class Pool:
    """Two systems' items: a population, of which trials draw.

    Attributes:
        name: of the task.
        kind: task type and metric.
        base, candidate: what the two scores are made of.
    """

    name: str
    kind: str
    base: Form
    candidate: Form

    @property
    def items(self) -> int:
        """How many there are."""
        return items_of(self.base)

    @property
    def is_made_up(self) -> bool:
        """Whether no model has anything to do with it."""
        return self.name.startswith(_MADE_UP)

    @property
    def is_mean(self) -> bool:
        """Whether its score is a mean over items."""
        return contributions(self.base) is not None

    def differences(self) -> Values:
        """What each item says of the difference, candidate minus base; of scores that are no means, by influence."""
        one, other = contributions(self.base), contributions(self.candidate)
        if one is not None and other is not None:
            return other - one
        return influence(self.candidate) - influence(self.base)


def take(form: Form, rows: Rows) -> Form:
    """The same score of other items: these rows."""
    match form:
        case Mean():
            return Mean(form.values[rows])
        case Correlation():
            return replace(form, gold=form.gold[rows], similarities=form.similarities[rows])
        case Decision():
            return replace(form, labels=form.labels[rows], similarities=form.similarities[:, rows])
        case Labels():
            return replace(form, gold=form.gold[rows], predicted=form.predicted[:, rows])
        case LabelSets():
            return replace(form, gold=form.gold[rows], predicted=form.predicted[:, rows])


def swap(base: Form, candidate: Form, mask: NDArray[np.bool_]) -> tuple[Form, Form]:
    """The two, with their predictions of the items of the mask swapped.

    Raises:
        TypeError: the two are not of the same form.
    """

    def mixed(one: Values, other: Values) -> tuple[Values, Values]:
        return np.where(mask, other, one), np.where(mask, one, other)

    match base, candidate:
        case Mean(), Mean():
            first, second = mixed(base.values, candidate.values)
            return replace(base, values=first), replace(candidate, values=second)
        case Correlation(), Correlation():
            first, second = mixed(base.similarities, candidate.similarities)
            return replace(base, similarities=first), replace(candidate, similarities=second)
        case Decision(), Decision():
            first, second = mixed(base.similarities, candidate.similarities)
            return replace(base, similarities=first), replace(candidate, similarities=second)
        case Labels(), Labels():
            found, others = base.predicted, candidate.predicted
            return (
                replace(base, predicted=np.where(mask, others, found)),
                replace(candidate, predicted=np.where(mask, found, others)),
            )
        case LabelSets(), LabelSets():
            wide, one, other = mask[:, None], base.predicted, candidate.predicted
            return (
                replace(base, predicted=np.where(wide, other, one)),
                replace(candidate, predicted=np.where(wide, one, other)),
            )
    raise TypeError("not of the same form")


def differing(base: Form, candidate: Form) -> int:
    """Of how many items the two say something else at all."""
    match base, candidate:
        case Correlation(), Correlation():
            return int((base.similarities != candidate.similarities).sum())
        case Decision(), Decision():
            return int((base.similarities != candidate.similarities).any(axis=0).sum())
        case Labels(), Labels():
            return int((base.predicted != candidate.predicted).any(axis=0).sum())
        case LabelSets(), LabelSets():
            return int((base.predicted != candidate.predicted).any(axis=(0, 2)).sum())
    raise TypeError("no difference of means")


def tilted(pool: Pool, difference: float = 0.0) -> Values | None:
    """Probabilities of the items under which the population's difference is this one; shape (items,).

    Each is proportional to exp(t x what the item says of the difference) (B. Efron, Nonparametric Standard Errors and
    Confidence Intervals, Canadian Journal of Statistics 9, 1981). So zeros stay zeros, ties stay ties, and the items of
    both systems stay what they are; only how often they come changes.

    Returns:
        None where no weights give it.
    """
    moved = pool.differences()
    moved = moved / (moved.std() or 1.0)
    scores = [reweighted(form) for form in (pool.candidate, pool.base)]

    def weights(tilt: float) -> Values:
        found = np.exp(np.clip(tilt * moved, -_MOST, _MOST))
        return np.asarray(found / found.sum())

    def found(tilt: float) -> float:
        counts = weights(tilt)[None] * pool.items
        return float((scores[0](counts) - scores[1](counts))[0]) - difference

    low, high = -1.0, 1.0
    while found(low) > 0 or found(high) < 0:
        low, high = 1.5 * low, 1.5 * high
        if high > _MOST:
            return None
    return weights(float(brentq(found, low, high, xtol=1e-10)))


def samples(pool: Pool, items: int, weights: Values | None, source: np.random.Generator) -> Rows:
    """Rows of a population, drawn with replacement; each as likely, or by weights."""
    return source.integers(0, pool.items, items) if weights is None else samples_of(weights, items, source)


def samples_of(weights: Values, items: int, source: np.random.Generator) -> Rows:
    """Rows drawn with replacement, by weights."""
    ends = np.cumsum(weights)
    rows: Rows = np.minimum(np.searchsorted(ends, source.random(items) * ends[-1]), len(weights) - 1)
    return rows


def pools_of(base: Path, candidates: Iterable[Path]) -> list[Pool]:
    """Of all tasks that results folders share; the first subset of each.

    Args:
        base: results of one model.
        candidates: results of others.
    """
    one, found = read_side(str(base)), []
    for folder in candidates:
        other = read_side(str(folder))
        for name in sorted(set(one.tasks) & set(other.tasks)):
            pair = pair_task(Member(task=name), find_task(name), one, other)
            if pair.jobs:
                job = pair.jobs[0]
                pool = _counted(Pool(name, f"{pair.type}, {pair.metric}", job.base, job.candidate))
                # where nothing differs, nothing can be tried
                if pool.differences().any():
                    found += [pool, *_of_f1(pool)]
    return found


def _of_f1(pool: Pool) -> list[Pool]:
    """What classification is scored by where labels are uneven: macro F1, of three of the experiments."""
    if not isinstance(pool.base, Labels) or not isinstance(pool.candidate, Labels) or not pool.is_mean:
        return []
    forms = [
        replace(form, predicted=form.predicted[:_EXPERIMENTS], measure="f1") for form in (pool.base, pool.candidate)
    ]
    return [Pool(pool.name, f"{pool.kind.partition(',')[0]}, f1", *forms)]


def _counted(pool: Pool) -> Pool:
    """Without the items that count in neither score."""
    one = contributions(pool.base)
    if one is None or not np.isnan(one).any():
        return pool
    rows = np.flatnonzero(~np.isnan(one))
    return replace(pool, base=take(pool.base, rows), candidate=take(pool.candidate, rows))


def trec_pools(folder: Path) -> list[Pool]:
    """A pair of systems of each measure: of neighbours in the ranking, the best third's middle."""
    found = []
    for measure, name in _TREC.items():
        scores = np.loadtxt(folder / f"{name}.csv", delimiter=",", skiprows=1)
        order = np.argsort(-scores.mean(axis=0))
        place = len(order) // 6
        base, candidate = scores[:, order[place]], scores[:, order[place + 1]]
        found.append(Pool(f"TREC {name}", f"TREC, {measure}", Mean(base), Mean(candidate)))
    return found


def made_up(items: int = 2_000) -> list[Pool]:
    """Populations of two similar systems, of each form; where no real items are at hand."""
    draw = generator(SEED, "made up")
    ease = draw.normal(size=items)
    return [
        _ranking(draw, ease),
        _sts(draw, items),
        _pairs(draw, items),
        *_predictions(draw, ease),
        *_other_scale(draw, items),
        _sets(draw, ease),
        _translations(draw, ease),
    ]


def _ranking(draw: np.random.Generator, ease: Values) -> Pool:
    gains = np.append(1 / np.log2(np.arange(2, 12)), 0.0)
    places = [
        np.clip(np.round(2 - 3 * ease + draw.normal(size=len(ease)) * 0.4), 0, 10).astype(np.int64) for _ in range(2)
    ]
    return Pool("made-up ranking", "Retrieval, ndcg_at_10", *(Mean(gains[place]) for place in places))


def _sts(draw: np.random.Generator, items: int) -> Pool:
    gold = np.round(draw.uniform(0, 5, items), 1)
    found = [gold + draw.normal(size=items) * 2 for _ in range(1)]
    noise = [draw.normal(size=items) * 0.5 for _ in range(2)]
    forms = [Correlation(gold, found[0] + each, "spearman") for each in noise]
    return Pool("made-up STS", "STS, cosine_spearman", *forms)


def _other_scale(draw: np.random.Generator, items: int) -> list[Pool]:
    """A candidate whose similarities are the base's kind of thing to the third power."""
    found = []
    for pool in (_sts(draw, items), _pairs(draw, items)):
        form = pool.candidate
        if isinstance(form, Correlation | Decision):
            form = replace(form, similarities=(form.similarities - form.similarities.mean()) ** 3)
        found.append(Pool(f"{pool.name}, another scale", f"{pool.kind}, another scale", pool.base, form))
    return found


def _pairs(draw: np.random.Generator, items: int) -> Pool:
    labels = (draw.random(items) < 0.3).astype(np.int64)
    shared = labels + draw.normal(size=items)
    forms = []
    for _ in range(2):
        own = shared + draw.normal(size=items) * 0.3
        forms.append(Decision(labels, np.stack([own + draw.normal(size=items) * 0.05 for _ in range(5)]), "ap"))
    return Pool("made-up pairs", "PairClassification, max_ap", *forms)


def _predictions(draw: np.random.Generator, ease: Values) -> list[Pool]:
    items = len(ease)
    gold = draw.integers(0, _LABELS, items)
    wrong = (gold + draw.integers(1, _LABELS, items)) % _LABELS
    forms = []
    for _ in range(2):
        sure = ease + 0.7 + draw.normal(size=items) * 0.3
        predicted = np.stack([np.where(sure + draw.normal(size=items) * 0.3 > 0, gold, wrong) for _ in range(10)])
        forms.append(Labels(gold, predicted, "accuracy"))
    pool = Pool("made-up classes", "Classification, accuracy", *forms)
    return [pool, *_of_f1(pool)]


def _sets(draw: np.random.Generator, ease: Values) -> Pool:
    items = len(ease)
    gold = draw.random((items, 6)) < 0.3
    forms = []
    for _ in range(2):
        sure = ease[:, None] + 1 + draw.normal(size=(items, 6)) * 0.4
        predicted = np.stack([np.where(sure + draw.normal(size=(items, 6)) * 0.4 > 0, gold, ~gold) for _ in range(5)])
        forms.append(LabelSets(gold, predicted))
    return Pool("made-up sets", "MultilabelClassification, f1", *forms)


def _translations(draw: np.random.Generator, ease: Values) -> Pool:
    """Each sentence has one translation; what is found instead is that of another."""
    items = len(ease)
    gold = np.arange(items)
    wrong = draw.integers(0, items, items)
    forms = []
    for _ in range(2):
        found = np.where(ease + 1 + draw.normal(size=items) * 0.3 > 0, gold, wrong)
        forms.append(Labels(gold, found[None], "f1", is_weighted=True))
    return Pool("made-up translations", "BitextMining, f1", *forms)


def largest(pools: Sequence[Pool]) -> list[Pool]:
    """Of each kind the largest real pool, or else the made-up one; of scores that are no means both.

    Of means, the largest is that with the most items that differ.
    """
    best: dict[tuple[str, bool], Pool] = {}
    for pool in pools:
        key = pool.kind, pool.is_made_up
        if key not in best or _weight(pool) > _weight(best[key]):
            best[key] = pool
    real = {kind for kind, is_made_up in best if not is_made_up}
    return [best[key] for key in sorted(best) if not key[1] or key[0] not in real or not best[key].is_mean]


def _weight(pool: Pool) -> int:
    return int((np.abs(pool.differences()) > 1e-9).sum()) if pool.is_mean else pool.items


def by_type(pools: Sequence[Pool]) -> Mapping[str, list[Pool]]:
    """Pools by task type."""
    found: dict[str, list[Pool]] = {}
    for pool in pools:
        found.setdefault(pool.kind.partition(",")[0], []).append(pool)
    return found
