from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from published import disagreements, table
from support.old_files import nested, old, write

from evalharness.catalog.tasks import find_task
from evalharness.errors import DataError
from evalharness.results import published
from evalharness.results.published import (
    COLUMNS,
    PublishedScore,
    published_folder,
    published_runs,
    published_scores,
    row_revision,
)

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="needs the published scores as text in ../shared")


def scores(rule: published.Rule = "preferred") -> Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]:
    return {run.model: {name: task.scores for name, task in run.tasks.items()} for run in published_runs(rule)}


@reference
def test_the_box_holds_every_published_score_to_the_last_digit() -> None:
    lines = []
    for name in ("published_scores.csv", "published_alternatives.csv"):
        with (REFERENCE / name).open(encoding="utf-8", newline="") as handle:
            lines += list(csv.DictReader(handle))
    shared = [name for name in COLUMNS if name not in ("note", "preferred", "unusable", "score", "cosine_ap")]

    def key(values: Mapping[str, object]) -> tuple[object, ...]:
        return tuple(values[name] or None for name in shared)

    wanted = {
        (*key({**line, "dataset_revision": line["dataset_revision"].replace("None", "")}), float(line["score"])): line
        for line in lines
    }
    found = {(*(getattr(row, name) for name in shared), row.score): row for row in published_scores()}
    assert found.keys() == wanted.keys()
    for facts, line in wanted.items():
        assert found[facts].cosine_ap == (float(line["cosine_ap"]) if line["cosine_ap"] else None)
        assert line["note"] in (found[facts].note or "")
    preferred = {name for name, row in found.items() if row.preferred}
    assert len(preferred) == len({(row[0], row[2], row[5]) for row in preferred})


@reference
def test_the_box_is_made_the_same_again(tmp_path: Path) -> None:
    stored = pq.read_table(published_folder() / "scores.parquet")
    assert table(REFERENCE).equals(stored)
    for name in ("one", "two"):
        pq.write_table(table(REFERENCE), tmp_path / name, compression="zstd", store_schema=False)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_clone_is_compared_with_the_box(tmp_path: Path) -> None:
    commit = "2d8f542631"
    same, wrong = disagreements(_clone(tmp_path / "one", 0.7), commit)
    assert (same, len(wrong)) == (0, sum(row.preferred and row.commit == commit for row in published_scores()))
    of_box = next(row for row in published_scores() if _is_of_instructor(row))
    same, wrong = disagreements(_clone(tmp_path / "two", of_box.score / 100), commit)
    assert same == 1
    assert not [line for line in wrong if line.startswith(f"{of_box.model} {of_box.task} ")]


def _is_of_instructor(row: PublishedScore) -> bool:
    return (row.model, row.task) == ("hkunlp/instructor-xl", "STS12")


def _clone(folder: Path, score: float) -> Path:
    write(folder / "results" / "hkunlp__instructor-xl" / "external", "STS12", old("STS12", {"test": nested(score)}))
    return folder


def test_the_box_is_small() -> None:
    assert (published_folder() / "scores.parquet").stat().st_size < 400_000


def test_metrics_are_the_main_scores_of_today() -> None:
    for score in published_scores():
        spec = find_task(score.task)
        assert spec is not None
        assert (score.metric, score.task_type) == (spec.main_score, spec.type)


def test_a_pinned_revision_is_preferred_and_the_card_prefers_what_the_authors_printed() -> None:
    assert scores()["BAAI/bge-large-en-v1.5"]["ArguAna"] == {"test": {"default": pytest.approx(0.64516)}}
    assert scores("card")["BAAI/bge-large-en-v1.5"]["ArguAna"] == {"test": {"default": pytest.approx(0.63542)}}
    # an early run is there, too, with 73.67
    arctic = "Snowflake/snowflake-arctic-embed-m-v1.5"
    assert scores("card")[arctic]["STS13"] == {"test": {"default": pytest.approx(0.826696)}}
    assert scores()[arctic]["STS13"] == {"test": {"default": pytest.approx(0.736707)}}


def test_the_card_has_cosine_ap_and_says_so() -> None:
    run = next(run for run in published_runs("card") if run.model == "BAAI/bge-large-en")
    assert run.tasks["TwitterSemEval2015"].metric == "cosine_ap"
    by_max = scores()["BAAI/bge-large-en"]["TwitterSemEval2015"]["test"]["default"]
    assert scores("card")["BAAI/bge-large-en"]["TwitterSemEval2015"]["test"]["default"] < by_max


def test_copies_of_another_models_file_are_no_scores() -> None:
    runs = {run.model: run for run in published_runs("card")}
    reranker = runs["BAAI/bge-reranker-large"].tasks["T2Reranking"]
    assert not reranker.scores
    assert "copy of bge-reranker-base's" in reranker.problems["dev"]["default"]
    # where there is another score, that one counts
    assert runs["intfloat/multilingual-e5-large"].tasks["STS22"].scores["test"]["zh"] == pytest.approx(0.668246)


def test_odd_runs_are_noted() -> None:
    run = next(run for run in published_runs() if run.model == "nomic-ai/nomic-embed-text-v1.5")
    assert "another prompt or pooling" in " ".join(run.tasks["TRECCOVID"].notes)


def test_msmarco_of_early_files_is_its_dev_split() -> None:
    assert set(scores()["sentence-transformers/sentence-t5-xxl"]["MSMARCO"]) == {"dev"}


def test_one_task_may_have_several_sources() -> None:
    sources = {
        source
        for run in published_runs()
        for task in run.tasks.values()
        for subsets in task.sources.values()
        for source in subsets.values()
    }
    assert {"no_revision_available", "external", "d4aa6901d3a41ba39fb536a557fa166f842b0e09"} < sources


@pytest.mark.parametrize(
    ("revisions", "shown"),
    [
        (["a" * 40, "external"], "a" * 40),
        (["a", "b", "external"], "several"),
        (["external"], "external"),
        (["no_revision_available"], "unknown"),
        (["external", "no_revision_available"], "unknown"),
    ],
)
def test_a_row_names_its_revision_where_there_is_one(revisions: list[str], shown: str) -> None:
    assert row_revision(revisions) == shown


def test_a_damaged_box_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scores.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(published, "published_folder", lambda: tmp_path)
    published_scores.cache_clear()
    try:
        with pytest.raises(DataError, match="install evalharness again"):
            published_runs()
    finally:
        published_scores.cache_clear()


def test_only_some_models() -> None:
    assert [run.model for run in published_runs(models=["BAAI/bge-m3"])] == ["BAAI/bge-m3"]


def test_scores_are_from_0_to_1() -> None:
    assert all(isinstance(score, PublishedScore) and 0 <= score.score <= 100 for score in published_scores())
    assert all(
        -1 <= score <= 1
        for tasks in scores().values()
        for splits in tasks.values()
        for subsets in splits.values()
        for score in subsets.values()
    )
