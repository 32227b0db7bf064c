"""Records of Every Eval Ever: its schemas where they are at hand, and always what its validator looks at besides."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import Any

import jsonschema
import numpy as np
import pytest
from conftest import SHARED, Cli
from support.publications import NAME, REVISION, labels, of_mteb, own, public_model, similar, stored, three_tasks
from support.stored import StoredScores, random_ndcg

from evalharness.errors import UsageError
from evalharness.reports.board import Span
from evalharness.reports.publishing.every_eval_ever import write_records
from evalharness.types import ItemScores

SCHEMAS = SHARED / "reference" / "schemas"
_UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def record_of(folder: Path) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """The only record below a folder, with its lines, after a look at what holds them together."""
    (path,) = folder.rglob("*.json")
    parts = path.relative_to(folder).parts
    assert len(parts) == 5
    assert parts[0] == "data"
    assert re.fullmatch(rf"{_UUID4}\.json", parts[-1])
    record = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert set(record) - {"detailed_evaluation_results"} == {
        "schema_version", "evaluation_id", "evaluation_timestamp", "retrieved_timestamp", "source_metadata",
        "model_info", "eval_library", "evaluation_results",
    }  # fmt: skip
    assert record["model_info"]["id"] == "/".join(parts[2:4])
    for result in record["evaluation_results"]:
        metric, score = result["metric_config"], result["score_details"]["score"]
        if "score_type" in metric:
            assert float(metric["min_score"]) <= score <= float(metric["max_score"])
    samples = path.with_name(f"{path.stem}_samples.jsonl")
    assert samples.exists() == ("detailed_evaluation_results" in record)
    if not samples.exists():
        return path, record, []
    detail, content = record["detailed_evaluation_results"], samples.read_bytes()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in content.splitlines()]
    assert detail["file_path"] == samples.relative_to(folder).as_posix()
    assert (detail["hash_algorithm"], detail["checksum"]) == ("sha256", sha256(content).hexdigest())
    assert detail["total_rows"] == len(lines) == len(content.decode().splitlines())
    ids = {result["evaluation_result_id"] for result in record["evaluation_results"]}
    for line in lines:
        assert line["evaluation_result_id"] in ids
        assert (line["evaluation_id"], line["model_id"]) == (record["evaluation_id"], record["model_info"]["id"])
        assert line["input"]["raw"] == ""
    return path, record, lines


def strings(value: Any) -> Iterator[Any]:
    """All values of what may hold texts alone."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from inner.values() if name in ("additional_details", "details", "metadata") else strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def write(folder: Path, scores: StoredScores, task: str = "NFCorpus") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The only result of a record, and its lines."""
    write_records(own(stored(folder / "r", {(task, "test", "default"): of_mteb(task, scores)})), folder / "out")
    _, record, lines = record_of(folder / "out")
    (result,) = record["evaluation_results"]
    return result, lines


def test_it_has_what_its_readers_want(tmp_path: Path) -> None:
    publication = write_records(own(stored(tmp_path / "results")), tmp_path / "out")
    path, record, lines = record_of(tmp_path / "out")
    assert path.parent == tmp_path / "out" / "data" / "evalharness" / NAME
    assert publication.files == [path, path.with_name(f"{path.stem}_samples.jsonl")]
    names = [result["evaluation_name"] for result in record["evaluation_results"]]
    assert names == [f"{task}_default_test" for task in ("Banking77Classification", "Mine", "NFCorpus", "STSBenchmark")]
    assert len(lines) == 12 + 20 + 20 + 20
    assert all(isinstance(value, str) for value in (*strings(record), *strings(lines)))
    assert record["eval_library"] == {
        "name": "evalharness", "version": "0.1.0", "additional_details": {"protocol": "mteb"}
    }  # fmt: skip
    details = record["model_info"]["additional_details"]
    assert details == {
        "deployment_type": "self_deployed", "model_availability": "unknown", "revision": REVISION, "device": "cpu"
    }  # fmt: skip
    sources = {result["evaluation_name"]: result["source_data"] for result in record["evaluation_results"]}
    assert sources["NFCorpus_default_test"]["hf_repo"] == "mteb/nfcorpus"
    assert sources["Mine_default_test"]["source_type"] == "other"


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="needs the schemas of Every Eval Ever (../shared/reference/schemas)")
def test_its_schemas_hold(tmp_path: Path) -> None:
    jobs = three_tasks()
    jobs["SciFact", "test", "default"] = of_mteb("SciFact", replace(random_ndcg(1), items=None, score=0.5))
    jobs["Odd", "test", "default"] = StoredScores(ItemScores(["a"], {"P_5": [0.5]}), "P_5", score=0.5)
    (results,) = own(stored(tmp_path / "results", jobs))
    sure = [
        replace(
            task, cell=replace(task.cell, parts=[replace(p, interval=Span(0.1, 0.2, "m")) for p in task.cell.parts])
        )
        for task in results.tasks
    ]
    write_records([replace(results, tasks=sure)], tmp_path / "out", "https://example.org/me")
    _, record, lines = record_of(tmp_path / "out")
    whole, line = (
        jsonschema.Draft7Validator(json.loads((SCHEMAS / name).read_text()))
        for name in ("eval.schema.json", "instance_level_eval.schema.json")
    )
    assert [error.message for error in whole.iter_errors(record)] == []
    assert [error.message for value in lines for error in line.iter_errors(value)] == []
    assert record["schema_version"] == json.loads((SCHEMAS / "eval.schema.json").read_text())["version"]


def test_where_more_can_be_read_is_said_of_the_source(here: Cli, tmp_path: Path) -> None:
    stored(tmp_path / "results")
    assert here("report", "results", "--every-eval-ever", "none").returncode == 0
    done = here("report", "results", "--every-eval-ever", "out", "--source-url", "https://example.org/me")
    assert done.returncode == 0
    before, after = (record_of(tmp_path / name)[1] for name in ("none", "out"))
    assert after["source_metadata"].pop("additional_details") == {"source_url": "https://example.org/me"}
    assert after == before


def test_lines_of_a_mean_have_what_it_is_the_mean_of(tmp_path: Path) -> None:
    scores = ItemScores(["q1", "q 2", "q\u20283"], {"ndcg_at_10": [0.25, float("nan"), 1.0]})
    result, lines = write(tmp_path, StoredScores(scores, "ndcg_at_10"))
    assert [(line["sample_id"], line["evaluation"]) for line in lines] == [
        ("q1", {"score": 0.25, "is_correct": False}),
        ("q\u20283", {"score": 1.0, "is_correct": False}),
    ]
    assert result["score_details"]["score"] == fmean(line["evaluation"]["score"] for line in lines)
    assert {line["metadata"]["is_correct_applicable"] for line in lines} == {"false"}


def test_lines_of_labels_say_what_was_predicted_and_whether_it_is_right(tmp_path: Path) -> None:
    scores = labels()
    _, lines = write(tmp_path, scores, "Banking77Classification")
    assert scores.items is not None
    for place, line in enumerate(lines):
        columns, names = scores.items.columns, scores.items.names
        found = [columns[f"predicted_{n}"][place] for n in range(2)]
        found = [number for number in found if not math.isnan(number)]
        gold = columns["label"][place]
        assert line["input"]["reference"] == [names[int(gold)]]
        assert line["output"]["raw"] == [names[int(number)] for number in found]
        assert line["evaluation"]["score"] == fmean(number == gold for number in found)
        assert line["evaluation"]["is_correct"] == all(number == gold for number in found)
        assert line["metadata"]["is_correct_applicable"] == "true"


def test_lines_of_pairs_have_the_similarity_and_what_people_say(tmp_path: Path) -> None:
    scores = similar()
    result, lines = write(tmp_path, scores, "STSBenchmark")
    assert scores.items is not None
    gold, found = (scores.items.columns[name] for name in ("gold", "cosine_similarity"))
    assert [float(line["input"]["reference"][0]) for line in lines] == gold
    assert (
        [float(line["output"]["raw"][0]) for line in lines] == [line["evaluation"]["score"] for line in lines] == found
    )
    assert (result["metric_config"]["min_score"], result["metric_config"]["max_score"]) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("metric", "meaning"),
    [
        ("cosine_ap", "the similarity of the pair; the score is the average precision over pairs"),
        (
            "max_ap",
            (
                "the model's own similarity of the pair; the score is the average precision over pairs, by the best of "
                "several similarities"
            ),
        ),
        ("cosine_f1", "the similarity of the pair; the score is the f1 at the best threshold"),
    ],
)
def test_lines_of_decisions_say_what_the_score_is(tmp_path: Path, metric: str, meaning: str) -> None:
    own_one, cosine = [0.9, 0.2, 0.4, 0.3], [0.8, 0.1, 0.3, 0.2]
    columns = {"label": [1.0, 0.0, 0.0, 1.0], "similarity": own_one}
    columns |= {f"{name}_similarity": cosine for name in ("cosine", "manhattan", "euclidean", "dot")}
    items = ItemScores(["1", "2", "3", "4"], columns)
    scores = StoredScores(items, metric, "PairClassification")
    write_records(own(stored(tmp_path / "r", {("Mine", "test", "default"): scores})), tmp_path / "out")
    _, _, lines = record_of(tmp_path / "out")
    assert {line["metadata"]["score"] for line in lines} == {meaning}
    assert [line["evaluation"]["score"] for line in lines] == (own_one if metric == "max_ap" else cosine)
    assert [line["input"]["reference"] for line in lines] == [["1"], ["0"], ["0"], ["1"]]


def test_lines_of_sets_of_labels(tmp_path: Path) -> None:
    names: tuple[Any, ...] = (["a"], ["a", "b"], [])
    columns = {"label": [0.0, 1.0, 2.0], "predicted_0": [0.0, 0.0, 2.0], "exact_match": [1.0, 0.0, 1.0]}
    items = ItemScores(["1", "2", "3"], columns, names)
    write_records(
        own(stored(tmp_path / "r", {("Mine", "test", "default"): StoredScores(items, "accuracy")})), tmp_path / "out"
    )
    _, _, lines = record_of(tmp_path / "out")
    assert [line["input"]["reference"] for line in lines] == [["a"], ["a", "b"], []]
    assert [line["output"]["raw"] for line in lines] == [["a"], ["a"], []]
    assert [line["evaluation"]["is_correct"] for line in lines] == [True, False, True]


def test_a_score_without_items_says_why_it_has_no_lines(tmp_path: Path) -> None:
    result, lines = write(tmp_path, replace(random_ndcg(1), items=None, score=0.5))
    assert lines == []
    assert result["score_details"] == {"score": 0.5, "details": {"instances": "no items of it are stored"}}


def test_a_metric_says_what_it_can_be_and_which_end_is_better(tmp_path: Path) -> None:
    result, _ = write(tmp_path, random_ndcg(1, 20))
    assert result["metric_config"] == {
        "metric_id": "ndcg_at_10", "metric_name": "ndcg_at_10", "metric_kind": "ndcg", "metric_parameters": {"k": 10},
        "lower_is_better": False, "score_type": "continuous", "min_score": 0.0, "max_score": 1.0,
    }  # fmt: skip
    error = replace(random_ndcg(1), items=None, metric="mae", score=0.5)
    write_records(own(stored(tmp_path / "mine", {("Mine", "test", "default"): error})), tmp_path / "other")
    _, record, _ = record_of(tmp_path / "other")
    metric = record["evaluation_results"][0]["metric_config"]
    assert (metric["lower_is_better"], metric["min_score"], metric["max_score"]) == (True, 0.0, "Infinity")


def test_items_that_do_not_give_the_score_are_not_published_as_what_it_is_made_of(tmp_path: Path) -> None:
    items = ItemScores(["q0", "q1"], {"ndcg_at_10": [0.25, 0.75]})
    result, lines = write(tmp_path, StoredScores(items, "ndcg_at_10", score=0.875))
    assert lines == []
    assert "uncertainty" not in result["score_details"]
    assert result["score_details"]["details"]["instances"].endswith("give 0.500000, and its record says 0.875000")


def test_uncertainty_is_that_of_the_board(tmp_path: Path) -> None:
    (results,) = own(stored(tmp_path / "r", {("NFCorpus", "test", "default"): of_mteb("NFCorpus", random_ndcg(1, 20))}))
    (task,) = results.tasks
    (part,) = task.cell.parts

    def shown(span: Span) -> dict[str, Any]:
        sure = replace(task, cell=replace(task.cell, parts=[replace(part, interval=span)]))
        write_records([replace(results, tasks=[sure])], tmp_path / "out")
        _, record, _ = record_of(tmp_path / "out")
        details: dict[str, Any] = record["evaluation_results"][0]["score_details"]
        return details

    interval = {"lower": 0.25, "upper": 0.5, "confidence_level": 0.95}
    found = shown(Span(0.25, 0.5, "BCa"))
    assert found["uncertainty"] == {"confidence_interval": {**interval, "method": "BCa"}, "num_samples": 20}
    assert shown(Span(0.25, 0.5, is_trusted=False)) == {
        "score": found["score"],
        "uncertainty": {"confidence_interval": interval, "num_samples": 20},
        "details": {"interval": "of too few items to rely on it"},
    }
    assert "uncertainty" not in shown(Span(float("nan"), 0.5))


def test_the_same_results_give_the_same_files_and_newer_ones_others(tmp_path: Path) -> None:
    results = own(stored(tmp_path / "results"))
    first = {path: path.read_bytes() for path in write_records(results, tmp_path / "out").files}
    assert {path: path.read_bytes() for path in write_records(results, tmp_path / "out").files} == first
    jobs = {**three_tasks(), ("NFCorpus", "test", "default"): of_mteb("NFCorpus", random_ndcg(9, 20))}
    newer = write_records(own(stored(tmp_path / "results", jobs)), tmp_path / "out").files
    assert not set(newer) & set(first)
    assert {path: path.read_bytes() for path in first} == first


def test_what_somebody_else_wrote_under_its_name_stays(tmp_path: Path) -> None:
    results = own(stored(tmp_path / "results"))
    path, samples = write_records(results, tmp_path / "out").files
    path.write_text('{"eval_library": {"name": "lm_eval"}}')
    samples.write_text("theirs")
    with pytest.raises(UsageError, match="--every-eval-ever would replace what was not made by it"):
        write_records(results, tmp_path / "out")
    assert (path.read_text(), samples.read_text()) == ('{"eval_library": {"name": "lm_eval"}}', "theirs")


def test_items_that_are_gone_are_told(here: Cli, tmp_path: Path) -> None:
    stored(tmp_path / "results")
    own_before = own(tmp_path / "results")
    for path in (tmp_path / "results").rglob("*.parquet"):
        if "NFCorpus" in str(path):
            path.write_bytes(b"other")
    write_records(own_before, tmp_path / "out")
    _, record, lines = record_of(tmp_path / "out")
    details = {r["evaluation_name"]: r["score_details"].get("details", {}) for r in record["evaluation_results"]}
    assert "is not what was written" in details["NFCorpus_default_test"]["instances"]
    assert {line["evaluation_name"] for line in lines} == set(details) - {"NFCorpus_default_test"}
    done = here("report", "results", "--every-eval-ever", "new")
    assert done.returncode == 0
    assert "left out: NFCorpus: damaged: " in done.stderr


def test_texts_of_others_stay_texts(tmp_path: Path) -> None:
    names = ('"}\n{"a', "\u202e<script>\u2028", "c")
    scores = labels()
    assert scores.items is not None
    hostile = replace(scores, items=replace(scores.items, ids=[f'"\n{n}' for n in range(12)], names=names))
    _, lines = write(tmp_path, hostile, "Banking77Classification")
    assert [line["sample_id"] for line in lines] == [f'"\n{n}' for n in range(12)]
    assert lines[0]["input"]["reference"] == [names[0]]


@pytest.mark.parametrize(("is_open", "said"), [("true", "open_weights"), ("false", "closed_weights"), ("1", "unknown")])
def test_whose_weights_can_be_had_is_what_its_facts_say(tmp_path: Path, is_open: str, said: str) -> None:
    results = own(stored(tmp_path / "r"))
    (results[0].run.folder / "model_meta.json").write_text(f'{{"open_weights": {is_open}}}', encoding="utf-8")
    write_records(results, tmp_path / "out")
    _, record, _ = record_of(tmp_path / "out")
    assert record["model_info"]["additional_details"]["model_availability"] == said


def test_a_score_has_its_own_time_and_the_record_the_last_of_them(tmp_path: Path) -> None:
    results = own(stored(tmp_path / "r"))
    write_records(results, tmp_path / "out")
    _, record, _ = record_of(tmp_path / "out")
    jobs = {task.part_name(part): part.job for task in results[0].tasks for part in task.cell.parts}
    written = {name: job.record.written for name, job in jobs.items() if job is not None and job.record is not None}
    times = {one["evaluation_name"]: one["evaluation_timestamp"] for one in record["evaluation_results"]}
    assert {name: float(time) for name, time in times.items()} == pytest.approx(written, abs=1e-6)
    assert float(record["evaluation_timestamp"]) == pytest.approx(max(written.values()), abs=1e-6)


def test_nobody_says_who_made_a_folder_of_ones_own(tmp_path: Path) -> None:
    write_records(own(stored(tmp_path / "r", model=public_model("local/mine"))), tmp_path / "out")
    _, record, _ = record_of(tmp_path / "out")
    assert (record["model_info"]["id"], "developer" in record["model_info"]) == ("local/mine", False)
    write_records(own(stored(tmp_path / "hub")), tmp_path / "hubs")
    _, record, _ = record_of(tmp_path / "hubs")
    assert record["model_info"]["developer"] == NAME.partition("/")[0]


def test_a_server_may_be_anybody_s(tmp_path: Path) -> None:
    write_records(own(stored(tmp_path / "r", model=public_model(backend="http"))), tmp_path / "out")
    _, record, _ = record_of(tmp_path / "out")
    assert record["model_info"]["additional_details"]["deployment_type"] == "unknown"
    assert record["model_info"]["inference_engine"] == {"name": "http", "version": "unknown"}


def test_many_items_are_not_held_as_lines(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(20_000).round(3).tolist()
    items = ItemScores([f"q{n}" for n in range(20_000)], {"ndcg_at_10": values})
    result, lines = write(tmp_path, StoredScores(items, "ndcg_at_10"))
    assert len(lines) == 20_000
    assert result["score_details"]["score"] == pytest.approx(fmean(values), abs=1e-5)
