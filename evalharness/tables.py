"""Local files as checked tables: every wrong value is an error that names file, row and column."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalharness.catalog import LocalData, TaskSpec
from evalharness.downloads import HubData, load_data
from evalharness.errors import DataError, UsageError, clip, shorten

Label = str | int


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of one file or of one split of a Hub data set.

    Attributes:
        where: the file or data set, for messages.
        values: our column name -> values, one per row; None where an optional one is missing.
        names: our column name -> its name in the file.
        allow_empty: whether texts may be empty.
        is_text: whether all values are texts, as in CSV, and numbers and lists must be read out of them.
    """

    where: str
    values: Mapping[str, Sequence[Any]]
    names: Mapping[str, str]
    allow_empty: bool = False
    is_text: bool = False

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def at(self, row: int, column: str) -> str:
        """Where a value is, for messages; rows count from 1, without a header."""
        return f"{self.where}, row {row + 1}, column {self.names[column]!r}"

    def where_all(self, *columns: str) -> Table:
        """The rows in which none of these columns is empty.

        Raises:
            DataError: there are none.
        """
        kept = [row for row in range(len(self)) if all(self.values[name][row] for name in columns)]
        if not kept:
            raise DataError(f"{self.where}: no row has {' and '.join(columns)}")
        return replace(self, values={name: [values[row] for row in kept] for name, values in self.values.items()})

    def texts(self, column: str) -> list[str]:
        """A column of texts that are not empty, unless they may be.

        Raises:
            DataError: one is no text, is empty, or cannot be encoded.
        """
        for row, value in enumerate(self.values[column]):
            check_text(value, self.at(row, column), blank=self.allow_empty)
        return list(self.values[column])

    def optional_texts(self, column: str) -> list[str]:
        """A column of texts that may be missing or empty; a missing one becomes "".

        Raises:
            DataError: one is no text.
        """
        values = ["" if value is None else value for value in self.values[column]]
        for row, value in enumerate(values):
            if value != "":
                check_text(value, self.at(row, column), blank=True)
        return values

    def unique_texts(self, column: str) -> list[str]:
        """A column of ids: texts, none of them twice.

        Raises:
            DataError: one is no text, or is there twice.
        """
        values = self.texts(column)
        if twice := [value for value, count in Counter(values).items() if count > 1]:
            row = len(values) - 1 - values[::-1].index(twice[0])
            raise DataError(f"{self.at(row, column)}: these ids occur more than once: {shorten(twice)}")
        return values

    def numbers(self, column: str, low: float, high: float) -> list[float]:
        """A column of numbers in a range.

        Raises:
            DataError: one is no number or is out of range.
        """
        return [self.number(value, self.at(row, column), low, high) for row, value in enumerate(self.values[column])]

    def number(self, value: object, where: str, low: float, high: float) -> float:
        """One number in a range; `where` is for the message. Raises DataError."""
        parsed = _parsed(value, float) if self.is_text else value
        if isinstance(parsed, bool) or not isinstance(parsed, int | float) or not low <= parsed <= high:
            expected = "a number" if math.isinf(high) else f"a number from {low:g} to {high:g}"
            raise DataError(f"{where}: expected {expected}, got {clip(str(value))}")
        return float(parsed)

    def whole_numbers(self, column: str) -> list[int]:
        """A column of whole numbers.

        Raises:
            DataError: one is none.
        """
        found = []
        for row, value in enumerate(self.values[column]):
            parsed = _parsed(value, int) if self.is_text else value
            if isinstance(parsed, bool) or not isinstance(parsed, int):
                raise DataError(f"{self.at(row, column)}: expected a whole number, got {clip(str(value))}")
            found.append(parsed)
        return found

    def labels(self, column: str) -> list[Label]:
        """A column of labels, all texts or all whole numbers, at least two different ones.

        Raises:
            DataError: they are not.
        """
        values = list(self.values[column])
        if self.is_text and all(_parsed(value, int) is not None for value in values):
            values = [int(value) for value in values]
        for row, value in enumerate(values):
            check_label(value, values[0], self.at(row, column))
        if len(set(values)) == 1:
            raise DataError(
                f"{self.where}, column {self.names[column]!r}: all rows have the label {values[0]!r}; "
                "expected at least two labels"
            )
        return values

    def lists(self, column: str) -> list[list[Any]]:
        """A column of lists that are not empty (written as JSON where a file holds only text).

        Raises:
            DataError: one is no list, or is empty.
        """
        found = []
        for row, value in enumerate(self.values[column]):
            parsed = _parsed(value, json.loads) if self.is_text else value
            if not isinstance(parsed, list) or not parsed:
                raise DataError(f"{self.at(row, column)}: expected a list, at least one in it, got {clip(str(value))}")
            found.append(parsed)
        return found

    def text_lists(self, column: str) -> list[list[str]]:
        """As `lists`, of texts that are not empty.

        Raises:
            DataError: one is none.
        """
        found = self.lists(column)
        for row, values in enumerate(found):
            for value in values:
                check_text(value, self.at(row, column), blank=self.allow_empty)
        return found


def _parsed(value: object, parse: Callable[[str], Any]) -> Any:  # noqa: ANN401 -- what `parse` gives
    try:
        return parse(value) if isinstance(value, str) else value
    except ValueError:
        return None


def check_label(value: object, first: object, where: str) -> None:
    """See that a value is a label (text or whole number), of the same kind as the first one.

    Raises:
        DataError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{where}: expected a label (text or whole number), got {clip(str(value))}")
    if isinstance(value, str):
        check_text(value, where)
    if isinstance(value, str) != isinstance(first, str):
        raise DataError(f"{where}: expected a label like {first!r}, got {clip(str(value))}; write all of them alike")


def check_text(value: object, where: str, *, blank: bool = False) -> None:
    """See that a value is a text.

    Args:
        value: what should be one.
        where: file, row and column, for the message.
        blank: whether it may hold white space alone.

    Raises:
        DataError: it is none.
    """
    if not isinstance(value, str):
        raise DataError(f"{where}: expected a text, got {clip(str(value))}")
    if not blank and not value.strip():
        raise DataError(
            f"{where}: the text is empty; mend it, or write allow_empty = true into [data] if that is meant"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: character {error.start + 1} is half of a pair and no character by itself") from None


def split_table(spec: TaskSpec, part: str, wanted: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """The rows of one split, or of another part, of a local task.

    Args:
        spec: a local task.
        part: a split's name, or what its type calls the part (`corpus` ...).
        wanted: columns that every row must have.
        optional: columns that a row may lack; then None.

    Raises:
        DataError: the rows cannot be read, or lack a wanted column.
        PrerequisiteError: the Hub does not give them.
    """
    if spec.data is None or spec.origin is None:
        raise UsageError(f"{spec.name} is not a local task")
    data = spec.data
    if data.format == "hub":
        return _from_hub(data, part, wanted, optional)
    return read_table(_file(spec, data, part), data, wanted, optional)


def _file(spec: TaskSpec, data: LocalData, part: str) -> Path:
    folder = spec.origin.parent if spec.origin else Path()
    if data.format == "beir":
        if data.path is None:
            raise DataError(f'{spec.origin}: [data] has format = "beir" and needs path = "FOLDER"')
        named = f"{part}.jsonl" if part in ("corpus", "queries") else f"qrels/{part}.tsv"
        return folder / data.path / named
    if part not in data.files:
        named = shorten(list(data.files)) or "nothing"
        raise DataError(f"{spec.origin}: [data.files] names no file for {part!r} (found files for {named})")
    return folder / data.files[part]


def read_table(path: Path, data: LocalData, wanted: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """Read columns of a file; a `beir` file is JSONL, or TSV by its ending. See `split_table`."""
    separators = {"csv": ",", "tsv": "\t"}
    kind = data.format
    if kind == "beir":
        kind = "tsv" if path.suffix == ".tsv" else "jsonl"
    try:
        if kind == "parquet":
            rows = _parquet_rows(path)
        else:
            rows = _csv_rows(path, separators[kind]) if kind in separators else list(_json_lines(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    return _table(str(path), rows, data, wanted, optional, is_text=kind in separators)


def _table(
    where: str,
    rows: Sequence[Mapping[str, Any]],
    data: LocalData,
    wanted: Sequence[str],
    optional: Sequence[str],
    *,
    is_text: bool = False,
) -> Table:
    names = {name: _named(data, name) for name in (*wanted, *optional)}
    if not rows:
        raise DataError(f"{where}: holds no rows")
    for number, row in enumerate(rows, start=1):
        for name in wanted:
            if row.get(names[name]) is None:
                raise DataError(
                    f"{where}, row {number}: no column {names[name]!r} (found {shorten(list(map(str, row)))})"
                )
    return Table(
        where, {name: [row.get(key) for row in rows] for name, key in names.items()}, names, data.allow_empty, is_text
    )


def _named(data: LocalData, column: str) -> str:
    return next((name for ours, name in data.columns.items() if ours == column), column)


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as handle:
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, parse_constant=_no_constant)
            except (json.JSONDecodeError, RecursionError) as error:
                message = error.msg if isinstance(error, json.JSONDecodeError) else "too deep"
                raise DataError(f"{path}, line {number}: is no JSON ({message})") from None
            except ValueError as error:
                raise DataError(f"{path}, line {number}: is no JSON ({error})") from None
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: expected a JSON object, got {clip(line.strip())}")
            yield row


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _csv_rows(path: Path, separator: str) -> list[dict[str, Any]]:
    import pandas as pd

    try:
        frame = pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig",
            quoting=csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL,
        )  # fmt: skip
    except pd.errors.EmptyDataError:
        return []
    except pd.errors.ParserError as error:
        raise DataError(f"{path}: is no table ({str(error).strip()})") from None
    if not isinstance(frame.index, pd.RangeIndex):
        raise DataError(f"{path}: rows have more cells than the header; quote cells that hold {separator!r}")
    # a row that ends early lacks its last cells
    return [
        {str(key): value if isinstance(value, str) else None for key, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: is no Parquet file ({clip(str(error))})") from None
    return rows


def _from_hub(data: LocalData, part: str, wanted: Sequence[str], optional: Sequence[str]) -> Table:
    from datasets import load_dataset

    config, _, split = data.files.get(part, part).rpartition(":")
    where = f"the data set {data.dataset} at revision {data.revision} [{config or 'default'}, {split}]"
    loaded = load_data(
        HubData(str(data.dataset), str(data.revision), where),
        lambda: load_dataset(data.dataset, config or None, split=split, revision=data.revision),
    )
    return _table(where, loaded.to_list(), data, wanted, optional)
