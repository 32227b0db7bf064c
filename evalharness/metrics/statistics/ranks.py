"""Where does a model stand among many? Intervals of ranks, and which neighbours are told apart.

Two questions with two answers: "on these tasks", had they had other items of the same kind; "on tasks like these", had
other tasks of the same kind been chosen. Differences of a tenth of a point between neighbours of a leaderboard of
hundreds are nearly always neither (embeddings-benchmark/mteb, issue 5208: 176 of 180 neighbours are not separable).
References: H. Goldstein, D. Spiegelhalter, League Tables and Their Limitations, Journal of the Royal Statistical
Society A 159, 1996 (ranks need intervals); P. Hall, H. Miller, Using the Bootstrap to Quantify the Authority of an
Empirical Ranking, Annals of Statistics 37, 2009 (percentile intervals of ranks; too short for ties).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from evalharness.metrics.statistics.draws import chunks, indices
from evalharness.metrics.statistics.intervals import padded_standard_error
from evalharness.metrics.statistics.multiple import holm
from evalharness.metrics.statistics.paired_tests import paired_t

Values: TypeAlias = NDArray[np.float64]

# means that differ later are equal: the last bits of a product of matrices depend on where in it a model stands
_DIGITS = 12
_CHUNK = 2**17


@dataclass(frozen=True, slots=True)
class RankSpan:
    """From the best (1 is first) to the worst rank of an interval."""

    best: int
    worst: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one model stands.

    Attributes:
        model: its row in the scores.
        mean: over tasks, in units of the scores.
        rank: 1 + the number of models with a larger mean.
        on_these_tasks: the rank's interval, items resampled; None where no items were given.
        on_tasks_like_these: the rank's interval, tasks resampled; None where there is one task only.
    """

    model: int
    mean: float
    rank: int
    on_these_tasks: RankSpan | None
    on_tasks_like_these: RankSpan | None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Two models that follow each other in order of rank.

    Attributes:
        better: row of the one before.
        worse: row of the one after.
        difference: of their means, in units of the scores.
        p_on_these_tasks: Holm-adjusted over all neighbours, items sampled; None where no items were given.
        p_on_tasks_like_these: Holm-adjusted over all neighbours, tasks sampled; None where there is one task only.
    """

    better: int
    worse: int
    difference: float
    p_on_these_tasks: float | None
    p_on_tasks_like_these: float | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """All models from the best to the worst (equal means: by row), and each pair that follows each other."""

    standings: list[Standing]
    neighbours: list[Neighbours]


def rank_models(
    scores: Values,
    *,
    generator: np.random.Generator,
    items: Sequence[Values] | None = None,
    draws: int = 1000,
    level: float = 0.95,
) -> Ranking:
    """Rank models by their mean over tasks, with percentile intervals of ranks and tests of neighbours.

    Formula: a resample weighs each task (item) by how often it is drawn; rank in a resample = 1 + number of models with
    a larger mean; the interval is from the smallest to the largest rank between the quantiles (1 -+ level) / 2. All
    models share a resample, so that what is hard for all moves none. Neighbours: the paired t over tasks; over items,
    the difference of means divided by its standard error of items within tasks (padded, see `intervals.padded_t`), with
    Satterthwaite's degrees of freedom. Neighbours were chosen because they are near, which only makes for larger p.

    Assumes tasks, or items within a task, that are independent; scores that are means of items where items are given.

    Args:
        scores: shape (models, tasks), all finite: a model without some task is not on this board.
        generator: of the resamples.
        items: per task an array (models, items) whose means move with the score; a task without columns stands still.
        draws: resamples.
        level: of the intervals.

    Raises:
        ValueError: scores or items are missing, or of other shapes.

    >>> from evalharness.metrics.statistics.draws import SEED, generator
    >>> found = rank_models(np.array([[0.1, 0.2, 0.3], [0.5, 0.7, 0.8]]), generator=generator(SEED))
    >>> [(standing.model, standing.rank) for standing in found.standings]
    [(1, 1), (0, 2)]
    """
    _check(scores, items)
    means = scores.mean(axis=1)
    order = np.argsort(-np.round(means, _DIGITS), kind="stable")
    ranks = _ranks(means[None])[0]
    by_items = None if items is None else _spans(_means_of_items(scores, items, draws, generator), level)
    by_tasks = None if scores.shape[1] == 1 else _spans(_means_of_tasks(scores, draws, generator), level)
    standings = [
        Standing(
            model=int(model),
            mean=float(means[model]),
            rank=int(ranks[model]),
            on_these_tasks=None if by_items is None else by_items[model],
            on_tasks_like_these=None if by_tasks is None else by_tasks[model],
        )
        for model in order
    ]
    return Ranking(standings, _neighbours(scores, items, order))


def _check(scores: Values, items: Sequence[Values] | None) -> None:
    if scores.ndim != 2 or scores.size == 0 or not np.isfinite(scores).all():  # noqa: PLR2004 - models by tasks
        raise ValueError(f"ranks need a finite score of every model on every task; got shape {scores.shape}")
    if items is None:
        return
    if len(items) != scores.shape[1]:
        raise ValueError(f"ranks need items of every task, {scores.shape[1]}; got {len(items)}")
    for task, of_task in enumerate(items):
        if of_task.shape[:1] != scores.shape[:1] or not np.isfinite(of_task).all():
            raise ValueError(f"ranks need finite items of every model; got shape {of_task.shape} for task {task}")


def _weights(generator: np.random.Generator, draws: int, size: int) -> Values:
    """Shares of `size` things in resamples, shape (draws, size)."""
    shares = np.empty((draws, size))
    # what fits a processor's cache takes half the time; of an even number of rows no drawn bits are left over
    step = 2 * max(1, _CHUNK // (2 * size))
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        drawn = indices(generator, rows, size) + size * np.arange(rows)[:, None]
        shares[start : start + rows] = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
    shares /= size
    return shares


def _means_of_tasks(scores: Values, draws: int, generator: np.random.Generator) -> Values:
    return _weights(generator, draws, scores.shape[1]) @ scores.T


def _means_of_items(scores: Values, items: Sequence[Values], draws: int, generator: np.random.Generator) -> Values:
    moved = np.zeros((draws, len(scores)))
    for of_task in items:
        if of_task.shape[1]:
            about_0 = (of_task - of_task.mean(axis=1, keepdims=True)).T
            for part in chunks(draws, of_task.shape[1]):
                moved[part] += _weights(generator, part.stop - part.start, of_task.shape[1]) @ about_0
    return np.asarray(scores.mean(axis=1) + moved / scores.shape[1])


def _ranks(means: Values) -> NDArray[np.int64]:
    """1 + the number of larger means in each row."""
    means = np.round(means, _DIGITS)
    order = np.argsort(-means, axis=1, kind="stable")
    ordered = np.take_along_axis(means, order, axis=1)
    places = np.arange(1, means.shape[1] + 1)
    # a mean that equals the one before it has its rank
    first = np.where(np.diff(ordered, axis=1, prepend=np.inf) != 0, places, 0)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.maximum.accumulate(first, axis=1), axis=1)
    return ranks


def _spans(means: Values, level: float) -> list[RankSpan]:
    ordered = np.sort(_ranks(means), axis=0)
    outside = int((1 - level) / 2 * len(means))
    return [
        RankSpan(int(best), int(worst)) for best, worst in zip(ordered[outside], ordered[-1 - outside], strict=True)
    ]


def _neighbours(scores: Values, items: Sequence[Values] | None, order: NDArray[np.int64]) -> list[Neighbours]:
    better, worse = order[:-1], order[1:]
    differences = scores[better] - scores[worse]
    by_tasks: Sequence[float | None] = [None] * len(better)
    if scores.shape[1] > 1:
        by_tasks = holm([paired_t(of_pair).p_value for of_pair in differences])
    by_items: Sequence[float | None] = [None] * len(better)
    if items is not None:
        by_items = holm(_p_of_items(differences.mean(axis=1), [of_task[better] - of_task[worse] for of_task in items]))
    return [
        Neighbours(int(one), int(other), float(difference.mean()), of_items, of_tasks)
        for one, other, difference, of_items, of_tasks in zip(
            better, worse, differences, by_items, by_tasks, strict=True
        )
    ]


def _p_of_items(differences: Values, items: Sequence[Values]) -> list[float]:
    """Two-sided p values of mean differences over tasks, shape (pairs,); items: (pairs, items) per task."""
    several = [of_task for of_task in items if of_task.shape[1] > 1]
    variances = np.array([padded_standard_error(of_task) ** 2 for of_task in several]).reshape(-1, len(differences))
    freedom = np.array([of_task.shape[1] - 1 for of_task in several]).reshape(-1, 1)
    total = variances.sum(axis=0)
    moving = total > 0
    df = total[moving] ** 2 / (variances[:, moving] ** 2 / freedom).sum(axis=0)
    # where no item moves, nothing tells the pair apart
    p_values = np.ones(len(differences))
    p_values[moving] = 2 * stdtr(df, -np.abs(differences[moving]) * len(items) / np.sqrt(total[moving]))
    return p_values.tolist()
