"""Wrong names: what is offered first is what was meant."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness import errors
from evalharness.catalog.tasks import all_task_names, benchmark_names
from evalharness.errors import letters, nearest_names, unknown_names

TASKS = all_task_names()
LONG = [name for name in TASKS if len(letters(name)) >= 8]


@pytest.mark.parametrize(
    ("wrong", "first"),
    [
        ("stsbenchmark", "STSBenchmark"),
        ("STS benchmark", "STSBenchmark"),
        ("stsb", "STSB"),
        ("sts-12", "STS12"),
        ("nfcorpus", "NFCorpus"),
        ("NFCorpsu", "NFCorpus"),
        ("Scifact", "SciFact"),
        ("SciFcat", "SciFact"),
        ("banking77", "Banking77Classification"),
        ("ArguAnna", "ArguAna"),
    ],
)
def test_what_was_meant_comes_first(wrong: str, first: str) -> None:
    assert nearest_names(wrong, TASKS)[0] == first


def test_every_name_is_found_by_its_small_letters() -> None:
    by_letters: dict[str, list[str]] = {}
    for name in TASKS:
        by_letters.setdefault(letters(name), []).append(name)
    # the whole is a loop over 1,400 names for each of them; some will do
    for name in TASKS[::23]:
        if name.lower() not in TASKS:
            assert nearest_names(name.lower(), TASKS)[0] in by_letters[letters(name)]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(LONG), st.data())
def test_a_letter_that_is_missing_does_not_hide_a_name(name: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(name) - 1))
    wrong = name[:place] + name[place + 1 :]
    if wrong in TASKS:
        return
    first = nearest_names(wrong, TASKS)[0]
    # another name can be as near: ...V1 and ...V2 without their digit
    assert first == name or abs(len(letters(first)) - len(letters(wrong))) <= 1


def test_other_kinds_of_names() -> None:
    assert nearest_names("mteb english v2", benchmark_names())[:1] != []
    assert nearest_names("MTEB(eng v2)", benchmark_names())[0] == "MTEB(eng, v2)"
    assert nearest_names("xq", ["STS12"]) == []
    assert nearest_names("", ["STS12"]) == []
    assert unknown_names("task", ["qqqqqqqq"], TASKS).endswith("no name is near it")
    # few names are told as they are
    assert unknown_names("format", ["html"], ["md", "markdown"]) == "unknown format 'html': there is md or markdown"


def test_a_wrong_name_is_compared_once_with_each_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # what keeps many of them quick, which benchmarks/starts.py measures
    compared: list[str] = []
    real = errors._slips

    def counted(given: str, key: str, most: int) -> int | None:
        compared.append(given)
        return real(given, key, most)

    monkeypatch.setattr(errors, "_slips", counted)
    wrong = [f"{name[:-3]}xyz" for name in LONG[:20]]
    assert unknown_names("task", wrong, TASKS).count("\n") == len(wrong) - 1
    assert len(compared) == len(wrong) * len(TASKS)
