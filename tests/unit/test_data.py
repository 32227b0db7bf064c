"""Local files: every format is read, and what is wrong is named by file, row and column."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.local_tasks import MAIN_SCORES, task_file
from support.lookup import lookup_model

from evalharness.catalog.tasks import local_task
from evalharness.data.mteb import column, text_column
from evalharness.errors import DataError, UsageError
from evalharness.tasks import check_runnable, task_type
from evalharness.types import TaskContext, ignore_event

Load = Callable[[], Any]


def write_rows(path: Path, rows: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")


def write_task(folder: Path, kind: str, data: str) -> Path:
    return task_file(folder / "task.toml", kind, data, "Mine")


def load(folder: Path, kind: str, data: str) -> Any:
    return task_type(kind).from_files(local_task(write_task(folder, kind, data)), "test")


PAIR = {"sentence1": "a", "sentence2": "b", "score": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([PAIR, {"sentence1": "a", "score": 1}], r"rows.jsonl, row 2: no column 'sentence2' .found sentence1, score"),
        ([PAIR, '{"sentence1": '], r"rows.jsonl, line 2: is no JSON"),
        ([PAIR, "[1]"], r"rows.jsonl, line 2: expected a JSON object, got '\[1\]'"),
        (
            [PAIR, {**PAIR, "score": 6}],
            r"rows.jsonl, row 2, column 'score': expected a number from 0 to 5, got 6 .a number",
        ),
        ([PAIR, {**PAIR, "score": "high"}], r"column 'score': expected a number from 0 to 5, got 'high'"),
        ([PAIR, {**PAIR, "sentence2": 5}], r"rows.jsonl, row 2, column 'sentence2': expected a text, got 5 .a number"),
        ([PAIR, {**PAIR, "score": True}], r"column 'score': expected a number from 0 to 5, got true"),
        ([PAIR, '{"sentence1": "a", "sentence2": "b", "score": NaN}'], r"line 2: is no JSON .NaN is no number"),
        (
            [PAIR, {**PAIR, "sentence1": "  "}],
            r"row 2, column 'sentence1': the text is empty; mend it, or",
        ),
        ([PAIR, r'{"sentence1": "a", "sentence2": "\ud800", "score": 2}'], r"character 1 is half of a pair"),
        ([PAIR], r"all 1 pairs have the score 1; a correlation needs"),
        ([PAIR, PAIR], r"all 2 pairs have the score 1; a correlation needs"),
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
        load(tmp_path, "STS", 'format = "jsonl"\nfiles = { test = "rows.jsonl" }')


ROWS = [{"sentence1": f"one, {n}", "sentence2": 'two "x"', "score": n} for n in range(4)]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    frame, path = pd.DataFrame(ROWS), tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        write_rows(path, ROWS)
    elif kind == "parquet":
        frame.to_parquet(path)
    elif kind == "csv":
        frame.to_csv(path, index=False, encoding="utf-8-sig")
    else:
        cells = [list(ROWS[0]), *(row.values() for row in ROWS)]
        path.write_text("\n".join("\t".join(map(str, line)) for line in cells))
    records = load(tmp_path, "STS", f'format = "{kind}"\nfiles = {{ test = "rows.{kind}" }}')
    assert list(records.first) == [row["sentence1"] for row in ROWS]
    assert set(records.second) == {'two "x"'}
    assert list(records.gold) == [0, 0.2, 0.4, 0.6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sentence1,sentence2,score\na,b,1\na,b,c,2\n",
            r"rows.csv, row 2: has 4 cells, and the header has 3; quote cells that hold ','",
        ),
        ("sentence1,sentence2,score\na,b,c,1\na,b,c,2\n", r"rows.csv, row 1: has 4 cells, and the header has 3"),
        (
            "sentence1,sentence2,score\na,b,1\na,b\n",
            r"rows.csv, row 2: has 2 cells, the header 3",
        ),
        ("sentence1,sentence2,score\na,b,1\na,,2\n", r"rows.csv, row 2, column 'sentence2': the text is empty"),
        ("sentence1,sentence2,score\na,b,1\na,b,x\n", r"row 2, column 'score': expected a number from 0 to 5, got 'x'"),
        ("sentence1,sentence2,score\na,b,nan\n", r"expected a number from 0 to 5, got 'nan'"),
        ("sentence1;sentence2;score\na;b;1\n", r'a single cell, .sentence1;s.* write delimiter = ";" into'),
        ("", "rows.csv: holds no rows"),
        ('sentence1,sentence2,score\n"a,b,1\n', "is no table"),
    ],
)
def test_wrong_csv(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load(tmp_path, "STS", 'format = "csv"\nfiles = { test = "rows.csv" }')


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_text("sentence1,sentence2,score\n")
    with pytest.raises(DataError, match=r"rows.parquet: is no Parquet file"):
        load(tmp_path, "STS", 'format = "parquet"\nfiles = { test = "rows.parquet" }')


TEXTS = [f"text {n}" for n in range(20)]
GOOD: dict[str, list[dict[str, Any]]] = {
    "STS": [{"sentence1": text, "sentence2": "b", "score": n % 6} for n, text in enumerate(TEXTS)],
    "Reranking": [{"query": text, "positive": ["yes"], "negative": ["no", "never"]} for text in TEXTS],
    "Classification": [{"text": text, "label": n % 3} for n, text in enumerate(TEXTS)],
    "MultilabelClassification": [{"text": text, "label": [n % 3, 3]} for n, text in enumerate(TEXTS)],
    "PairClassification": [{"sentence1": text, "sentence2": "b", "label": n % 2} for n, text in enumerate(TEXTS)],
    "Clustering": [{"text": text, "label": "abc"[n % 3]} for n, text in enumerate(TEXTS)],
    "Summarization": [
        {"human_summaries": [text], "machine_summaries": ["a", "b", "c"], "relevance": [1, n % 4, 3]}
        for n, text in enumerate(TEXTS)
    ],
    "BitextMining": [{"sentence1": text, "sentence2": text.upper()} for text in TEXTS],
}


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_every_type_can_be_local(tmp_path: Path, kind: str, form: str) -> None:
    path = tmp_path / f"rows.{form}"
    if form == "jsonl":
        write_rows(path, GOOD[kind])
    elif form == "parquet":
        pd.DataFrame(GOOD[kind]).to_parquet(path)
    else:
        cells = [
            {name: json.dumps(value) if isinstance(value, list) else value for name, value in row.items()}
            for row in GOOD[kind]
        ]
        pd.DataFrame(cells).to_csv(path, index=False)
    data = f'format = "{form}"\nfiles = {{ train = "{path.name}", test = "{path.name}" }}'
    spec = local_task(write_task(tmp_path, kind, data))
    check_runnable([spec])
    found, records = task_type(kind), load(tmp_path, kind, data)
    context = TaskContext(name="Mine", type=kind)
    scores = found.score(records, lookup_model().encode_columns(found.columns(records), context, ignore_event))
    assert np.isfinite(scores.metrics[MAIN_SCORES[kind]])
    assert len(scores.items.ids) == len(next(iter(scores.items.columns.values()))) > 0
    assert all(value >= 0 for value in found.counts(records).values())
    numbers = {name for name, value in scores.metrics.items() if isinstance(value, float) and "nauc" not in name}
    assert set(numbers) <= set(found.metric_names)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("Reranking", {"positive": []}, r"expected a list, at least one in it, got \[\] .a list"),
        ("Reranking", {"negative": "no"}, r"row 20, column 'negative': expected a list"),
        ("Reranking", {"negative": [""]}, r"column 'negative': the text is empty"),
        ("PairClassification", {"label": 2}, r"row 20, column 'label': expected 0 or 1, got 2"),
        ("PairClassification", {"label": "yes"}, r"column 'label': expected a whole number, got 'yes'"),
        ("Classification", {"label": "x"}, r"column 'label': expected a label like 0 .a number., got 'x' .a text"),
        ("Classification", {"label": 1.5}, r"expected a label .text or whole number., got 1.5"),
        ("MultilabelClassification", {"label": 1}, r"row 20, column 'label': expected a list"),
        ("MultilabelClassification", {"label": [[1]]}, r"expected a label .text or whole number."),
        ("Clustering", {"label": ["a"]}, r"expected a label .text or whole number."),
        ("Summarization", {"relevance": [1, 2]}, r"row 20, column 'relevance': expected a rating for each of the 3"),
        ("Summarization", {"relevance": [1, 2, 9]}, r"expected a number from 0 to 5, got 9 .a number"),
        ("BitextMining", {"sentence2": None}, r"row 20: column 'sentence2' is empty .null"),
    ],
)  # fmt: skip
def test_wrong_rows_of_every_type(tmp_path: Path, kind: str, change: dict[str, Any], message: str) -> None:
    write_rows(tmp_path / "rows.jsonl", [*GOOD[kind][:-1], GOOD[kind][-1] | change])
    with pytest.raises(DataError, match=message):
        load(tmp_path, kind, 'format = "jsonl"\nfiles = { train = "rows.jsonl", test = "rows.jsonl" }')


def test_cluster_sets(tmp_path: Path) -> None:
    rows = [{"texts": TEXTS[:4], "labels": [0, 0, 1, 1]}, {"texts": TEXTS[4:7], "labels": ["a", "b", "b"]}]
    write_rows(tmp_path / "rows.jsonl", rows)
    data = 'format = "jsonl"\nfiles = { test = "rows.jsonl" }'
    with pytest.raises(DataError, match=r'cluster sets .texts, labels. need protocol = "legacy"'):
        load(tmp_path, "Clustering", data)
    records = load(tmp_path, "Clustering", f'{data}\n[settings]\nprotocol = "legacy"')
    assert [fit.groups for fit in records.fits] == [2, 2]
    write_rows(tmp_path / "rows.jsonl", [*rows, {"texts": ["x", "y"], "labels": [1]}])
    with pytest.raises(DataError, match=r"row 3, column 'labels': expected a label for each of the 2 texts, got 1"):
        load(tmp_path, "Clustering", f'{data}\n[settings]\nprotocol = "legacy"')
    write_rows(tmp_path / "rows.jsonl", [*rows, {"texts": ["x", "y"], "labels": [1, 1]}])
    with pytest.raises(DataError, match=r"row 3, column 'labels': all texts of the set have the label 1"):
        load(tmp_path, "Clustering", f'{data}\n[settings]\nprotocol = "legacy"')


def test_settings_and_main_scores_are_checked_before_anything_runs(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", GOOD["STS"])
    path = write_task(tmp_path, "STS", 'format = "jsonl"\nfiles = { test = "rows.jsonl" }\n[settings]\nmax_scor = 4')
    with pytest.raises(DataError, match="unknown key 'max_scor': did you mean max_score"):
        check_runnable([local_task(path)])
    path.write_text(path.read_text().replace("max_scor = 4", "").replace("cosine_spearman", "cosine_sperman"))
    with pytest.raises(UsageError, match="unknown main_score 'cosine_sperman': did you mean cosine_spearman"):
        check_runnable([local_task(path)])
    path.write_text(path.read_text().replace('"STS"', '"STSS"'))
    with pytest.raises(UsageError, match="unknown type 'STSS': did you mean STS"):
        check_runnable([local_task(path)])


def test_labels_must_differ(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"text": "a", "label": "x"}, {"text": "b", "label": "x"}])
    write_rows(tmp_path / "test.jsonl", [{"text": "a", "label": "x"}])
    with pytest.raises(
        DataError, match=r"train.jsonl, column 'label': all rows have the label 'x'; expected at least two"
    ):
        load(tmp_path, "Classification", 'format = "jsonl"\nfiles = { train = "train.jsonl", test = "test.jsonl" }')
    with pytest.raises(DataError, match=r"names no file for 'train' .found files for test"):
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
        (
            [*DOCUMENTS, DOCUMENTS[0]],
            QUERIES,
            QRELS,
            r"corpus.jsonl, row 3, column '_id': these ids occur more than once: d1",
        ),
        (
            DOCUMENTS,
            QUERIES,
            [*QRELS, "q1\td9\t1"],
            r"test.tsv, row 2, column 'corpus-id': there is no document 'd9'",
        ),
        (DOCUMENTS, QUERIES, [*QRELS, "q9\td1\t1"], r"row 2, column 'query-id': there is no query 'q9'"),
        (
            DOCUMENTS,
            QUERIES,
            [*QRELS, "q1\td2\thigh"],
            r"test.tsv, row 2, column 'score': expected a whole number, got 'high'",
        ),
        (DOCUMENTS, QUERIES, [*QRELS, "q1 d2 1"], r"test.tsv, row 2: has 1 cell, the header 3"),
        (DOCUMENTS, QUERIES, QRELS[:1], r"test.tsv: holds no rows"),
        ([{"_id": "d1"}], QUERIES, QRELS, r"corpus.jsonl, row 1: no column 'text'"),
        (
            [{"_id": 1.5, "text": "x"}],
            QUERIES,
            QRELS,
            r"corpus.jsonl, row 1, column '_id': expected an id .* got 1.5 ",
        ),
        (
            [{"_id": True, "text": "x"}],
            QUERIES,
            QRELS,
            r"corpus.jsonl, row 1, column '_id': expected an id .* true",
        ),
        ([{"_id": " ", "text": "x"}], QUERIES, QRELS, r"corpus.jsonl, row 1, column '_id': the id is empty"),
        (
            DOCUMENTS,
            QUERIES,
            [*QRELS, "q1\td1\t1"],
            r"row 2, column 'score': the query 'q1' and the document 'd1' have ",
        ),
        (DOCUMENTS, QUERIES, [QRELS[0], "q1\td1\t0"], r"test.tsv: no judgement is above 0"),
        (DOCUMENTS, QUERIES, [*QRELS, f"q1\td2\t{2**63}"], r"expected a whole number of at most 64 bits, got '9223"),
        (DOCUMENTS, QUERIES, [*QRELS, "q1\td2\t1.0"], r"expected a whole number, got '1.0'"),
        (DOCUMENTS, QUERIES, [*QRELS, "q1\td2\t1_0"], r"expected a whole number, got '1_0'"),
        (DOCUMENTS, QUERIES, [*QRELS, "q1\td2\t\u0661"], r"expected a whole number, got"),
        (DOCUMENTS, QUERIES, [*QRELS, '"q1\td2\t1'], r"test.tsv, row 2: is no table .*write quoting = false"),
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


def test_retrieval_data_with_candidates_in_named_files(tmp_path: Path) -> None:
    pd.DataFrame(DOCUMENTS).to_parquet(tmp_path / "corpus.parquet")
    pd.DataFrame([{"_id": "q1", "text": "?"}]).to_parquet(tmp_path / "queries.parquet")
    pd.DataFrame([{"query-id": "q1", "corpus-id": "d1", "score": 2}]).to_parquet(tmp_path / "qrels.parquet")
    pd.DataFrame([{"query-id": "q1", "corpus-id": "d2"}]).to_parquet(tmp_path / "candidates.parquet")
    files = 'corpus = "corpus.parquet", queries = "queries.parquet", test = "qrels.parquet"'
    data = f'format = "parquet"\nfiles = {{ {files}, candidates = "candidates.parquet" }}'
    assert load(tmp_path, "Reranking", data).candidates == [[1]]
    assert load(tmp_path, "Retrieval", data).candidates == [[1]]
    whole = f'format = "parquet"\nfiles = {{ {files} }}'
    assert load(tmp_path, "Retrieval", whole).candidates is None


def test_columns_of_tables() -> None:
    with pytest.raises(DataError, match=r"here: no column 'c' .found a, b"):
        column({"a": [1], "b": [2]}, "c", "here")
    with pytest.raises(DataError, match=r"here, row 2, column 'a': expected a text, got 'None'"):
        text_column({"a": ["x", None]}, "a", "here")
