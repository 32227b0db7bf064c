from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given, settings
from rich.cells import cell_len
from support.comparisons import SERIES, comparison, each_verdict, finding, gated, many

from evalharness.compare.comparison import Verdict
from evalharness.compare.formats import Judged, render
from evalharness.compare.formats.terminal import WIDTH


def test_the_verdict_then_the_worst_first() -> None:
    lines = render([gated(each_verdict())], "terminal").splitlines()
    assert lines[0] == "Fails the regression gate: 1 worse, 2 not judged"
    assert lines[2] == "org/candidate (cccccccc) against org/base (bbbbbbbb)"
    why = "- T-REGRESSED: worse: -2.10 points, interval [-2.50, -1.70], tolerance 0.3, p 0.5 of a loss within"
    assert why in lines
    names = [found[1] for line in lines if (found := re.match(r"(?:! )?(T-\w+|Mean \(\w+\)|STS) ", line))]
    order = ["REGRESSED", "NOT_COMPARED", "BY_SCORE", "TOO_NOISY", "NO_WORSE", "IMPROVED"]
    assert names == ["Mean (Task)", "Mean (TaskType)", "STS", *(f"T-{name}" for name in order)]


def test_numbers_and_both_intervals() -> None:
    text = render([Judged(each_verdict())], "terminal")
    assert re.search(
        r"^! T-REGRESSED +60.00 +57.90 +-2.10 +-2.50 to -1.70 +<0.001 +0.55 +regressed$", text, re.MULTILINE
    )
    assert re.search(
        r"^Mean \(Task\) +60.00 +60.00 +±0.00 +-0.40 to \+0.40 .*\n  on tasks like these +-2.00 to \+2.00$",
        text,
        re.MULTILINE,
    )
    assert re.search(r"^T-TOO_NOISY .* too noisy \(12,000\)$", text, re.MULTILINE)
    assert "10,000 draws, seed 20190721" in text


def test_columns_stand_below_each_other_also_with_wide_letters() -> None:
    found = comparison(finding("中文检索任务", Verdict.TOO_NOISY), finding("Latin", Verdict.REGRESSED), means=False)
    rows = [line for line in render([Judged(found)], "terminal").splitlines() if "60.00" in line]
    assert len(rows) == 2
    assert len({cell_len(row[: row.index("60.00")]) for row in rows}) == 1


def test_a_long_name_is_cut_and_a_long_list_counted() -> None:
    found = comparison(*[finding(f"{number}{'n' * 200}", Verdict.REGRESSED) for number in range(100)])
    text = render([gated(found)], "terminal")
    assert "and 40 more tasks, none worse than these; other formats have them" in text
    assert "- and 90 more" in text
    assert re.search(r"^! 0n+… +60.00", text, re.MULTILINE)
    assert max(map(cell_len, text.splitlines())) <= WIDTH == 100


def test_a_series_has_its_outcomes_first() -> None:
    text = render([many(300, f"org/{number}") for number in range(5)], "terminal")
    lines = text.splitlines()
    assert lines[0] == "Fails the regression gate: 5 of 5 candidates fail"
    assert [line[:8] for line in lines[2:7]] == [f"{number + 1}. org/{number}" for number in range(5)]


def test_nothing_is_said_to_be_nothing() -> None:
    assert render([], "terminal") == "Nothing was compared\n"
    assert render([Judged(comparison(means=False))], "terminal").startswith("Nothing was compared\n")


@settings(max_examples=40, deadline=None)
@given(SERIES)
def test_whatever_is_there_fits_and_moves_no_cursor(series: list[Judged]) -> None:
    text = render(series, "terminal")
    assert max(map(cell_len, text.split("\n"))) <= WIDTH
    assert re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text) is None


def test_scores_that_no_metric_gives_leave_the_table_whole() -> None:
    odd = replace(finding("A", Verdict.TOO_NOISY), base=1e300, candidate=-1e300)
    text = render([Judged(comparison(odd))], "terminal")
    assert max(map(cell_len, text.splitlines())) <= WIDTH
    assert "1.00e+302" in text
