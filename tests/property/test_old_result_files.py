"""Whatever stands in a result file of any age: a score that is in it under its name, or a reason; never a traceback."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.old_files import nested, old, pairs, today

from evalharness.errors import DataError
from evalharness.results.clone import read_clone
from evalharness.results.legacy import as_today
from evalharness.results.stored import read_task_file

TASKS = ["NFCorpus", "MSMARCO", "STS22", "Ocnli", "T2Reranking", "ToxicConversationsClassification", "CMedQAv1", "mine"]
LEAVES = st.one_of(
    st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=5), st.floats(-1, 1), st.floats(0, 100)
)
NAMES = st.sampled_from(
    [
        "main_score",
        "ndcg_at_10",
        "map",
        "mrr",
        "accuracy",
        "ap",
        "cos_sim",
        "max",
        "spearman",
        "max_accuracy",
        "cosine_spearman",
        "map_at_1000",
        "hf_subset",
        "default",
        "en",
        "test",
        "dev",
        "validation",
        "scores",
        "task_name",
        "mteb_version",
        "mteb_dataset_name",
        "dataset_revision",
        "evaluation_time",
        "languages",
    ]
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=12
)
VERSIONS = st.sampled_from([None, "", "0.0.0", "0.0.2", "1.1.1.dev0", "1.18.0", "2.26.24", "no version", 3])


@st.composite
def files(draw: st.DrawFn) -> Any:
    """A file that is right but for what is put into it."""
    task = draw(st.sampled_from(TASKS))
    score = draw(st.floats(0, 1))
    metrics = draw(
        st.sampled_from(
            [nested(score), pairs(score, score / 2), {"map": score}, {"ndcg_at_10": score, "main_score": 1 - score}]
        )
    )
    split = draw(st.sampled_from(["test", "dev", "validation"]))
    is_old = draw(st.booleans())
    value = old(task, {split: metrics}) if is_old else today(task, {split: [metrics]})
    value["mteb_version"] = draw(VERSIONS)
    for _ in range(draw(st.integers(0, 3))):
        place: Any = value
        while isinstance(place, dict) and place and draw(st.booleans()):
            key = draw(st.sampled_from(sorted(place)))
            inner = place[key]
            place = inner[0] if isinstance(inner, list) and inner else inner
        if isinstance(place, dict):
            place[draw(NAMES)] = draw(VALUES)
    return value


def numbers(value: object) -> set[float]:
    """All numbers in a JSON value."""
    if isinstance(value, dict):
        return {number for inner in value.values() for number in numbers(inner)}
    if isinstance(value, list):
        return {number for inner in value for number in numbers(inner)}
    return {float(value)} if isinstance(value, (int, float)) and abs(value) < 1e300 else set()


@settings(max_examples=300, deadline=None)
@given(value=files() | VALUES)
def test_a_score_of_the_file_or_a_reason(value: Any) -> None:
    name = value.get("mteb_dataset_name", value.get("task_name")) if isinstance(value, dict) else "NFCorpus"
    stem = name if name in TASKS else "NFCorpus"
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{stem}.json"
        path.write_text(json.dumps(value))
        found = read_task_file(path)
        there = numbers(value)
        scores = [score for subsets in found.scores.values() for score in subsets.values()]
        assert bool(scores) != bool(found.damage)
        for score in scores:
            assert -1 <= score <= 1
            assert score in there or any(math.isclose(score * 100, number, abs_tol=1e-9) for number in there)
        for problem in (why for subsets in found.problems.values() for why in subsets.values()):
            assert problem


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(files(), min_size=1, max_size=4),
    revisions=st.permutations(["external", "no_revision_available", "a" * 40, "b" * 40]),
)
def test_a_clone_of_such_files_is_a_row(values: list[Any], revisions: list[str]) -> None:
    with TemporaryDirectory() as folder:
        for value, revision in zip(values, revisions, strict=False):
            name = value.get("mteb_dataset_name", value.get("task_name"))
            place = Path(folder) / "results" / "org__model" / revision
            place.mkdir(parents=True)
            (place / f"{name if name in TASKS else 'NFCorpus'}.json").write_text(json.dumps(value))
        (run,) = read_clone(Path(folder))
        assert run.model == "org/model"
        for task in run.tasks.values():
            assert task.scores or task.problems or task.damage
            for split, subsets in task.scores.items():
                assert set(task.sources[split]) == set(subsets)
                assert all(-1 <= score <= 1 for score in subsets.values())


@settings(max_examples=300, deadline=None)
@given(value=st.dictionaries(NAMES, VALUES, max_size=6))
def test_nothing_but_a_data_error(value: dict[str, Any]) -> None:
    with suppress(DataError):
        assert as_today(value, "here").task


@settings(max_examples=200, deadline=None)
@given(
    accuracy=st.floats(0, 1),
    other=st.floats(0, 1),
    is_old=st.booleans(),
)
def test_the_main_metric_is_never_another_one(accuracy: float, other: float, is_old: bool) -> None:
    metrics = {"accuracy": accuracy, "ap": other, "main_score": other}
    task = "ToxicConversationsClassification"
    value = old(task, {"test": metrics}) if is_old else today(task, {"test": [metrics]})
    (entry,) = as_today(value, "x").scores["test"]
    assert math.isclose(entry["main_score"], accuracy, abs_tol=1e-4)
