"""Ranks of many models: by hand, and that what is equal is not told apart."""

from __future__ import annotations

import numpy as np
import pytest

from evalharness.metrics.statistics.draws import SEED, generator
from evalharness.metrics.statistics.intervals import padded_t, welch_mean
from evalharness.metrics.statistics.multiple import holm
from evalharness.metrics.statistics.paired_tests import paired_t
from evalharness.metrics.statistics.ranks import Neighbours, RankSpan, _means_of_items, _means_of_tasks, rank_models


def rng(name: str) -> np.random.Generator:
    return generator(SEED, name)


def test_what_is_far_apart_has_its_rank_for_certain() -> None:
    draw = rng("far")
    items = [np.array([[0.2], [0.8], [0.5]]) + 0.01 * draw.normal(size=(3, 50)) for _ in range(10)]
    scores = np.array([of_task.mean(axis=1) for of_task in items]).T
    found = rank_models(scores, generator=rng("draws"), items=items)
    assert [standing.model for standing in found.standings] == [1, 2, 0]
    for rank, standing in enumerate(found.standings, start=1):
        assert standing.rank == rank
        assert standing.mean == pytest.approx(scores[standing.model].mean())
        assert standing.on_these_tasks == standing.on_tasks_like_these == RankSpan(rank, rank)
    for pair in found.neighbours:
        assert pair.p_on_these_tasks is not None
        assert pair.p_on_tasks_like_these is not None
        assert max(pair.p_on_these_tasks, pair.p_on_tasks_like_these) < 1e-6
    assert [(pair.better, pair.worse) for pair in found.neighbours] == [(1, 2), (2, 0)]
    assert found.neighbours[0].difference == pytest.approx(0.3, abs=0.01)


def test_items_and_tasks_answer_two_questions() -> None:
    # sure on each of these tasks, but the tasks disagree
    draw = rng("two")
    shift = np.array([[0.0] * 8, [0.3, -0.29] * 4])
    items = [0.5 + shift[:, [task]] + 0.005 * draw.normal(size=(2, 200)) for task in range(8)]
    scores = np.array([of_task.mean(axis=1) for of_task in items]).T
    found = rank_models(scores, generator=rng("draws"), items=items)
    (pair,) = found.neighbours
    assert pair.p_on_these_tasks is not None
    assert pair.p_on_tasks_like_these is not None
    assert pair.p_on_these_tasks < 0.001
    assert pair.p_on_tasks_like_these > 0.8
    for rank, standing in enumerate(found.standings, start=1):
        assert standing.on_these_tasks == RankSpan(rank, rank)
        assert standing.on_tasks_like_these == RankSpan(1, 2)


def test_neighbours_p_values_are_those_of_pairs() -> None:
    draw = rng("pairs")
    apart = 0.2 * np.arange(5)[:, None]
    items = [(draw.random((5, n)) + apart) * (draw.random((5, n)) < 0.5) for n in (10, 25, 60)]
    scores = np.array([of_task.mean(axis=1) for of_task in items]).T
    found = rank_models(scores, generator=rng("draws"), items=items, draws=50)
    pairs = [(pair.better, pair.worse) for pair in found.neighbours]
    by_tasks = holm([paired_t(scores[better] - scores[worse]).p_value for better, worse in pairs])
    assert [pair.p_on_tasks_like_these for pair in found.neighbours] == pytest.approx(by_tasks)
    unadjusted = min(pair.p_on_these_tasks or 1.0 for pair in found.neighbours) / len(pairs)
    (nearest,) = [
        pair for pair in found.neighbours if pair.p_on_these_tasks == pytest.approx(unadjusted * len(pairs), rel=1e-12)
    ]
    of_pair = [padded_t(of_task[nearest.better] - of_task[nearest.worse]) for of_task in items]
    # an interval ends at 0 where its level is 1 - p
    assert welch_mean(of_pair, level=1 - unadjusted).interval.low == pytest.approx(0, abs=1e-9)


def test_equal_models_share_a_rank_and_are_not_told_apart() -> None:
    scores = np.array([[0.5, 0.7, 0.6], [0.9, 0.8, 0.7], [0.5, 0.7, 0.6]])
    found = rank_models(scores, generator=rng("draws"), items=[np.tile(scores[:, [task]], 4) for task in range(3)])
    assert [(standing.model, standing.rank) for standing in found.standings] == [(1, 1), (0, 2), (2, 2)]
    assert found.standings[2].on_tasks_like_these == RankSpan(2, 2)
    assert found.neighbours[1] == Neighbours(0, 2, 0.0, 1.0, 1.0)


def test_ranks_of_equally_good_models_are_open() -> None:
    draw = rng("equal")
    scores = draw.normal(0.5, 0.02, size=(40, 30)) + draw.normal(0, 0.2, size=30)
    found = rank_models(scores, generator=rng("draws"))
    assert all((pair.p_on_tasks_like_these or 0) > 0.05 for pair in found.neighbours)
    widths = [
        standing.on_tasks_like_these.worst - standing.on_tasks_like_these.best
        for standing in found.standings
        if standing.on_tasks_like_these
    ]
    assert len(widths) == 40
    assert np.mean(widths) > 15
    assert all(standing.on_these_tasks is None for standing in found.standings)
    assert all(pair.p_on_these_tasks is None for pair in found.neighbours)
    for standing in found.standings:
        span = standing.on_tasks_like_these
        assert span is not None
        assert 1 <= span.best <= standing.rank <= span.worst <= 40


def test_spread_of_resampled_means_is_that_of_means() -> None:
    draw = rng("spread")
    items = [draw.random((3, n)) for n in (20, 80)]
    scores = np.array([of_task.mean(axis=1) for of_task in items]).T
    made = _means_of_items(scores, items, 20_000, rng("draws"))
    np.testing.assert_allclose(made.mean(axis=0), scores.mean(axis=1), atol=0.002)
    expected = np.sqrt(sum(of_task.var(axis=1) / of_task.shape[1] for of_task in items)) / 2
    np.testing.assert_allclose(made.std(axis=0), expected, rtol=0.03)
    of_tasks = _means_of_tasks(scores, 20_000, rng("draws"))
    np.testing.assert_allclose(of_tasks.std(axis=0), scores.std(axis=1) / np.sqrt(2), rtol=0.03)


def test_a_task_without_items_stands_still_and_one_task_has_no_others() -> None:
    items = [np.array([[0.1, 0.9, 0.5], [0.2, 0.1, 0.0]])]
    one = rank_models(np.array([[0.5], [0.1]]), generator=rng("draws"), items=items)
    assert one.standings[0].on_tasks_like_these is None
    assert one.neighbours[0].p_on_tasks_like_these is None
    assert one.standings[0].on_these_tasks is not None
    still = rank_models(np.array([[0.5, 0.3], [0.1, 0.2]]), generator=rng("draws"), items=[np.zeros((2, 0))] * 2)
    assert still.standings[0].on_these_tasks == RankSpan(1, 1)
    assert still.neighbours[0].p_on_these_tasks == 1.0
    alone = rank_models(np.array([[0.5, 0.3]]), generator=rng("draws"))
    assert (len(alone.standings), alone.neighbours) == (1, [])


@pytest.mark.parametrize(
    ("scores", "items", "message"),
    [
        ([[0.1, np.nan], [0.2, 0.3]], None, r"a finite score of every model on every task; got shape \(2, 2\)"),
        ([0.1, 0.2], None, r"got shape \(2,\)"),
        (np.zeros((0, 3)), None, r"got shape \(0, 3\)"),
        ([[0.1, 0.2]], [np.zeros((1, 4))], "items of every task, 2; got 1"),
        ([[0.1]], [np.zeros((2, 4))], r"items of every model; got shape \(2, 4\) for task 0"),
        ([[0.1]], [np.array([[np.nan]])], r"got shape \(1, 1\) for task 0"),
    ],
)
def test_what_is_missing_is_refused(scores: object, items: list[np.ndarray] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_models(np.array(scores), generator=rng("draws"), items=items)
