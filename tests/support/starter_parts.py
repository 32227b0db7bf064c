"""A third of the English starter tasks of four types, where each model that encodes them costs seconds."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from evalharness.catalog.tasks import tasks_folder

_QUERIES, _PAIRS, _CANDIDATES = 30, 50, 15
# by label; an experiment draws eight of those to train on
_TRAINED, _TESTED = 12, 5
_STARTER = tasks_folder() / "starter"


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (_STARTER / name).read_text(encoding="utf-8").splitlines()]


def _by_label(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    groups = defaultdict(list)
    for row in rows:
        groups[row["label"]].append(row)
    return [row for group in groups.values() for row in group[:count]]


def save_starter_parts(folder: Path) -> list[str]:
    """Task files; each task is named Part instead of Starter, and retrieval has the documents of its queries alone."""
    head, *lines = (_STARTER / "retrieval_eng" / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()
    queries = _rows("retrieval_eng/queries.jsonl")[:_QUERIES]
    asked = {row["_id"] for row in queries}
    judged = [line for line in lines if line.split("\t")[0] in asked]
    documents = {line.split("\t")[1] for line in judged}
    parts = {
        "sts_eng/test": _rows("sts_eng/test.jsonl")[:_PAIRS],
        "retrieval_eng/queries": queries,
        "retrieval_eng/corpus": [row for row in _rows("retrieval_eng/corpus.jsonl") if row["_id"] in documents],
        "classification_eng/train": _by_label(_rows("classification_eng/train.jsonl"), _TRAINED),
        "classification_eng/test": _by_label(_rows("classification_eng/test.jsonl"), _TESTED),
        "reranking_eng/test": _rows("reranking_eng/test.jsonl")[:_CANDIDATES],
    }
    for name, rows in parts.items():
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "retrieval_eng" / "qrels").mkdir()
    (folder / "retrieval_eng" / "qrels" / "test.tsv").write_text("\n".join([head, *judged, ""]), encoding="utf-8")
    files = [folder / f"{kind}.toml" for kind in dict.fromkeys(name.partition("/")[0] for name in parts)]
    for file in files:
        whole = (_STARTER / file.name).read_text(encoding="utf-8")
        file.write_text(whole.replace('"Starter', '"Part'), encoding="utf-8")
    return list(map(str, files))
