"""Two results become a comparison: what is the same is compared, what is not is refused, and nothing is in between."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stored import StoredScores, ndcg, pairs, random_ndcg, spec_of, write_results

from evalharness.catalog.tasks import Member, TaskList
from evalharness.compare.comparison import OVER_TASKS, OVER_TYPES, Comparison, Finding, Settings, Verdict
from evalharness.compare.gate import GateRules, Reason, judge
from evalharness.compare.judging import compare_results
from evalharness.compare.sides import read_side
from evalharness.errors import DataError, UsageError
from evalharness.types import ItemScores

Jobs = Mapping[tuple[str, str, str], StoredScores]

MINE = ("Mine", "test", "default")
OTHER = ("Other", "test", "default")
FAST = Settings(draws=2_000)


def compared(
    tmp_path: Path, base: Jobs, candidate: Jobs, how: Settings = FAST, tasks: TaskList | None = None
) -> Comparison:
    one = write_results(tmp_path / "base", base, spec_of("me/base"))
    other = write_results(tmp_path / "candidate", candidate, spec_of("me/candidate"))
    return compare_results(read_side(str(one)), read_side(str(other)), tasks, how)


def only(comparison: Comparison) -> Finding:
    (found,) = comparison.tasks
    return found


def test_a_model_is_no_worse_than_itself(tmp_path: Path) -> None:
    found = compared(tmp_path, {MINE: random_ndcg(1)}, {MINE: random_ndcg(1)})
    for finding in found:
        assert finding.difference == 0
        assert finding.verdict is Verdict.NO_WORSE
        assert finding.p_value == 1
        assert finding.interval is not None
        assert (finding.interval.low, finding.interval.high) == (0, 0)
    assert judge(found, GateRules(), "non-inferiority").passes


def test_a_comparison_renders_itself(tmp_path: Path) -> None:
    found = compared(tmp_path, {MINE: random_ndcg(1)}, {MINE: random_ndcg(1, lower=0.2)})
    assert str(found).startswith("Regressed: 4 of 4")
    assert str(found) == found.render("terminal")
    assert found._repr_markdown_().startswith("## Regressed: 4 of 4")
    assert json.loads(found.render("json"))["comparisons"][0]["tasks"][0]["verdict"] == "regressed"
    with pytest.raises(UsageError, match="unknown format 'htm'"):
        found.render("htm")
    assert str(replace(found, writer=None)).startswith("Comparison(")


def test_a_clear_loss_is_a_regression(tmp_path: Path) -> None:
    found = compared(tmp_path, {MINE: random_ndcg(1)}, {MINE: random_ndcg(1, lower=0.2)})
    task = only(found)
    assert task.verdict is Verdict.REGRESSED
    assert task.difference is not None
    assert task.interval is not None
    assert task.interval.low < task.difference < task.interval.high < -0.05
    assert (task.items, task.clusters, task.metric, task.type) == (60, 60, "ndcg_at_10", "Retrieval")
    assert [finding.verdict for finding in found] == [Verdict.REGRESSED] * 4
    outcome = judge(found, GateRules(), "regression")
    assert [failure.reason for failure in outcome.failures] == [Reason.WORSE] * 4


def test_a_clear_gain_is_an_improvement_and_noise_is_noise(tmp_path: Path) -> None:
    base = {MINE: random_ndcg(1, lower=0.2), OTHER: random_ndcg(2)}
    found = compared(tmp_path, base, {MINE: random_ndcg(1), OTHER: random_ndcg(3)})
    assert found["Mine"].verdict is Verdict.IMPROVED
    noisy = found["Other"]
    assert noisy.verdict is Verdict.TOO_NOISY
    assert noisy.needed is not None
    assert noisy.needed > noisy.clusters


def test_small_differences_in_many_items_are_no_worse(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    base = random.random(3000)
    moved = np.clip(base + random.normal(0, 0.01, 3000), 0, 1)
    found = only(compared(tmp_path, {MINE: ndcg(base.tolist())}, {MINE: ndcg(moved.tolist())}))
    assert found.verdict is Verdict.NO_WORSE
    assert found.smallest is not None
    assert found.smallest < 0.001


def test_the_same_input_gives_the_same_numbers_whatever_stands_beside_it(tmp_path: Path) -> None:
    gold = np.arange(40) % 6
    random = np.random.default_rng(5)
    one, other = (pairs(gold.tolist(), (gold + random.normal(0, 2, 40)).tolist()) for _ in range(2))
    alone = only(compared(tmp_path / "alone", {MINE: one}, {MINE: other}))
    beside = compared(tmp_path / "beside", {OTHER: random_ndcg(1), MINE: one}, {MINE: other, OTHER: random_ndcg(2)})
    for name in ("p_value", "interval", "smallest", "base", "candidate"):
        assert getattr(beside["Mine"], name) == getattr(alone, name), name


def test_holm_and_benjamini_hochberg_adjust_over_tasks_types_and_means(tmp_path: Path) -> None:
    base = {("A", "test", "default"): random_ndcg(1), ("B", "test", "default"): random_ndcg(2)}
    candidate = {("A", "test", "default"): random_ndcg(1, lower=0.02), ("B", "test", "default"): random_ndcg(3)}
    holm = compared(tmp_path, base, candidate, replace(FAST, adjustment="holm"))
    hochberg = compared(tmp_path, base, candidate, replace(FAST, adjustment="benjamini-hochberg"))
    # one type, so that its mean, the mean over types and the mean over tasks are one hypothesis
    p_values = [holm[name].p_value for name in ("A", "B", OVER_TASKS)]
    assert all(p is not None for p in p_values)
    smallest = min(p for p in p_values if p is not None)
    assert min(holm[name].adjusted or 1 for name in ("A", "B", OVER_TASKS)) == pytest.approx(min(1, 3 * smallest))
    for finding in holm:
        assert finding.adjusted is not None
        assert (hochberg[finding.name].adjusted or 0) <= finding.adjusted + 1e-12


def test_means_over_tasks_and_types(tmp_path: Path) -> None:
    names = {"A": random_ndcg(1), "B": random_ndcg(2)}
    gold = (np.arange(40) % 6).tolist()
    base = {(name, "test", "default"): stored for name, stored in names.items()} | {MINE: pairs(gold, gold)}
    moved = [value + (number % 3) for number, value in enumerate(gold)]
    candidate = {**base, MINE: pairs(gold, moved)}
    found = compared(tmp_path, base, candidate)
    drop = found["Mine"].difference
    assert drop is not None
    assert drop < 0
    assert found[OVER_TASKS].difference == pytest.approx(drop / 3)
    assert found[OVER_TYPES].difference == pytest.approx(drop / 2)
    assert found["Retrieval"].difference == 0
    assert found["Retrieval"].like_these is not None
    # one task of a type says nothing of tasks like it
    assert found["STS"].like_these is None
    assert found[OVER_TYPES].like_these is None
    like_these = found[OVER_TASKS].like_these
    assert like_these is not None
    assert like_these.low < drop / 3 < like_these.high


def test_parallel_subsets_are_resampled_together(tmp_path: Path) -> None:
    subsets = {("Mine", "test", name): random_ndcg(1) for name in ("de", "en")}
    moved = {("Mine", "test", name): random_ndcg(2) for name in ("de", "en")}
    both = only(compared(tmp_path / "both", subsets, moved))
    alone = only(compared(tmp_path / "alone", {MINE: random_ndcg(1)}, {MINE: random_ndcg(2)}))
    # the same differences twice are no more than once
    assert (both.items, both.clusters) == (120, 60)
    assert both.p_value == alone.p_value
    assert both.interval == alone.interval


def test_groups_of_items_are_resampled_together(tmp_path: Path) -> None:
    def grouped(stored: StoredScores) -> StoredScores:
        assert stored.items is not None
        columns = {**stored.items.columns, "group": [float(number // 3) for number in range(60)]}
        return replace(stored, items=replace(stored.items, columns=columns))

    free = only(compared(tmp_path / "free", {MINE: random_ndcg(1)}, {MINE: random_ndcg(2)}))
    found = only(compared(tmp_path / "tied", {MINE: grouped(random_ndcg(1))}, {MINE: grouped(random_ndcg(2))}))
    assert (found.items, found.clusters) == (60, 20)
    assert found.difference == free.difference
    assert found.interval != free.interval


REFUSED: dict[str, tuple[StoredScores, str]] = {
    "other data": (replace(random_ndcg(1), key={"dataset_revision": "2"}), "are not the same: revision '1' and '2'"),
    "other settings": (replace(random_ndcg(1), key={"settings": {"a": 1}}), "differs in the task's settings"),
    "other scoring": (replace(random_ndcg(1), key={"score_version": 2}), "differs in the version of our scoring"),
    "other draws": (replace(random_ndcg(1), key={"drawn_before": [["a", "b"]]}), "in the order of random draws"),
    "other metric": (
        replace(random_ndcg(1), items=ItemScores(["q0"], {"map_at_10": [0.5]}), metric="map_at_10"),
        "the main scores are not the same: 'ndcg_at_10' and 'map_at_10'",
    ),
    "fewer items": (random_ndcg(1, count=59), "the items are not the same: 60 and 59, and not in both: 'q59'"),
    "failed": (replace(random_ndcg(1), error="out of memory"), "failed: out of memory"),
    "a score that its items do not give": (replace(random_ndcg(1), score=0.9), "and its record says 0.900000"),
    "scored by mteb": (replace(random_ndcg(1), key={"runner": "mteb"}), "differs in what scores the task"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_the_same_is_not_compared_and_never_passes(tmp_path: Path, name: str) -> None:
    candidate, why = REFUSED[name]
    jobs = {OTHER: random_ndcg(3)}
    found = compared(tmp_path, {MINE: random_ndcg(1), **jobs}, {MINE: candidate, **jobs})
    task = found["Mine"]
    assert task.verdict is Verdict.NOT_COMPARED
    assert task.difference is None
    assert why in task.why
    assert found["Other"].verdict is Verdict.NO_WORSE
    # a mean over what is missing would be over something else
    assert found[OVER_TASKS].verdict is Verdict.NOT_COMPARED
    outcome = judge(found, GateRules(), "regression")
    assert outcome.is_only_unjudged
    assert ("Mine", Reason.NOT_JUDGED) in [(failure.name, failure.reason) for failure in outcome.failures]


def test_one_changed_judgement_is_told(tmp_path: Path) -> None:
    gold = list(range(20))
    base, candidate = {MINE: pairs(gold, gold)}, {MINE: pairs([*gold[:-1], 18], gold)}
    both = {OTHER: random_ndcg(1)}
    found = compared(tmp_path, base | both, candidate | both)["Mine"]
    assert found.verdict is Verdict.NOT_COMPARED
    assert found.why == "[test, default]: 1 of 20 items have another gold on the two sides"


def test_items_in_another_order_are_the_same_items(tmp_path: Path) -> None:
    stored = random_ndcg(1)
    assert stored.items is not None
    turned = ItemScores(stored.items.ids[::-1], {name: list(v)[::-1] for name, v in stored.items.columns.items()})
    found = only(compared(tmp_path, {MINE: stored}, {MINE: replace(stored, items=turned)}))
    assert found.p_value == 1
    assert found.verdict is Verdict.NO_WORSE


def test_a_text_label_that_one_side_alone_predicts_changes_no_code(tmp_path: Path) -> None:
    def labelled(predicted: list[str]) -> StoredScores:
        gold = ["b", "c"] * 10
        names = sorted({*gold, *predicted})
        columns = {
            "label": [float(names.index(label)) for label in gold],
            "predicted_0": [float(names.index(label)) for label in predicted],
        }
        ids = [str(number) for number in range(20)]
        return StoredScores(ItemScores(ids, columns, names), "f1", "Classification")

    found = only(compared(tmp_path, {MINE: labelled(["b", "c"] * 10)}, {MINE: labelled(["b", "a"] + ["b", "c"] * 9)}))
    assert found.why == ""
    assert found.verdict is Verdict.TOO_NOISY


def test_scores_without_items_are_compared_by_score(tmp_path: Path) -> None:
    found = compared(tmp_path, {MINE: replace(random_ndcg(1), items=None, score=0.5)}, {MINE: random_ndcg(1)})
    task = only(found)
    assert task.verdict is Verdict.BY_SCORE
    assert "has no items" in task.why
    assert task.difference is not None
    assert found[OVER_TASKS].verdict is Verdict.BY_SCORE
    assert judge(found, GateRules(), "regression").is_only_unjudged


def test_items_of_an_older_version_are_told(tmp_path: Path) -> None:
    old = StoredScores(ItemScores(["q0", "q1"], {"ndcg_at_10": [0.1, 0.2]}), "ndcg_at_100", "Retrieval", score=0.2)
    found = only(compared(tmp_path, {MINE: old}, {MINE: old}))
    assert found.verdict is Verdict.BY_SCORE
    assert "do not have what ndcg_at_100 is made of" in found.why
    assert "run the task again" in found.why


def test_a_missing_task_voids_the_means_unless_it_may_be_missing(tmp_path: Path) -> None:
    base = {MINE: random_ndcg(1), OTHER: random_ndcg(2)}
    found = compared(tmp_path, base, {MINE: random_ndcg(1)})
    assert found["Other"].why == "the candidate has no result (not run)"
    assert found[OVER_TASKS].verdict is Verdict.NOT_COMPARED
    assert found[OVER_TASKS].why == "a mean over what is not compared is void: Other"
    assert judge(found, GateRules(), "regression").is_only_unjudged
    allowed = compared(tmp_path, base, {}, replace(FAST, optional=frozenset({"Other"})))
    assert allowed[OVER_TASKS].verdict is Verdict.NO_WORSE
    assert allowed[OVER_TASKS].notes == ("without Other, which may be missing",)


def test_a_missing_subset_is_told_and_one_more_is_left_out(tmp_path: Path) -> None:
    subsets = {("Mine", "test", name): random_ndcg(1) for name in ("de", "en")}
    english = {("Mine", "test", "en"): random_ndcg(1)}
    both = {OTHER: random_ndcg(2)}
    fewer = compared(tmp_path / "fewer", subsets | both, english | both)["Mine"]
    assert fewer.why == "the candidate lacks 1 of 2 subsets, first [test, de]: not run"
    more = only(compared(tmp_path / "more", english, subsets))
    assert more.verdict is Verdict.NO_WORSE
    assert more.notes == ("the candidate has 1 subsets more, which are left out",)


def test_nothing_in_common_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing to compare\. Mine: the candidate has no result \(not run\)"):
        compared(tmp_path, {MINE: random_ndcg(1)}, {OTHER: random_ndcg(1)})


def test_tasks_that_are_named_are_compared_and_no_others(tmp_path: Path) -> None:
    jobs = {MINE: random_ndcg(1), OTHER: random_ndcg(2)}
    wanted = TaskList(name="mine", tasks=(Member(task="Mine"), Member(task="Absent")))
    found = compared(tmp_path, jobs, jobs, tasks=wanted)
    assert [task.name for task in found.tasks] == ["Mine", "Absent"]
    assert found["Absent"].why == "the base has no result (not run); the candidate has no result (not run)"


def test_results_of_another_protocol_are_refused(tmp_path: Path) -> None:
    one = write_results(tmp_path / "base", {MINE: random_ndcg(1)})
    published = spec_of("me/model", overrides={"protocol": "published"})
    other = write_results(tmp_path / "other", {MINE: random_ndcg(1)}, published)
    with pytest.raises(UsageError, match="the base follows the protocol 'mteb' and the candidate 'published'"):
        compare_results(read_side(str(one)), read_side(str(other)))


def test_damaged_items_are_no_items(tmp_path: Path) -> None:
    one = write_results(tmp_path / "base", {MINE: random_ndcg(1)}, spec_of("me/base"))
    (path,) = one.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-8])
    other = write_results(tmp_path / "other", {MINE: random_ndcg(1)}, spec_of("me/other"))
    with pytest.raises(UsageError, match=r"nothing to compare\. Mine: .*is not what was written"):
        compare_results(read_side(str(one)), read_side(str(other)))


def test_other_precision_engine_and_device_are_named(tmp_path: Path) -> None:
    one = write_results(tmp_path / "base", {MINE: random_ndcg(1)}, spec_of("me/base"))
    stored = replace(random_ndcg(1), facts={"device": "cuda"})
    other = write_results(tmp_path / "other", {MINE: stored}, spec_of("me/other", dtype="float16", backend="onnx"))
    found = compare_results(read_side(str(one)), read_side(str(other)), None, FAST)
    assert "precision: 'float32' in the base, 'float16' in the candidate" in found.notes
    assert "backend: 'transformers' in the base, 'onnx' in the candidate" in found.notes
    assert "device: 'cpu' in the base, 'cuda' in the candidate" in found.notes


def test_another_engine_of_the_same_model_is_named(tmp_path: Path) -> None:
    """Which one runs may change with what is installed, and no option tells."""
    engines = {"base": "torch 2.13.0", "other": "openvino 2026.4.1"}
    one, other = (
        write_results(tmp_path / name, {MINE: replace(random_ndcg(1), facts={"engine": engine})})
        for name, engine in engines.items()
    )
    found = compare_results(read_side(str(one)), read_side(str(other)), None, FAST)
    assert list(found.notes) == ["engine: 'torch 2.13.0' in the base, 'openvino 2026.4.1' in the candidate"]


class TestSides:
    def test_one_of_several_models_is_named(self, tmp_path: Path) -> None:
        for name in ("me/one", "me/other"):
            write_results(tmp_path, {MINE: random_ndcg(1)}, spec_of(name))
        with pytest.raises(UsageError, match=r"holds 2 results: .*Name one of these folders, or FOLDER:model"):
            read_side(str(tmp_path))
        assert read_side(f"{tmp_path}:me/one").side.model == "me/one"
        assert read_side(f"{tmp_path}:other").side.model == "me/other"
        with pytest.raises(UsageError, match="unknown model 'me/onr': did you mean me/one"):
            read_side(f"{tmp_path}:me/onr")

    def test_a_model_is_what_nobody_changed(self, tmp_path: Path) -> None:
        write_results(tmp_path, {MINE: random_ndcg(1)}, spec_of("me/one"))
        write_results(tmp_path, {MINE: random_ndcg(1)}, spec_of("me/one", overrides={"max_length": 16}))
        assert read_side(f"{tmp_path}:me/one").side.overrides == {}

    def test_a_file_of_published_scores(self, tmp_path: Path) -> None:
        path = tmp_path / "scores.json"
        path.write_text(json.dumps({"_about": {"model": "me/it"}, "scores": {"Mine": {"test": 0.5}}}), encoding="utf-8")
        other = write_results(tmp_path / "other", {MINE: ndcg([0.25, 0.5]), ("Mine", "test", "en"): ndcg([0.5, 1.0])})
        found = only(compare_results(read_side(str(path)), read_side(str(other)), None, FAST))
        assert (found.base, found.verdict) == (0.5, Verdict.BY_SCORE)
        assert found.candidate == pytest.approx(0.5625)

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ({}, "_about"),
            ({"_about": {"model": "me/it"}}, "scores"),
            ({"_about": {"model": "me/it"}, "scores": {"Mine": {"test": 2}}}, "main scores are from -1 to 1"),
            ({"_about": {"model": "me/it", "protocol": "mine"}, "scores": {}}, "unknown protocol"),
        ],
    )
    def test_a_wrong_file_says_so(self, tmp_path: Path, value: Any, message: str) -> None:
        path = tmp_path / "scores.json"
        path.write_text(json.dumps(value), encoding="utf-8")
        with pytest.raises(DataError, match=message):
            read_side(str(path))

    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no such folder"):
            read_side(str(tmp_path / "nowhere"))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_other_way_round_is_the_opposite(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    grid = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    count = data.draw(st.integers(2, 30))
    one, other = (ndcg(data.draw(st.lists(grid, min_size=count, max_size=count))) for _ in range(2))
    there = only(compared(tmp_path_factory.mktemp("there"), {MINE: one}, {MINE: other}))
    back = only(compared(tmp_path_factory.mktemp("back"), {MINE: other}, {MINE: one}))
    assert there.difference is not None
    assert back.difference == -there.difference
    assert back.p_value == pytest.approx(there.p_value)
    assert there.interval is not None
    assert back.interval is not None
    assert (back.interval.low, back.interval.high) == pytest.approx((-there.interval.high, -there.interval.low))
    assert there.interval.low <= there.difference <= there.interval.high


def test_one_task_may_be_named_by_a_text(tmp_path: Path) -> None:
    scores = {(name, "test", "default"): random_ndcg(1) for name in ("Mine", "Other")}
    one = write_results(tmp_path / "one", scores, spec_of("me/one"))
    found = compare_results(str(one), str(one), "Mine", FAST)
    assert [task.name for task in found.tasks] == ["Mine"]
