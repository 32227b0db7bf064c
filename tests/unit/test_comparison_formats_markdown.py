from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from markdown_it import MarkdownIt
from markdown_it.token import Token
from support.comparisons import NASTY, SERIES, comparison, each_verdict, finding, gated, judgements, many

from evalharness.compare.comparison import Range, Settings, Verdict
from evalharness.compare.formats import Judged, formats, render
from evalharness.compare.formats.markdown import COMMENT_LIMIT, fitted
from evalharness.compare.formats.summary import SUMMARY_LIMIT
from evalharness.compare.gate import GateRules, Rule
from evalharness.errors import UsageError

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
FOLDS = {"<details><summary>How this was made</summary>", "</details>"}


def lines_of(text: str) -> list[str]:
    return text.splitlines()


def rows(text: str) -> list[list[str]]:
    """Cells of all rows of all tables, as a reader sees them."""
    found: list[list[str]] = []
    for token in PARSER.parse(text):
        if token.type == "tr_open":
            found.append([])
        elif token.type == "inline" and token.level >= 4 and found:
            found[-1].append("".join(child.content for child in token.children or ()).replace("\u200b", ""))
    return found


def row(text: str, name: str) -> list[str]:
    (only,) = (cells for cells in rows(text) if cells and cells[0].partition(" [")[0] == name)
    return only


def test_the_formats_are_known_by_their_files() -> None:
    assert formats() == ["github", "json", "junit", "markdown", "md", "summary", "terminal"]
    with pytest.raises(UsageError, match=r"unknown format 'jsn': did you mean json"):
        render([], "jsn")


def test_the_verdict_is_first() -> None:
    title = [lines_of(render([one], "md"))[0] for one in (
        gated(comparison(finding("A", Verdict.REGRESSED), finding("B", Verdict.NOT_COMPARED))),
        gated(comparison(finding("B", Verdict.NOT_COMPARED), finding("C", Verdict.NOT_COMPARED))),
        gated(comparison(finding("A", Verdict.IMPROVED))),
        gated(comparison(finding("A", Verdict.IMPROVED), finding("B", Verdict.TOO_NOISY))),
        Judged(comparison(finding("A", Verdict.REGRESSED))),
        Judged(comparison(finding("A", Verdict.TOO_NOISY))),
    )]  # fmt: skip
    assert title == [
        "## Fails the regression gate: 1 worse, 1 not judged",
        "## Fails the regression gate: nothing is shown to be worse, but 2 not judged",
        "## Passes the regression gate",
        "## Passes the regression gate (1 of 2 tasks too noisy to tell)",
        "## Regressed: 1 of 4 tasks, types and means",
        "## No regression is shown (1 of 1 tasks too noisy to tell)",
    ]


def test_nothing_is_no_good_news() -> None:
    nothing = comparison(means=False)
    assert lines_of(render([], "md")) == ["## Nothing was compared"]
    assert lines_of(render([Judged(nothing)], "md"))[0] == "## Nothing was compared"
    title = "## Fails the regression gate: nothing is shown to be worse, but 1 not judged"
    assert lines_of(render([gated(nothing)], "md"))[0] == title
    unscored = replace(each_verdict(), tasks=[finding("A", Verdict.NOT_COMPARED)], types=[], means=[])
    assert lines_of(render([Judged(unscored)], "md"))[0] == "## Nothing was compared"


def test_numbers_of_a_task_and_of_a_mean() -> None:
    text = render([Judged(each_verdict())], "md")
    regressed = ["60.00", "57.90", "-2.10", "-2.50 to -1.70", "0.040", "<0.001", "0.55", "regressed"]
    assert row(text, "T-REGRESSED") == ["T-REGRESSED", *regressed]
    noisy = "too noisy to tell; about 12,000 items would tell"
    assert row(text, "T-TOO_NOISY")[-1] == noisy
    assert row(text, "T-NOT_COMPARED")[1:] == ["60.00", *["–"] * 6, "not compared"]
    mean = ["60.00", "60.00", "±0.00", "-0.40 to +0.40", "-2.00 to +2.00", "0.040", "0.200", "0.55"]
    assert row(text, "Mean (Task)")[1:] == [*mean, "no worse than the tolerance"]
    assert "On these tasks: " in text
    assert "On tasks like these: " in text
    assert "- 10,000 draws, seed 20190721." in lines_of(text)
    assert "[1] T-NOT\\_COMPARED has other data" in text or "[1] T-NOT_COMPARED has other data" in text


def test_settings_of_their_own_and_differences_are_said() -> None:
    own = Settings(tolerance=0.01, tolerances={"task": {"STS12": 0.002}}, adjustment="holm", draws=99, alpha=0.1)
    text = render([Judged(replace(each_verdict(), settings=own, notes=["dtype: float32 against float16"]))], "md")
    assert "- A loss of at most 1 points is tolerated (STS12 0.2)." in text
    assert "- P-values adjusted after Holm over all of these; alpha 0.1." in text
    assert "- 99 draws" in text
    assert "- Decided by sign-flip permutation (7)." in text
    assert "- dtype: float32 against float16" in text


def test_the_worst_is_first() -> None:
    names = [
        cells[0].partition(" [")[0] for cells in rows(render([Judged(each_verdict())], "md")) if cells[0][:2] == "T-"
    ]
    order = ["REGRESSED", "NOT_COMPARED", "BY_SCORE", "TOO_NOISY", "NO_WORSE", "IMPROVED"]
    assert names == [f"T-{name}" for name in order]


def test_what_fails_is_before_what_is_worse_and_may_be() -> None:
    rules = GateRules(tasks={"Low": Rule(minimum=70), "Gone": Rule(minimum=1)})
    found = comparison(
        finding("Low", Verdict.IMPROVED),
        finding("Bad", Verdict.REGRESSED, -0.02),
        finding("Worse", Verdict.REGRESSED, -0.03),
    )
    text = render([gated(found, rules)], "md")
    told = [line for line in lines_of(text) if line.startswith("- **")]
    assert [line.split("**")[1] for line in told] == ["Worse", "Bad", "Low", "Gone"]
    assert "below the minimum" in row(text, "Low")[-1]
    assert [cells[0] for cells in rows(text) if cells[0] in ("Worse", "Bad", "Low")] == ["Worse", "Bad", "Low"]


def test_a_long_table_is_folded() -> None:
    text = render([many(100)], "md")
    assert text.count("<summary>80 more tasks</summary>") == 1
    assert sum(cells[0].startswith("Task") and cells[0] != "Task" for cells in rows(text)) == 100


def test_a_series_has_a_table_of_candidates_first() -> None:
    series = [gated(comparison(finding("A", Verdict.REGRESSED), model="org/one")),
              gated(comparison(finding("A", Verdict.IMPROVED), model="org/two"))]  # fmt: skip
    text = render(series, "md")
    assert lines_of(text)[0] == "## Fails the regression gate: 1 of 2 candidates fail"
    first, second = rows(text)[1:3]
    assert first[0] == "1. org/one (cccccccc)"
    assert first[-1] == "Fails the regression gate: 1 worse"
    assert second[1:4] == ["60.00", "±0.00", "-0.40 to +0.40"]
    assert [line for line in lines_of(text) if line.startswith("### ")] == [
        "### 1. org/one (cccccccc)",
        "### 2. org/two (cccccccc)",
    ]


def test_candidates_of_one_name_say_where_they_are() -> None:
    one = comparison(finding("A", Verdict.IMPROVED))
    other = replace(one, candidate=replace(one.candidate, place="results/step-200"))
    text = render([Judged(one), Judged(other)], "md")
    assert "2. org/candidate (cccccccc) in results/step-200" in text


def test_what_says_least_is_cut_first() -> None:
    found = comparison(
        *[finding(f"Same{number}", Verdict.NO_WORSE) for number in range(500)],
        *[finding(f"Noisy{number}", Verdict.TOO_NOISY) for number in range(500)],
        *[finding(f"Bad{number}", Verdict.REGRESSED) for number in range(100)],
        *[finding(f"Good{number}", Verdict.IMPROVED) for number in range(100)],
    )
    text = render([gated(found)], "md")
    names = [cells[0] for cells in rows(text)]
    assert sum(name.startswith("Bad") for name in names) == 100
    assert sum(name.startswith("Good") for name in names) == 100
    noisy, same = (sum(name.startswith(word) for name in names) for word in ("Noisy", "Same"))
    assert 100 < noisy < 500
    assert same == 0
    assert f"{1000 - noisy} tasks are not shown: there is no room, and they say least." in lines_of(text)
    # room is used, not only kept
    assert COMMENT_LIMIT - 1000 < len(text.encode()) < COMMENT_LIMIT


@pytest.mark.parametrize(
    ("name", "tasks", "candidates"),
    [("|" * 100, 1, 1), ("\U0001f600" * 90, 1000, 1), ("@a" * 45, 300, 5), ("@a" * 45, 3, 100)],
    ids=["one", "many", "a-series", "a-long-series"],
)
def test_it_fits(name: str, tasks: int, candidates: int) -> None:
    one = many(tasks).comparison
    long = replace(
        one,
        tasks=[
            replace(task, name=f"{number}{name}", why=name * 3, notes=(name,)) for number, task in enumerate(one.tasks)
        ],
        candidate=replace(one.candidate, model=name),
        notes=[name] * 50,
    )
    series = [gated(long)] * candidates
    assert len(render(series, "md").encode()) < COMMENT_LIMIT == 65_536
    summary = render(series, "summary")
    assert len(summary.encode()) < SUMMARY_LIMIT == 2**20
    assert len(fitted(series, 20_000).encode()) < 20_000


def test_more_room_shows_more() -> None:
    series = [many(300, f"org/{number}") for number in range(5)]
    assert "not shown" in render(series, "md")
    assert "not shown" not in render(series, "summary")


def inline(tokens: list[Token]) -> set[str]:
    return {child.type for token in tokens for child in token.children or ()}


@settings(max_examples=40, deadline=None)
@given(SERIES)
def test_whatever_names_are_there_are_tables_and_lists_and_nothing_else(series: list[Judged]) -> None:
    text = render(series, "md")
    assert len(text.encode()) < COMMENT_LIMIT
    tokens = PARSER.parse(text)
    html = {line for token in tokens if token.type == "html_block" for line in token.content.strip().splitlines()}
    assert html <= FOLDS
    assert {token.type for token in tokens if token.type.endswith("_open")} <= {
        "table_open", "thead_open", "tbody_open", "tr_open", "td_open", "th_open", "heading_open", "paragraph_open",
        "bullet_list_open", "list_item_open",
    }  # fmt: skip
    assert inline(tokens) <= {"text", "softbreak", "hardbreak", "strong_open", "strong_close"}
    headings = [token for token in tokens if token.type == "heading_open"]
    assert [token.tag for token in headings] == ["h2", *(["h3"] * len(series) if len(series) > 1 else [])]
    assert re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text) is None
    seen = "\n".join(child.content for token in tokens for child in token.children or () if child.type == "text")
    assert re.search(r"@\w|#\w|\bGH-\d", seen) is None


@settings(max_examples=40, deadline=None)
@given(judgements())
def test_every_task_has_its_row(judged: Judged) -> None:
    types = [token.type for token in PARSER.parse(render([judged], "md"))]
    # each table has a row of headings
    assert types.count("tr_open") == len(list(judged.comparison)) + types.count("table_open")
    assert types.count("td_open") == 9 * len(judged.comparison.tasks) + 10 * (
        len(judged.comparison.types) + len(judged.comparison.means)
    )


def test_every_nasty_name_stays_one_row() -> None:
    for name in NASTY:
        found = comparison(finding(f"x{name}y", Verdict.REGRESSED), means=False)
        (body,) = (cells for cells in rows(render([Judged(found)], "md")) if cells and cells[0].startswith("x"))
        assert len(body) == 9
        assert body[-1] == "regressed"


@pytest.mark.parametrize("begin", ["- x", "1. x", "12) x", "+ x", "---", "===", "# x", "> x", "    x", "", "@all"])
def test_a_name_begins_no_block(begin: str) -> None:
    found = comparison(finding(begin, Verdict.REGRESSED))
    text = render([gated(replace(found, candidate=replace(found.candidate, model=begin), notes=[begin]))], "md")
    types = [token.type for token in PARSER.parse(text)]
    # what fails, differences, how it was made
    assert types.count("bullet_list_open") == 3
    assert {"ordered_list_open", "hr", "blockquote_open", "code_block"} & set(types) == set()
    assert types.count("heading_open") == 1


def test_numbers_that_are_none() -> None:
    odd = replace(
        finding("A", Verdict.TOO_NOISY), base=float("nan"), candidate=float("inf"), interval=Range(0.0, float("inf"))
    )
    assert row(render([Judged(comparison(odd))], "md"), "A")[1:5] == ["–"] * 4
