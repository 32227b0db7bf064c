"""The user's own clone of the public results repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.old_files import nested, old, today, write

from evalharness.catalog.tasks import find_task
from evalharness.errors import DataError
from evalharness.results.clone import read_clone
from evalharness.results.stored import StoredRun

FIRST, SECOND = "a" * 40, "b" * 40


def one(folder: Path, tasks: list[str] | None = None) -> StoredRun:
    (run,) = read_clone(folder, tasks)
    return run


def place(folder: Path, revision: str, model: str = "org__model") -> Path:
    return folder / "results" / model / revision


def test_a_pinned_revision_is_taken_before_an_early_run_before_a_card(tmp_path: Path) -> None:
    write(place(tmp_path, FIRST), "STS12", today("STS12", {"test": [{"cosine_spearman": 0.7, "main_score": 0.7}]}))
    write(place(tmp_path, "no_revision_available"), "STS12", old("STS12", {"test": nested(0.6)}))
    write(place(tmp_path, "no_revision_available"), "STS13", old("STS13", {"test": nested(0.61)}))
    for task in ("STS12", "STS13", "STS14"):
        card = today(task, {"test": [{"cosine_spearman": 50.0, "main_score": 50.0}]}, None)
        write(place(tmp_path, "external"), task, card)
    run = one(tmp_path)
    assert (run.model, run.revision, run.is_published) == ("org/model", FIRST, True)
    assert {name: task.scores["test"]["default"] for name, task in run.tasks.items()} == {
        "STS12": 0.7,
        "STS13": 0.61,
        "STS14": 0.5,
    }
    assert [task.sources["test"]["default"] for task in run.tasks.values()] == [
        FIRST,
        "no_revision_available",
        "external",
    ]


def test_of_several_revisions_the_one_by_the_newest_mteb_counts(tmp_path: Path) -> None:
    for revision, version, score in ((FIRST, "1.9.0", 0.5), (SECOND, "1.12.0", 0.6)):
        entry = {"cosine_spearman": score, "main_score": score}
        write(place(tmp_path, revision), "STS12", today("STS12", {"test": [entry]}, version))
    run = one(tmp_path)
    assert (run.revision, run.tasks["STS12"].scores["test"]["default"]) == (SECOND, 0.6)


def test_a_subset_that_one_file_lacks_is_taken_from_the_next(tmp_path: Path) -> None:
    write(place(tmp_path, FIRST), "STS22", old("STS22", {"test": {"en": nested(0.6)}}, "1.2.0"))
    write(
        place(tmp_path, "no_revision_available"),
        "STS22",
        old("STS22", {"test": {"en": nested(0.5), "fr": nested(0.7)}}),
    )
    task = one(tmp_path).tasks["STS22"]
    assert task.scores == {"test": {"en": 0.6, "fr": 0.7}}
    assert task.sources == {"test": {"en": FIRST, "fr": "no_revision_available"}}


def test_a_damaged_file_costs_itself(tmp_path: Path) -> None:
    place(tmp_path, FIRST).mkdir(parents=True)
    (place(tmp_path, FIRST) / "STS12.json").write_text("{")
    (place(tmp_path, FIRST) / "STS13.json").write_text("[]")
    write(place(tmp_path, "no_revision_available"), "STS12", old("STS12", {"test": nested(0.6)}))
    run = one(tmp_path)
    assert run.tasks["STS12"].scores == {"test": {"default": 0.6}}
    assert "left out: damaged:" in run.tasks["STS12"].notes[0]
    assert "STS13.json" in run.tasks["STS13"].damage


def test_only_the_wanted_tasks_are_read_with_their_parts(tmp_path: Path) -> None:
    for task in ("STS12", "STS13"):
        write(place(tmp_path, FIRST), task, old(task, {"test": nested(0.6)}))
    write(
        place(tmp_path, FIRST), "CQADupstackTexRetrieval", old("CQADupstackTexRetrieval", {"test": {"ndcg_at_10": 0.4}})
    )
    assert list(one(tmp_path, ["STS12"]).tasks) == ["STS12"]
    assert list(one(tmp_path, ["CQADupstackRetrieval"]).tasks) == ["CQADupstackTexRetrieval"]


def test_an_early_mean_gives_way_to_the_forums_of_a_pinned_run(tmp_path: Path) -> None:
    spec = find_task("CQADupstackRetrieval")
    assert spec is not None
    early = old("CQADupstackRetrieval", {"test": {"ndcg_at_10": 0.2}})
    write(place(tmp_path, "no_revision_available"), "CQADupstackRetrieval", early)
    for part in spec.parts[1:]:
        write(place(tmp_path, FIRST), part, old(part, {"test": {"ndcg_at_10": 0.4}}))
    assert "CQADupstackRetrieval" in one(tmp_path).tasks
    write(place(tmp_path, FIRST), spec.parts[0], old(spec.parts[0], {"test": {"ndcg_at_10": 0.4}}))
    assert "CQADupstackRetrieval" not in one(tmp_path).tasks


def test_a_copied_score_of_unclear_range_is_none(tmp_path: Path) -> None:
    for task, score in (("STS12", 70.0), ("STS13", 0.4)):
        write(
            place(tmp_path, "external"),
            task,
            today(task, {"test": [{"cosine_spearman": score, "main_score": score}]}, None),
        )
    # also where only that one is read
    for run in (one(tmp_path), one(tmp_path, ["STS13"])):
        assert not run.tasks["STS13"].scores
        assert "in percent?" in run.tasks["STS13"].problems["test"]["default"]


def test_known_copies_of_another_model_are_no_scores(tmp_path: Path) -> None:
    value = today("T2Reranking", {"dev": [{"map": 67.28, "main_score": 67.28}]}, None)
    write(place(tmp_path, "external", "BAAI__bge-reranker-large"), "T2Reranking", value)
    task = one(tmp_path).tasks["T2Reranking"]
    assert not any(task.scores.values())
    assert "copy of bge-reranker-base's" in task.problems["dev"]["default"]


def test_a_folder_of_models_is_a_clone_too(tmp_path: Path) -> None:
    write(tmp_path / "org__model" / FIRST, "STS12", old("STS12", {"test": nested(0.6)}))
    write(tmp_path / ".git" / "results", "STS12", old("STS12", {"test": nested(0.6)}))
    assert one(tmp_path).model == "org/model"


def test_some_models(tmp_path: Path) -> None:
    for model in ("org__one", "org__two"):
        write(place(tmp_path, FIRST, model), "STS12", old("STS12", {"test": nested(0.6)}))
    assert [run.model for run in read_clone(tmp_path, models=["org/two"])] == ["org/two"]


def test_a_folder_without_results_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    with pytest.raises(DataError, match="expected a clone of embeddings-benchmark/results"):
        read_clone(tmp_path)
