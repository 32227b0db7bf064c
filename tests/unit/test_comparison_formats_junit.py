"""JUnit XML by the rules of Jenkins' junit-10.xsd, which GitLab's and GitHub's readers follow too."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from support.comparisons import SERIES, comparison, each_verdict, finding, gated, many

from evalharness.compare.comparison import Verdict
from evalharness.compare.formats import Judged, render
from evalharness.compare.gate import GateRules, Rule
from evalharness.errors import printable

# element -> attributes that must be there, those that may, and elements that may be in it, in this order
RULES: dict[str, tuple[set[str], set[str], list[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, ["testsuite"]),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"time", "skipped", "timestamp", "hostname", "id", "package"},
        ["properties", "testcase", "system-out", "system-err"],
    ),
    "properties": (set(), set(), ["property"]),
    "property": ({"name", "value"}, set(), []),
    "testcase": ({"name"}, {"time", "classname"}, ["skipped", "error", "failure", "system-out", "system-err"]),
    "failure": (set(), {"type", "message"}, []),
    "skipped": (set(), {"type", "message"}, []),
    "system-out": (set(), set(), []),
}
TIME = re.compile(r"[0-9]+(\.[0-9]+)?")


def checked(text: str) -> ET.Element:
    """The document, if it follows the rules and its counts add up."""
    root = ET.fromstring(text.encode())  # noqa: S314 -- our own
    assert root.tag == "testsuites"
    for element in root.iter():
        required, allowed, inside = RULES[element.tag]
        assert required <= set(element.attrib) <= required | allowed
        tags = [child.tag for child in element]
        assert tags == sorted(tags, key=inside.index)
        assert not inside or not (element.text or "").strip()
        if "time" in element.attrib:
            assert TIME.fullmatch(element.attrib["time"])
    for suite in root:
        cases = suite.findall("testcase")
        counts = {"tests": len(cases)}
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            # one result each
            assert all(len(case.findall(tag)) <= 1 for case in cases)
            counts[name] = sum(case.find(tag) is not None for case in cases)
        assert {name: int(suite.attrib[name]) for name in counts} == counts
    for name in ("tests", "failures", "errors"):
        assert int(root.attrib[name]) == sum(int(suite.attrib[name]) for suite in root)
    return root


def case(root: ET.Element, name: str) -> ET.Element:
    (found,) = (one for one in root.iter("testcase") if one.attrib["name"] == name)
    return found


def test_a_case_for_each_task_type_and_mean() -> None:
    root = checked(render([gated(each_verdict())], "junit"))
    names = [(one.attrib["classname"], one.attrib["name"]) for one in root.iter("testcase")]
    assert names[:5] == [
        ("means", "Mean (Task)"), ("means", "Mean (TaskType)"), ("types", "STS"), ("tasks.STS", "T-REGRESSED"),
        ("tasks", "T-NOT_COMPARED"),
    ]  # fmt: skip
    assert len(names) == 9
    assert root[0].attrib["name"] == "org/candidate (cccccccc) against org/base (bbbbbbbb)"


def test_what_fails_the_gate_is_a_failure() -> None:
    rules = GateRules(
        required=("Gone",), tasks={"T-IMPROVED": Rule(minimum=90), "T-NOT_COMPARED": Rule(may_be_missing=True)}
    )
    root = checked(render([gated(each_verdict(), rules)], "junit"))
    failing = {one.attrib["name"] for one in root.iter("testcase") if one.find("failure") is not None}
    assert failing == {"T-REGRESSED", "T-BY_SCORE", "T-IMPROVED", "Gone"}
    failure = case(root, "T-REGRESSED").find("failure")
    assert failure is not None
    assert failure.attrib["type"] == "worse"
    why = "worse: -2.10 points, interval [-2.50, -1.70], tolerance 0.3, p 0.5 of a loss within it"
    assert failure.attrib["message"] == why
    assert "cosine_spearman: 60.00 to 57.90, -2.10 points" in (failure.text or "")
    skipped = case(root, "T-NOT_COMPARED").find("skipped")
    assert skipped is not None
    assert skipped.attrib["message"] == "T-NOT_COMPARED has other data"


def test_several_failures_of_one_task_are_one() -> None:
    rules = GateRules(tasks={"A": Rule(minimum=90)})
    failure = case(checked(render([gated(comparison(finding("A", Verdict.REGRESSED)), rules)], "junit")), "A").find(
        "failure"
    )
    assert failure is not None
    assert failure.attrib["type"] == "worse; below the minimum"


def test_without_a_gate_what_regressed_is_a_failure() -> None:
    root = checked(render([Judged(each_verdict())], "junit"))
    failing = [one.attrib["name"] for one in root.iter("testcase") if one.find("failure") is not None]
    assert failing == ["T-REGRESSED"]
    assert root.attrib["failures"] == "1"


def test_numbers_are_told_of_every_case() -> None:
    root = checked(render([Judged(each_verdict())], "junit"))
    told = case(root, "T-TOO_NOISY").findtext("system-out", "")
    assert "about 12,000 items would tell" in told
    assert "1,500 items in 1,200 clusters" in told
    assert "decided by sign-flip permutation" in told
    assert all(one.find("system-out") is not None for one in root.iter("testcase"))


def test_a_series_has_a_suite_each_and_classes_of_its_own() -> None:
    series = [many(300, f"org/{number}") for number in range(5)]
    root = checked(render(series, "junit"))
    assert len(root) == 5
    names = [(one.attrib["classname"], one.attrib["name"]) for one in root.iter("testcase")]
    assert len(set(names)) == len(names) == 5 * 303


def test_nothing_is_a_document_too() -> None:
    assert len(checked(render([], "junit"))) == 0
    assert checked(render([Judged(comparison(means=False))], "junit")).attrib["tests"] == "0"


def test_what_xml_does_not_know_is_replaced() -> None:
    odd = replace(finding("a\x00\x0b\ufffe\ud800<&\"'>", Verdict.REGRESSED), why="]]>\x01")
    (one,) = checked(render([Judged(comparison(odd, means=False))], "junit")).iter("testcase")
    assert one.attrib["name"] == "a\ufffd \ufffd\ufffd<&\"'>"
    assert "]]>\ufffd" in one.findtext("system-out", "")


@settings(max_examples=40, deadline=None)
@given(SERIES)
def test_names_are_read_as_they_were_written(series: list[Judged]) -> None:
    root = checked(render(series, "junit"))
    assert len(root) == len(series)
    for suite, judged in zip(root, series, strict=True):
        named = {
            re.sub("[\ufffe\uffff]", "\ufffd", " ".join(printable(found.name).split())) for found in judged.comparison
        }
        assert named <= {one.attrib["name"] for one in suite.iter("testcase")}
