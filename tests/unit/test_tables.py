"""Tables as other programs write them: equal frames give equal rows, whatever the format; what is odd is named."""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Cli

from evalharness.catalog.tasks import local_task
from evalharness.data.tables import split_table
from evalharness.errors import DataError, UsageError
from evalharness.run.without_model import check_data
from evalharness.tasks import task_type

TEXTS = [
    "plain",
    "a, b",
    "tab\there",
    'he said "no"',
    '"all quoted"',
    "two\nlines",
    "\r\nWindows",
    "it's",
    " spaces ",
    '"',
]
FRAME = pd.DataFrame({"sentence1": TEXTS, "sentence2": TEXTS[::-1], "score": [n % 6 for n in range(len(TEXTS))]})
HEAD = 'name = "Mine"\ntype = "{kind}"\nmain_score = "{score}"\nlanguages = ["eng-Latn"]\n{more}[data]\n{data}\n'
SCORES = {"STS": "cosine_spearman", "Retrieval": "ndcg_at_10", "Reranking": "map_at_1000", "Classification": "accuracy"}


def write_task(folder: Path, data: str, kind: str = "STS", more: str = "") -> Path:
    path = folder / "task.toml"
    path.write_text(HEAD.format(kind=kind, score=SCORES[kind], data=data, more=more), encoding="utf-8")
    return path


def load(folder: Path, data: str, kind: str = "STS") -> Any:
    return task_type(kind).from_files(local_task(write_task(folder, data, kind)), "test")


def sts_file(name: str) -> str:
    return f'format = "{name.rpartition(".")[2]}"\nfiles = {{ test = "{name}" }}'


@pytest.mark.parametrize("form", ["csv", "tsv", "json", "jsonl", "parquet"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_a_frame_is_the_same_in_every_format(tmp_path: Path, form: str, quoting: Any) -> None:
    path = tmp_path / f"rows.{form}"
    if form in ("csv", "tsv"):
        FRAME.to_csv(path, index=False, sep="," if form == "csv" else "\t", quoting=quoting)
    elif form == "parquet":
        FRAME.to_parquet(path)
    else:
        FRAME.to_json(path, orient="records", lines=form == "jsonl")
    records = load(tmp_path, sts_file(path.name))
    assert list(records.first) == TEXTS
    assert list(records.second) == TEXTS[::-1]


@pytest.mark.parametrize(
    ("content", "more"),
    [
        (b"\xef\xbb\xbfsentence1;sentence2;score\r\na;b;1\r\nc;d;2\r\n\r\n\r\n", 'delimiter = ";"'),
        ("sentence1|sentence2|score\na|b|1\nc|d|2".encode("utf-16"), 'delimiter = "|"\nencoding = "utf-16"'),
        ("sentence1,sentence2,score\na,b,1\nc,d,2\n".encode("utf-16"), 'encoding = "utf-16"'),
        (b'sentence1,sentence2,score\n"a",b,1\nc,d," 2 "\n', ""),
        (b"sentence1,sentence2,score,\na,b,1,\nc,d,2,\n", ""),
        (b",sentence1,sentence2,score\n0,a,b,1\n1,c,d,2\n", ""),
    ],
)
def test_csv_of_other_programs(tmp_path: Path, content: bytes, more: str) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    records = load(tmp_path, f"{sts_file('rows.csv')}\n{more}")
    assert list(records.first) == ["a", "c"]
    assert list(records.second) == ["b", "d"]
    assert list(records.gold) == [0.2, 0.4]


def test_other_encodings(tmp_path: Path) -> None:
    text = "sentence1\tsentence2\tscore\n检索\té\t1\n中文\tb\t2\n".replace("é", "e")
    (tmp_path / "rows.tsv").write_text(text, encoding="gb18030")
    assert list(load(tmp_path, f'{sts_file("rows.tsv")}\nencoding = "gb18030"').first) == ["检索", "中文"]
    with pytest.raises(DataError, match=r"rows.tsv: is not UTF-8 .byte \d+.; save it as UTF-8, or give its encoding"):
        load(tmp_path, sts_file("rows.tsv"))
    for wrong in ("no-such", "base64", "rot13"):
        with pytest.raises(DataError, match=f"{wrong}' is no encoding of texts"):
            load(tmp_path, f'{sts_file("rows.tsv")}\nencoding = "{wrong}"')


def test_quotes_that_are_plain_characters(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text('sentence1\tsentence2\tscore\n"To be\tor not\t1\n5" disk\tb\t2\n')
    with pytest.raises(DataError, match=r"rows.tsv, row 1: is no table .* write quoting = false into \[data\]"):
        load(tmp_path, sts_file("rows.tsv"))
    assert list(load(tmp_path, f"{sts_file('rows.tsv')}\nquoting = false").first) == ['"To be', '5" disk']


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sentence1,sentence1,sentence2,score\na,b,c,1\n", "its header names a column twice: sentence1"),
        ("sentence1,sentence2,score\na,b,1\nc,d,2,3,4\n", r"row 2: has 5 cells, and the header has 3"),
        ("sentence1,sentence2,score\na,b,1\nc,d\n", r"row 2: has 2 cells, the header 3"),
        ("sentence1,sentence2,score\na,b,1\n,,\n", r"row 2, column 'sentence1': the text is empty"),
        ("sentence1,sentence2,score\na,b,1_0\nc,d,2\n", "expected a number from 0 to 5, got '1_0'"),
        ("sentence1,sentence2,score\na,b,inf\nc,d,2\n", "expected a number from 0 to 5, got 'inf'"),
        ("sentence1,sentence2,score\na,b,0x1\nc,d,2\n", "expected a number from 0 to 5, got '0x1'"),
        ("sentence1,sentence2,score\na,b,١\nc,d,2\n", "expected a number from 0 to 5"),
        ("sentence1,sentence2,score\n", "holds no rows"),
        ("\n\n", "holds no rows"),
    ],
)
def test_odd_csv_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "rows.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=f"rows.csv.*{message}"):
        load(tmp_path, sts_file("rows.csv"))


@pytest.mark.parametrize("mark", [";", "\t", "|"])
@pytest.mark.parametrize("row", ["a%sb%s1", "a, b%sc%s1,5"])
def test_another_delimiter_is_told_once(tmp_path: Path, mark: str, row: str) -> None:
    lines = [mark.join(("sentence1", "sentence2", "score")), *[row.replace("%s", mark)] * 9]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="its header is a single cell") as raised:
        load(tmp_path, sts_file("rows.csv"))
    told = str(raised.value)
    assert f"write delimiter = {json.dumps(mark)} into [data]" in told
    assert "\n" not in told
    last = mark.join(("c", "d", "2"))
    (tmp_path / "rows.csv").write_text("\n".join([*lines, last]).replace("1,5", "1"))
    assert len(load(tmp_path, f"{sts_file('rows.csv')}\ndelimiter = {json.dumps(mark)}").first) == 10


def test_excel_s_first_line_is_named(tmp_path: Path) -> None:
    for mark, advice in ((",", "delete it$"), (";", 'delete it, and write delimiter = ";" into')):
        (tmp_path / "rows.csv").write_text(f"sep={mark}\nsentence1{mark}sentence2{mark}score\na{mark}b{mark}1\n")
        with pytest.raises(DataError, match=f"rows.csv: its first line is sep={mark}, which only Excel .*{advice}"):
            load(tmp_path, sts_file("rows.csv"))


def test_a_column_that_the_header_lacks_is_told_once(tmp_path: Path) -> None:
    FRAME.drop(columns="sentence2").to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(DataError, match=r"rows.csv: no column 'sentence2' in its header .found sentence1, score.$"):
        load(tmp_path, sts_file("rows.csv"))


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "json"])
def test_packed_files_are_named(tmp_path: Path, form: str) -> None:
    (tmp_path / f"rows.{form}").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(DataError, match=rf"rows.{form}: is compressed with gzip; unpack it"):
        load(tmp_path, sts_file(f"rows.{form}"))
    with zipfile.ZipFile(tmp_path / f"rows.{form}", "w") as packed:
        packed.writestr("sheet.xml", "<a/>")
    with pytest.raises(DataError, match=rf"rows.{form}: is a zip or Excel file; export it as CSV"):
        load(tmp_path, sts_file(f"rows.{form}"))


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_a_key_that_is_there_twice(tmp_path: Path, form: str) -> None:
    row = '{"sentence1": "a", "sentence2": "b", "score": 1, "score": 5}'
    (tmp_path / f"rows.{form}").write_text(f"[{row}]" if form == "json" else row)
    with pytest.raises(DataError, match=rf"rows.{form}.*the key 'score' is there twice"):
        load(tmp_path, sts_file(f"rows.{form}"))


def test_a_cell_without_a_value(tmp_path: Path) -> None:
    FRAME.assign(sentence2=None).to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    with pytest.raises(DataError, match=r"rows.jsonl, row 1: column 'sentence2' is empty .null.\n"):
        load(tmp_path, sts_file("rows.jsonl"))


def test_utf_16_without_a_word_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes("sentence1,sentence2,score\na,b,1\n".encode("utf-16-le"))
    with pytest.raises(DataError, match='its header holds NUL; if it is UTF-16, write encoding = "utf-16"'):
        load(tmp_path, sts_file("rows.csv"))


def test_json_that_is_no_list_of_objects(tmp_path: Path) -> None:
    for content, message in (
        ('{"a": 1}', "expected a JSON list of objects, found an object"),
        ("[1]", "row 1: expected"),
    ):
        (tmp_path / "rows.json").write_text(content)
        with pytest.raises(DataError, match=f"rows.json.*{message}"):
            load(tmp_path, sts_file("rows.json"))


def test_several_problems_are_told_at_once(tmp_path: Path) -> None:
    rows = [{"sentence1": "a", "sentence2": "b", "score": n} for n in (1, 7, 8, 9, 10, 11, 12, 13)]
    rows[3]["sentence1"] = rows[5]["sentence2"] = ""
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with pytest.raises(DataError) as raised:
        load(tmp_path, sts_file("rows.json"))
    message = str(raised.value)
    assert message.count("expected a number from 0 to 5") == 5
    assert "and 2 more of this kind" in message
    assert "row 4, column 'sentence1': the text is empty" in message
    assert "row 6, column 'sentence2': the text is empty" in message


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["0", "1", "10"], [0, 1, 10]),
        (["-1", "1", "1"], [-1, 1, 1]),
        (["01", "1", "2"], ["01", "1", "2"]),
        (["1", "+1", "2"], ["1", "+1", "2"]),
        (["0", "-0", "1"], ["0", "-0", "1"]),
    ],
)
def test_labels_that_are_written_differently_are_different(tmp_path: Path, cells: list[str], labels: list[Any]) -> None:
    pd.DataFrame({"text": TEXTS[:3], "label": cells}).to_csv(tmp_path / "rows.csv", index=False)
    data = 'format = "csv"\nfiles = { train = "rows.csv", test = "rows.csv" }'
    table = split_table(local_task(write_task(tmp_path, data, "Classification")), "test", ["text", "label"])
    assert table.labels("label") == labels


RETRIEVAL: dict[str, list[dict[str, Any]]] = {
    "corpus": [{"_id": n, "text": f"text {n}"} for n in (1, 2, 30)],
    "queries": [{"_id": n, "text": f"query {n}"} for n in (7, 8)],
    "test": [{"query-id": 7, "corpus-id": 30, "score": 1}, {"query-id": 8, "corpus-id": 2, "score": 2}],
    "candidates": [{"query-id": 7, "corpus-id": 30}, {"query-id": 7, "corpus-id": 1}, {"query-id": 8, "corpus-id": 2}],
}


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "parquet"])
def test_whole_numbers_are_ids(tmp_path: Path, form: str) -> None:
    for part, rows in RETRIEVAL.items():
        frame = pd.DataFrame(rows)
        if form == "csv":
            frame.to_csv(tmp_path / f"{part}.csv", index=False)
        elif form == "parquet":
            frame.to_parquet(tmp_path / f"{part}.parquet")
        else:
            frame.to_json(tmp_path / f"{part}.{form}", orient="records", lines=form == "jsonl")
    files = ", ".join(f'{part} = "{part}.{form}"' for part in RETRIEVAL)
    records = load(tmp_path, f'format = "{form}"\nfiles = {{ {files} }}', "Reranking")
    assert list(records.corpus_ids) == ["1", "2", "30"]
    assert list(records.qrels) == [{"30": 1}, {"2": 2}]
    assert records.candidates == [[2, 0], [1]]


TREC = 'format = "trec"\nfiles = { corpus = "corpus.jsonl", queries = "queries.json", test = "qrels.txt"%s }'


def write_trec(folder: Path, qrels: str) -> None:
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in RETRIEVAL["corpus"]))
    (folder / "queries.json").write_text(json.dumps(RETRIEVAL["queries"]))
    (folder / "qrels.txt").write_text(qrels)


@pytest.mark.parametrize("qrels", ["7 0 30 1\n8 0 2 2\n", "7\t0\t30\t1\r\n8\t0\t2\t2\r\n", "7 30 1\n# more\n\n8 2 2"])
def test_judgements_without_a_header(tmp_path: Path, qrels: str) -> None:
    write_trec(tmp_path, qrels)
    assert list(load(tmp_path, TREC % "", "Retrieval").qrels) == [{"30": 1}, {"2": 2}]
    (tmp_path / "run.txt").write_text("7 Q0 30 1 9.5 tag\n7 Q0 1 2 8 tag\n8 Q0 2 1 3 tag\n")
    records = load(tmp_path, TREC % ', candidates = "run.txt"', "Reranking")
    assert records.candidates == [[2, 0], [1]]


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        ("7 0 30\n8 0 2 2", "there is no document '0'"),
        ("7 0 30 1\n8 2", "line 2: expected `query 0 document grade`"),
        ("query-id corpus-id score\n7 30 1", "row 1, column 'score': expected a whole number, got 'score'"),
        ("7 0 30 1.5", "expected a whole number, got '1.5' .a text.$"),
        ("7 0 30 1.0", "expected a whole number, got '1.0' .a text.; write whole numbers"),
        ("", "holds no rows"),
        ("7 0 30 1\n#8 0 2 2", "line 2: begins with # as a comment and has the form of a judgement: '#8 0 2 2'"),
        ("7 30 1\n#8\t2\t2", "line 2: begins with # as a comment and has the form of a judgement"),
        ("# made by hand\n# 2 of them, all 1\n7 2", "line 3: expected `query 0 document grade`"),
    ],
)
def test_odd_judgements_without_a_header(tmp_path: Path, qrels: str, message: str) -> None:
    write_trec(tmp_path, qrels)
    with pytest.raises(DataError, match=message):
        load(tmp_path, TREC % "", "Retrieval")


def test_a_misspelt_query_among_candidates(tmp_path: Path) -> None:
    write_trec(tmp_path, "7 0 30 1\n8 0 2 2\n")
    (tmp_path / "run.txt").write_text("7 Q0 30 1 9.5 tag\nq8 Q0 2 1 3 tag\n")
    with pytest.raises(DataError, match=r"run.txt, row 2, column 'query-id': there is no query 'q8'"):
        load(tmp_path, TREC % ', candidates = "run.txt"', "Reranking")


def test_misspelt_splits_and_parts(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "rows.csv", index=False)
    path = write_task(tmp_path, 'format = "csv"\nfiles = { tset = "rows.csv" }')
    with pytest.raises(UsageError) as raised:
        check_data(local_task(path))
    assert "unknown split or part 'tset': did you mean test?" in str(raised.value)
    assert "names no file for the split 'test'" in str(raised.value)
    data = 'format = "csv"\nfiles = { test = "rows.csv", tset = "rows.csv" }'
    with pytest.raises(UsageError, match="unknown split or part 'tset': did you mean test"):
        check_data(local_task(write_task(tmp_path, data)))
    with pytest.raises(UsageError, match="unknown split or part 'corpus'"):
        check_data(local_task(write_task(tmp_path, data.replace("tset", "corpus"))))


def test_what_check_data_notes(here: Cli, tmp_path: Path) -> None:
    train = [{"text": f"{label} {n}", "label": label} for n in range(8) for label in ("yes", "no")]
    for name, rows in {"train": train, "test": [*train, {"text": "x", "label": "maybe"}]}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    files = 'files = { train = "train.json", test = "test.json", dev = "train.json" }'
    path = write_task(tmp_path, f'format = "json"\n{files}', "Classification")
    done = here("check-data", str(path))
    assert done.returncode == 0, done.stderr
    assert "note: 1 labels of the split test are not in training and cannot be predicted: maybe" in done.stdout
    assert "note: the file for dev is not read" in done.stdout
    ran = here("run", "--model", "all-MiniLM-L6-v2", "--tasks", str(path))
    assert ran.returncode == 0, ran.stderr
    record = json.loads(next((tmp_path / "results").rglob("test.default.json")).read_text())
    assert "1 labels of the split test are not in training and cannot be predicted: maybe" in record["notes"]


def test_judgements_that_are_there_twice(tmp_path: Path) -> None:
    write_trec(tmp_path, "7 0 30 1\n8 0 2 2\n7 0 30 1\n")
    path = write_task(tmp_path, TREC % "", "Retrieval")
    assert check_data(local_task(path))[0].notes == ("1 judgements are there more than once",)


def test_problems_of_all_splits_are_told(tmp_path: Path) -> None:
    for split in ("dev", "test"):
        FRAME.assign(score=9).to_csv(tmp_path / f"{split}.csv", index=False)
    data = 'format = "csv"\nfiles = { test = "test.csv", dev = "dev.csv" }'
    path = write_task(tmp_path, data, more='splits = ["dev", "test"]\n')
    with pytest.raises(DataError, match=r"(?s)dev.csv, row 1, .*test.csv, row 1, "):
        check_data(local_task(path))


def test_very_long_cells(tmp_path: Path) -> None:
    long = "word " * 60_000
    FRAME.assign(sentence1=long).to_csv(tmp_path / "rows.csv", index=False)
    assert load(tmp_path, sts_file("rows.csv")).first[0] == long
