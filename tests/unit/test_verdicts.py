"""Verdicts at their edges: tolerances of their own, few items, many findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.local_tasks import ROWS, jsonl_task
from support.stored import StoredScores, ndcg, pairs, random_ndcg, spec_of, write_results

from evalharness.compare.comparison import OVER_TASKS, OVER_TYPES, Comparison, Level, Settings, Verdict
from evalharness.compare.gate import GateRules, Rule, judge
from evalharness.compare.judging import compare_results
from evalharness.errors import UsageError
from evalharness.types import ItemScores


def worse(tmp_path: Path, how: Settings, tasks: int = 1, lost: float = 0.03) -> Comparison:
    names = [(f"T{number}", "test", "default") for number in range(tasks)]
    base = {name: random_ndcg(number) for number, name in enumerate(names)}
    candidate = {name: random_ndcg(number, lower=lost) for number, name in enumerate(names)}
    one = write_results(tmp_path / "base", base, spec_of("me/base"))
    return compare_results(one, write_results(tmp_path / "candidate", candidate, spec_of("me/candidate")), None, how)


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize("level", ["task", "type", "mean"])
def test_each_level_is_judged_by_its_own_tolerance(tmp_path: Path, level: Level, tasks: int) -> None:
    names: dict[Level, list[str]] = {"task": ["T0", "T1"], "type": ["Retrieval"], "mean": [OVER_TASKS, OVER_TYPES]}
    lenient = {other: dict.fromkeys(named, 0.5) for other, named in names.items() if other != level}
    found = worse(tmp_path, Settings(draws=2_000, tolerances=lenient), tasks)
    for finding in found:
        assert (finding.verdict is Verdict.REGRESSED) == (finding.level == level), finding
    strict: dict[Level, dict[str, float]] = {level: dict.fromkeys(names[level], 0.5)}
    for finding in worse(tmp_path, Settings(draws=2_000, tolerances=strict), tasks):
        assert (finding.verdict is Verdict.REGRESSED) == (finding.level != level), finding


@pytest.mark.parametrize("how", [Settings(draws=1_000), Settings(alpha=0.05 / 20)], ids=["few draws", "small alpha"])
def test_many_findings_get_as_many_draws_as_their_smallest_p_value_needs(tmp_path: Path, how: Settings) -> None:
    how = replace(how, adjustment="holm")
    found = worse(tmp_path, how, tasks=60, lost=0.3)
    assert found.counts() == {Verdict.REGRESSED: 60}
    assert not judge(found, GateRules(alpha=how.alpha), "regression").passes
    assert found.settings.draws > how.draws


def test_what_no_number_of_draws_can_show_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="alpha"):
        worse(tmp_path, Settings(alpha=1e-9))


@pytest.mark.parametrize("count", [2, 5])
def test_of_a_handful_of_items_nothing_is_shown(tmp_path: Path, count: int) -> None:
    name = ("Mine", "test", "default")
    of_one = pairs([0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 7, 6])
    assert of_one.items is not None
    alike = replace(
        of_one, items=ItemScores(of_one.items.ids, {**of_one.items.columns, "group": [0.0] * 8}, of_one.items.names)
    )
    for number, scores in enumerate((ndcg([0.5] * count), alike)):
        one = write_results(tmp_path / f"{number}/base", {name: scores}, spec_of("me/base"))
        other = write_results(tmp_path / f"{number}/candidate", {name: scores}, spec_of("me/candidate"))
        found = compare_results(one, other)
        assert {finding.verdict for finding in found} == {Verdict.TOO_NOISY}
        assert not judge(found, GateRules(), "non-inferiority").passes


def test_a_type_of_which_all_may_be_missing_is_not_missed(tmp_path: Path) -> None:
    mine, other = ("Mine", "test", "default"), ("Other", "test", "default")
    rules = GateRules(tasks={"Other": Rule(may_be_missing=True)})
    base = {mine: random_ndcg(1), other: pairs(range(8), range(8))}
    one = write_results(tmp_path / "base", base, spec_of("me/base"))
    found = compare_results(one, write_results(tmp_path / "candidate", {mine: random_ndcg(1)}), None, how_of(rules))
    assert [finding.name for finding in found.types] == ["Retrieval"]
    assert {finding.verdict for finding in found.means} == {Verdict.NO_WORSE}
    assert judge(found, rules, "non-inferiority").passes
    assert not judge(found, rules.model_copy(update={"types": {"STS": Rule()}}), "regression").passes


def how_of(rules: GateRules) -> Settings:
    return Settings(draws=1_000, optional=rules.optional())


def codes(experiments: int, names: Sequence[str | int] = (), right: float = 0.7) -> StoredScores:
    random = np.random.default_rng(1)
    gold = random.integers(0, 2, 40)
    predicted = [np.where(random.random(40) < right, gold, 1 - gold) for _ in range(experiments)]
    columns = {f"predicted_{number}": row.astype(float).tolist() for number, row in enumerate(predicted)}
    ids = [str(number) for number in range(40)]
    items = ItemScores(ids, {"label": gold.astype(float).tolist(), **columns}, names)
    return StoredScores(items, "f1", "Classification")


@pytest.mark.parametrize(
    ("base", "candidate"),
    [
        (codes(3), codes(2)),
        (codes(2), codes(3)),
        (codes(2, ["a", "b"]), codes(2)),
        (codes(2), codes(2, ["a", "b"])),
        (codes(2, ["a", "b"]), codes(2, ["a", 1])),
    ],
    ids=["fewer experiments", "more experiments", "text and numbers", "numbers and text", "mixed labels"],
)
def test_predictions_that_cannot_be_swapped_are_not_compared(
    tmp_path: Path, base: StoredScores, candidate: StoredScores
) -> None:
    name = ("Mine", "test", "default")
    one = write_results(tmp_path / "base", {name: base}, spec_of("me/base"))
    with pytest.raises(UsageError, match=r"nothing to compare.*(experiments|labels)"):
        compare_results(one, write_results(tmp_path / "candidate", {name: candidate}))


def test_a_task_file_names_its_task(tmp_path: Path) -> None:
    file = jsonl_task(tmp_path / "Mine.toml", "STS", ROWS["STS"])
    name = ("Mine", "test", "default")
    one = write_results(tmp_path / "base", {name: random_ndcg(1)}, spec_of("me/base"))
    other = write_results(tmp_path / "candidate", {name: random_ndcg(1)})
    assert [finding.name for finding in compare_results(one, other, [str(file)]).tasks] == ["Mine"]
