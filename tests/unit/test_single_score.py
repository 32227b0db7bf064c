"""The interval of one score: as that of a difference from nothing, and of the length that it should have."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from support.stored import StoredScores, ndcg, pairs, random_ndcg, spec_of, write_results

from evalharness.catalog.tasks import Member
from evalharness.compare.comparison import Settings
from evalharness.compare.differences import mean_difference, task_difference
from evalharness.compare.matching import NotComparedError, PairedJob, ScoresOnlyError, alone
from evalharness.compare.pairing import pair_task
from evalharness.compare.sides import read_side
from evalharness.compare.single import ScoreEstimate, mean_estimate, score_estimate
from evalharness.metrics.forms import Correlation, Labels, Mean
from evalharness.metrics.statistics.intervals import BCA_TRUSTED_FROM, MEANS_TRUSTED_FROM
from evalharness.results.items import write_items
from evalharness.results.records import JobId, JobRecord, items_path
from evalharness.results.stored import read_runs
from evalharness.types import ItemScores

FAST = Settings(draws=2_000)
MINE = ("Mine", "test", "default")


def job_of(values: Sequence[float] | NDArray[np.float64], groups: Sequence[str] = ()) -> PairedJob:
    """A job whose score is the mean of these."""
    form = Mean(np.asarray(values, dtype=np.float64))
    score = float(np.nanmean(form.values))
    record = JobRecord(JobId(*MINE), {}, "ndcg_at_10", [], "1", 1.0, {}, {"ndcg_at_10": score})
    return PairedJob(1.0, form, form, groups or [f"{number:05}" for number in range(len(values))], (record, record))


def read(folder: Path, weight: float = 1.0) -> list[PairedJob]:
    (run,) = read_runs([folder])
    return [
        alone(run.folder, job.record, weight)
        for task in run.tasks.values()
        for job in task.jobs
        if job.record is not None
    ]


def estimate_of(values: Sequence[float] | NDArray[np.float64], how: Settings = FAST) -> ScoreEstimate:
    return score_estimate("Mine", [job_of(values)], how)


def ends(found: ScoreEstimate) -> tuple[float, float]:
    assert found.interval is not None
    return found.interval.low, found.interval.high


def test_of_many_items_it_is_students_interval() -> None:
    values = np.random.default_rng(0).beta(4, 4, 5_000)
    found = estimate_of(values)
    told = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    assert ends(found) == pytest.approx(told, abs=1e-6)
    assert found.estimate.standard_error == pytest.approx(stats.sem(values))
    assert (found.items, found.clusters, found.is_trusted) == (5_000, 5_000, True)


def test_of_few_items_it_is_close_to_scipys_studentised_bootstrap() -> None:
    values = np.random.default_rng(1).beta(2, 6, 60)
    draws = np.random.default_rng(2).choice(values, (20_000, 60))
    reach = np.quantile(np.abs(draws.mean(axis=1) - values.mean()) / stats.sem(draws, axis=1), 0.95) * stats.sem(values)
    low, high = ends(estimate_of(values, Settings()))
    assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.002)


def test_of_a_score_that_is_no_mean_it_is_scipys_bca(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    gold = random.uniform(0, 5, 150)
    similar = gold + random.normal(0, 1.5, 150)
    jobs = read(write_results(tmp_path, {MINE: pairs(gold.tolist(), similar.tolist())}))
    found = score_estimate("Mine", jobs, Settings())
    told = stats.bootstrap(
        (gold, similar),
        lambda one, other: stats.spearmanr(one, other).statistic,
        paired=True,
        vectorized=False,
        n_resamples=3_000,
        rng=np.random.default_rng(4),
    ).confidence_interval
    assert found.method == "BCa bootstrap, 10,000 draws"
    assert ends(found) == pytest.approx((told.low, told.high), abs=0.012)


@pytest.mark.parametrize("kind", ["mostly nothing", "nothing at 0", "no mean", "no mean, many"])
def test_it_is_the_interval_of_a_difference_from_nothing(tmp_path: Path, kind: str) -> None:
    """Where 0 is what most items have, or none; a correlation of 0 in all resamples is nothing, too."""
    random = np.random.default_rng(5)
    if kind.startswith("no mean"):
        count = 2_100 if kind.endswith("many") else 80
        gold = random.uniform(0, 5, count).tolist()
        stored = pairs(gold, (gold + random.normal(0, 2, count)).tolist())
    else:
        found = random.uniform(0.1, 0.7, 60)
        stored = ndcg((np.where(random.random(60) < 0.7, 0.0, found) if kind == "mostly nothing" else found).tolist())
    # in the order of the ids, which is that of the draws
    items = stored.items
    assert items is not None
    (job,) = read(write_results(tmp_path, {MINE: replace(stored, items=replace(items, ids=sorted(items.ids)))}))
    if kind.startswith("no mean"):
        mine = score_estimate("Mine", [job], FAST)
        # without another side there is no such pair; half of the difference from the opposite is the same
        assert isinstance(job.base, Correlation)
        opposite = replace(job.base, similarities=-job.base.similarities)
        twice = task_difference("Mine", [replace(job, base=opposite)], FAST).estimate
        assert twice.difference == pytest.approx(2 * mine.estimate.difference)
        assert (twice.interval.low / 2, twice.interval.high / 2) == pytest.approx(ends(mine), abs=1e-9)
        return
    assert isinstance(job.base, Mean)
    nothing = replace(job.base, values=np.zeros(60))
    difference = task_difference("Mine", [replace(job, base=nothing)], FAST)
    mine = score_estimate("Mine", [job], FAST)
    told = difference.estimate
    assert mine.estimate.difference == pytest.approx(told.difference)
    assert mine.estimate.standard_error == pytest.approx(told.standard_error)
    assert ends(mine) == pytest.approx((told.interval.low, told.interval.high), abs=1e-9)
    assert mine.is_trusted == difference.is_trusted


def test_where_most_are_right_it_is_as_wide_as_where_as_many_are_wrong() -> None:
    """What is rare decides, whichever side it is on."""
    wrong = np.zeros(400)
    wrong[:12] = 1.0
    few, many = estimate_of(wrong), estimate_of(1 - wrong)
    low, high = ends(few)
    assert ends(many) == pytest.approx((1 - high, 1 - low))
    assert not few.is_trusted
    assert not many.is_trusted
    assert few.differing == many.differing == 12


def test_equal_items_are_a_point_that_nobody_trusts() -> None:
    found = estimate_of([0.25] * 40)
    assert ends(found) == (0.25, 0.25)
    assert (found.differing, found.is_trusted) == (0, False)


def test_of_one_item_nothing_is_said() -> None:
    assert estimate_of([0.5]).interval is None
    assert mean_estimate([estimate_of([0.5]), estimate_of([0.1, 0.2, 0.4])]).interval is None


def test_it_ends_where_scores_end() -> None:
    low, high = ends(estimate_of([1.0, 1.0, 0.9, 1.0, 0.95, 1.0]))
    assert 0.9 < low < high == 1.0
    low, high = ends(estimate_of([0.0, 0.0, 0.1, 0.0, 0.05]))
    assert 0.0 == low < high
    # of a measure that goes below
    low, high = ends(estimate_of([0.0, 0.0, 0.1, 0.0, -0.05]))
    assert -1 < low < 0 < high


def test_items_that_belong_together_are_one() -> None:
    values = np.random.default_rng(6).uniform(0, 1, 40)
    each = score_estimate("Mine", [job_of(np.repeat(values, 3))], FAST)
    groups = [f"g{number:05}" for number in range(40) for _ in range(3)]
    together = score_estimate("Mine", [job_of(np.repeat(values, 3), groups)], FAST)
    assert (each.clusters, together.clusters, together.items) == (120, 40, 120)
    assert ends(together) == pytest.approx(ends(score_estimate("Mine", [job_of(values)], FAST)))
    assert each.estimate.standard_error < 0.6 * together.estimate.standard_error


def test_subsets_weigh_the_same_however_many_items_they_have() -> None:
    random = np.random.default_rng(7)
    jobs = [
        replace(job_of(random.uniform(low, 1, count), [f"{low}/{n:04}" for n in range(count)]), weight=0.5)
        for low, count in ((0.0, 50), (0.5, 2_000))
    ]
    found = score_estimate("Mine", jobs, FAST)
    alone_ones = [score_estimate("x", [replace(job, weight=1.0)], FAST) for job in jobs]
    assert found.estimate.difference == pytest.approx(np.mean([one.estimate.difference for one in alone_ones]))
    error = math.hypot(*(one.estimate.standard_error for one in alone_ones)) / 2
    assert found.estimate.standard_error == pytest.approx(error, rel=0.05)


def test_a_mean_is_as_sure_as_that_of_differences() -> None:
    random = np.random.default_rng(8)
    jobs = {name: job_of(random.uniform(0.1, 0.9, 70)) for name in ("One", "Two", "Three")}
    mean = mean_estimate([score_estimate(name, [job], FAST) for name, job in jobs.items()])
    against = [task_difference(name, [replace(job, base=Mean(np.zeros(70)))], FAST) for name, job in jobs.items()]
    told = mean_difference(against, 0.0).estimate
    assert ends(mean) == pytest.approx((told.interval.low, told.interval.high))
    assert (mean.items, mean.is_trusted, mean.method) == (210, True, "Welch")
    one = score_estimate("One", [jobs["One"]], FAST)
    assert mean_estimate([one]) is one


Draw: TypeAlias = Callable[[np.random.Generator, int], NDArray[np.float64]]


def right(share: float) -> Draw:
    """Items of which this share is right."""
    return lambda random, count: (random.random(count) < share).astype(np.float64)


@pytest.mark.parametrize(
    ("draw", "truth", "count"),
    [
        (lambda random, count: random.beta(2, 5, count), 2 / 7, 40),
        (lambda random, count: np.where(random.random(count) < 0.7, 0, random.random(count)), 0.15, 200),
        (right(0.5), 0.5, 60),
        (right(0.9), 0.9, 300),
        (right(0.06), 0.06, 400),
    ],
    ids=["skewed", "mostly zero", "even", "mostly right", "mostly wrong"],
)
def test_it_covers_the_truth_as_often_as_it_says(draw: Draw, truth: float, count: int) -> None:
    found = [estimate_of(draw(np.random.default_rng([9, trial]), count), Settings(draws=500)) for trial in range(400)]
    covered = np.mean([ends(one)[0] <= truth <= ends(one)[1] for one in found])
    # of 400, three standard errors about .95
    assert 0.917 <= covered <= 0.983


def test_few_items_are_told() -> None:
    values = np.random.default_rng(10).uniform(0, 1, MEANS_TRUSTED_FROM)
    assert estimate_of(values).is_trusted
    assert not estimate_of(values[1:]).is_trusted


def test_few_items_of_what_is_computed_again_are_told(tmp_path: Path) -> None:
    random = np.random.default_rng(11)
    for count in (BCA_TRUSTED_FROM - 1, BCA_TRUSTED_FROM):
        gold = random.uniform(0, 5, count).tolist()
        stored = {MINE: pairs(gold, (gold + random.normal(0, 1, count)).tolist())}
        (job,) = read(write_results(tmp_path / str(count), stored))
        assert score_estimate("Mine", [job], FAST).is_trusted == (count >= BCA_TRUSTED_FROM)


def test_reading_alone_is_reading_with_itself(tmp_path: Path) -> None:
    """What is read of one side is what is compared of two."""
    items = ItemScores(
        ["c", "a", "b", "d"], {"label": [0.0, 1.0, 0.0, 2.0], "predicted_0": [0, 1, 1, 2], "predicted_1": [0, 1, 0, 1]},
        ["no", "yes", "maybe"],
    )  # fmt: skip
    side = read_side(str(write_results(tmp_path, {MINE: StoredScores(items, "accuracy", "Classification")})))
    (pair,) = pair_task(Member(task="Mine"), None, side, side).jobs
    (one,) = read(tmp_path)
    assert list(one.groups) == sorted(pair.groups)
    order = [list(pair.groups).index(group) for group in one.groups]
    assert isinstance(one.candidate, Labels)
    assert isinstance(pair.candidate, Labels)
    assert one.candidate.gold.tolist() == pair.candidate.gold[order].tolist()
    assert one.candidate.predicted.tolist() == pair.candidate.predicted[:, order].tolist()


def test_items_that_do_not_tell_are_refused(tmp_path: Path) -> None:
    write_results(tmp_path, {MINE: random_ndcg(1)}, spec_of("me/model"))
    (run,) = read_runs([tmp_path])
    record = run.tasks["Mine"].jobs[0].record
    assert record is not None
    path = items_path(run.folder, record.job)
    write_items(path, ItemScores(["a", "b"], {"ndcg_at_10": [0.1, 0.2]}))
    with pytest.raises(NotComparedError, match=r"give 0\.150000, and its record says"):
        alone(run.folder, record, 1.0)
    write_items(path, ItemScores(["a", "b"], {"map_at_10": [0.1, 0.2]}))
    with pytest.raises(ScoresOnlyError, match="do not have what ndcg_at_10 is made of"):
        alone(run.folder, record, 1.0)
    path.write_bytes(b"PAR1")
    with pytest.raises(NotComparedError, match="cannot be read as Parquet"):
        alone(run.folder, record, 1.0)
