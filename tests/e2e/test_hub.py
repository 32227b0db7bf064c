"""The real command line on real data and real weights through the stand-in Hub."""

from __future__ import annotations

import json
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED, Cli, StartHub
from mteb.cache import ResultCache
from mteb.results import TaskResult
from support.tiny import save_sentence_model

from evalharness.results.items import read_items

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
REVISION = "8b3219a92973c328a8e22fadcfa821b5dc75636a"
# as users have it who name no engine
FASTEST = ("--engine", "auto")
FOLDER = f"results/sentence-transformers__all-MiniLM-L6-v2/{REVISION}"

CUSTOM = Path(__file__).parents[2] / "benchmarks" / "custom"

pytestmark = pytest.mark.hub


@pytest.fixture
def online(hub: str, hub_home: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub, "HF_HOME": str(hub_home)}


@pytest.fixture
def real(common_cache: Path) -> dict[str, str]:
    """For runs that encode much: what was exported or encoded before is found."""
    return {"XDG_CACHE_HOME": str(common_cache)}


def differences(folder: Path, task: str, subsets: set[str]) -> tuple[float, float]:
    """Largest differences from mteb's own results on the same data: of the main score, and of any other metric."""
    reference = json.loads((SHARED / "reference" / "mteb_minilm_open.json").read_text(encoding="utf-8"))
    reference = reference.get(task) or reference[f"custom/{task}"]
    scores = json.loads((folder / f"{task}.json").read_text(encoding="utf-8"))["scores"]
    main = others = 0.0
    seen = set()
    for split, entries in scores.items():
        for entry in entries:
            seen.add(entry["hf_subset"])
            wanted = reference[split][entry["hf_subset"]]
            main = max(main, abs(entry["main_score"] - wanted["main_score"]))
            numbers = {name: value for name, value in wanted.items() if isinstance(value, float) and not isnan(value)}
            others = max(others, *(abs(entry[name] - value) for name, value in numbers.items()))
    assert seen == subsets
    return main, others


def test_scores_are_mtebs_and_mteb_reads_them(
    fresh_cli: Cli, cli: Cli, tmp_path: Path, online: dict[str, str], real: dict[str, str]
) -> None:
    tasks = ["STS13", "PoemSentimentClassification", "XQuADRetrieval"]
    command = [
        "run",
        "--model",
        MODEL,
        *FASTEST,
        "--tasks",
        ",".join(tasks),
        "--languages",
        "eng",
        "--output",
        "results",
    ]
    online |= real
    # from the start of the interpreter on, as users do it; the second run below is forked
    done = fresh_cli(*command, environment=online)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / FOLDER
    for task, subset in zip(tasks, ("default", "default", "en"), strict=True):
        main, others = differences(folder, task, {subset})
        assert main <= 1e-4, task
        assert others <= 1e-3, task
        assert task in done.stdout
    assert FOLDER in done.stdout
    assert "[test, default]: 3,000 texts" in done.stderr
    assert TaskResult.from_disk(folder / "STS13.json").get_score() == pytest.approx(0.8060, abs=1e-4)
    loaded = ResultCache(tmp_path).load_results(models=[MODEL], tasks=tasks, validate_and_filter=False)
    assert {result.task_name for result in loaded.model_results[0].task_results} == set(tasks)
    items = read_items(folder / "jobs/XQuADRetrieval/validation.en.parquet")
    assert set(items.columns) == {"ndcg_at_10", "map_at_1000", "mrr_at_10", "recall_at_100"}
    assert sum(items.columns["ndcg_at_10"]) / len(items.ids) == pytest.approx(0.94357, abs=1e-4)
    check_second_run(cli, command, folder, online)


def check_second_run(cli: Cli, command: list[str], folder: Path, online: dict[str, str]) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = cli(*command, environment=online)
    assert "4 of 4 jobs are done already" in again.stderr
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    plan = cli(*command, "--dry-run", environment=online)
    assert "4 jobs, 4 done; to do: 0 texts" in plan.stdout


def test_other_types_have_mtebs_scores_too(
    cli: Cli, tmp_path: Path, online: dict[str, str], real: dict[str, str]
) -> None:
    # the draws of fast clustering depend on the subsets before; this one is the first of the reference run
    for task, subset in (("Ocnli", "default"), ("Tatoeba", "swh-eng"), ("SIB200ClusteringS2S", "deu_Latn")):
        done = cli("run", "--model", MODEL, *FASTEST, "--tasks", task, "--subsets", subset, environment=online | real)
        assert done.returncode == 0, done.stderr
        main, others = differences(tmp_path / FOLDER, task, {subset})
        assert main <= 1e-4, task
        assert others <= 1e-3, task


def test_local_tasks_have_the_scores_of_mtebs_own_classes(cli: Cli, tmp_path: Path, real: dict[str, str]) -> None:
    files = [str(CUSTOM / f"{name}.toml") for name in ("trecqa", "stackoverflow_legacy")]
    done = cli("run", "--model", "all-MiniLM-L6-v2", *FASTEST, "--tasks", *files, environment=real)
    assert done.returncode == 0, done.stderr
    for task in ("TRECQATest", "StackOverflowTitlesLegacy"):
        main, others = differences(tmp_path / FOLDER, task, {"default"})
        assert main <= 1e-4, task
        assert others <= 1e-3, task


def test_cached_data_and_models_do_without_the_hub(cli: Cli, tmp_path: Path, online: dict[str, str]) -> None:
    command = ["run", "--model", MODEL, "--tasks", "PoemSentimentClassification", "--splits", "test"]
    assert cli(*command, "--output", "a", environment=online).returncode == 0
    offline = cli(*command, "--output", "b", environment={**online, "HF_ENDPOINT": "http://127.0.0.1:9"})
    assert offline.returncode == 0, offline.stderr
    assert "does not answer" in offline.stderr
    score: Any = [json.loads(next((tmp_path / name).rglob("Poem*.json")).read_text())["scores"] for name in "ab"]
    assert score[0] == score[1]


def test_a_missing_data_set_fails_its_job_only(cli: Cli, tmp_path: Path, online: dict[str, str]) -> None:
    done = cli("run", "--model", "all-MiniLM-L6-v2", "--tasks", "ImdbClassification", "PoemSentimentClassification",
               "--splits", "test", environment=online)  # fmt: skip
    assert done.returncode == 3
    assert "ImdbClassification [test, default]: failed: ImdbClassification: the data set mteb/imdb" in done.stderr
    stored = json.loads((tmp_path / FOLDER / "jobs/ImdbClassification/test.default.json").read_text())
    assert "cannot be loaded from the Hub" in stored["error"]
    assert not (tmp_path / FOLDER / "ImdbClassification.json").exists()
    assert (tmp_path / FOLDER / "PoemSentimentClassification.json").exists()


def test_what_the_hub_does_not_have(cli: Cli, tmp_path: Path, online: dict[str, str]) -> None:
    done = cli("run", "--model", "BAAI/bge-base-en-v1.6", "--tasks", "STS12", environment=online)
    assert done.returncode == 2
    assert "unknown model 'BAAI/bge-base-en-v1.6': did you mean BAAI/bge-base-en" in done.stderr
    done = cli("run", "--model", "all-MiniLM-L6-v2", "--tasks", "ImdbClassification", environment=online)
    assert done.returncode == 2
    assert "mteb/imdb" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_model_with_a_missing_file(cli: Cli, start_hub: StartHub, tmp_path: Path) -> None:
    folder = save_sentence_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with start_hub("--model", f"some/model={folder}") as address:
        done = cli("run", "--model", "some/model", "--suite", "starter", environment={"HF_ENDPOINT": address})
    assert done.returncode == 2
    assert "some/model: the weights cannot be loaded" in done.stderr
    assert not (tmp_path / "results").exists()
