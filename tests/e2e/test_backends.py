"""The real command line with other backends, rerankers and protocols; real weights where there are some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED, Cli
from mteb.cache import ResultCache
from sentence_transformers import SentenceTransformer
from support.fake_server import FakeServer, running
from support.starter_parts import save_starter_parts
from support.tiny import save_bert, save_cross_encoder, save_m3, save_real_words_cross_encoder, save_sentence_model

from evalharness.models.source import find_model

TASKS = ["PartSTSEng", "PartRetrievalEng", "PartClassificationEng", "PartRerankingEng"]
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
COMMIT = "8b3219a92973c328a8e22fadcfa821b5dc75636a"
CUSTOM = Path(__file__).parents[2] / "benchmarks" / "custom"


def main_scores(output: Path, experiment: str = "") -> dict[str, float]:
    (folder,) = output.glob("*/*")
    records = (folder / "experiments" / experiment if experiment else folder).glob("jobs/*/*.json")
    found = [json.loads(path.read_text(encoding="utf-8")) for path in records]
    return {record["job"]["task"]: record["metrics"][record["main_score"]] for record in found}


@pytest.fixture(scope="module")
def served() -> FakeServer:
    model = SentenceTransformer(str(find_model("all-MiniLM-L6-v2").folder), device="cpu")

    def embed(texts: Any) -> list[list[float]]:
        rows: list[list[float]] = model.encode(list(texts)).tolist()
        return rows

    return FakeServer(embed=embed)


def test_all_backends_give_one_models_scores(cli: Cli, tmp_path: Path, served: FakeServer) -> None:
    tasks = ["--tasks", *save_starter_parts(tmp_path / "tasks"), "--output"]
    assert cli("run", "--model", "all-MiniLM-L6-v2", *tasks, "plain").returncode == 0
    wanted = main_scores(tmp_path / "plain")
    assert set(wanted) == set(TASKS)
    for engine in ("onnx", "openvino"):
        done = cli("run", "--model", "all-MiniLM-L6-v2", "--engine", engine, *tasks, engine, "--no-store")
        assert done.returncode == 0, done.stderr
        found = main_scores(tmp_path / engine)
        assert {task: abs(found[task] - wanted[task]) <= 1e-6 for task in TASKS} == dict.fromkeys(TASKS, True)
        record = json.loads(next((tmp_path / engine).rglob("jobs/PartSTSEng/*.json")).read_text())
        assert engine in record["facts"]["engine"]
    with running(served):
        for name, options, experiment in (
            ("all-MiniLM-L6-v2", ["sentence-transformers"], "backend_sentence-transformers"),
            ("all-MiniLM-L6-v2", ["onnx", "--onnx-file", "export"], "backend_onnx__onnx_file_export"),
            (MINILM, ["http", "--url", served.url], "backend_http"),
        ):
            output = tmp_path / experiment
            done = cli("run", "--model", name, "--backend", *options, *tasks, str(output))
            assert done.returncode == 0, done.stderr
            found = main_scores(output, experiment)
            assert {task: abs(found[task] - wanted[task]) <= 1e-4 for task in TASKS} == dict.fromkeys(TASKS, True)


def test_a_reranker_in_every_place(here: Cli, tmp_path: Path) -> None:
    save_real_words_cross_encoder(tmp_path / "reranker")
    alone = here("run", "--model", "reranker", "--tasks", "StarterRerankingEng", "--name", "me/reranker")
    assert alone.returncode == 0, alone.stderr
    none = here("run", "--model", "reranker", "--tasks", "StarterRetrievalEng")
    assert none.returncode == 3
    assert "is a reranker, and StarterRetrievalEng gives no candidates to rank" in none.stderr + none.stdout
    stages = ["--reranker", "reranker", "--rerank-top-k", "5", "--tasks", "StarterRetrievalEng,StarterRerankingEng"]
    assert here("run", "--model", "all-MiniLM-L6-v2", *stages).returncode == 0
    board = here("report", "results").stdout
    assert f"| {MINILM} + local/reranker (top 5) (8b3219a9)" in board
    assert "the 5 best documents of each query were ranked again by local/reranker@" in board
    # mteb's loader reads results of two stages, too
    loaded = ResultCache(tmp_path).load_results(include_remote=False, load_experiments="match_name")
    assert {MINILM, "me/reranker"} <= {result.model_name for result in loaded.model_results}
    sts = here("run", "--model", "all-MiniLM-L6-v2", *stages[:2], "--tasks", "StarterSTSEng")
    assert sts.returncode == 2
    assert "is run with a reranker, which ranks documents, but StarterSTSEng (STS) needs vectors" in sts.stderr


def test_wrong_second_stages(here: Cli, tmp_path: Path) -> None:
    save_bert(tmp_path / "bert")
    save_cross_encoder(tmp_path / "reranker")
    first = "all-MiniLM-L6-v2"
    for model, options, message in (
        (first, ["--rerank-top-k", "5"], "--rerank-top-k is about a second stage; name one with --reranker"),
        (first, ["--reranker", "reranker", "--rerank-top-k", "1001"], "Invalid value for '--rerank-top-k'"),
        (first, ["--reranker", "all-MiniLM-L6-v2"], "is of the kind embedder, and a second stage scores pairs"),
        (first, ["--reranker", "nowhere"], "unknown model 'nowhere'"),
        (first, ["--mode", "sparse"], "the transformers backend has no use for --mode, for"),
        (first, ["--url", "http://x"], "(--url works with --backend http, http-rerank)"),
        ("reranker", ["--normalize"], "the cross-encoder backend has no use for --normalize, for it scores pairs"),
        (first, ["--mode-weights", "a,b"], "--mode-weights are numbers with commas between them"),
        (first, ["--url", "http://x", "--backend", "htpp"], "unknown backend 'htpp': did you mean http"),
        (first, ["--protocol", "published"], "cannot be run by the published protocol"),
        (first, ["--protocol", "publisht"], "unknown protocol 'publisht': did you mean published"),
        ("reranker", ["--reranker", "reranker"], "is a reranker, too; the first stage finds documents"),
        ("bm25", ["--tasks", "StarterSTSEng"], "is a lexical model, which ranks documents, but StarterSTSEng (STS)"),
    ):
        done = here("run", "--model", model, "--tasks", "StarterRetrievalEng", *options)
        assert done.returncode == 2, options
        assert message in done.stderr


def test_modes_of_m3_have_rows_of_their_own(here: Cli, tmp_path: Path) -> None:
    save_m3(tmp_path / "m3")
    shared = ["--model", "m3", "--like", "BAAI/bge-m3", "--max-length", "64"]
    for mode in ("dense", "sparse", "multi-vector", "dense+sparse+multi-vector"):
        weights = ["--mode-weights", "0.4,0.2,0.4"] if "+" in mode else []
        done = here("run", *shared, "--mode", mode, *weights, "--tasks", "StarterRerankingEng")
        assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results").glob("*/*")
    assert len(list((folder / "experiments").iterdir())) == 4
    board = here("report", "results").stdout
    assert board.partition("\n## ")[0].count("\n| local/m3 ") == 4
    assert "mode_multi-vector" in board
    vectors = here("run", *shared, "--mode", "sparse", "--tasks", "StarterSTSEng")
    assert vectors.returncode == 2
    assert "is run with --mode sparse, which ranks documents" in vectors.stderr


def test_protocols_have_folders_and_tables_of_their_own(here: Cli, tmp_path: Path) -> None:
    save_bert(tmp_path / "checkpoint", max_length=512)
    shared = ["run", "--model", "checkpoint", "--like", "BAAI/bge-base-en-v1.5", "--tasks", "StarterSTSEng"]
    for protocol in ("mteb", "published"):
        done = here(*shared, "--protocol", protocol)
        assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results" / "local__checkpoint").glob("*")
    names = {path.name for path in (folder / "experiments").iterdir()}
    assert names == {"like_BAAI_bge-base-en-v1.5", "like_BAAI_bge-base-en-v1.5__protocol_published"}
    board = here("report", "results").stdout
    assert "# all stored tasks (protocol: mteb)" in board
    assert "# all stored tasks (protocol: published)" in board
    loaded = ResultCache(tmp_path).load_results(include_remote=False, load_experiments="match_name")
    assert len([result for result in loaded.model_results if result.model_name == "local/checkpoint"]) == 2


def test_own_cards_on_the_command_line(here: Cli, tmp_path: Path) -> None:
    save_bert(tmp_path / "model", max_length=64)
    (tmp_path / "cards.toml").write_text('["me/base"]\nlike = "BAAI/bge-base-en-v1.5"\nmax_length = 48\n')
    shown = here("list", "models", "me/base", "--cards", "cards.toml")
    assert "maximum length: 48 tokens" in shown.stdout
    done = here("run", "--model", "model", "--like", "me/base", "--cards", "cards.toml", "--tasks", "StarterSTSEng")
    assert done.returncode == 0, done.stderr
    assert "card of me/base" in done.stderr


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/custom, which a user's checkout does not have")
def test_trec_qa_by_three_rankers_in_one_report(
    here: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, common_cache: Path
) -> None:
    # its texts are encoded elsewhere, too
    monkeypatch.setenv("XDG_CACHE_HOME", str(common_cache))
    save_real_words_cross_encoder(tmp_path / "reranker")
    task = str(CUSTOM / "trecqa.toml")
    for options in (["bm25"], ["all-MiniLM-L6-v2"], ["all-MiniLM-L6-v2", "--reranker", "reranker"]):
        done = here("run", "--model", *options, "--engine", "auto", "--tasks", task)
        assert done.returncode == 0, done.stderr
    rows = [line for line in here("report", "results").stdout.splitlines() if line.startswith("| ")]
    scores = {line.split("|")[1].partition(" (")[0].strip(): float(line.split("|")[2].split()[0]) for line in rows[2:5]}
    assert set(scores) == {"mteb/baseline-bm25s", MINILM, f"{MINILM} + local/reranker"}
    # a reranker with random weights is far below both
    assert scores[f"{MINILM} + local/reranker"] < 50 < scores["mteb/baseline-bm25s"] < scores[MINILM]


@pytest.mark.hub
def test_xquad_with_a_second_stage(cli: Cli, tmp_path: Path, hub: str, hub_home: Path) -> None:
    save_real_words_cross_encoder(tmp_path / "reranker")
    online = {"HF_ENDPOINT": hub, "HF_HOME": str(hub_home)}
    # which documents the first stage finds is none of this test's business
    save_sentence_model(tmp_path / "first")
    shared = ["run", "--model", "first", "--tasks", "XQuADRetrieval", "--subsets", "en"]
    stages = ["--reranker", "reranker", "--rerank-top-k", "3", "--save-rankings"]
    done = cli(*shared, *stages, environment=online)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "results").rglob("*.trec")
    ranked: dict[str, int] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        query = line.split()[0]
        ranked[query] = ranked.get(query, 0) + 1
    assert set(ranked.values()) == {3}
