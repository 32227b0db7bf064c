"""What a report knows of models, apart from their scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stored import StoredScores, spec_of, write_results

from evalharness.catalog.models import ModelFacts, facts_of_meta, known_facts, model_facts
from evalharness.catalog.tasks import Member, TaskList, find_task
from evalharness.reports.board import Row
from evalharness.reports.building.boards import Choice, make_boards
from evalharness.results.records import ABOUT, JobId, JobRecord
from evalharness.results.stored import StoredRun, StoredTask, read_runs
from evalharness.results.views import StoredJob

BGE = "BAAI/bge-base-en-v1.5"
# in the training data of that model: NQ, AmazonReviewsClassification
TRIO = ("NQ", "STS12", "AmazonReviewsClassification")


def records(name: str, jobs: list[tuple[str, Mapping[str, Any], float]], **overrides: Any) -> StoredRun:
    """A run whose records have these facts, by task, with the time of writing."""
    tasks = {}
    for task, facts, written in jobs:
        spec = find_task(task)
        revision = "1" if spec is None else spec.revision
        record = JobRecord(
            JobId(task, "test", "default"), {}, "m", (), revision, 1.0, facts, {"m": 0.5}, written=written
        )
        job = StoredJob("test", "default", record)
        tasks[task] = StoredTask(task, {"test": {"default": 0.5}}, revision, jobs=[job])
    return StoredRun(name, "1" * 40, overrides, tasks, Path("results"))


def row_of(run: StoredRun, tasks: tuple[str, ...] = TRIO) -> Row:
    (board,) = make_boards([run], Choice(lists=[TaskList(name="own", tasks=tuple(Member(task=t) for t in tasks))]))
    return board.rows[0]


def marks(row: Row) -> dict[str, bool | None]:
    return {task: cell.is_trained_on for task, cell in row.cells.items()}


def test_a_public_model_has_the_registrys_facts() -> None:
    row = row_of(records(BGE, []))
    assert row.facts == model_facts(BGE)
    assert (row.facts.licence, row.facts.dimensions, row.facts.release_date) == ("mit", 768, "2023-09-11")
    assert marks(row) == {"NQ": True, "STS12": False, "AmazonReviewsClassification": True}
    assert row.zero_shot == 33
    # as the Hub compares names
    assert row_of(records(BGE.upper(), [])).facts == row.facts


def test_of_a_model_that_nobody_knows_nothing_is_said() -> None:
    row = row_of(records("local/bge-base-en-v1.5", []))
    assert row.facts == ModelFacts()
    assert row.zero_shot is None
    assert marks(row) == dict.fromkeys(TRIO)


def test_a_record_goes_before_the_registry_and_a_newer_one_before_an_older() -> None:
    old = {ABOUT: {"parameters": 1, "dimensions": 7, "licence": "apache-2.0"}}
    new = {ABOUT: {"parameters": 2, "dimensions": 8}, "model": {"max_length": 100}}
    facts = row_of(records(BGE, [("STS12", new, 2.0), ("NQ", old, 1.0)])).facts
    assert (facts.parameters, facts.dimensions, facts.max_length, facts.licence) == (2, 8, 100, "apache-2.0")
    assert facts.embedding_parameters == 23440896


def test_a_job_without_a_score_says_nothing() -> None:
    run = records(BGE, [("STS12", {ABOUT: {"dimensions": 7}}, 2.0)])
    task = run.tasks["STS12"]
    failed = replace(task, scores={}, jobs=[replace(task.jobs[0], problem="failed: so it is")])
    assert row_of(replace(run, tasks={"STS12": failed})).facts.dimensions == 768


@pytest.mark.parametrize(
    ("overrides", "dimensions", "length"),
    [
        ({"dimensions": 256}, 256, 512),
        ({"embed_dim": 128}, 128, 512),
        ({"max_length": 64}, 768, 64),
        ({"mode": "sparse"}, None, 512),
        ({"dimensions": "all"}, None, 512),
        ({"pooling": "mean"}, 768, 512),
    ],
)
def test_what_was_changed_in_a_model_goes_before_the_registry(
    overrides: dict[str, Any], dimensions: int | None, length: int
) -> None:
    facts = row_of(records(BGE, [], **overrides)).facts
    assert (facts.dimensions, facts.max_length, facts.parameters) == (dimensions, length, 109000000)


def test_of_a_fine_tuned_model_at_least_its_bases_training_data_are_marked() -> None:
    row = row_of(records("local/mine", [("STS12", {ABOUT: {"made_from": BGE}}, 1.0)]))
    assert marks(row) == {"NQ": True, "STS12": None, "AmazonReviewsClassification": True}
    assert (row.zero_shot, row.facts.trained_on, row.facts.licence) == (None, None, None)
    assert f"of its training data only those of {BGE} are known, from which it was made" in row.notes
    assert row_of(records("local/mine", [("STS12", {ABOUT: {"made_from": BGE}}, 1.0)]), ("STS12",)).notes == []


def test_both_stages_training_data_count() -> None:
    tasks = ("NQ", "STS12", "MSMARCO", "SCIDOCS")
    both = row_of(records(BGE, [], reranker="BAAI/bge-reranker-v2-m3@12345678", rerank_top_k=10), tasks)
    assert marks(row_of(records(BGE, []), tasks)) == {"NQ": True, "STS12": False, "MSMARCO": False, "SCIDOCS": False}
    assert marks(both) == {"NQ": True, "STS12": False, "MSMARCO": True, "SCIDOCS": False}
    assert both.zero_shot == 50
    unknown = row_of(records(BGE, [], reranker="me/mine", rerank_top_k=10), tasks)
    assert marks(unknown) == {"NQ": True, "STS12": None, "MSMARCO": None, "SCIDOCS": None}
    assert (unknown.zero_shot, unknown.facts.trained_on) == (None, None)
    # the facts themselves are the first stage's
    assert replace(both.facts, trained_on=None) == replace(unknown.facts, trained_on=None)
    assert both.facts.parameters == 109000000


def test_tasks_that_mteb_does_not_know_are_in_no_share() -> None:
    mine = records(BGE, [("MyOwn", {}, 1.0)])
    row = row_of(mine, (*TRIO, "StarterSTSEng", "MyOwn"))
    assert row.zero_shot == 33
    assert (row.cells["StarterSTSEng"].is_trained_on, row.cells["MyOwn"].is_trained_on) == (None, None)
    assert row_of(mine, ("MyOwn",)).zero_shot is None


def test_what_a_record_on_disk_says_is_read(tmp_path: Path) -> None:
    stored = StoredScores(None, "ndcg_at_10", "Retrieval", score=0.5, facts={ABOUT: {"parameters": 5}})
    write_results(tmp_path, {("NQ", "test", "default"): stored}, spec_of("local/mine", max_length=77))
    (run,) = read_runs([tmp_path])
    assert row_of(run, ("NQ",)).facts == ModelFacts(max_length=77, parameters=5)


def test_what_mteb_wrote_of_a_model_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "me__mine" / "1"
    folder.mkdir(parents=True)
    known = {"n_parameters": 5, "n_embedding_parameters": 3, "license": "mit", "release_date": "2024-01-02"}
    meta = {"name": "me/mine", "revision": "1", "embed_dim": [8, 32, True], "max_tokens": 512.0, "adapted_from": BGE}
    entry = {"hf_subset": "default", "main_score": 0.5, "languages": ["eng-Latn"]}
    result = {"task_name": "NQ", "dataset_revision": "1", "scores": {"test": [entry]}}
    (folder / "NQ.json").write_text(json.dumps(result))
    (folder / "model_meta.json").write_text(json.dumps(meta | known))
    (run,) = read_runs([tmp_path])
    row = row_of(run, ("NQ", "STS12"))
    assert row.facts == ModelFacts(
        dimensions=32, max_length=512, parameters=5, embedding_parameters=3, licence="mit", release_date="2024-01-02",
        made_from=BGE,
    )  # fmt: skip
    assert marks(row) == {"NQ": True, "STS12": None}
    # what it says of a public model goes before the registry
    (folder / "model_meta.json").write_text(json.dumps(meta | {"name": BGE, "max_tokens": float("inf")}))
    (run,) = read_runs([tmp_path])
    assert (row_of(run).facts.dimensions, row_of(run).facts.max_length) == (32, 512)
    assert row_of(run).facts.licence == "mit"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
MTEB_KEYS = ("embed_dim", "max_tokens", "n_parameters", "n_embedding_parameters", "license", "release_date")
fields = st.sampled_from([*ModelFacts.__dataclass_fields__, "overrides", "name"])


@given(json_values | st.dictionaries(fields, json_values))
def test_whatever_a_record_says_costs_at_most_the_facts(said: Any) -> None:
    run = records(BGE, [("STS12", {ABOUT: said, "model": said}, 1.0)])
    row = row_of(run)
    assert row.cells["STS12"].score == 0.5
    for name in ("dimensions", "max_length", "parameters", "embedding_parameters"):
        value = getattr(row.facts, name)
        assert value is None or (type(value) is int and 0 <= value <= 2**53)
    for name in ("licence", "release_date", "made_from", "link"):
        value = getattr(row.facts, name)
        assert value is None or (isinstance(value, str) and 0 < len(value) <= 200)
    if isinstance(said, dict):
        renamed = dict(zip(MTEB_KEYS, said.values(), strict=False))
        assert known_facts(facts_of_meta(renamed)) == facts_of_meta(renamed)
    assert set(known_facts(said)) <= set(ModelFacts.__dataclass_fields__) - {"trained_on", "link"}
