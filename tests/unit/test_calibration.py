"""The calibration benchmark: its populations have the difference that it says, its trials decide as `compare` does."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import calibration
import numpy as np
import pytest
from calibrating import covering, families, published
from calibrating.pools import Pool, largest, made_up, swap, take, tilted
from calibrating.trials import FLIPS, SWAPS, Cell, Share, linear, method_of, rates

from evalharness.compare import differences
from evalharness.compare.comparison import Settings
from evalharness.compare.differences import task_difference
from evalharness.compare.matching import PairedJob
from evalharness.metrics.forms import Labels, Mean, items_of
from evalharness.metrics.from_items import score_of
from evalharness.metrics.statistics.draws import SEED, generator
from evalharness.metrics.statistics.paired_tests import paired_t, sign_flip

POOLS = {pool.kind: pool for pool in made_up(600)}
KINDS = list(POOLS)


def test_shares_are_judged_by_the_band_and_their_error() -> None:
    assert Share(500, 10_000).judged(0.045, 0.055) == "in"
    assert Share(560, 10_000).judged(0.045, 0.055) == "in, within the error"
    assert Share(640, 10_000).judged(0.045, 0.055) == "ABOVE"
    assert Share(350, 10_000).judged(0.045, 0.055) == "BELOW"
    assert Share(0, 10_000).judged(0.0, 0.05) == "in"
    assert str(Share(500, 10_000)) == "5.00 ± 0.22"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("drop", [0.0, -0.01])
def test_tilted_items_have_the_difference(kind: str, drop: float) -> None:
    pool = POOLS[kind]
    weights = tilted(pool, drop)
    assert weights is not None
    # as often as the weights say, without chance
    rows = np.searchsorted(np.cumsum(weights), (np.arange(60_000) + 0.5) / 60_000)
    found = score_of(take(pool.candidate, rows)) - score_of(take(pool.base, rows))
    assert found == pytest.approx(drop, abs=0.003)


def test_a_population_that_only_gains_cannot_be_tilted() -> None:
    pool = Pool("up", "Retrieval", Mean(np.zeros(50)), Mean(np.full(50, 0.1)))
    assert tilted(pool, -0.01) is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_swapped_is_the_other_system(kind: str) -> None:
    pool = POOLS[kind]
    everything = np.ones(pool.items, dtype=bool)
    first, second = swap(pool.base, pool.candidate, everything)
    assert (score_of(first), score_of(second)) == (score_of(pool.candidate), score_of(pool.base))
    assert score_of(swap(pool.base, pool.candidate, ~everything)[0]) == score_of(pool.base)
    assert items_of(take(pool.base, np.arange(7))) == 7


@pytest.mark.parametrize("kind", KINDS)
def test_trials_decide_as_compare_does(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = POOLS[kind]
    base, candidate = take(pool.base, np.arange(300)), take(pool.candidate, np.arange(300))
    if not pool.is_mean:
        monkeypatch.setattr(differences, "RECOMPUTED", 0)
    job = PairedJob(1.0, base, candidate, [str(row) for row in range(300)])
    found = task_difference("task", [job], Settings(draws=20_000))
    values = replace(pool, base=base, candidate=candidate).differences() if pool.is_mean else linear(base, candidate)
    assert values.mean() == pytest.approx(found.estimate.difference, abs=1e-6)
    flipped = sign_flip(values, generator=generator(SEED), draws=20_000)
    test = flipped if pool.is_mean else paired_t(values)
    assert test.p_value == pytest.approx(found.p_value, abs=0.02 if pool.is_mean else 1e-6)


def test_methods_are_those_of_compare() -> None:
    assert method_of(POOLS["Retrieval, ndcg_at_10"], 10**6) == "sign flip"
    assert method_of(POOLS["STS, cosine_spearman"], differences.RECOMPUTED) == "recomputed"
    assert method_of(POOLS["STS, cosine_spearman"], differences.RECOMPUTED + 1) == "linearised"


def test_few_items_of_a_label_are_computed_again() -> None:
    gold = np.arange(1_500) % 150
    few = Labels(gold, np.stack([gold] * 10), "f1")
    assert differences.is_recomputed([few])
    assert not differences.is_recomputed([replace(few, gold=gold % 50, predicted=few.predicted % 50)])
    assert not differences.is_recomputed([replace(few, is_weighted=True)])


def test_a_test_that_is_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(POOLS["Retrieval, ndcg_at_10"], 100, "tilted", "sign flip", 600)
    assert rates(cell).shown.judged(0.045, 0.055) != "ABOVE"
    monkeypatch.setattr("calibrating.trials.ALPHA", 0.15)
    assert rates(cell).shown.judged(0.045, 0.055) == "ABOVE"
    assert (FLIPS + 1) % 20 == (SWAPS + 1) % 20 == 0


def test_intervals_too_short_are_found_out() -> None:
    few = covering.covered(covering.Sampled("skewed", generator(SEED).lognormal(size=5_000), 20, 300))
    assert few.shares["BCa"].value < few.shares[covering.USED].value
    assert few.shares["BCa"].judged(0.93, 0.97) == "BELOW"


def test_the_gate_sees_a_task_that_regressed() -> None:
    values = POOLS["Retrieval, ndcg_at_10"].differences()
    equal = [families.Task("Retrieval", values, 100) for _ in range(10)]
    assert families.regressed(families.Gate(equal, 0.0, 50, 0)) <= 8
    worse = families.Task("STS", None, 500, np.array([[-0.2, 0.01]] * 5))
    assert families.regressed(families.Gate([*equal, worse], 0.0, 50, 0)) == 50
    assert families.regressed(families.Gate([*equal, worse], 0.3, 50, 0)) == 0


def test_orders_that_were_not_published_are_said() -> None:
    near = dict.fromkeys(published.TESTS, Share(500, 10_000))
    assert len(published.in_order({25: near, 100: near})) == 3
    right = near | {"w": Share(1000, 10_000), "s": Share(1300, 10_000), "b": Share(700, 10_000)}
    assert published.in_order({25: right, 100: right}) == []


def test_real_pools_come_before_made_up_ones() -> None:
    real = replace(POOLS["Retrieval, ndcg_at_10"], name="NFCorpus")
    sts = replace(POOLS["STS, cosine_spearman"], name="STS12")
    found = [pool.name for pool in largest([*made_up(600), real, sts])]
    assert "NFCorpus" in found
    assert "made-up ranking" not in found
    assert {"STS12", "made-up STS"} <= set(found)


def test_quick_run_writes_every_section(tmp_path: Path) -> None:
    output = tmp_path / "calibration.md"
    parts = ["gate", "series", "published", "power"]
    calibration.main([str(output), "--quick", "--work", str(tmp_path / "work"), "--parts", *parts])
    calibration.main([str(output), "--quick", "--work", str(tmp_path / "work"), "--parts", "alarms"])
    text = output.read_text(encoding="utf-8")
    for part in [*parts, "alarms"]:
        assert f"## {calibration.PARTS[part].title}" in text
    assert "Quick: too few trials" in text
    assert len(re.findall(r"^\| Retrieval, ndcg_at_10 ", text, re.MULTILINE)) == 5
    assert "no TREC matrices were given" in text
