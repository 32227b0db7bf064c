"""Facts and zero-shot shares of public models are those of mteb's leaderboard."""

from __future__ import annotations

from pathlib import Path

import mteb
import pytest
from mteb.benchmarks._create_table import _static_model_meta, _zero_shot_pct_cached
from mteb.models.get_model_meta import _MODEL_RENAMES
from mteb.models.model_implementations import MODEL_REGISTRY

from evalharness.catalog.models import model_facts
from evalharness.catalog.tasks import benchmark
from evalharness.reports.building.boards import Choice, make_boards
from evalharness.results.stored import StoredRun

BENCHMARKS = ["MTEB(eng, v1)", "MTEB(eng, v2)", "MTEB(cmn, v1)", "MTEB(Multilingual, v2)", "BEIR-NL"]
TEN = [
    "BAAI/bge-base-en-v1.5",
    "BAAI/bge-m3",
    "BAAI/bge-multilingual-gemma2",
    "sentence-transformers/all-MiniLM-L6-v2",
    "intfloat/multilingual-e5-large",
    "nvidia/NV-Embed-v2",
    "Qwen/Qwen3-Embedding-8B",
    "intfloat/e5-mistral-7b-instruct",
    "openai/text-embedding-3-large",
    "mteb/baseline-bm25s",
]
READ_TEXT = {name: meta for name, meta in MODEL_REGISTRY.items() if "text" in meta.modalities}


def run(name: str) -> StoredRun:
    return StoredRun(name, "1" * 40, {}, {}, Path(name))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_zero_shot_shares_and_marks_are_mtebs(name: str) -> None:
    listed = benchmark(name)
    assert listed is not None
    (board,) = make_boards([run(model) for model in READ_TEXT], Choice(lists=[listed]))
    tasks = tuple(task.metadata.name for task in mteb.get_benchmark(name).tasks)
    assert sorted(board.tasks) == sorted(tasks)
    rows = {row.model: row for row in board.rows}
    assert {model: row.zero_shot for model, row in rows.items()} == {
        model: _zero_shot_pct_cached(model, tasks) for model in READ_TEXT
    }
    # and by its other way
    for model in TEN:
        assert rows[model].zero_shot == MODEL_REGISTRY[model].zero_shot_percentage(tasks)
        trained_on = MODEL_REGISTRY[model].get_training_datasets()
        marks = {task: cell.is_trained_on for task, cell in rows[model].cells.items()}
        assert marks == {task: None if trained_on is None else task in trained_on for task in tasks}
    shares = {row.zero_shot for row in rows.values()}
    assert None in shares
    assert len(shares) > len(BENCHMARKS)


def test_facts_are_the_leaderboards() -> None:
    shown = _static_model_meta()
    for name, meta in READ_TEXT.items():
        facts = model_facts(name)
        assert facts is not None
        assert facts.dimensions == shown[name]["Embedding Dimensions"], name
        assert facts.max_length == shown[name]["Max Tokens"], name
        assert facts.release_date == shown[name]["Release Date"], name
        assert facts.link == shown[name]["_model_link"], name
        assert (facts.parameters, facts.licence) == (meta.n_parameters, meta.license), name
        assert facts.embedding_parameters == meta.n_embedding_parameters, name
        assert (facts.is_open, facts.superseded_by) == (meta.open_weights, meta.superseded_by), name


def test_models_are_found_by_the_names_that_they_had() -> None:
    for old, new in _MODEL_RENAMES.items():
        if new in READ_TEXT:
            assert model_facts(old) == model_facts(new) != None  # noqa: E711 -- both, and there is one
