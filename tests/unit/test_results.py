from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from mteb.cache import ResultCache
from mteb.models.model_meta import ModelMeta, _serialize_experiment_kwargs_to_name
from mteb.results import TaskResult
from support.lookup import spec

from evalharness.errors import PrerequisiteError, UsageError
from evalharness.files import atomic_path, check_writable, write_json
from evalharness.results.items import read_items
from evalharness.results.records import (
    JobId,
    JobRecord,
    ResultsOf,
    experiment_name,
    items_path,
    model_meta,
    read_job,
    run_folder,
    write_job,
    write_model_meta,
)
from evalharness.results.views import refresh_view, run_key
from evalharness.run.plan import make_plan
from evalharness.types import ItemScores

MODEL = spec(name="sentence-transformers/all-MiniLM-L6-v2", revision="8b3219a92973c328a8e22fadcfa821b5dc75636a")


def record(job: JobId, score: float = 0.1234567891, **changes: Any) -> JobRecord:
    facts: dict[str, Any] = {
        "job": job,
        "key": {"model": "f", "dataset_revision": "a" * 40, "mteb": "2.0.0"},
        "main_score": "cosine_spearman",
        "languages": ["eng-Latn"],
        "dataset_revision": "a" * 40,
        "seconds": 1.5,
        "facts": {},
        "metrics": {"cosine_spearman": score, "ap": float("nan"), "scores_per_experiment": [{"x": 0.33333333333}]},
    }
    return JobRecord(**(facts | changes))


def store(output: Path, *records: JobRecord) -> Path:
    folder = run_folder(output, MODEL)
    write_model_meta(folder, model_meta(MODEL))
    for item in records:
        items = ItemScores(["0", "1"], {"gold": [0.0, 1.0]}) if item.error is None else None
        write_job(folder, item, items)
        refresh_view(folder, item.job.task, run_key(item.job, item.key))
    return folder


def test_mteb_reads_our_results(tmp_path: Path) -> None:
    folder = store(tmp_path / "results", record(JobId("STS12", "test", "default")))
    result = TaskResult.from_disk(folder / "STS12.json")
    assert result.get_score() == 0.123457
    assert result.dataset_revision == "a" * 40
    assert result.scores["test"][0]["languages"] == ["eng-Latn"]
    loaded = ResultCache(tmp_path).load_results(tasks=["STS12"], validate_and_filter=False)
    assert [(m.model_name, m.model_revision) for m in loaded.model_results] == [(MODEL.name, MODEL.revision)]
    assert loaded.model_results[0].task_results[0].get_score() == 0.123457


@pytest.mark.parametrize("overrides", [{}, {"pooling": "mean", "query_prompt": "a/b: "}])
def test_mteb_accepts_our_model_meta(tmp_path: Path, overrides: dict[str, Any]) -> None:
    model = spec(prompts={"query": "Q: "}, languages=("eng-Latn",), overrides=overrides)
    write_model_meta(tmp_path, model_meta(model))
    meta = ModelMeta.model_validate_json_resolved((tmp_path / "model_meta.json").read_text())
    assert (meta.name, meta.revision, meta.use_instructions) == (model.name, model.revision, True)
    assert meta.experiment_name == experiment_name(overrides)


def test_experiments_are_named_as_mteb_names_them() -> None:
    for overrides in ({}, {"pooling": "mean"}, {"b": 1, "a": 'x/y"z'}, {"normalize": False}):
        assert experiment_name(overrides) == _serialize_experiment_kwargs_to_name(overrides)
    long = experiment_name({"query_prompt": "x" * 300})
    assert long is not None
    assert len(long) == 16


def test_changed_models_have_a_folder_of_their_own_that_mteb_finds(tmp_path: Path) -> None:
    changed = spec(overrides={"pooling": "mean"})
    folder = run_folder(tmp_path / "results", changed)
    assert folder.relative_to(tmp_path).parts[-2:] == ("experiments", "pooling_mean")
    write_model_meta(folder, model_meta(changed))
    item = record(JobId("STS12", "test", "default"))
    write_job(folder, item, ItemScores(["0"], {"gold": [1.0]}))
    refresh_view(folder, "STS12", run_key(item.job, item.key))
    loaded = ResultCache(tmp_path).load_results(
        tasks=["STS12"], validate_and_filter=False, load_experiments="match_name"
    )
    assert loaded.model_results[0].experiment_name == "pooling_mean"


def test_two_systems_do_not_share_a_folder(tmp_path: Path) -> None:
    first, second = (spec(overrides={"query_prompt": prompt}) for prompt in ("query: ", "query? "))
    folder = run_folder(tmp_path, first)
    assert folder == run_folder(tmp_path, second)
    write_model_meta(folder, model_meta(first))
    write_model_meta(folder, model_meta(first))
    before = (folder / "model_meta.json").read_bytes()
    with pytest.raises(UsageError, match=r"holds results of another system \(name .*'query: '.*another folder"):
        write_model_meta(folder, model_meta(second))
    with pytest.raises(UsageError, match="holds results of another system"):
        make_plan([], second, tmp_path)
    assert make_plan([], first, tmp_path).folder == folder
    assert (folder / "model_meta.json").read_bytes() == before
    write_model_meta(run_folder(tmp_path, ResultsOf(name="a b")), model_meta(ResultsOf(name="a b")))
    with pytest.raises(UsageError, match=r"of another system .name 'a b'"):
        write_model_meta(run_folder(tmp_path, ResultsOf(name="a_b")), model_meta(ResultsOf(name="a_b")))


def test_a_task_file_holds_all_its_jobs_and_only_of_one_revision(tmp_path: Path) -> None:
    jobs = [JobId("T", split, subset) for split in ("test", "dev") for subset in ("de/x", "en")]
    old = record(JobId("T", "old", "en"), dataset_revision="b" * 40, key={"model": "f", "dataset_revision": "b" * 40})
    folder = store(tmp_path, old, *(record(job) for job in jobs))
    scores = json.loads((folder / "T.json").read_text())["scores"]
    assert {split: [entry["hf_subset"] for entry in entries] for split, entries in scores.items()} == {
        "dev": ["de/x", "en"],
        "test": ["de/x", "en"],
    }
    assert scores["dev"][0]["scores_per_experiment"] == [{"x": 0.333333}]


def test_records_keep_every_digit_and_items_are_parquet(tmp_path: Path) -> None:
    job = JobId("T", "test", "default")
    folder = store(tmp_path, record(job))
    stored = read_job(folder, job)
    assert stored is not None
    assert stored.metrics["cosine_spearman"] == 0.1234567891
    assert read_items(items_path(folder, job)) == ItemScores(["0", "1"], {"gold": [0.0, 1.0]})


def test_a_failed_job_is_stored_and_makes_no_score(tmp_path: Path) -> None:
    job = JobId("T", "test", "default")
    folder = store(tmp_path, record(job, error="broken", metrics={}))
    stored = read_job(folder, job)
    assert stored is not None
    assert stored.error == "broken"
    assert not (folder / "T.json").exists()


def test_a_damaged_record_is_no_record(tmp_path: Path) -> None:
    job = JobId("T", "test", "default")
    folder = store(tmp_path, record(job))
    path = next(folder.glob("jobs/T/*.json"))
    for content in ("", "{", "[]", '{"job": {}}'):
        path.write_text(content)
        assert read_job(folder, job) is None


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"b": 1, "a": 2})
    assert path.read_text() == '{\n  "a": 2,\n  "b": 1\n}\n'
    assert path.stat().st_mode & 0o777 == 0o666 & ~_mask()
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with pytest.raises(KeyboardInterrupt):
        interrupted_write(path)
    assert [item.name for item in tmp_path.iterdir()] == ["x.json"]
    assert json.loads(path.read_text()) == {"a": 2, "b": 1}


@pytest.mark.skipif(os.name == "nt", reason="no modes")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_whoever_may_read_a_file_may_read_what_replaces_it_and_nobody_else(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "x.json"
    path.write_text("{}")
    path.chmod(mode)
    write_json(path, {"a": 1})
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert path.stat().st_mode & 0o777 == mode


def interrupted_write(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_unwritable_output_is_found_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(
        PrerequisiteError, match=r"cannot be written to .*file/results: .*file is not a writable folder"
    ):
        check_writable(tmp_path / "file" / "results")
    with pytest.raises(PrerequisiteError, match="choose another with --output"):
        check_writable(Path("/proc/results"))
