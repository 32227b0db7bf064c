"""Two models' results of all task types, and what is said of their difference."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import patch

import pytest

from evalharness.cli.main import execute
from evalharness.compare.explanation import Change, Explanation, Fact
from evalharness.compare.sides import Results, read_side
from evalharness.models import loading, opening
from evalharness.run.explaining import ExplainRequest, explain
from support.local_tasks import ROWS, jsonl_task, lines, task_file
from support.small_runs import save_small_tasks
from support.tiny import save_sentence_model

OF_ROWS = ("PairClassification", "BitextMining", "Clustering", "Summarization", "Reranking")
NAMES = ["SmallPairs", "SmallSearch", "SmallLabels", *(f"My{kind}" for kind in OF_ROWS), "MyMulti"]
OPEN = opening.open_backend
# as tiny models have little to say of texts of two words
WORDS = ("ferns", "shade of trees", "a puncture", "glue", "bread", "yeast and salt", "the harbour", "tide")
SUMMARIES = [
    {
        "human_summaries": [f"{WORDS[n % 8]} {n}"],
        "machine_summaries": [WORDS[(n + step) % 8] for step in range(4)],
        "relevance": [1, n % 4, 3, 2],
    }
    for n in range(24)
]
RERANKED = [
    {"query": f"{WORDS[n % 8]} {n}", "positive": [WORDS[(n + 1) % 8]], "negative": [WORDS[(n + 3) % 8], WORDS[n % 5]]}
    for n in range(24)
]


def save_tasks(folder: Path) -> list[str]:
    rows = {**ROWS, "Summarization": SUMMARIES, "Reranking": RERANKED}
    rows["BitextMining"] = [{"sentence1": f"{WORDS[n % 8]} {n}", "sentence2": f"{n} {WORDS[n % 7]}"} for n in range(24)]
    rows["PairClassification"] = [{**row, "label": n % 2} for n, row in enumerate(rows["BitextMining"])]
    files = save_small_tasks(folder)
    files += [str(jsonl_task(folder / f"My{kind}.toml", kind, rows[kind])) for kind in OF_ROWS]
    labelled = [{"text": f"{WORDS[n % 8]} {n}", "label": [n % 3, 3 + n % 2]} for n in range(24)]
    (folder / "multi.jsonl").write_bytes(b"\n".join(lines(labelled)))
    data = 'format = "jsonl"\nfiles = { train = "multi.jsonl", test = "multi.jsonl" }'
    return [*files, str(task_file(folder / "MyMulti.toml", "MultilabelClassification", data))]


def run(folder: Path, model: Path, tasks: list[str], output: str, *more: str) -> None:
    store, results = str(folder / "store"), str(folder / output)
    command = ["run", "--model", str(model), "--tasks", *tasks, "--store", store, "--output", results, *more]
    with patch.object(loading, "open_backend", OPEN):
        assert execute(command) == 0


def save_runs(folder: Path) -> Path:
    """Two models' results of all types, and their vectors; no ranking is kept."""
    tasks = save_tasks(folder / "tasks")
    run(folder, save_sentence_model(folder / "model"), tasks, "base")
    run(folder, folder / "model", tasks, "candidate", "--pooling", "cls", "--max-length", "6")
    return folder


def refuse_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a backend fails, but for `run`."""

    def refuse(*_: object) -> None:
        raise AssertionError("a backend was opened")

    monkeypatch.setattr(opening, "open_backend", refuse)
    monkeypatch.setattr(loading, "open_backend", refuse)


def sides(folder: Path) -> tuple[Results, Results]:
    return read_side(str(folder / "base")), read_side(str(folder / "candidate"))


def explained(folder: Path, name: str, items: int = 10) -> Explanation:
    base, candidate = sides(folder)
    request = ExplainRequest(str(folder / "tasks" / f"{name}.toml"), items, folder / "store")
    return explain(base, candidate, request)


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def of(change: Change, name: str) -> Fact:
    (found,) = (fact for fact in change.facts if fact.name == name)
    return found
