"""What of results is published as one's own, and what `report` says of the rest."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Cli
from support.publications import labels, of_mteb, own, public_model, stored, three_tasks
from support.stored import random_ndcg, write_results

from evalharness.catalog.tasks import benchmark
from evalharness.errors import UsageError
from evalharness.reports.board import Span
from evalharness.reports.building.boards import Choice, make_boards
from evalharness.reports.publishing.own import own_results
from evalharness.reports.publishing.writing import NewFile, write_files
from evalharness.results.stored import read_runs

FORMS = ["--eval-results", "--model-index", "--submit-to", "--every-eval-ever"]


def test_complete_tasks_of_the_model_itself_are_published(tmp_path: Path) -> None:
    jobs = three_tasks()
    jobs["SciFact", "test", "default"] = replace(of_mteb("SciFact", random_ndcg(1)), key={"dataset_revision": "old"})
    jobs["AmazonCounterfactualClassification", "test", "en"] = of_mteb("AmazonCounterfactualClassification", labels())
    jobs["FiQA2018", "test", "default"] = replace(of_mteb("FiQA2018", random_ndcg(1)), error="no memory")
    (one,) = own(stored(tmp_path, jobs))
    assert [task.name for task in one.tasks] == ["Banking77Classification", "Mine", "NFCorpus", "STSBenchmark"]
    assert set(one.left_out) == {"SciFact", "AmazonCounterfactualClassification", "FiQA2018"}
    assert "data revision old, the catalogue has" in one.left_out["SciFact"]
    assert "7 of 8 subsets missing" in one.left_out["AmazonCounterfactualClassification"]
    assert one.left_out["FiQA2018"] == "failed: no memory"


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        ({"protocol": "published"}, "by the protocol published"),
        ({"max_length": 128}, "which options changed: max_length 128"),
        ({"reranker": "me/r@1", "rerank_top_k": 10}, "rerank_top_k 10, reranker me/r@1"),
    ],
)
def test_what_options_changed_is_no_result_of_the_model(tmp_path: Path, overrides: dict[str, object], why: str) -> None:
    (one,) = own(stored(tmp_path, model=public_model(overrides=overrides)))
    assert one.tasks == ()
    assert why in one.left_out[""]


@pytest.mark.parametrize(
    ("meta", "why"),
    [
        ('{"name": "../../etc/passwd", "revision": "1"}', "is not of the form"),
        ('{"name": "me/model", "revision": "../.."}', "nobody says which revision"),
        ('{"name": "me/model"', "is not of the form"),
    ],
)
def test_who_is_nobody_publishes_nothing(tmp_path: Path, meta: str, why: str) -> None:
    (place,) = (path.parent for path in stored(tmp_path / "x" / "y").rglob("model_meta.json"))
    (place / "model_meta.json").write_text(meta)
    (one,) = own(tmp_path)
    assert one.tasks == ()
    assert why in one.left_out[""]


def test_of_two_folders_of_a_model_neither_is_published_for_the_other(tmp_path: Path) -> None:
    stored(tmp_path / "a")
    stored(tmp_path / "b")
    stored(tmp_path / "b", model=public_model(overrides={"max_length": 128}))
    found = own(tmp_path)
    assert [one.tasks for one in found] == [(), (), ()]
    assert sum("one of 2 folders of this model at this revision: " in one.left_out[""] for one in found) == 2
    assert len(own(tmp_path / "a")[0].tasks) == 4


def test_published_scores_are_nobody_s_own(tmp_path: Path) -> None:
    runs = [replace(run, is_published=True) for run in read_runs([stored(tmp_path)])]
    assert own_results(runs, make_boards(runs)) == []


def test_boards_say_what_is_published_and_how_sure_it_is(tmp_path: Path) -> None:
    stored(tmp_path)
    write_results(tmp_path, three_tasks(), public_model("me/other"))
    runs = read_runs([tmp_path])
    (board,) = make_boards(runs)
    row = next(row for row in board.rows if row.model == "me/other")
    cell = row.cells["NFCorpus"]
    span = Span(0.1, 0.2, "by hand")
    row = replace(row, cells={"NFCorpus": replace(cell, parts=[replace(cell.parts[0], interval=span)], interval=span)})
    (one,) = own_results(runs, [replace(board, rows=[row], types={"Retrieval": ["NFCorpus"]})])
    assert one.run.model == "me/other"
    assert [(task.name, task.cell.parts[0].interval, task.cell.interval) for task in one.tasks] == [
        ("NFCorpus", span, span)
    ]


def test_an_interval_of_some_parts_is_not_that_of_the_whole(tmp_path: Path) -> None:
    subsets = ("en", "de", "en-ext", "ja")
    task = "AmazonCounterfactualClassification"
    jobs = {(task, split, subset): of_mteb(task, labels()) for split in ("test", "validation") for subset in subsets}
    runs = read_runs([stored(tmp_path, jobs)])
    v1 = benchmark("MTEB(eng, v1)")
    assert v1 is not None
    (board,) = make_boards(runs, Choice(lists=[v1]))
    assert board.rows[0].cells[task].interval is not None
    (one,) = own_results(runs, [board])
    assert len(one.tasks[0].cell.parts) == 8
    assert one.tasks[0].cell.interval is None
    assert [part.subset for part in one.tasks[0].cell.parts if part.interval is not None] == ["en"]


def test_of_an_aggregate_the_parts_are_published(tmp_path: Path) -> None:
    v1 = benchmark("MTEB(eng, v1)")
    assert v1 is not None
    names = ("CQADupstackAndroidRetrieval", "CQADupstackGisRetrieval")
    runs = read_runs([stored(tmp_path, {(name, "test", "default"): of_mteb(name, random_ndcg(2)) for name in names})])
    (one,) = own_results(runs, make_boards(runs, Choice(lists=[v1])))
    assert tuple(task.name for task in one.tasks) == names


@pytest.mark.parametrize("flag", FORMS)
def test_nothing_to_publish_is_an_error_that_says_why(here: Cli, tmp_path: Path, flag: str) -> None:
    stored(tmp_path / "results", model=public_model(overrides={"max_length": 128}))
    done = here("report", "results", flag, "out")
    assert done.returncode == 2
    assert f"{flag}: nothing can be published: BAAI/bge-base-en-v1.5: not of the model itself" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", FORMS)
def test_where_nothing_can_be_written_nothing_is_read(here: Cli, tmp_path: Path, flag: str) -> None:
    (tmp_path / "file").write_text("")
    done = here("report", "results", flag, "file/x/out")
    assert done.returncode == 2
    assert "cannot be" in done.stderr
    stored(tmp_path / "results")
    done = here("report", "results", flag, "file/x")
    assert done.returncode == 2
    assert "file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_is_printed_beside_what_is_published(here: Cli, tmp_path: Path) -> None:
    stored(tmp_path / "results")
    alone = here("report", "results")
    done = here("report", "results", "--eval-results", "repo")
    assert (done.returncode, done.stdout) == (0, alone.stdout)
    assert "--eval-results: repo/.eval_results/Banking77Classification.yaml and 2 more\n" in done.stderr
    assert "BAAI/bge-base-en-v1.5 left out: Mine: mteb names no data set of it on the Hub\n" in done.stderr


def test_what_is_left_out_is_said_once_for_all_forms_and_models(here: Cli, tmp_path: Path) -> None:
    stored(tmp_path / "results")
    stored(tmp_path / "results", model=public_model("me/other"))
    for number in (1, 2):
        stored(tmp_path / "results", model=public_model("me/cut", overrides={"max_length": number}))
    done = here("report", "--every-eval-ever", "e", "--eval-results", "h", "--model-index", "i", "--output", "r.md")
    assert done.returncode == 0, done.stderr
    models, forms = "BAAI/bge-base-en-v1.5, me/other", "--eval-results, --model-index"
    both = f"{models} left out of {forms}: Mine: mteb names no data set of it on the Hub"
    lines = [line for line in done.stderr.splitlines() if "left out" in line]
    assert lines == [
        both,
        "me/cut left out: not of the model itself, which options changed: max_length 1",
        "me/cut left out: not of the model itself, which options changed: max_length 2",
    ]


def test_tasks_and_models_are_chosen_as_for_the_report(here: Cli, tmp_path: Path) -> None:
    stored(tmp_path / "results")
    stored(tmp_path / "results", model=public_model("me/other"))
    options = ["--tasks", "NFCorpus", "--models", "me/other"]
    assert here("report", "results", *options, "--eval-results", "one").returncode == 0
    assert [path.name for path in (tmp_path / "one").rglob("*.yaml")] == ["NFCorpus.yaml"]
    assert here("report", "results", "--tasks", "NFCorpus", "--eval-results", "two").returncode == 0
    found = sorted(path.relative_to(tmp_path / "two").parts[0] for path in (tmp_path / "two").rglob("*.yaml"))
    assert found == ["BAAI__bge-base-en-v1.5", "me__other"]


def test_nothing_is_written_where_something_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "same").write_text("same")
    (tmp_path / "ours").write_text("ours, old")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    files = [
        NewFile(tmp_path / "new", b"new"),
        NewFile(tmp_path / "same", b"same"),
        NewFile(tmp_path / "ours", b"ours", lambda content: content.startswith(b"ours")),
    ]
    foreign = [NewFile(tmp_path / name, b"x", lambda content: content.startswith(b"ours")) for name in
               ("theirs", "pipe", "link")]  # fmt: skip
    with pytest.raises(UsageError, match=r"--to would replace what was not made by it: .*theirs, .*pipe, .*link"):
        write_files([*files, *foreign], tmp_path, "--to")
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "ours").read_text() == "ours, old"
    assert write_files(files, tmp_path, "--to") == [file.path for file in files]
    assert (tmp_path / "ours").read_text() == "ours"


@pytest.mark.parametrize("changed", [{"name": "a/famous-one"}, {"revision": "f" * 40}])
def test_what_the_records_say_is_of_another_model_is_not_published_as_the_folders(
    tmp_path: Path, changed: dict[str, str]
) -> None:
    folder = stored(tmp_path / "results")
    (path,) = folder.rglob("model_meta.json")
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changed}), encoding="utf-8")
    (results,) = own(folder)
    assert results.tasks == []
    assert set(results.left_out) == {task for task, _, _ in three_tasks()}
    assert all("its record is of another model than the folder" in why for why in results.left_out.values())
