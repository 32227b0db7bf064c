from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from support.comparisons import SERIES, comparison, each_verdict, finding, gated, many

from evalharness.compare.comparison import Comparison, Finding, Range, Settings, Side, Verdict
from evalharness.compare.formats import Judged, render
from evalharness.compare.formats.json import SCHEMA, Document

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "comparison.schema.json"
TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}


def refused(text: str) -> float:
    raise AssertionError(text)


def strict(text: str) -> Any:
    return json.loads(text, parse_constant=refused)


def check(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> None:
    """What of JSON Schema our file uses; another word in it is an error."""
    known = {"$ref", "anyOf", "type", "enum", "const", "items", "properties", "required", "additionalProperties",
             "propertyNames", "title", "description", "$defs", "$schema"}  # fmt: skip
    assert set(schema) <= known
    if "$ref" in schema:
        check(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "anyOf" in schema:
        assert any(fits(value, one, root) for one in schema["anyOf"])
    if "type" in schema:
        assert isinstance(value, TYPES[schema["type"]]), (value, schema)
        assert not isinstance(value, bool) or schema["type"] == "boolean"
    assert "enum" not in schema or value in schema["enum"]
    assert "const" not in schema or value == schema["const"]
    if isinstance(value, list):
        for item in value:
            check(item, schema.get("items", {}), root)
    if isinstance(value, dict):
        others = schema.get("additionalProperties", {})
        assert set(schema.get("required", ())) <= set(value)
        for key, item in value.items():
            check(key, schema.get("propertyNames", {}), root)
            if key in schema.get("properties", {}):
                check(item, schema["properties"][key], root)
            else:
                assert others is not False, key
                check(item, others if isinstance(others, dict) else {}, root)


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    try:
        check(value, schema, root)
    except AssertionError:
        return False
    return True


def the_schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return found


def test_the_schema_in_the_docs_is_that_of_the_document() -> None:
    # if it is not: write it anew, and think whether SCHEMA must be one higher
    assert the_schema() == Document.model_json_schema(mode="serialization")


def test_the_keys_are_what_the_values_have() -> None:
    (found,) = strict(render([gated(each_verdict())], "json"))["comparisons"]
    own = {name.name for name in fields(Finding)}
    assert all(set(one) == own | {"difference"} for level in ("means", "types", "tasks") for one in found[level])
    assert set(found) == {name.name for name in fields(Comparison)} - {"writer"} | {"gate"}
    assert set(found["settings"]) == {name.name for name in fields(Settings)}
    assert set(found["base"]) == {name.name for name in fields(Side)}


def test_values_are_unrounded_and_complete() -> None:
    value = strict(render([gated(each_verdict())], "json"))
    assert (value["schema"], value["passes"]) == (SCHEMA, False)
    (found,) = value["comparisons"]
    assert [one["name"] for one in found["tasks"]] == [f"T-{verdict.name}" for verdict in reversed(Verdict)]
    regressed = next(one for one in found["tasks"] if one["verdict"] == "regressed")
    assert (regressed["base"], regressed["candidate"]) == (0.6, 0.6 - 0.021)
    assert regressed["difference"] == 0.6 - 0.021 - 0.6
    assert regressed["interval"] == {"low": -0.021 - 0.004, "high": -0.021 + 0.004}
    assert found["gate"]["kind"] == "regression"
    assert found["gate"]["failures"][0] == {
        "name": "T-REGRESSED", "reason": "worse",
        "why": "-2.10 points, interval [-2.50, -1.70], tolerance 0.3, p 0.5 of a loss within it",
    }  # fmt: skip


@pytest.mark.parametrize("series", [[], [Judged(comparison(means=False))]])
def test_without_a_gate_nothing_passes_or_fails(series: list[Judged]) -> None:
    value = strict(render(series, "json"))
    assert value["passes"] is None
    assert len(value["comparisons"]) == len(series)
    assert all(one["gate"] is None for one in value["comparisons"])


def test_all_of_a_series_must_pass() -> None:
    good, bad = (gated(comparison(finding("A", verdict))) for verdict in (Verdict.IMPROVED, Verdict.REGRESSED))
    assert [strict(render(list(series), "json"))["passes"] for series in ((good,), (good, bad))] == [True, False]


def test_what_is_no_number_is_null_and_half_a_letter_is_replaced() -> None:
    odd = replace(
        finding("a\ud800", Verdict.TOO_NOISY), base=math.nan, interval=Range(-math.inf, 0.0), p_value=math.inf
    )
    found = comparison(odd)
    side = replace(found.candidate, overrides={"x": [math.nan, {"y": Path("p")}], "revision": "\udcff"})
    (task,) = strict(text := render([Judged(replace(found, candidate=side))], "json"))["comparisons"][0]["tasks"]
    assert (task["name"], task["base"], task["difference"], task["p_value"]) == ("a\ufffd", None, None, None)
    assert task["interval"] == {"low": None, "high": 0.0}
    overrides = strict(text)["comparisons"][0]["candidate"]["overrides"]
    assert overrides == {"x": [None, {"y": "p"}], "revision": "\ufffd"}


def test_keys_are_sorted_and_names_readable() -> None:
    text = render([Judged(comparison(finding("中文", Verdict.IMPROVED)))], "json")
    assert '"中文"' in text
    assert text.endswith("}\n")
    assert json.dumps(strict(text), sort_keys=True, indent=2, ensure_ascii=False) + "\n" == text


def test_many_tasks_follow_the_schema() -> None:
    value = strict(render([many(300, f"org/{number}") for number in range(5)], "json"))
    check(value, the_schema(), the_schema())
    assert [len(one["tasks"]) for one in value["comparisons"]] == [300] * 5


@settings(max_examples=40, deadline=None)
@given(SERIES)
def test_whatever_is_there_is_strict_json_by_the_schema(series: list[Judged]) -> None:
    text = render(series, "json")
    value = strict(text)
    check(value, the_schema(), the_schema())
    # what it says can be read back, whatever it is
    assert Document.model_validate_json(text).model_dump(mode="json", by_alias=True) == value


def test_the_checker_can_say_no() -> None:
    value = strict(render([Judged(each_verdict())], "json"))
    assert fits(value, the_schema(), the_schema())
    wrongs: list[dict[str, Any]] = [{"schema": 2}, {"passes": "yes"}, {"comparisons": [{}]}, {"more": 1}]
    for wrong in wrongs:
        assert not fits({**value, **wrong}, the_schema(), the_schema())
    del value["comparisons"][0]["tasks"][0]["adjusted"]
    assert not fits(value, the_schema(), the_schema())
