"""The gate: what fails, what passes, and that nothing passes by default."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.findings import comparison, finding

from evalharness.compare.comparison import OVER_TASKS, Range, Verdict
from evalharness.compare.gate import GateOutcome, GateRules, Reason, Rule, judge, read_rules
from evalharness.errors import DataError, UsageError


def reasons(outcome: GateOutcome) -> list[tuple[str, Reason]]:
    return [(failure.name, failure.reason) for failure in outcome.failures]


@pytest.mark.parametrize(
    ("verdict", "regression", "non_inferiority"),
    [
        (Verdict.REGRESSED, [Reason.WORSE], [Reason.WORSE]),
        (Verdict.TOO_NOISY, [], [Reason.NOT_SHOWN]),
        (Verdict.NO_WORSE, [], []),
        (Verdict.IMPROVED, [], []),
        (Verdict.BY_SCORE, [Reason.NOT_JUDGED], [Reason.NOT_JUDGED]),
        (Verdict.NOT_COMPARED, [Reason.NOT_JUDGED], [Reason.NOT_JUDGED]),
    ],
)
def test_each_verdict(verdict: Verdict, regression: list[Reason], non_inferiority: list[Reason]) -> None:
    found = comparison(finding("STS13", verdict))
    for kind, wanted in (("regression", regression), ("non-inferiority", non_inferiority)):
        outcome = judge(found, GateRules(), kind)  # type: ignore[arg-type]
        assert reasons(outcome) == [("STS13", reason) for reason in wanted]
        assert outcome.passes == (not wanted)
        assert outcome.is_only_unjudged == (wanted == [Reason.NOT_JUDGED])


def test_the_worst_comes_first_and_says_by_how_much() -> None:
    found = comparison(
        finding("Missing", Verdict.NOT_COMPARED),
        finding("Noisy", Verdict.TOO_NOISY),
        finding("Low", Verdict.NO_WORSE),
        finding("Worse", Verdict.REGRESSED, interval=Range(-0.015, -0.005)),
    )
    outcome = judge(found, GateRules(tasks={"Low": Rule(minimum=79.5)}), "non-inferiority")
    assert reasons(outcome) == [
        ("Worse", Reason.WORSE),
        ("Low", Reason.BELOW_MINIMUM),
        ("Noisy", Reason.NOT_SHOWN),
        ("Missing", Reason.NOT_JUDGED),
    ]
    assert outcome.failures[0].why == "-1.00 points, interval [-1.50, -0.50], tolerance 0.3, p 0.02 of a loss within it"
    assert outcome.failures[1].why == "79.00 points, the rules ask for 79.5"
    assert outcome.failures[3].why == "the candidate has no result (not run)"
    assert not outcome.is_only_unjudged


def test_a_task_may_be_missing_if_the_rules_say_so() -> None:
    found = comparison(finding("Missing", Verdict.NOT_COMPARED), finding("Fine", Verdict.NO_WORSE))
    rules = GateRules(tasks={"Missing": Rule(may_be_missing=True)})
    assert judge(found, rules, "regression").passes
    assert rules.optional() == {"Missing"}


def test_what_is_missing_is_not_above_a_minimum() -> None:
    rules = GateRules(tasks={"Missing": Rule(may_be_missing=True, minimum=50)})
    outcome = judge(comparison(finding("Missing", Verdict.NOT_COMPARED)), rules, "regression")
    assert reasons(outcome) == [("Missing", Reason.NOT_JUDGED)]
    assert outcome.failures[0].why == "has no score, and the rules ask for 50 points"


def test_scores_alone_are_judged_only_where_the_rules_say_so() -> None:
    rules = GateRules(tasks={name: Rule(by_score=True) for name in ("Near", "Far")})
    found = comparison(
        finding("Near", Verdict.BY_SCORE, base=0.8, candidate=0.798), finding("Far", Verdict.BY_SCORE, candidate=0.79)
    )
    outcome = judge(found, rules, "regression")
    assert reasons(outcome) == [("Far", Reason.WORSE)]
    assert outcome.failures[0].why == "-1.00 points, tolerance 0.3, judged by score only"


def test_a_score_that_is_what_is_asked_is_enough() -> None:
    # 100 x 0.57 is below 57, and 0.5 - 0.497 above 0.003, in the last bit
    rules = GateRules(tasks={"Score": Rule(minimum=57), "Loss": Rule(by_score=True)})
    found = comparison(
        finding("Score", Verdict.NO_WORSE, base=0.57, candidate=0.57),
        finding("Loss", Verdict.BY_SCORE, base=0.5, candidate=0.497),
    )
    assert judge(found, rules, "regression").passes
    below = comparison(finding("Score", Verdict.NO_WORSE, candidate=0.56999), finding("Loss", Verdict.NO_WORSE))
    assert reasons(judge(below, rules, "regression")) == [("Score", Reason.BELOW_MINIMUM)]


@pytest.mark.parametrize(
    "rules",
    [GateRules(required=("STS14",)), GateRules(tasks={"STS14": Rule(tolerance=1)})],
    ids=["required", "a rule of its own"],
)
def test_a_task_that_the_rules_name_must_be_there(rules: GateRules) -> None:
    outcome = judge(comparison(finding("STS13", Verdict.NO_WORSE)), rules, "regression")
    assert reasons(outcome) == [("STS14", Reason.NOT_JUDGED)]
    assert "did you mean STS13" in outcome.failures[0].why


def test_a_rule_of_what_may_be_missing_needs_no_task() -> None:
    rules = GateRules(tasks={"STS14": Rule(may_be_missing=True)})
    assert judge(comparison(finding("STS13", Verdict.NO_WORSE)), rules, "regression").passes


def test_a_rule_of_a_type_is_none_of_a_task_of_the_same_name() -> None:
    found = comparison(finding("STS", Verdict.NO_WORSE))
    outcome = judge(found, GateRules(types={"STS": Rule(minimum=90, may_be_missing=True)}), "regression")
    assert outcome.passes


def test_nothing_does_not_pass() -> None:
    assert judge(comparison(), GateRules(), "regression").is_only_unjudged


def test_levels_say_what_must_be_shown() -> None:
    mean = finding(OVER_TASKS, Verdict.NO_WORSE, level="mean")
    found = comparison(finding("Noisy", Verdict.TOO_NOISY), finding("Worse", Verdict.REGRESSED), means=[mean])
    assert reasons(judge(found, GateRules(levels=("mean",)), "non-inferiority")) == [("Worse", Reason.WORSE)]


def test_a_file_of_rules(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(
        """
tolerance = 0.5
required = ["NFCorpus"]

[tasks.NFCorpus]
tolerance = 1.0
minimum = 30

[types.STS]
tolerance = 0.2

[means.tasks]
tolerance = 0.1
""",
        encoding="utf-8",
    )
    rules = read_rules(path)
    assert rules.tolerances() == {"task": {"NFCorpus": 0.01}, "type": {"STS": 0.002}, "mean": {OVER_TASKS: 0.001}}
    assert rules.tasks["NFCorpus"].minimum == 30
    assert rules.tolerance == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tolerence = 1", "tolerance"),
        ("tolerance = -1", "tolerance"),
        ("[tasks.X]\nminimum = 101", "minimum"),
        ("[means.subsets]\ntolerance = 1", "means"),
        ("tolerance = ", "gate.toml"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_rules(path)


def test_no_file_of_rules(tmp_path: Path) -> None:
    with pytest.raises((DataError, UsageError), match=r"gate\.toml"):
        read_rules(tmp_path / "gate.toml")
