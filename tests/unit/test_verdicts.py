"""Verdicts at their edges: tolerances of their own, few items, many findings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.stored import ndcg, pairs, random_ndcg, spec_of, write_results

from evalharness.compare.comparison import OVER_TASKS, OVER_TYPES, Comparison, Level, Settings, Verdict
from evalharness.compare.gate import GateRules, judge
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
    names = {"task": ["T0", "T1"], "type": ["Retrieval"], "mean": [OVER_TASKS, OVER_TYPES]}
    lenient: dict[Level, dict[str, float]] = {
        other: dict.fromkeys(named, 0.5)
        for other, named in names.items()
        if other != level  # type: ignore[misc]
    }
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
