from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import unquote

from hypothesis import given, settings
from support.comparisons import SERIES, TEXTS, comparison, each_verdict, finding, gated, many

from evalharness.compare.comparison import OVER_TASKS, Verdict
from evalharness.compare.formats import Judged, render
from evalharness.compare.formats.github import MOST, Annotation, annotate
from evalharness.compare.gate import GateRules, Rule

COMMAND = re.compile(r"::(error|warning|notice) title=([^:,\r\n]+)::([^\r\n]+)")


def commands(text: str) -> list[tuple[str, str, str]]:
    """As GitHub's runner reads them: a line each, nothing else."""
    assert text.endswith("\n") or not text
    found = []
    for line in text.splitlines():
        command = COMMAND.fullmatch(line)
        assert command is not None, line
        found.append((command[1], unquote(command[2]), unquote(command[3])))
    return found


def test_what_fails_is_an_error_and_what_is_not_told_a_warning() -> None:
    rules = GateRules(tasks={"T-NOT_COMPARED": Rule(may_be_missing=True)})
    assert [found[:2] for found in commands(render([gated(each_verdict(), rules)], "github"))] == [
        ("error", "T-REGRESSED: worse"),
        ("error", "T-BY_SCORE: not judged"),
        ("warning", "T-NOT_COMPARED: not compared"),
        ("warning", "T-TOO_NOISY: too noisy to tell"),
    ]


def test_without_a_gate_what_regressed_is_an_error() -> None:
    found = commands(render([Judged(each_verdict())], "github"))
    assert found[0] == (
        "error",
        "T-REGRESSED: regressed",
        "60.00 to 57.90, -2.10 points; 95% on these tasks -2.50 to -1.70; p 0.040, adjusted <0.001; could show 0.55",
    )
    assert [kind for kind, _, _ in found[1:]] == ["warning"] * 3
    assert found[-1][2].endswith("\nabout 12,000 items would tell")


def test_what_passes_says_so() -> None:
    found = commands(render([gated(comparison(finding("A", Verdict.IMPROVED)))], "github"))
    told = "Mean (Task): 60.00 to 60.00, ±0.00 points (-0.40 to +0.40). 1 task: 1 improved."
    assert found == [("notice", "Passes the regression gate", told)]
    assert commands(render([], "github")) == [("notice", "Nothing was compared", "Nothing was compared")]


def test_ten_at_most_the_worst_first_and_the_last_counts() -> None:
    bad = [finding(f"Bad{number}", Verdict.REGRESSED, -number / 100) for number in range(1, 13)]
    noisy = [finding(f"Noisy{number}", Verdict.TOO_NOISY) for number in range(5)]
    found = commands(render([gated(comparison(*bad, *noisy))], "github"))
    assert [title for _, title, _ in found] == [*(f"Bad{number}: worse" for number in range(12, 3, -1)), "8 more"]
    assert found[-1] == ("error", "8 more", "3 more fail, 5 more could not be told")
    few = commands(
        render([gated(comparison(*bad[:2], *noisy, *[replace(one, name=f"x{one.name}") for one in noisy]))], "github")
    )
    assert len(few) == MOST
    assert few[-1] == ("warning", "3 more", "3 more could not be told")
    exactly = comparison(*bad[:5], *noisy)
    assert len(commands(render([gated(exactly)], "github"))) == 10
    assert not any("more" in title for _, title, _ in commands(render([gated(exactly)], "github")))


def test_a_series_names_its_candidates() -> None:
    bad = finding("A", Verdict.REGRESSED)
    series = [gated(comparison(bad, model="org/one")), gated(comparison(bad, model="org/two"))]
    titles = [title for _, title, _ in commands(render(series, "github"))]
    assert titles == ["org/one (cccccccc): A: worse", "org/two (cccccccc): A: worse"]
    assert len(commands(render([many(300)] * 5, "github"))) == MOST


@settings(max_examples=200, deadline=None)
@given(TEXTS.filter(bool), TEXTS.filter(bool))
def test_a_command_gives_back_its_texts(title: str, message: str) -> None:
    text = str(Annotation("error", title, message))
    assert not set(text) & set("\r\n")
    command = re.fullmatch(r"::error title=(.*?)::(.*)", text, re.DOTALL)
    assert command is not None
    assert not set(command[1]) & set(":,")
    assert read(command[1]) == title
    assert read(command[2]) == message


def read(text: str) -> str:
    """As the runner does; a percent sign is the last."""
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


@settings(max_examples=40, deadline=None)
@given(SERIES)
def test_whatever_is_there_makes_ten_whole_commands_at_most(series: list[Judged]) -> None:
    text = render(series, "github")
    assert 1 <= len(text.splitlines()) <= MOST
    assert len(text.splitlines()) == text.count("\n")
    for line in text.splitlines():
        assert COMMAND.fullmatch(line), line
    assert [item.kind for item in annotate(series)] == sorted(
        (item.kind for item in annotate(series)), key=lambda kind: (kind != "error", kind != "notice")
    )


def test_scores_that_are_not_there_are_no_numbers() -> None:
    void = replace(finding(OVER_TASKS, Verdict.NOT_COMPARED, level="mean"), base=None, why="void")
    found = replace(comparison(finding("Mine", Verdict.NOT_COMPARED), means=False), means=[void])
    told = {title: message for _, title, message in commands(render([Judged(found)], "github"))}
    assert told["Mine: not compared"] == "base 60.00\nMine has other data"
    assert told[f"{OVER_TASKS}: not compared"] == "void"
    assert told["Nothing was compared"] == "1 task: 1 not compared."
