"""A local retrieval task with candidates, against mteb's retrieval with `top_ranked`."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.compare import differences, mteb_scores
from support.lookup import Vectorize, coarse, lookup_model, smooth
from support.synthetic import make_task, retrieval_split
from support.texts import sentence

from evalharness.catalog.tasks import local_task
from evalharness.tasks import task_type
from evalharness.types import TaskContext, ignore_event

HEAD = 'name = "Mine"\ntype = "Retrieval"\nlanguages = ["eng-Latn"]\n[data]\nformat = "jsonl"\n'


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize("vectorize", [smooth, coarse], ids=["smooth", "ties"])
def test_scores_equal_mteb(tmp_path: Path, vectorize: Vectorize) -> None:
    rng = random.Random(4)
    corpus = [{"_id": f"d{n}", "title": rng.choice(["", "A title"]), "text": sentence(rng)} for n in range(60)]
    queries = [{"_id": f"q{n}", "text": sentence(rng)} for n in range(20)]
    ids = [row["_id"] for row in corpus]
    qrels = {row["_id"]: {name: rng.choice([0, 1, 2]) for name in rng.sample(ids, 6)} for row in queries}
    top = {row["_id"]: rng.sample(ids, rng.randint(1, 25)) for row in queries}
    top["q1"] *= 2
    del top["q2"]

    write(tmp_path / "corpus.jsonl", corpus)
    write(tmp_path / "queries.jsonl", queries)
    judged = ((query, name, grade) for query, grades in qrels.items() for name, grade in grades.items())
    write(tmp_path / "test.jsonl", ({"query-id": q, "corpus-id": name, "score": grade} for q, name, grade in judged))
    write(
        tmp_path / "candidates.jsonl",
        ({"query-id": q, "corpus-id": name} for q, names in top.items() for name in names),
    )
    files = ", ".join(f'{part} = "{part}.jsonl"' for part in ("corpus", "queries", "test", "candidates"))
    (tmp_path / "task.toml").write_text(f"{HEAD}files = {{ {files} }}\n")

    kind = task_type("Retrieval")
    records = kind.from_files(local_task(tmp_path / "task.toml"), "test")
    context = TaskContext(name="Mine", type="Retrieval")
    vectors = lookup_model(vectorize).encode_columns(kind.columns(records), context, ignore_event)
    found = kind.score(records, vectors).metrics

    documents, asked = ([{"id": row.pop("_id"), **row} for row in table] for table in (corpus, queries))
    task = make_task("Retrieval", {"default": {"test": retrieval_split(documents, asked, qrels, top)}})
    theirs = mteb_scores(task, "test", "default", vectorize)
    assert differences(found | {"main_score": found["ndcg_at_10"]}, theirs) == []
