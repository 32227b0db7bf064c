"""Local files that are wrong: the message names file, row and column."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.lookup import lookup_model

from evalharness.catalog import local_task
from evalharness.data import column, read_jsonl, text_column
from evalharness.errors import DataError
from evalharness.tasks import task_type
from evalharness.types import TaskContext, ignore_event

Load = Callable[[], Any]


def write_rows(path: Path, rows: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")


def load(folder: Path, kind: str, data: str) -> Any:
    path = folder / "task.toml"
    scores = {"Retrieval": "ndcg_at_10", "STS": "cosine_spearman", "Classification": "accuracy"}
    path.write_text(
        f'name = "Mine"\ntype = "{kind}"\nmain_score = "{scores[kind]}"\nlanguages = ["eng-Latn"]\n[data]\n{data}\n'
    )
    return task_type(kind).from_files(local_task(path), "test")


PAIR = {"sentence1": "a", "sentence2": "b", "score": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([PAIR, {"sentence1": "a", "score": 1}], r"rows.jsonl, row 2: no column 'sentence2' .found sentence1, score"),
        ([PAIR, '{"sentence1": '], r"rows.jsonl, line 2: is no JSON"),
        ([PAIR, "[1]"], r"rows.jsonl, line 2: expected a JSON object, got '\[1\]'"),
        ([PAIR, {**PAIR, "score": 6}], r"rows.jsonl, row 2, column 'score': expected a number from 0 to 5, got 6"),
        ([PAIR, {**PAIR, "score": "high"}], r"column 'score': expected a number from 0 to 5, got 'high'"),
        ([PAIR, {**PAIR, "sentence2": 5}], r"rows.jsonl, row 2, column 'sentence2': expected a text, got '5'"),
        ([PAIR], r"a correlation needs at least 2 pairs"),
        ([], r"rows.jsonl: holds no rows"),
    ],
)
def test_wrong_pairs(tmp_path: Path, rows: list[object], message: str) -> None:
    write_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError, match=message):
        load(tmp_path, "STS", 'format = "jsonl"\nfiles = { test = "rows.jsonl" }')


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    rows = [{"a": "x", "b": "y", "score": 1}, {"a": "z", "b": "y", "score": 2}]
    write_rows(tmp_path / "rows.jsonl", rows)
    data = 'format = "jsonl"\nfiles = { test = "rows.jsonl" }\ncolumns = { sentence1 = "a", sentence2 = "b" }'
    assert list(load(tmp_path, "STS", data).first) == ["x", "z"]


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes('{"sentence1": "\u00e9"}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"rows.jsonl: is not UTF-8 .byte 15.; save it as UTF-8"):
        read_jsonl(tmp_path / "rows.jsonl", {}, ["sentence1"])


def test_labels_must_differ(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"text": "a", "label": "x"}, {"text": "b", "label": "x"}])
    write_rows(tmp_path / "test.jsonl", [{"text": "a", "label": "x"}])
    with pytest.raises(DataError, match=r"train.jsonl: all rows have the label 'x'; expected at least two"):
        load(tmp_path, "Classification", 'format = "jsonl"\nfiles = { train = "train.jsonl", test = "test.jsonl" }')
    with pytest.raises(DataError, match=r"must have .* a file for the split 'train' .found format"):
        load(tmp_path, "Classification", 'format = "jsonl"\nfiles = { test = "test.jsonl" }')


def test_two_text_labels_give_scores_without_ap(tmp_path: Path) -> None:
    rows = [{"text": f"{label} {n}", "label": label} for n in range(12) for label in ("no", "yes")]
    write_rows(tmp_path / "rows.jsonl", rows)
    records = load(
        tmp_path, "Classification", 'format = "jsonl"\nfiles = { train = "rows.jsonl", test = "rows.jsonl" }'
    )
    kind = task_type("Classification")
    context = TaskContext(name="Mine", type="Classification")
    scores = kind.score(records, lookup_model().encode_columns(kind.columns(records), context, ignore_event))
    assert 0 <= scores.metrics["accuracy"] <= 1
    assert scores.metrics["scores_per_experiment"][0]["ap"] is None
    assert len(scores.items.ids) == len(rows)
    assert sum(scores.items.columns["correct"]) / len(rows) == pytest.approx(scores.metrics["accuracy"])


DOCUMENTS = [{"_id": "d1", "title": "T", "text": "x"}, {"_id": "d2", "text": "y"}]
QUERIES = [{"_id": "q1", "text": "?"}]
QRELS = ["query-id\tcorpus-id\tscore", "q1\td1\t2"]


@pytest.mark.parametrize(
    ("documents", "queries", "qrels", "message"),
    [
        ([*DOCUMENTS, DOCUMENTS[0]], QUERIES, QRELS, r"corpus.jsonl: these ids occur more than once: d1"),
        (
            DOCUMENTS,
            QUERIES,
            [*QRELS, "q1\td9\t1"],
            r"test.tsv: the judgement q1 d9 1 names a document 'd9'",
        ),
        (DOCUMENTS, QUERIES, [*QRELS, "q9\td1\t1"], r"names a query 'q9' that is not in the data"),
        (
            DOCUMENTS,
            QUERIES,
            [*QRELS, "q1\td2\thigh"],
            r"test.tsv, line 3: expected query-id",
        ),
        (DOCUMENTS, QUERIES, [*QRELS, "q1 d2 1"], r"test.tsv, line 3: expected"),
        (DOCUMENTS, QUERIES, QRELS[:1], r"test.tsv: judges no query"),
        ([{"_id": "d1"}], QUERIES, QRELS, r"corpus.jsonl, row 1: no column 'text'"),
        ([{"_id": 1, "text": "x"}], QUERIES, QRELS, r"corpus.jsonl, row 1, column '_id': expected a text, got '1'"),
    ],
)
def test_wrong_retrieval_data(
    tmp_path: Path, documents: list[object], queries: list[object], qrels: list[str], message: str
) -> None:
    write_rows(tmp_path / "mine" / "corpus.jsonl", documents)
    write_rows(tmp_path / "mine" / "queries.jsonl", queries)
    write_rows(tmp_path / "mine" / "qrels" / "test.tsv", qrels)
    with pytest.raises(DataError, match=message):
        load(tmp_path, "Retrieval", 'format = "beir"\npath = "mine"')


def test_right_retrieval_data(tmp_path: Path) -> None:
    write_rows(tmp_path / "mine" / "corpus.jsonl", DOCUMENTS)
    write_rows(tmp_path / "mine" / "queries.jsonl", [*QUERIES, {"_id": "q2", "text": "not judged"}])
    write_rows(tmp_path / "mine" / "qrels" / "test.tsv", QRELS)
    records = load(tmp_path, "Retrieval", 'format = "beir"\npath = "mine"')
    assert list(records.corpus) == ["T x", "y"]
    assert list(records.query_ids) == ["q1"]
    assert list(records.qrels) == [{"d1": 2}]
    with pytest.raises(DataError, match=r'a retrieval task needs .data. format = "beir"'):
        load(tmp_path, "Retrieval", 'format = "jsonl"')


def test_columns_of_tables() -> None:
    with pytest.raises(DataError, match=r"here: no column 'c' .found a, b"):
        column({"a": [1], "b": [2]}, "c", "here")
    with pytest.raises(DataError, match=r"here, row 2, column 'a': expected a text, got 'None'"):
        text_column({"a": ["x", None]}, "a", "here")
