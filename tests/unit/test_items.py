"""Per-item scores, written and read back."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from evalharness.errors import DataError
from evalharness.results.items import read_arrays, read_items, with_names, write_items
from evalharness.types import ItemScores

NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name != "item_id" and name < "\ud800")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def bits(items: ItemScores) -> dict[str, list[bytes]]:
    return {name: [struct.pack("<d", value) for value in column] for name, column in items.columns.items()}


@settings(max_examples=60, deadline=None)
@given(data=st.data(), ids=st.lists(TEXTS, min_size=1, max_size=6), names=st.lists(NAMES, max_size=3, unique=True))
def test_what_is_written_is_read_to_the_last_bit(
    data: st.DataObject, ids: list[str], names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    floats = st.lists(st.floats(), min_size=len(ids), max_size=len(ids))
    items = ItemScores(ids, {name: data.draw(floats) for name in names})
    path = tmp_path_factory.mktemp("items") / "test.default.parquet"
    write_items(path, items)
    found = read_items(path)
    assert found.ids == ids
    assert list(found.columns) == names
    assert bits(found) == bits(items)
    arrays = read_arrays(path)
    assert (arrays.ids, bits(arrays)) == (ids, bits(items))


LABELS = {"correct": [1.0, 0.5], "label": [0.0, 1.0], "predicted_0": [1.0, float("nan")]}


@pytest.mark.parametrize("names", [("no", "ja"), (["a", "b"], []), (["ü"], [1, 2]), ()])
def test_what_numbers_of_labels_stand_for_is_read_back(names: Any, tmp_path: Path) -> None:
    path = tmp_path / "test.default.parquet"
    write_items(path, ItemScores(["x", "y"], LABELS, names))
    found = read_items(path)
    assert found.names == names
    assert bits(found) == bits(ItemScores(["x", "y"], LABELS))
    assert read_arrays(path).names == names


def test_labels_are_shown_by_their_names() -> None:
    shown = with_names(ItemScores(["x", "y"], LABELS, ("no", "yes")))
    assert shown == {
        "item_id": ["x", "y"], "correct": [1.0, 0.5], "label": ["no", "yes"], "predicted_0": ["yes", None],
    }  # fmt: skip
    assert with_names(ItemScores(["x", "y"], LABELS))["label"] == [0.0, 1.0]


def named(names: bytes) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        table = pa.table({"item_id": ["a", "b"], "label": [0.0, 2.0]})
        parquet.write_table(table.replace_schema_metadata({b"evalharness.names": names}), path)

    return harm


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def overwritten(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:8] + b"\xff" * 30 + whole[38:])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def removed(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def of_other_columns(path: Path) -> None:
    parquet.write_table(pa.table({"id": ["a"], "gold": [1.0]}), path)


def of_whole_numbers(path: Path) -> None:
    parquet.write_table(pa.table({"item_id": ["a"], "gold": [1]}), path)


def with_an_empty_cell(path: Path) -> None:
    parquet.write_table(pa.table({"item_id": ["a", "b"], "gold": [1.0, None]}), path)


def of_two_columns_of_one_name(path: Path) -> None:
    schema = pa.schema([("item_id", pa.string()), ("gold", pa.float64()), ("gold", pa.float64())])
    parquet.write_table(pa.table([["a"], [1.0], [2.0]], schema=schema), path)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damaged, "cannot be read as Parquet"),
        (overwritten, "cannot be read as Parquet"),
        (emptied, "cannot be read as Parquet"),
        (removed, "is missing or no file"),
        (a_folder, "is missing or no file"),
        (of_other_columns, r"expected item_id \(string\) and columns of double, found id \(string\), gold \(double\)"),
        (of_whole_numbers, r"expected item_id .*, found item_id \(string\), gold \(int64\)"),
        (with_an_empty_cell, "has empty cells in gold"),
        (
            of_two_columns_of_one_name,
            r"expected item_id .* found item_id \(string\)(, gold \(double\)){2}",
        ),
        (named(b"["), "the names of its labels are no JSON"),
        (named(b"\xff"), "the names of its labels are no JSON"),
        (named(b"[" * 100_000), "the names of its labels are no JSON"),
        (named(b'{"a": 1}'), "expected a list of labels for its names"),
        (named(b'["a", "b", {}]'), "expected a list of labels for its names"),
        (named(b'["a", "b", [["c"]]]'), "expected a list of labels for its names"),
        (named(b'["a", "b"]'), "label has numbers without a name: 2.0"),
    ],
)
def test_what_is_no_file_of_items_says_what_to_do(tmp_path: Path, harm: object, message: str) -> None:
    path = tmp_path / "test.default.parquet"
    write_items(path, ItemScores(["a", "b"], {"gold": [0.5, 1.0]}))
    assert callable(harm)
    harm(path)
    for read in (read_items, read_arrays):
        with pytest.raises(DataError, match=rf"test\.default\.parquet: {message}.*run the command again that made it"):
            read(path)


def test_a_relative_path_with_a_colon_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    items = ItemScores(["0"], {"gold": [0.5]})
    write_items(Path("a:b") / "test.default.parquet", items)
    assert read_items(Path("a:b") / "test.default.parquet").columns == {"gold": [0.5]}
