"""What is published is what mteb itself would publish of the same results, and mteb reads it."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import mteb
import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results
from mteb._hf_integration.eval_result_model import HFEvalResults
from mteb.cache import ResultCache
from mteb.models import ModelMeta
from mteb.results.task_result import _expand_run_settings_entry
from support.publications import NAME, REVISION, of_mteb, own, public_model, stored, three_tasks
from support.stored import random_ndcg

from evalharness.catalog.tasks import mteb_task, mteb_task_names, task_types
from evalharness.data.mteb_results import combined_text, registered_model, task_result_text
from evalharness.errors import DataError, UsageError
from evalharness.reports.publishing.eval_results import write_eval_results
from evalharness.reports.publishing.front_matter import front_matter
from evalharness.reports.publishing.model_index import HUB_TASKS, write_model_index
from evalharness.reports.publishing.submission import write_submission

PLACE = Path("results", NAME.replace("/", "__"), REVISION)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_as_the_results_repository(top: Path) -> None:
    """What its tests look at: folders, names, versions, and a line of settings for each score."""
    for meta_file in (top / "results").rglob("model_meta.json"):
        meta = json.loads(meta_file.read_text())
        assert (
            meta_file.parent == top / "results" / meta["name"].replace("/", "__").replace(" ", "_") / meta["revision"]
        )
        ModelMeta.model_validate_json_resolved(meta_file.read_bytes())
        lines = (meta_file.parent / "run_settings.jsonl").read_text().splitlines()
        covered = {key for line in lines for key, _, _ in _expand_run_settings_entry(json.loads(line))}
        scored = set()
        for path in meta_file.parent.glob("*.json"):
            if path != meta_file:
                result = mteb.TaskResult.from_disk(path)
                assert result.task_name == path.stem
                assert result.mteb_version == "2.26.24"
                scored |= {(path.stem, split, e["hf_subset"]) for split, es in result.scores.items() for e in es}
        assert scored == covered


def test_the_hubs_ids_and_values_are_mtebs(tmp_path: Path) -> None:
    results = own(stored(tmp_path / "results"))
    paths = write_eval_results(results, tmp_path / "repo").files
    write_submission(results, tmp_path / "sub")
    for path in paths:
        ours = HFEvalResults.model_validate(yaml.safe_load(path.read_text()))
        theirs = mteb.TaskResult.from_disk(tmp_path / "sub" / PLACE / f"{path.stem}.json")._to_hf_benchmark_result()
        assert [(one.dataset, one.value) for one in ours.root] == [(one.dataset, one.value) for one in theirs.root]
        written = [(entry["dataset"], entry["date"]) for entry in yaml.safe_load(theirs.to_yaml())]
        assert [(entry["dataset"], entry["date"]) for entry in yaml.safe_load(path.read_text())] == written


def test_the_model_index_is_mtebs(tmp_path: Path) -> None:
    results = own(stored(tmp_path / "results"))
    (path,) = write_model_index(results, tmp_path / "index.md").files
    write_submission(results, tmp_path / "sub")
    _, ours = model_index_to_eval_results(front_matter(path.read_text())["model-index"])
    for found in ours:
        task = found.dataset_name.partition(" ")[0]
        with pytest.warns(DeprecationWarning, match="EvalResults"):
            (theirs,) = mteb.TaskResult.from_disk(tmp_path / "sub" / PLACE / f"{task}.json").get_hf_eval_results()
        theirs.source_name = theirs.source_url = None
        assert found == theirs


def test_types_of_tasks_on_the_hub_are_mtebs() -> None:
    of_type = {spec.type: name for name in mteb_task_names() if (spec := mteb_task(name)) and spec.type in HUB_TASKS}
    theirs = {kind: mteb.get_task(name).metadata._hf_task_type()[0] for kind, name in of_type.items()}
    assert theirs == dict(HUB_TASKS)
    assert set(HUB_TASKS) <= set(task_types())


def test_a_submission_is_read_by_mteb(tmp_path: Path) -> None:
    results = own(stored(tmp_path / "results"))
    publication = write_submission(results, tmp_path / "sub")
    assert sorted(files(tmp_path / "sub")) == [
        (PLACE / name).as_posix()
        for name in ("Banking77Classification.json", "NFCorpus.json", "STSBenchmark.json", "model_meta.json",
                     "run_settings.jsonl")
    ]  # fmt: skip
    check_as_the_results_repository(tmp_path / "sub")
    loaded = ResultCache(tmp_path / "sub").load_results(models=[NAME], include_remote=False)
    (model,) = loaded.model_results
    assert (model.model_name, model.model_revision) == (NAME, REVISION)
    scores = {result.task_name: result.get_score() for result in model.task_results}
    assert scores == {task.name: task.cell.score for task in results[0].tasks if task.hub_id}
    assert publication.results[0].left_out == {"Mine": "no task of mteb"}
    assert publication.notes == ["evalharness computed these scores as mteb does; say so where you submit them"]


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    results = own(stored(tmp_path / "results"))
    write_submission(results, tmp_path / "sub")
    before = files(tmp_path / "sub")
    write_submission(results, tmp_path / "sub")
    write_submission(results, tmp_path / "again")
    assert files(tmp_path / "sub") == files(tmp_path / "again") == before


def test_what_is_no_number_is_left_out_of_a_submission_and_that_is_said(tmp_path: Path) -> None:
    folder = stored(tmp_path / "results")
    (place,) = (path.parent for path in folder.rglob("model_meta.json"))
    spec = mteb_task("NFCorpus")
    assert spec is not None
    nan = float("nan")
    entry = {"hf_subset": "default", "languages": ["eng-Latn"], "main_score": 0.25, "ndcg_at_10": 0.25,
             "nauc_recall_at_1000_std": nan, "mrr_at_1": [0.1, float("inf")],
             "scores_per_experiment": [{"f1": nan, "ap": 0.5}]}  # fmt: skip
    file = {"task_name": "NFCorpus", "dataset_revision": spec.revision, "mteb_version": "2.1.0",
            "evaluation_time": nan, "kg_co2_emissions": nan, "scores": {"test": [entry]}}  # fmt: skip
    shutil.rmtree(place / "jobs" / "NFCorpus")
    (place / "NFCorpus.json").write_text(json.dumps(file))
    publication = write_submission(own(folder), tmp_path / "sub")
    text = (tmp_path / "sub" / PLACE / "NFCorpus.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (found["evaluation_time"], found["kg_co2_emissions"]) == (None, None)
    assert found["scores"]["test"] == [
        {"hf_subset": "default", "languages": ["eng-Latn"], "main_score": 0.25, "ndcg_at_10": 0.25,
         "scores_per_experiment": [{"ap": 0.5}], "mteb_version": "2.1.0"}
    ]  # fmt: skip
    assert publication.notes[0] == (
        "left out of files, for JSON has no such numbers: nauc_recall_at_1000_std, mrr_at_1, f1 of NFCorpus"
    )
    read = mteb.TaskResult.from_disk(tmp_path / "sub" / PLACE / "NFCorpus.json")
    assert read.validate_and_filter_scores().get_score() == 0.25


def test_an_aggregate_is_what_mteb_makes_of_its_parts(tmp_path: Path) -> None:
    whole = mteb_task("CQADupstackRetrieval")
    assert whole is not None
    jobs = {(name, "test", "default"): of_mteb(name, random_ndcg(n, 9)) for n, name in enumerate(whole.parts)}
    results = own(stored(tmp_path / "results", jobs))
    write_submission(results, tmp_path / "sub")
    check_as_the_results_repository(tmp_path / "sub")
    path = tmp_path / "sub" / PLACE / "CQADupstackRetrieval.json"
    found = mteb.TaskResult.from_disk(path)
    mean = math.fsum(task.cell.score or 0.0 for task in results[0].tasks) / 12
    assert found.get_score() == pytest.approx(mean, abs=1e-6)
    assert "NaN" not in path.read_text()
    write_submission(own(stored(tmp_path / "fewer", dict(list(jobs.items())[1:]))), tmp_path / "fewer")
    assert not (tmp_path / "fewer" / PLACE / "CQADupstackRetrieval.json").exists()


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (public_model("local/mine"), "of a folder of this machine; put the model on the Hub"),
        (public_model(revision="no_revision_available"), "its revision no_revision_available is no commit of the Hub"),
        (public_model(fingerprint=REVISION + "0" * 24), f"its revision {REVISION} is no commit of the Hub"),
    ],
    ids=["local", "no revision", "of files"],
)
def test_a_model_that_only_its_owner_has_is_not_submitted(tmp_path: Path, model: Any, why: str) -> None:
    results = own(stored(tmp_path / "results", model=model))
    with pytest.raises(UsageError, match=why):
        write_submission(results, tmp_path / "sub")
    assert not (tmp_path / "sub").exists()


def test_what_mteb_does_not_know_of_a_model_is_said(tmp_path: Path) -> None:
    publication = write_submission(own(stored(tmp_path / "a", model=public_model("me/other"))), tmp_path / "sub")
    assert "mteb does not implement me/other" in publication.notes[0]
    publication = write_submission(own(stored(tmp_path / "b", model=public_model(revision="2" * 40))), tmp_path / "sub")
    assert f"mteb runs {NAME} at revision {REVISION}; these results are of {'2' * 40}" in publication.notes[0]
    check_as_the_results_repository(tmp_path / "sub")


def test_what_is_in_the_clone_stays_beside_what_is_added(tmp_path: Path) -> None:
    jobs = three_tasks()
    first = {key: jobs[key] for key in [("NFCorpus", "test", "default")]}
    write_submission(own(stored(tmp_path / "first", first)), tmp_path / "sub")
    meta = tmp_path / "sub" / PLACE / "model_meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "citation": "by hand"}))
    kept = meta.read_bytes()
    del jobs["NFCorpus", "test", "default"]
    write_submission(own(stored(tmp_path / "second", jobs)), tmp_path / "sub")
    assert meta.read_bytes() == kept
    assert len((tmp_path / "sub" / PLACE / "run_settings.jsonl").read_text().splitlines()) == 3
    check_as_the_results_repository(tmp_path / "sub")
    other = {("NFCorpus", "test", "default"): of_mteb("NFCorpus", random_ndcg(5, 20))}
    with pytest.raises(UsageError, match=r"--submit-to would replace what was not made by it: .*NFCorpus\.json"):
        write_submission(own(stored(tmp_path / "third", other)), tmp_path / "sub")


@pytest.mark.parametrize("name", ["BarExamQA", "PublicHealthQA"])
def test_a_task_is_submitted_at_the_revision_that_mteb_names(tmp_path: Path, name: str) -> None:
    """Of a few tasks mteb names a branch or the beginning of a commit, which a report does not tell from the whole."""
    spec = mteb_task(name)
    assert spec is not None
    assert len(spec.revision) < 40
    places = [(split, subset) for split in spec.splits for subset in spec.languages]
    for revision in (spec.revision, spec.revision.ljust(40, "0")):
        scores = of_mteb(name, replace(random_ndcg(1, 9), key={"dataset_revision": revision}))
        jobs = {**three_tasks(), **{(name, *place): scores for place in places}}
        results = own(stored(tmp_path / revision, jobs))
        assert name in [task.name for task in results[0].tasks]
        (submitted,) = write_submission(results, tmp_path / f"sub-{revision}").results
        why = "" if revision == spec.revision else f"data revision {revision}, mteb has {spec.revision}"
        assert submitted.left_out.get(name, "") == why


def test_results_of_an_early_mteb_are_not_submitted(tmp_path: Path) -> None:
    old = replace(three_tasks()["NFCorpus", "test", "default"], key={"dataset_revision": "x", "mteb": "1.38.0"})
    spec = mteb_task("NFCorpus")
    assert spec is not None
    old = replace(old, key={**old.key, "dataset_revision": spec.revision})
    jobs = {**three_tasks(), ("NFCorpus", "test", "default"): old}
    publication = write_submission(own(stored(tmp_path / "results", jobs)), tmp_path / "sub")
    assert publication.results[0].left_out["NFCorpus"] == "made by mteb 1.38.0, not by 2 or later"


def test_what_mteb_does_not_take_is_said() -> None:
    with pytest.raises(DataError, match="mteb does not take it"):
        task_result_text({"task_name": "NFCorpus", "scores": 3})
    entry = {"hf_subset": "default", "main_score": 0.5, "languages": ["eng-Latn"]}
    view = {"task_name": "NFCorpus", "dataset_revision": "1", "mteb_version": "2.1.0", "evaluation_time": 1.0}
    with pytest.raises(DataError, match=r"mteb finds no score for \[test, default\]"):
        task_result_text({**view, "scores": {"dev": [entry]}})
    # of twelve parts there is one
    with pytest.raises(DataError, match="mteb finds no score for"):
        combined_text("CQADupstackRetrieval", [task_result_text({**view, "scores": {"test": [entry]}})])


def test_what_mteb_says_of_a_model_is_the_same_each_time() -> None:
    known = registered_model(NAME)
    assert known is not None
    assert known == registered_model(NAME)
    assert known.meta["training_datasets"] == sorted(known.meta["training_datasets"])
    assert registered_model("me/other") is None
