"""A comparison as JUnit XML: a suite per candidate, in it a case per mean, task type and task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from evalharness.compare import wording
from evalharness.compare.comparison import Finding, Verdict
from evalharness.compare.gate import Failure
from evalharness.compare.judged import Judged, Placed, labels, place
from evalharness.errors import one_line, printable

_LONGEST_NAME, _LONGEST_MESSAGE = 200, 500
# what `printable` leaves and XML does not know
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LEVELS = {"mean": "means", "type": "types", "task": "tasks"}


def render(series: Sequence[Judged]) -> str:
    """What fails the gate fails; without a gate, what regressed. What is not compared, and may be so, is skipped."""
    root = ET.Element("testsuites", name="evalharness compare")
    for judged, label in zip(series, labels(series), strict=True):
        root.append(_suite(judged, label, several=len(series) > 1))
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    root.set("time", "0")
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(judged: Judged, label: str, *, several: bool) -> ET.Element:
    placement = place(judged)
    # a history of tests goes by class and name, so a single candidate is not named there: each commit has another
    prefix = f"{label}." if several else ""
    cases = [_case(item, prefix) for item in placement]
    cases += [_absent(failure, prefix) for failure in placement.elsewhere]
    suite = ET.Element("testsuite", name=_line(f"{label} against {judged.comparison.base}", _LONGEST_NAME))
    suite.set("tests", str(len(cases)))
    for element, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(count, str(sum(case.find(element) is not None for case in cases)))
    suite.set("time", "0")
    properties = ET.SubElement(suite, "properties")
    for name, value in _facts(judged).items():
        ET.SubElement(properties, "property", name=name, value=_line(value, _LONGEST_MESSAGE))
    suite.extend(cases)
    ET.SubElement(suite, "system-out").text = _lines([wording.headline(judged), *judged.comparison.notes])
    return suite


def _facts(judged: Judged) -> dict[str, str]:
    settings = judged.comparison.settings
    return {
        "base": judged.comparison.base.place,
        "candidate": judged.comparison.candidate.place,
        "protocol": judged.comparison.candidate.protocol,
        "gate": "none" if judged.outcome is None else judged.outcome.kind,
        "draws": str(settings.draws),
        "seed": str(settings.seed),
        "adjustment": settings.adjustment,
    }


def _case(item: Placed, prefix: str) -> ET.Element:
    finding = item.finding
    kind = f".{finding.type}" if finding.level == "task" and finding.type else ""
    case = _named(finding.name, f"{prefix}{_LEVELS[finding.level]}{kind}")
    told = _told(finding)
    if item.fails:
        reasons = "; ".join(dict.fromkeys(failure.reason for failure in item.failures)) or finding.verdict
        why = "; ".join(f"{failure.reason}: {failure.why}" for failure in item.failures)
        _add(case, "failure", why or f"{finding.verdict}: {wording.numbers(finding)}", reasons).text = _lines(told)
    elif finding.verdict is Verdict.NOT_COMPARED:
        _add(case, "skipped", finding.why or finding.verdict, finding.verdict)
    ET.SubElement(case, "system-out").text = _lines(told)
    return case


def _told(finding: Finding) -> list[str]:
    metric = f"{finding.metric}: " if finding.metric else ""
    clusters = f" in {finding.clusters:,} clusters" if finding.clusters not in (0, finding.items) else ""
    items = [f"{finding.items:,} items{clusters}"] if finding.items else []
    how = [f"decided by {finding.method}"] if finding.method else []
    said = [finding.verdict, *wording.wanted(finding), *items, *how, *wording.remarks(finding)]
    numbers = wording.numbers(finding)
    return [*([f"{metric}{numbers}"] if numbers else []), *said]


def _absent(failure: Failure, prefix: str) -> ET.Element:
    """Of what the rules ask for and the comparison does not have."""
    case = _named(failure.name, f"{prefix}required")
    _add(case, "failure", failure.why, failure.reason).text = _lines([failure.why])
    return case


def _named(name: str, group: str) -> ET.Element:
    return ET.Element("testcase", name=_line(name, _LONGEST_NAME), classname=_line(group, _LONGEST_NAME), time="0")


def _add(case: ET.Element, element: str, message: str, kind: str) -> ET.Element:
    return ET.SubElement(case, element, message=_line(message, _LONGEST_MESSAGE), type=kind)


def _line(text: str, limit: int) -> str:
    return _NO_XML.sub("\ufffd", one_line(text, limit))


def _lines(texts: Sequence[str]) -> str:
    return "\n".join(_NO_XML.sub("\ufffd", printable(text)) for text in texts)
