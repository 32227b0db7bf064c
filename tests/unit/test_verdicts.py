"""Verdicts at their edges: tolerances of their own, few items, many findings."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.stored import random_ndcg, spec_of, write_results

from evalharness.compare.comparison import OVER_TASKS, OVER_TYPES, Comparison, Level, Settings, Verdict
from evalharness.compare.judging import compare_results


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
