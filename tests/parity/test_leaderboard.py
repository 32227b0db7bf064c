"""The same files of published scores give the same leaderboard in mteb and here: means, and ranks by Borda count."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from random import Random
from typing import Any

import mteb
import pytest

from evalharness.catalog.tasks import benchmark, mteb_task
from evalharness.reports.board import Board
from evalharness.reports.building.boards import Choice, make_boards
from evalharness.results.stored import read_runs

SCORES = Path(__file__).parents[3] / "shared" / "reference" / "published_scores.csv"
REVISION = "1" * 40
# of it, one split of MultilingualSentiment: no mean, but a place among the others there
INCOMPLETE = "BAAI/bge-small-zh"
# the last ones of each lack tasks
MODELS: Mapping[str, Sequence[str]] = {
    "MTEB(eng, v1)": [
        "BAAI/bge-large-en-v1.5", "BAAI/bge-base-en-v1.5", "BAAI/bge-small-en-v1.5", "thenlper/gte-base",
        "intfloat/e5-base-v2", "jinaai/jina-embeddings-v3", "sentence-transformers/all-MiniLM-L6-v2",
        "minishlab/potion-base-8M", "BAAI/bge-m3", "google/embeddinggemma-300m",
    ],
    "MTEB(eng, v2)": [
        "BAAI/bge-large-en-v1.5", "thenlper/gte-large", "intfloat/multilingual-e5-small", "google/embeddinggemma-300m",
        "sentence-transformers/all-mpnet-base-v2", "nomic-ai/nomic-embed-text-v1.5", "Qwen/Qwen3-Embedding-0.6B",
        "BAAI/bge-base-en", "BAAI/bge-m3", "sentence-transformers/sentence-t5-xxl",
    ],
    "MTEB(cmn, v1)": [
        "BAAI/bge-large-zh-v1.5", "BAAI/bge-base-zh-v1.5", "BAAI/bge-small-zh", "intfloat/multilingual-e5-base",
        "moka-ai/m3e-base", "Qwen/Qwen3-Embedding-0.6B", "openai/text-embedding-ada-002",
        "jinaai/jina-embeddings-v3", "sentence-transformers/all-MiniLM-L6-v2", "BAAI/bge-m3",
    ],
}  # fmt: skip


def published(name: str) -> dict[str, dict[str, list[dict[str, str]]]]:
    """Model -> task -> rows of the table of published scores."""
    found: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    with SCORES.open(encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if row["benchmark"] == name and row["model"] in MODELS[name]:
                found[row["model"]][row["task"]].append(row)
    return found


def result(task: str, rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """As mteb writes it."""
    spec = mteb_task(task)
    assert spec is not None
    scores: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        score = float(row["score"]) / 100
        for split in row["split"].split("+"):
            entry = {"main_score": score, spec.main_score: score, "hf_subset": row["subset"], "languages": ["eng-Latn"]}
            scores.setdefault(split, []).append(entry)
    return {
        "dataset_revision": spec.revision,
        "task_name": task,
        "mteb_version": "2.26.24",
        "scores": scores,
        "evaluation_time": 1.0,
        "kg_co2_emissions": None,
    }


def fill_splits(found: dict[str, Any], wanted: Sequence[str]) -> None:
    """MultilingualSentiment was mostly published on one of its splits; the other one gets the same score."""
    (scores,) = found["scores"].values()
    found["scores"] = dict.fromkeys(wanted, scores)


def write_files(cache: Path, name: str) -> None:
    """A cache of mteb's with what was published of the models."""
    for model, tasks in published(name).items():
        folder = cache / "results" / model.replace("/", "__") / REVISION
        folder.mkdir(parents=True)
        meta = mteb.get_model_meta(model).to_dict() | {"revision": REVISION}
        (folder / "model_meta.json").write_text(json.dumps(meta), encoding="utf-8")
        for task, rows in tasks.items():
            found = result(task, rows)
            if task == "MultilingualSentiment" and len(found["scores"]) == 1 and model != INCOMPLETE:
                fill_splits(found, ("validation", "test"))
            (folder / f"{task}.json").write_text(json.dumps(found), encoding="utf-8")


def theirs(cache: Path, name: str) -> dict[str, dict[str, Any]]:
    """mteb's leaderboard: model -> column -> value."""
    results = mteb.ResultCache(cache_path=cache).load_results(tasks=mteb.get_benchmark(name), include_remote=False)
    rows: list[dict[Any, Any]] = results.get_benchmark_result().to_dict("records")
    return {str(row["Model"]): row for row in rows}


def ours(cache: Path, name: str) -> Board:
    tasks = benchmark(name)
    assert tasks is not None
    (board,) = make_boards(read_runs([cache / "results"]), Choice(lists=[tasks]))
    return board


def number(value: Any) -> float | None:
    """What stands in a frame; a missing number is none."""
    return None if value is None or isnan(value) else float(value)


@pytest.mark.skipif(not SCORES.is_file(), reason="needs ../shared/reference/published_scores.csv")
@pytest.mark.parametrize("name", MODELS)
def test_means_and_borda_ranks_are_those_of_mteb(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, name)
    expected, board = theirs(tmp_path, name), ours(tmp_path, name)
    assert {row.model for row in board.rows} == set(MODELS[name]) == set(expected)
    complete = 0
    for row in board.rows:
        found = expected[row.model]
        means = {"Mean (Task)": row.mean_task, "Mean (TaskType)": row.mean_type, **row.types}
        assert set(means) <= set(found)
        for column, mean in means.items():
            assert mean.score == (None if (value := number(found[column])) is None else pytest.approx(value, abs=1e-12))
        assert row.borda == found["Rank (Borda)"]
        complete += row.mean_task.score is not None
    assert complete >= 6
    assert complete < len(board.rows)
    assert len(board.types) >= 6
    assert len({row.borda for row in board.rows}) > 5


def write_random_files(cache: Path, name: str, draw: Random) -> None:
    """Scores of a few models, many of them equal, on a benchmark's tasks; all but the first lack some."""
    for number, model in enumerate(MODELS["MTEB(eng, v1)"][:6]):
        folder = cache / "results" / model.replace("/", "__") / REVISION
        folder.mkdir(parents=True)
        meta = mteb.get_model_meta(model).to_dict() | {"revision": REVISION}
        (folder / "model_meta.json").write_text(json.dumps(meta), encoding="utf-8")
        for task in mteb.get_benchmark(name).tasks:
            rows = [
                {"score": str(100 * draw.choice([0.2, 0.3, draw.random()])), "split": split, "subset": subset}
                for split in task.eval_splits
                for subset in task.metadata.hf_subsets
                if number == 0 or draw.random() > 0.05
            ]
            if rows:
                found = result(task.metadata.name, rows)
                (folder / f"{task.metadata.name}.json").write_text(json.dumps(found), encoding="utf-8")


# with splits, subsets and parts of them that count
@pytest.mark.parametrize("name", ["MTEB(Indic, v1)", "MTEB(rus, v1.1)", "LongEmbed", "CoIR"])
def test_so_they_are_of_what_is_incomplete(tmp_path: Path, name: str) -> None:
    write_random_files(tmp_path, name, Random(name))
    expected, board = theirs(tmp_path, name), ours(tmp_path, name)
    for row in board.rows:
        for column, mean in {"Mean (Task)": row.mean_task, **row.types}.items():
            value = number(expected[row.model][column])
            assert mean.score == (None if value is None else pytest.approx(value, abs=1e-12))
        assert row.borda == expected[row.model]["Rank (Borda)"]
        # of which nobody knows, it is below 0 there
        assert expected[row.model]["Zero-shot"] == (-1 if row.zero_shot is None else row.zero_shot)


@pytest.mark.parametrize("name", ["HUME(v1)", "RTEB(eng, beta)"])
def test_where_mtebs_are_others_a_footnote_says_so(tmp_path: Path, name: str) -> None:
    write_random_files(tmp_path, name, Random(1))
    expected, board = theirs(tmp_path, name), ours(tmp_path, name)
    assert any(expected[row.model]["Rank (Borda)"] != row.borda for row in board.rows)
    assert any(note.startswith("mteb's leaderboard") for note in board.notes)
