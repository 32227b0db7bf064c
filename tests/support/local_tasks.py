"""Small local tasks of every type, right in every way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEXTS = [f"text {number}" for number in range(24)]
PAIR_ROWS = [{"sentence1": text, "sentence2": f"other {n}"} for n, text in enumerate(TEXTS)]
ROWS: dict[str, list[dict[str, Any]]] = {
    "STS": [{**row, "score": n % 6} for n, row in enumerate(PAIR_ROWS)],
    "PairClassification": [{**row, "label": n % 2} for n, row in enumerate(PAIR_ROWS)],
    "Classification": [{"text": text, "label": n % 3} for n, text in enumerate(TEXTS)],
    "MultilabelClassification": [{"text": text, "label": [n % 3, 3]} for n, text in enumerate(TEXTS)],
    "Clustering": [{"text": text, "label": "abc"[n % 3]} for n, text in enumerate(TEXTS)],
    "Reranking": [{"query": text, "positive": ["yes"], "negative": ["no", "never"]} for text in TEXTS],
    "Summarization": [
        {"human_summaries": [text], "machine_summaries": ["a", "b", "c"], "relevance": [1, n % 4, 3]}
        for n, text in enumerate(TEXTS)
    ],
    "BitextMining": PAIR_ROWS,
    "Retrieval": [{"_id": f"d{n}", "text": text} for n, text in enumerate(TEXTS)],
}
MAIN_SCORES = {
    "STS": "cosine_spearman",
    "PairClassification": "max_ap",
    "Classification": "accuracy",
    "MultilabelClassification": "accuracy",
    "Clustering": "v_measure",
    "Reranking": "map_at_1000",
    "Summarization": "cosine_spearman",
    "BitextMining": "f1",
    "Retrieval": "ndcg_at_10",
}


def task_file(path: Path, kind: str, data: str, name: str | None = None) -> Path:
    """A task file whose part about its data is this; without a name, the task has the file's."""
    path.write_text(
        f'name = "{name or path.stem}"\ntype = "{kind}"\nmain_score = "{MAIN_SCORES[kind]}"\n'
        f'languages = ["eng-Latn"]\n[data]\n{data}\n',
        encoding="utf-8",
    )
    return path


def jsonl_task(path: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    """A task of one split, with its rows in a file beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".jsonl").write_bytes(b"".join(line + b"\n" for line in lines(rows)))
    return task_file(path, kind, f'format = "jsonl"\nfiles = {{ test = "{path.stem}.jsonl" }}')


def lines(rows: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


def write(folder: Path, kind: str, rows: list[bytes]) -> Path:
    (folder / "rows.jsonl").write_bytes(b"\n".join(rows) + b"\n")
    files = {"train": "rows.jsonl", "test": "rows.jsonl"}
    if kind == "Retrieval":
        (folder / "queries.jsonl").write_text('{"_id": "q", "text": "?"}\n')
        (folder / "qrels.jsonl").write_text('{"query-id": "q", "corpus-id": "d3", "score": 1}\n')
        files = {"corpus": "rows.jsonl", "queries": "queries.jsonl", "test": "qrels.jsonl"}
    named = ", ".join(f'{part} = "{file}"' for part, file in files.items())
    return task_file(folder / "task.toml", kind, f'format = "jsonl"\nfiles = {{ {named} }}', "Mine")
