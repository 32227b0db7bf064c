"""Two hundred broken local tasks: each is a DataError that names the file, never a traceback, never a score."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.local_tasks import ROWS, lines, write

from evalharness.catalog.tasks import local_task
from evalharness.errors import DataError
from evalharness.run.without_model import check_data

Break = Callable[[list[bytes], random.Random], list[bytes]]


def at_random(change: Callable[[dict[str, Any], random.Random], Any]) -> Break:
    """Replace one row by what `change` makes of it."""

    def broken(good: list[bytes], rng: random.Random) -> list[bytes]:
        place = rng.randrange(len(good))
        value = change(json.loads(good[place]), rng)
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        return [*good[:place], text, *good[place + 1 :]]

    return broken


def without_a_column(row: dict[str, Any], rng: random.Random) -> Any:
    return {name: value for name, value in row.items() if name != rng.choice(list(row))} or {}


def with_a_value(*values: Any) -> Callable[[dict[str, Any], random.Random], Any]:
    return lambda row, rng: {**row, rng.choice(list(row)): rng.choice(values)}


def cut(row: dict[str, Any], rng: random.Random) -> Any:
    text = json.dumps(row).encode()
    return text[: rng.randint(1, len(text) - 1)]


BREAKS: dict[str, Break] = {
    "a column is missing": at_random(lambda row, rng: {n: row[n] for n in list(row)[: rng.randrange(len(row))]}),
    "a value is null": at_random(with_a_value(None)),
    "a value is of a wrong kind": at_random(with_a_value({"a": 1}, {}, -17.5)),
    "a value is empty": at_random(with_a_value("", "   ", [])),
    "a number is out of range": at_random(with_a_value(1e9, -1e9, 0.5e308)),
    "a row is no object": at_random(lambda row, rng: rng.choice([[row], 3, "row", None])),
    "a row is cut": at_random(cut),
    "a row is not JSON": at_random(lambda _, rng: rng.choice([b"{'a': 1}", b"NaN", b"{]", b"<html>", b"\x00\x01"])),
    "a row is not UTF-8": at_random(lambda row, _: json.dumps(row).encode()[:-2] + b'\xff\xfe"}'),
    "half of a surrogate pair": at_random(with_a_value("\ud800 text", ["\udfff"])),
    "the file is empty": lambda *_: [],
    "the file is blank": lambda *_: [b"", b"  "],
    "the file is binary": lambda _, rng: [rng.randbytes(200)],
}  # fmt: skip


CASES = [(kind, name, seed) for kind in ROWS for name in BREAKS for seed in (1, 2)]


def test_there_are_two_hundred() -> None:
    assert len(CASES) >= 200


@pytest.mark.parametrize("kind", ROWS)
def test_the_files_are_right_before_they_are_broken(tmp_path: Path, kind: str) -> None:
    assert check_data(local_task(write(tmp_path, kind, lines(ROWS[kind]))))


@pytest.mark.parametrize(("kind", "name", "seed"), CASES)
def test_a_broken_file_is_a_data_error(tmp_path: Path, kind: str, name: str, seed: int) -> None:
    rng = random.Random(f"{kind} {name} {seed}")
    path = write(tmp_path, kind, BREAKS[name](lines(ROWS[kind]), rng))
    with pytest.raises(DataError, match=r"rows.jsonl"):
        check_data(local_task(path))
