"""What a model says of itself beside its vectors: sizes that are counted, and what its card has."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.local_tasks import jsonl_task
from support.lookup import lookup_model
from support.tiny import (
    DIMENSIONS,
    config,
    save_cross_encoder,
    save_m3,
    save_sentence_model,
    save_t5,
    tokenizer,
)
from transformers import BertModel, T5EncoderModel

from evalharness.catalog.models import NOTHING_KNOWN, ModelFacts
from evalharness.catalog.selection import Selection, select
from evalharness.models.loading import ModelOptions, System, open_embedder, open_model, resolve_model
from evalharness.models.options import Execution
from evalharness.models.readme import README, card_facts, read_readme
from evalharness.models.source import find_model
from evalharness.reports.building.boards import make_boards
from evalharness.results.records import ABOUT
from evalharness.results.stored import read_runs
from evalharness.run.plan import make_plan, run_plan
from evalharness.types import TaskContext, TextColumn, ignore_event

CPU = Execution(device="cpu")
TABLE = tokenizer().vocab_size * DIMENSIONS
BERT = sum(weights.numel() for weights in BertModel(config()).parameters())
CARD = (
    "---\nlicense: apache-2.0\nbase_model: BAAI/bge-base-en-v1.5\ntags:\n- a\n---\n# A model\n---\nlicense: mit\n---\n"
)


def about(folder: Path, **options: Any) -> ModelFacts:
    """Of a model that has encoded something."""
    model = open_embedder(resolve_model(str(folder), ModelOptions(**options)), CPU)
    model.encode(["fern", "soil"])
    return model.about


@pytest.mark.parametrize("backend", ["transformers", "sentence-transformers"])
def test_parameters_are_counted_and_the_vectors_measured(tmp_path: Path, backend: str) -> None:
    facts = about(save_sentence_model(tmp_path / "m"), backend=backend)
    assert facts == ModelFacts(dimensions=DIMENSIONS, parameters=BERT, embedding_parameters=TABLE)
    assert about(tmp_path / "m", backend=backend, dimensions=8).dimensions == 8


@pytest.mark.parametrize("backend", ["transformers", "sentence-transformers"])
def test_layers_behind_the_pooling_count(tmp_path: Path, backend: str) -> None:
    folder = save_t5(tmp_path / "m")
    facts = about(folder, backend=backend)
    # without the half that writes
    encoder = T5EncoderModel.from_pretrained(folder)
    assert facts.parameters == sum(weights.numel() for weights in encoder.parameters()) + DIMENSIONS * 24
    assert (facts.dimensions, facts.embedding_parameters) == (24, TABLE)


def test_packaged_model_is_as_large_as_mteb_says() -> None:
    model = open_embedder(resolve_model("all-MiniLM-L6-v2"), CPU)
    assert (model.about.parameters, model.about.embedding_parameters) == (22713216, 11720448)
    # nothing was encoded yet
    assert model.about.dimensions is None


def test_heads_of_other_vectors_count_and_those_have_no_one_size(tmp_path: Path) -> None:
    folder = save_m3(tmp_path / "m")
    dense, both = {"pooling": "cls"}, {"mode": "sparse+multi-vector", "like": "BAAI/bge-m3", "max_length": 64}
    plain = about(folder, **dense)
    model = open_embedder(resolve_model(str(folder), ModelOptions(**both)), CPU)
    task = TaskContext(name="a", type="Retrieval")
    model.encode_columns([TextColumn("queries", ["fern"], "query")], task, ignore_event)
    heads = (DIMENSIONS + 1) + (DIMENSIONS + 1) * DIMENSIONS
    assert model.about.parameters == (plain.parameters or 0) + heads
    assert (plain.dimensions, model.about.dimensions) == (DIMENSIONS, None)


def test_a_rerankers_parameters_are_counted_and_it_has_no_vectors(tmp_path: Path) -> None:
    reranker = resolve_model(str(save_cross_encoder(tmp_path / "r")))
    # the head on top of the pooled vector
    facts = open_model(System(reranker), CPU).about
    assert facts == ModelFacts(parameters=BERT + DIMENSIONS + 1, embedding_parameters=TABLE)
    first = resolve_model(str(save_sentence_model(tmp_path / "m")))
    both = open_model(System(first, reranker), CPU).about
    assert both == ModelFacts(parameters=BERT, embedding_parameters=TABLE)


def test_a_graph_has_the_parameters_of_the_model_that_it_was_made_of(tmp_path: Path) -> None:
    folder = save_sentence_model(tmp_path / "m")
    pytest.importorskip("onnxruntime")
    facts = about(folder, backend="onnx", onnx_file="export")
    assert facts == ModelFacts(dimensions=DIMENSIONS, parameters=BERT, embedding_parameters=TABLE)


def test_a_card_tells_the_licence_and_the_base_and_changes_no_number(tmp_path: Path) -> None:
    folder = save_sentence_model(tmp_path / "m")
    without = resolve_model(str(folder))
    (folder / README).write_text(CARD)
    with_card = resolve_model(str(folder))
    assert (without.about, with_card.about) == (
        NOTHING_KNOWN,
        ModelFacts(licence="apache-2.0", made_from="BAAI/bge-base-en-v1.5"),
    )
    assert with_card.spec == without.spec
    assert about(folder) == ModelFacts(
        dimensions=DIMENSIONS, parameters=BERT, embedding_parameters=TABLE, licence="apache-2.0",
        made_from="BAAI/bge-base-en-v1.5",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("card", "licence", "base"),
    [
        ({"license": "mit"}, "mit", None),
        ({"license": "other", "license_name": "gemma"}, "gemma", None),
        ({"license": "other"}, "other", None),
        ({"license": ["mit", "apache-2.0"]}, None, None),
        ({"license": ""}, None, None),
        ({"license": 5, "base_model": 5}, None, None),
        ({"base_model": "me/base"}, None, "me/base"),
        ({"base_model": ["me/base"]}, None, "me/base"),
        ({"base_model": ["me/one", "me/other"]}, None, None),
        ({"base_model": "/home/me/checkpoint-500"}, None, None),
        ({"base_model": "me/base\n"}, None, None),
        ({}, None, None),
    ],
)
def test_what_of_a_card_can_be_right_is_taken(card: dict[str, Any], licence: str | None, base: str | None) -> None:
    assert card_facts(card) == ModelFacts(licence=licence, made_from=base)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.booleans())
def test_whatever_a_readme_holds_is_no_error(tmp_path: Path, body: bytes, framed: bool) -> None:
    folder = tmp_path
    (folder / README).write_bytes(b"---\n" + body + b"\n---\n" if framed else body)
    assert isinstance(read_readme(folder), ModelFacts)


@pytest.mark.parametrize(
    "text",
    [
        "---\nlicense: " + "[" * 100_000 + "\n---\n",
        "---\nlicense:\n" + " -\n" * 100_000 + "\n---\n",
        "---\nlicense: !!python/object/apply:os.system ['false']\n---\n",
        "---\nlicense: *nobody\n---\n",
        "---\n- license\n---\n",
        "---\nlicense: mit\n",
        "license: mit\n",
    ],
    ids=["deep", "long", "object", "no anchor", "a list", "no end", "no front matter"],
)
def test_a_card_that_cannot_be_read_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / README).write_text(text)
    assert read_readme(tmp_path) == NOTHING_KNOWN


def test_a_card_that_is_no_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / README).mkdir()
    assert read_readme(tmp_path) == NOTHING_KNOWN
    (tmp_path / README).rmdir()
    os.mkfifo(tmp_path / README)
    assert read_readme(tmp_path) == NOTHING_KNOWN


def test_a_card_with_thousands_of_results_is_read_at_once(tmp_path: Path) -> None:
    results = "model-index:\n- name: x\n  results:\n" + "  - task: {type: STS}\n    value: 1.5\n" * 20_000
    card = f"---\n{results}base_model:\n- me/base\n\nlicense: mit\nlanguage: en\n---\n"
    (tmp_path / README).write_text(card)
    started = time.monotonic()
    assert read_readme(tmp_path) == ModelFacts(licence="mit", made_from="me/base")
    # parsing all of it takes ten
    assert time.monotonic() - started < 1


def test_windows_line_ends_and_no_dates(tmp_path: Path) -> None:
    (tmp_path / README).write_bytes(b"\r\n---\r\ndate: 2024-13-45\r\nlicense: mit\r\n---\r\n")
    assert read_readme(tmp_path).licence == "mit"


def test_the_hub_tells_what_a_card_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import ModelCardData

    folder = save_sentence_model(tmp_path / "m")
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    card: list[ModelCardData | None] = [ModelCardData(license="mit", base_model="me/base"), None]

    def info(*_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names], card_data=card.pop(0))

    monkeypatch.setattr("huggingface_hub.HfApi", lambda: SimpleNamespace(model_info=info))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, name, **__: str(folder / name))
    assert find_model("me/mine").about == ModelFacts(licence="mit", made_from="me/base")
    assert find_model("me/mine").about == NOTHING_KNOWN


def test_a_run_writes_it_and_a_report_reads_it(tmp_path: Path) -> None:
    lines = [{"sentence1": f"fern {n}", "sentence2": f"soil {n * n}", "score": n % 5} for n in range(8)]
    choices = select(Selection(tasks=[str(jsonl_task(tmp_path / "Pairs.toml", "STS", lines))]))
    folder = save_sentence_model(tmp_path / "m")
    resolved = resolve_model(str(folder))
    plan = make_plan(choices, resolved.spec, tmp_path / "out")
    run_plan(plan, open_embedder(resolved, CPU), lambda _: None)
    (path,) = (plan.folder / "jobs" / "Pairs").glob("*.json")
    before = json.loads(path.read_text())
    size: dict[str, Any] = {"dimensions": DIMENSIONS, "parameters": BERT, "embedding_parameters": TABLE}
    assert before["facts"][ABOUT] == size
    (row,) = make_boards(read_runs([tmp_path / "out"]))[0].rows
    assert row.facts == ModelFacts(max_length=64, **size)
    # what is said of a model is nothing that its scores depend on
    (folder / README).write_text(CARD)
    again = resolve_model(str(folder))
    assert make_plan(choices, again.spec, tmp_path / "out").todo == []
    run_plan(
        make_plan(choices, again.spec, tmp_path / "out", overwrite=True), open_embedder(again, CPU), lambda _: None
    )
    after = json.loads(path.read_text())
    assert after["facts"][ABOUT] == {**size, "licence": "apache-2.0", "made_from": "BAAI/bge-base-en-v1.5"}
    assert (after["key"], after["metrics"], after["items"]) == (before["key"], before["metrics"], before["items"])


def test_nothing_is_said_of_what_is_no_file() -> None:
    model = lookup_model()
    assert model.about == NOTHING_KNOWN
    model.encode(["fern"])
    assert model.about == ModelFacts(dimensions=model.encode(["fern"]).shape[1])
