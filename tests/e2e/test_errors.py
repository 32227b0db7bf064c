"""Bad input: a message that says what to do, exit code 2, and no file."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Cli
from support.tiny import save_bert, save_cross_encoder

MINILM = "all-MiniLM-L6-v2"


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (
            ["--model", "bge-base-en-v1.5", "--tasks", "STS1", "Bankin77", "--suite", "startr", "--pooling", "max"],
            ["unknown model 'bge-base-en-v1.5'", "unknown task 'STS1': did you mean STS1", "unknown task 'Bankin77'",
             "unknown suite 'startr': did you mean starter",
             "--pooling must be cls or mean or weightedmean or lasttoken"],
        ),
        (["--model", MINILM, "--benchmark", "MTEB(eng, v3)"], ["unknown benchmark 'MTEB(eng, v3)': did you mean MTEB"]),
        (["--model", MINILM, "--tasks", "STSB", "--splits", "tset"], ["STSB has no split tset; it has"]),
        (["--model", MINILM, "--tasks", "XQuADRetrieval", "--subsets", "en,zz"], ["unknown subset 'zz'"]),
        (["--model", MINILM, "--tasks", ""], ["--tasks is empty"]),
        (["--model", MINILM, "--tasks", "", "--suite", " , "], ["--tasks is empty", "--suite is empty"]),
        (["--model", MINILM, "--protocol", "publishd", "--tasks", "STS12"], ["unknown protocol 'publishd'"]),
        (["--model", MINILM, "--like", "BAAI/bge", "--tasks", "STS12"], ["unknown model card 'BAAI/bge'"]),
        (["--model", MINILM, "--tasks", "STS12", "--max-length", "0"], ["must be at least 1 token, got 0"]),
        (["--model", MINILM, "--suite", "starter", "--output", "file/out"], ["is not a writable folder", "--output"]),
        (["--model", MINILM, "--suite", "starter", "--device", "cuda:9"], ["the device 'cuda:9' cannot be used here"]),
        (["--model", "./file"], ["unknown model './file'", "an existing folder"]),
        (["--model", "BAAI/bge-small-en-v1.5", "--tasks", "STS12"], ["does not answer", "is not available"]),
        (["--model", MINILM, "--tasks", "STS12"], ["mteb/sts12-sts", "cannot be loaded from the Hub", "HF_ENDPOINT"]),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)  # fmt: skip
def test_bad_input(cli: Cli, tmp_path: Path, arguments: list[str], messages: list[str]) -> None:
    (tmp_path / "file").write_text("")
    done = cli("run", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    for message in messages:
        assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} - {"hf", "cache"} == {"file"}
    # of a model that was opened before its data were found out of reach
    assert {path.name for path in tmp_path.glob("cache/*/*")} <= {"openings"}


def test_folders_that_are_no_encoder(here: Cli, tmp_path: Path) -> None:
    for name, message in (
        ("empty", "holds no model: expected config.json or modules.json, found nothing"),
        ("bare", "nothing tells how to pool"),
        ("reranker", "local/reranker is a reranker, which ranks documents, but StarterSTSEng (STS) needs vectors"),
        ("embedder", "is a cross-encoder (BertForSequenceClassification): it scores pairs and has no embeddings"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        if name == "bare":
            save_bert(folder)
        if name in ("reranker", "embedder"):
            save_cross_encoder(folder)
        extra = ["--pooling", "cls", "--backend", "transformers"] if name == "embedder" else []
        done = here("run", "--model", str(folder), "--suite", "starter", *extra)
        assert done.returncode == 2
        assert message in done.stderr
        assert not (tmp_path / "results").exists()


def test_reports_without_results(cli: Cli) -> None:
    done = cli("report", "nowhere")
    assert done.returncode == 2
    assert "no such folder: " in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_version(fresh_cli: Cli) -> None:
    assert "run" in fresh_cli("--help").stdout
    assert "--dry-run" in fresh_cli("run", "--help").stdout
    assert fresh_cli("--version").stdout.strip() == "0.1.0"
    assert fresh_cli("rnu").returncode == 2


def test_a_card_shows_its_exact_prompts(here: Cli) -> None:
    shown = here("list", "models", "BAAI/bge-base-zh-v1.5", "--code-points").stdout
    assert "query: 为这个句子生成表示以用于检索相关文章：" in shown
    # the full-width colon
    assert "U+7AE0 U+FF1A\n" in shown
    assert "published protocol: FlagEmbedding, research/C_MTEB/eval_C-MTEB.py" in shown
    assert "query: query:\u2423\n" in here("list", "models", "intfloat/e5-base-v2").stdout
    assert "prompts: none" in here("list", "models", "thenlper/gte-base").stdout
    assert "layer norm: after the pooling" in here("list", "models", "nomic-ai/nomic-embed-text-v1.5").stdout
    reranker = here("list", "models", "Qwen/Qwen3-Reranker-0.6B").stdout
    assert "backend: llm-reranker" in reranker
    assert "pair template: qwen3" in reranker
    assert "pooling" not in reranker
    wrong = here("list", "models", "BAAI/bge-base-en-v1.6")
    assert wrong.returncode == 2
    assert "unknown model card 'BAAI/bge-base-en-v1.6': did you mean BAAI/bge-base-en-v1.5" in wrong.stderr
