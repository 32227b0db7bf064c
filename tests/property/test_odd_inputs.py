"""Odd task files, data files and run files: an error that names the file, or what the file says; never a traceback."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.local_tasks import ROWS, lines, write
from support.odd import FILES

from evalharness.catalog.tasks import local_task
from evalharness.data.trec import read_run
from evalharness.errors import DataError, UsageError
from evalharness.reading import read_toml
from evalharness.run.without_model import check_data

# values in TOML, for any key
ODD: Mapping[str, str] = {
    "true": "true",
    "number": "9000",
    "negative": "-1",
    "fraction": "1.5",
    "not a number": "nan",
    "infinite": "inf",
    "huge": "9" * 400,
    "text": '"abc"',
    "empty text": '""',
    "NUL": r'"a\u0000b"',
    "newline": r'"a\nb"',
    "escape": r'"\u001b[31m"',
    "path": '"../../../etc/passwd"',
    "folder": '"."',
    "long": f'"{"x" * 5000}"',
    "empty list": "[]",
    "list of lists": "[[1], [2]]",
    "list of numbers": "[1, 2]",
    "deep": "[" * 90 + "]" * 90,
    "empty table": "{}",
    "table": "{ a = { b = 1 } }",
    "date": "1979-05-27",
    "time": "1979-05-27T07:32:00Z",
}
KEYS = (
    "name", "type", "languages", "main_score", "splits", "settings", "instruction", "description", "data", "unknown",
    "data.format", "data.path", "data.files", "data.files.test", "data.columns", "data.columns.score",
    "data.allow_empty", "data.delimiter", "data.encoding", "data.quoting", "data.dataset", "data.revision",
    "data.unknown", "settings.min_score", "settings.max_score", "settings.unknown",
)  # fmt: skip
# what a value of the right type may be, or what plays no part in this format
HARMLESS = {
    "name": ("text",),
    "instruction": ("text", "empty text", "NUL", "newline", "escape", "path", "folder", "long"),
    "description": ("text", "empty text", "NUL", "newline", "escape", "path", "folder", "long"),
    "settings": ("empty table",),
    "data.columns": ("empty table",),
    "data.allow_empty": ("true",),
    "data.quoting": ("true",),
    "data.dataset": ("empty text",),
    "data.revision": ("empty text",),
    "settings.min_score": ("negative",),
    "settings.max_score": ("number",),
}
TASKS = [(key, name) for key in KEYS for name in ODD]


def odd_task(folder: Path, key: str, value: str) -> Path:
    path = write(folder, "STS", lines(ROWS["STS"]))
    text = path.read_text().replace('files = { train = "rows.jsonl", test = "rows.jsonl" }', "")
    parts: dict[str, dict[str, str]] = {
        "": dict(line.split(" = ", 1) for line in text.partition("[data]")[0].splitlines() if line),
        "data": {"format": '"jsonl"'},
        "data.files": {"test": '"rows.jsonl"'},
        "settings": {"min_score": "0"},
    }
    table, _, last = key.rpartition(".")
    parts.setdefault(table, {})[last] = value
    for replaced in [name for name in parts if name and (name == key or name.startswith(f"{key}."))]:
        del parts[replaced]
    path.write_text(
        "\n".join(
            f"{f'[{name}]' if name else ''}\n" + "\n".join(f"{k} = {v}" for k, v in values.items())
            for name, values in parts.items()
        )
    )
    return path


def test_how_many_there_are() -> None:
    assert len(TASKS) + len(FILES) >= 600
    assert len(DATA) >= 150
    assert len(RUNS) >= 90


def test_the_task_is_right_before_it_is_odd(tmp_path: Path) -> None:
    assert check_data(local_task(odd_task(tmp_path, "description", '"x"')))[0].counts["pairs"] == 24


@pytest.mark.parametrize(("key", "name"), TASKS)
def test_odd_values_in_a_task_file(tmp_path: Path, key: str, name: str) -> None:
    path = odd_task(tmp_path, key, ODD[name])
    if name in HARMLESS.get(key, ()):
        assert check_data(local_task(path))[0].counts["pairs"] == 24
        return
    with pytest.raises((DataError, UsageError)) as raised:
        check_data(local_task(path))
    assert "task.toml" in str(raised.value) or "rows.jsonl" in str(raised.value)
    assert len(str(raised.value)) < 2000


DATA = [(form, name) for form in ("csv", "tsv", "json", "jsonl", "parquet", "trec") for name in FILES]


@pytest.mark.parametrize(("form", "name"), DATA)
def test_odd_bytes_as_a_data_file(tmp_path: Path, form: str, name: str) -> None:
    (tmp_path / "rows").write_bytes(FILES[name])
    kind = "Retrieval" if form == "trec" else "STS"
    path = write(tmp_path, kind, lines(ROWS[kind]))
    files = {"corpus": "rows.jsonl", "queries": "queries.jsonl"} if form == "trec" else {}
    named = ", ".join(f'{part} = "{file}"' for part, file in (files | {"test": "rows"}).items())
    text = re.sub("files = .*", f"files = {{ {named} }}", path.read_text().replace('"jsonl"', f'"{form}"'))
    path.write_text(text)
    assert read_toml(path)["data"]["format"] == form
    with pytest.raises(DataError, match=rf"{re.escape(str(tmp_path))}/rows[:, ]"):
        check_data(local_task(path))


FIELDS = ("q", "Q0", "d", "1", "2.5", "tag")
TOKENS = (
    "1_0",
    "0x1",
    "inf",
    "nan",
    "-",
    "\u0661",
    "\u6587",
    "a|b",
    "<b>",
    "\x1b[31m",
    "1e5",
    "-7",
    "\ud7ff",
    "1e999",
    "x" * 9999,
)
RUNS = [(place, token) for place in range(len(FIELDS)) for token in TOKENS]


def is_number(token: str) -> bool:
    return token.isascii() and "_" not in token and _finite(token)


def _finite(token: str) -> bool:
    try:
        return math.isfinite(float(token))
    except ValueError:
        return False


@pytest.mark.parametrize(("place", "token"), RUNS)
def test_odd_fields_of_a_run(tmp_path: Path, place: int, token: str) -> None:
    path = tmp_path / "run.trec"
    fields = [token if number == place else field for number, field in enumerate(FIELDS)]
    path.write_text(" ".join(fields) + "\nother Q0 d 1 1 tag\n", encoding="utf-8")
    if place == 4 and not is_number(token):
        with pytest.raises(DataError, match=r"run.trec, line 1: expected `query Q0 document rank score tag`"):
            read_run(path)
        return
    assert read_run(path) == {fields[0]: {fields[2]: float(fields[4])}, "other": {"d": 1.0}}


READERS: Mapping[str, Callable[[Path], object]] = {"task.toml": local_task, "run.trec": read_run}


@pytest.mark.parametrize("file", READERS)
@pytest.mark.parametrize("name", FILES)
def test_odd_bytes_as_a_task_file_or_a_run(tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / file
    path.write_bytes(FILES[name])
    with pytest.raises(DataError, match=rf"{re.escape(file)}[:,]"):
        READERS[file](path)
