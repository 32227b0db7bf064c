"""What a comparison's rows say beside their verdicts, and of which items."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from support.stored import StoredScores, ndcg, pairs, random_ndcg, spec_of, write_results

from evalharness.catalog.tasks import Member, TaskList
from evalharness.compare.comparison import Comparison, Finding, Settings, Verdict
from evalharness.compare.judging import compare_results
from evalharness.compare.sides import read_side

MINE = ("Mine", "test", "default")
FAST = Settings(draws=2_000)


def only(comparison: Comparison) -> Finding:
    (found,) = comparison.tasks
    return found


def compared(
    folder: Path, base: dict[tuple[str, str, str], StoredScores], candidate: dict[tuple[str, str, str], StoredScores]
) -> Finding:
    """The one task of both."""
    one = write_results(folder / "base", base, spec_of("me/base"))
    other = write_results(folder / "candidate", candidate, spec_of("me/candidate"))
    return only(compare_results(str(one), str(other), None, FAST))


def test_rows_of_two_splits_have_nothing_in_common(tmp_path: Path) -> None:
    # row 3 of one split is no translation of row 3 of the other
    jobs = {("Mine", split, "default"): random_ndcg(seed, 60) for seed, split in enumerate(("train", "test"))}
    moved = {("Mine", split, "default"): random_ndcg(seed + 2, 60) for seed, split in enumerate(("train", "test"))}
    found = compared(tmp_path, jobs, moved)
    assert (found.items, found.clusters) == (120, 120)


def test_how_many_items_would_tell_counts_items_and_no_clusters(tmp_path: Path) -> None:
    def grouped(seed: int, size: int) -> StoredScores:
        values = np.repeat(np.random.default_rng(seed).random(40).round(3), size).tolist()
        items = ndcg(values).items
        assert items is not None
        columns = {**items.columns, "group": [float(row // size) for row in range(len(values))]}
        return StoredScores(replace(items, columns=columns if size > 1 else dict(items.columns)), "ndcg_at_10")

    one = compared(tmp_path / "one", {MINE: grouped(1, 1)}, {MINE: grouped(2, 1)})
    three = compared(tmp_path / "three", {MINE: grouped(1, 3)}, {MINE: grouped(2, 3)})
    assert (three.items, three.clusters) == (120, 40)
    assert one.needed is not None
    assert three.needed == 3 * one.needed


def test_few_items_say_how_many_would_be_enough(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random(40).round(3)
    moved = values.copy()
    moved[:7] -= 0.2
    found = compared(tmp_path / "mean", {MINE: ndcg(values.tolist())}, {MINE: ndcg(moved.tolist())})
    assert found.notes == ("7 of 40 independent items differ at all: the interval can be trusted from 15 on",)
    gold = (np.arange(30) % 6).tolist()
    random = np.random.default_rng(2)
    one, other = (pairs(gold, (np.array(gold) + random.normal(0, 2, 30)).tolist()) for _ in range(2))
    found = compared(tmp_path / "spearman", {MINE: one}, {MINE: other})
    assert "30 of 30 independent items differ at all: the interval can be trusted from 100 on" in found.notes


def test_a_loss_that_is_shown_but_not_to_be_intolerable_is_told(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    base = random.uniform(0.3, 0.7, 400)
    moved = base - 0.0045 + random.normal(0, 0.02, 400)
    found = compared(tmp_path, {MINE: ndcg(base.tolist())}, {MINE: ndcg(moved.tolist())})
    assert found.verdict is Verdict.TOO_NOISY
    assert found.notes == ("a loss is shown, but not that it is more than the 0.3 points that are tolerated",)


def test_published_scores_of_who_knows_which_subsets_are_no_scores_of_one(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    scores = {"STS17": {"test": 0.5}, "STSBenchmark": {"test": 0.5}}
    path.write_text(json.dumps({"_about": {"model": "me/it"}, "scores": scores}), encoding="utf-8")
    stored = pairs([0, 1, 2, 3], [0, 2, 1, 3])
    english = {("STS17", "test", "en-en"): stored, ("STSBenchmark", "test", "default"): stored}
    base, other = read_side(str(path)), read_side(str(write_results(tmp_path / "other", english)))
    for sides in ((base, other), (other, base)):
        found = compare_results(*sides, None, FAST)
        assert found["STSBenchmark"].verdict is Verdict.BY_SCORE
        assert found["STS17"].verdict is Verdict.NOT_COMPARED
        assert "do not say which subsets they are of, and the results have 1 of 11" in found["STS17"].why
    named = TaskList(name="mine", tasks=(Member(task="STS17", subsets=("en-en",)),))
    assert only(compare_results(base, other, named, FAST)).verdict is Verdict.BY_SCORE
    assert only(compare_results(base, base, named, FAST)).verdict is Verdict.BY_SCORE


def test_a_checkpoint_without_its_prompts_is_told(tmp_path: Path) -> None:
    one = write_results(tmp_path / "base", {MINE: random_ndcg(1)}, spec_of("me/base", prompts={"query": "Find: "}))
    other = write_results(tmp_path / "other", {MINE: random_ndcg(1)}, spec_of("me/other"))
    found = compare_results(str(one), str(other), None, FAST)
    assert list(found.notes) == ["prompts: 'query: Find: ' in the base, 'none' in the candidate"]
    assert not compare_results(str(one), str(one), None, FAST).notes[0].startswith("prompts")


def test_an_engine_that_only_one_side_names_is_told(tmp_path: Path) -> None:
    """Records of before do not have it, and engines differ in last bits."""
    engine = {"engine": "openvino 2026.4.1"}
    before = write_results(tmp_path / "base", {MINE: random_ndcg(1)})
    now = write_results(tmp_path / "other", {MINE: replace(random_ndcg(1), facts=engine)})
    told = "engine: not recorded in the base, 'openvino 2026.4.1' in the candidate"
    assert list(compare_results(str(before), str(now), None, FAST).notes) == [told]
    told = "engine: 'openvino 2026.4.1' in the base, not recorded in the candidate"
    assert list(compare_results(str(now), str(before), None, FAST).notes) == [told]


def test_a_backend_that_is_its_own_engine_lacks_none(tmp_path: Path) -> None:
    other = {MINE: replace(random_ndcg(1), facts={"engine": "torch 2.13.0"})}
    base = write_results(tmp_path / "base", {MINE: random_ndcg(1)}, spec_of("me/base", backend="http"))
    candidate = write_results(tmp_path / "other", other, spec_of("me/other"))
    found = compare_results(str(base), str(candidate), None, FAST)
    assert list(found.notes) == ["backend: 'http' in the base, 'transformers' in the candidate"]
