"""Series of checkpoints: no false alarm beyond alpha although each is compared with the best so far, and real drops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from evalharness.catalog.tasks import Member, TaskList, TaskSpec
from evalharness.compare import series as module
from evalharness.compare.comparison import OVER_TASKS, Settings, Side, Verdict
from evalharness.compare.matching import PairedJob
from evalharness.compare.pairing import PairedTask
from evalharness.compare.series import Series, judge_series, next_step
from evalharness.compare.sides import Results
from evalharness.errors import UsageError
from evalharness.metrics.forms import Mean
from evalharness.metrics.statistics.spending import per_pair

Items = NDArray[np.float64]
Stored = Mapping[str, Items | None]
EXACT = Settings(tolerance=0.0, draws=100)


@pytest.fixture(autouse=True)
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, Stored]:
    """Items of checkpoints by name and task; None stands for a failed job."""
    found: dict[str, Stored] = {}

    def paired(member: Member, spec: TaskSpec | None, base: Results, candidate: Results) -> PairedTask:
        one, other = (found[side.side.model][member.task] for side in (base, candidate))
        empty = PairedTask(member.task, "STS", "accuracy")
        if one is None or other is None:
            return replace(
                empty,
                base=None if one is None else float(one.mean()),
                candidate=None if other is None else float(other.mean()),
                why="it failed",
            )
        job = PairedJob(1.0, Mean(one), Mean(other), [str(number) for number in range(len(one))])
        return replace(empty, base=float(one.mean()), candidate=float(other.mean()), jobs=[job])

    monkeypatch.setattr(module, "pair_task", paired)
    return found


def side(name: str, protocol: str = "mteb") -> Results:
    return Results(Side(name, "r", {}, name, protocol), {}, Path())


def judged(stored: dict[str, Stored], checkpoints: Sequence[Stored], settings: Settings | None = None) -> Series:
    names = [f"checkpoint-{number}" for number in range(len(checkpoints))]
    stored.update(zip(names, checkpoints, strict=True))
    tasks = TaskList(name="all", tasks=tuple(Member(task=name) for name in checkpoints[0]))
    return judge_series([side(name) for name in names], tasks, settings)


def alarms(stored: dict[str, Stored], trials: int, looks: int) -> int:
    """How many series of checkpoints that are all the same but for noise are said to have regressed."""
    draws = np.random.default_rng(5)
    found = 0
    for _ in range(trials):
        texts = draws.random((2, 40))
        checkpoints = [
            {name: texts[place] + draws.normal(0, 0.1, 40) for place, name in enumerate("AB")} for _ in range(looks)
        ]
        found += judged(stored, checkpoints, EXACT).regressed is not None
    return found


def test_no_more_false_alarms_than_alpha_however_often_one_looks(
    stored: dict[str, Stored], monkeypatch: pytest.MonkeyPatch
) -> None:
    # by Student's t, which is quick; by draws the levels are the same
    monkeypatch.setattr(module, "_MOST_DRAWS", 0)
    # of 100 at most 5 on average; more than 11 has a chance below .01
    assert alarms(stored, trials=100, looks=8) <= 11
    monkeypatch.setattr(module, "per_pair", lambda _, alpha: alpha)
    assert alarms(stored, trials=100, looks=8) > 30


def test_a_real_drop_is_found_against_the_best_so_far(stored: dict[str, Stored]) -> None:
    draws = np.random.default_rng(1)
    texts = draws.random((2, 400))
    gains = [0.0, 0.06, 0.03, 0.0601, 0.09]
    checkpoints = [
        {name: texts[place] + gain + draws.normal(0, 0.05, 400) for place, name in enumerate("AB")} for gain in gains
    ]
    series = judged(stored, checkpoints, Settings(draws=1_000))
    verdicts = [step.verdict for step in series.steps]
    assert verdicts[:3] == [None, Verdict.IMPROVED, Verdict.REGRESSED]
    assert verdicts[3] in (Verdict.NO_WORSE, Verdict.TOO_NOISY)
    assert verdicts[4] is Verdict.IMPROVED
    assert [None if step.best is None else step.best.place for step in series.steps][:3] == [None, 0, 1]
    assert series.best == 4
    assert series.regressed is series.steps[2]
    assert [step.level for step in series.steps[1:]] == [per_pair(look) for look in range(1, 5)]
    against = series.steps[2].best
    assert against is not None
    assert against.mean is not None
    assert set(against.tasks) == {"A", "B"}
    assert against.mean.difference == pytest.approx(np.mean([value.difference for value in against.tasks.values()]))
    first = series.steps[2].first
    assert first is not None
    assert first.place == 0
    assert first.mean is not None
    assert first.mean.difference == pytest.approx(0.03, abs=0.01)
    assert "checkpoint-2: " in series.line(2)
    assert "against checkpoint-1, the best so far: regressed" in series.line(2)
    assert series.line(0).endswith("(the first)")


def test_tails_that_nobody_knows_are_not_shown(stored: dict[str, Stored]) -> None:
    draws = np.random.default_rng(2)
    texts = draws.random(400)
    checkpoints = [{"A": texts - loss + draws.normal(0, 0.05, 400)} for loss in (0.0, 0.0, 0.0, 0.0, 0.5)]
    series = judged(stored, checkpoints, Settings(draws=1_000))
    step = series.steps[4]
    assert step.shown_by is not None
    assert step.shown_by < 1e-50
    # a thousandth of 0.05 / (4 * 4 * 5)
    assert "(p of a loss within 0.3: <6.3e-07, level 0.00063)" in series.line(4)


def test_draws_and_students_t_say_about_the_same(stored: dict[str, Stored], monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(2)
    texts = draws.random(200)
    checkpoints = [{"A": texts + drop + draws.normal(0, 0.1, 200)} for drop in (0.0, -0.012)]
    by_draws = judged(stored, checkpoints, EXACT).steps[1]
    monkeypatch.setattr(module, "_MOST_DRAWS", 0)
    by_t = judged(stored, checkpoints, EXACT).steps[1]
    assert by_draws.shown_by != by_t.shown_by
    assert by_draws.shown_by == pytest.approx(by_t.shown_by, abs=0.01)


def test_step_by_step_is_the_same_as_at_once(stored: dict[str, Stored]) -> None:
    draws = np.random.default_rng(3)
    checkpoints = [{"A": draws.random(30)} for _ in range(4)]
    at_once = judged(stored, checkpoints, EXACT)
    series = Series(tasks=at_once.tasks, settings=EXACT)
    for results in at_once.results:
        series = next_step(series, results)
    assert series == at_once


def test_the_same_model_again_is_no_worse(stored: dict[str, Stored]) -> None:
    items = np.random.default_rng(4).random(50)
    series = judged(stored, [{"A": items}] * 3)
    assert [step.verdict for step in series.steps] == [None, Verdict.NO_WORSE, Verdict.NO_WORSE]
    # of equals the first is the best
    assert series.best == 0


def test_what_failed_is_neither_judged_nor_the_best(stored: dict[str, Stored]) -> None:
    items = np.random.default_rng(4).random(50)
    series = judged(stored, [{"A": items, "B": items}, {"A": items + 1, "B": None}, {"A": items, "B": items}])
    assert [step.verdict for step in series.steps] == [None, Verdict.NOT_COMPARED, Verdict.NO_WORSE]
    assert series.steps[1].score is None
    assert series.unjudged == [series.steps[1]]
    assert "no mean, not compared against checkpoint-0, the best so far: B: it failed" in series.line(1)
    nothing = judged(stored, [{"A": None}, {"A": items}, {"A": items}])
    assert [step.verdict for step in nothing.steps] == [None, Verdict.NOT_COMPARED, Verdict.NO_WORSE]
    assert nothing.line(1).endswith("(not compared)")


def test_other_protocols_do_not_compare(stored: dict[str, Stored]) -> None:
    stored |= {"one": {}, "other": {}}
    with pytest.raises(UsageError, match="the series follows the protocol 'mteb' and other 'published'"):
        judge_series([side("one"), side("other", "published")])


def test_what_the_mean_tolerates_counts(stored: dict[str, Stored]) -> None:
    draws = np.random.default_rng(6)
    texts = draws.random(400)
    checkpoints = [{"A": texts + gain + draws.normal(0, 0.02, 400)} for gain in (0.0, -0.02)]
    settings = Settings(tolerances={"task": {"A": 0.05}})
    assert judged(stored, checkpoints, settings).steps[1].verdict is Verdict.REGRESSED
    settings = Settings(tolerances={"mean": {OVER_TASKS: 0.05}})
    assert judged(stored, checkpoints, settings).steps[1].verdict is Verdict.NO_WORSE
