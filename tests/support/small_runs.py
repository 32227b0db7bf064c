"""Three local tasks of a few rows and a tiny model: a whole run takes a second."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.local_tasks import jsonl_task, task_file
from support.tiny import save_cross_encoder, save_sentence_model

# `make soak` disturbs runs many times, every push a few times
SOAK = bool(os.environ.get("EVALHARNESS_SOAK"))
_WORDS = (
    "ferns",
    "shade",
    "puncture",
    "glue",
    "bread",
    "yeast",
    "harbour",
    "tide",
    "violin",
    "string",
    "snow",
    "sledge",
)


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _text(number: int) -> str:
    return f"{_WORDS[number % 12]} and {_WORDS[(number * 5 + 1) % 12]} {number}"


def save_small_place(folder: Path) -> Path:
    """A model, a reranker and tasks below a folder."""
    save_sentence_model(folder / "model")
    save_cross_encoder(folder / "reranker")
    save_small_tasks(folder / "tasks")
    return folder


def save_small_tasks(folder: Path) -> list[str]:
    """Task files for similarity, retrieval and classification."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [{"sentence1": _text(n), "sentence2": _text(n + n % 3), "score": 5 - n % 6} for n in range(24)]
    _lines(folder / "search" / "corpus.jsonl", [{"_id": f"d{n}", "title": "", "text": _text(n)} for n in range(30)])
    _lines(folder / "search" / "queries.jsonl", [{"_id": f"q{n}", "text": _text(2 * n)} for n in range(8)])
    judged = "".join(f"q{n}\td{2 * n}\t1\n" for n in range(8))
    (folder / "search" / "qrels").mkdir()
    (folder / "search" / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", encoding="utf-8")
    for split in ("train", "test"):
        _lines(folder / f"{split}.jsonl", [{"text": _text(n), "label": _WORDS[n % 2]} for n in range(24)])
    files = [
        jsonl_task(folder / "SmallPairs.toml", "STS", pairs),
        task_file(folder / "SmallSearch.toml", "Retrieval", 'format = "beir"\npath = "search"'),
        task_file(
            folder / "SmallLabels.toml",
            "Classification",
            'format = "jsonl"\nfiles = { train = "train.jsonl", test = "test.jsonl" }',
        ),
    ]
    return list(map(str, files))


def small_command(folder: Path) -> list[str]:
    """A run of all three with a tiny model, into `results` and `store` of wherever it is started."""
    model = save_sentence_model(folder / "model")
    tasks = save_small_tasks(folder / "tasks")
    return ["run", "--model", str(model), "--tasks", *tasks, "--store", "store", "--output", "results"]


def contents(folder: Path) -> dict[str, str]:
    """What must not depend on any disturbance: scores and per-item scores below `folder`, byte for byte, by file."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".parquet":
            found[name] = path.read_bytes().hex()
        elif path.suffix == ".json":
            value = json.loads(path.read_text(encoding="utf-8"))
            found[name] = json.dumps(value.get("scores", value.get("metrics", value.get("name"))), sort_keys=True)
    return found


def differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Names of the files that are not the same."""
    return sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))


def state(output: Path) -> dict[str, object]:
    """All files but the log, without what the clock says."""
    found: dict[str, object] = {}
    for path in (
        path for path in sorted(output.rglob("*")) if path.is_file() and path.name not in ("run.log", ".lock")
    ):
        value: object = path.read_bytes()
        if path.suffix == ".json":
            value = json.loads(path.read_bytes())
            assert isinstance(value, dict)
            value = json.dumps(value | dict.fromkeys(("date", "written", "seconds", "evaluation_time")), sort_keys=True)
        found[str(path.relative_to(output))] = value
    return found
