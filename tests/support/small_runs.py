"""Three local tasks of a few rows and a tiny model: a whole run takes a second; and runs of it in forked children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.tiny import save_sentence_model

ROOT = Path(__file__).parents[2]
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


def _task(path: Path, kind: str, main_score: str, data: str) -> str:
    path.write_text(
        f'name = "{path.stem}"\ntype = "{kind}"\nmain_score = "{main_score}"\n'
        f'languages = ["eng-Latn"]\n[data]\n{data}\n',
        encoding="utf-8",
    )
    return str(path)


def _text(number: int) -> str:
    return f"{_WORDS[number % 12]} and {_WORDS[(number * 5 + 1) % 12]} {number}"


def save_small_tasks(folder: Path) -> list[str]:
    """Task files for similarity, retrieval and classification."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [{"sentence1": _text(n), "sentence2": _text(n + n % 3), "score": 5 - n % 6} for n in range(24)]
    _lines(folder / "pairs.jsonl", pairs)
    _lines(folder / "search" / "corpus.jsonl", [{"_id": f"d{n}", "title": "", "text": _text(n)} for n in range(30)])
    _lines(folder / "search" / "queries.jsonl", [{"_id": f"q{n}", "text": _text(2 * n)} for n in range(8)])
    judged = "".join(f"q{n}\td{2 * n}\t1\n" for n in range(8))
    (folder / "search" / "qrels").mkdir()
    (folder / "search" / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", encoding="utf-8")
    for split in ("train", "test"):
        _lines(folder / f"{split}.jsonl", [{"text": _text(n), "label": _WORDS[n % 2]} for n in range(24)])
    return [
        _task(
            folder / "SmallPairs.toml", "STS", "cosine_spearman", 'format = "jsonl"\nfiles = { test = "pairs.jsonl" }'
        ),
        _task(folder / "SmallSearch.toml", "Retrieval", "ndcg_at_10", 'format = "beir"\npath = "search"'),
        _task(
            folder / "SmallLabels.toml",
            "Classification",
            "accuracy",
            'format = "jsonl"\nfiles = { train = "train.jsonl", test = "test.jsonl" }',
        ),
    ]


def small_command(folder: Path) -> list[str]:
    """A run of all three with a tiny model, into `results` and `store` of wherever it is started."""
    model = save_sentence_model(folder / "model")
    tasks = save_small_tasks(folder / "tasks")
    return ["run", "--model", str(model), "--tasks", *tasks, "--store", "store", "--output", "results"]


def run_forked(*arguments: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """What `forked.py` found."""
    one_thread = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(ROOT)}
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "forked.py"), *arguments],
        env={**os.environ, **one_thread, **nowhere, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
