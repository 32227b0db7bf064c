"""Local files as checked tables: every wrong value is an error that names file, row and column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from evalharness.catalog.task_file import LocalData
from evalharness.catalog.tasks import TaskSpec
from evalharness.data.table_files import Rows, read_rows
from evalharness.data.trec import decimal
from evalharness.downloads import HubData, load_data
from evalharness.errors import MAX_LISTED, DataError, UsageError, clip, shorten
from evalharness.reading import NoJsonError, described, parse_json

Value = TypeVar("Value")
Label = str | int
# whole numbers are those of NumPy and trec_eval
_LARGEST = 2**63


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

    def each(self, column: str, convert: Callable[[Any, object], Value]) -> list[Value]:
        """Convert each value of a column.

        Args:
            column: ours.
            convert: (value, where it is) -> what it stands for; raises DataError.

        Raises:
            DataError: some are wrong; up to five are told at once.
        """
        found, problems = [], []
        place = _Place(self, column)
        for place.row, value in enumerate(self.values[column]):
            try:
                found.append(convert(value, place))
            except DataError as error:
                problems.append(str(error))
        if problems:
            raise DataError(listed(problems))
        return found

    def texts(self, column: str) -> list[str]:
        """A column of texts that are not empty, unless they may be.

        Raises:
            DataError: one is no text, is empty, or cannot be encoded.
        """
        return self.each(column, lambda value, where: check_text(value, where, blank=self.allow_empty))

    def optional_texts(self, column: str) -> list[str]:
        """A column of texts that may be missing or empty; a missing one becomes "".

        Raises:
            DataError: one is no text.
        """
        return self.each(column, lambda value, where: "" if value is None else check_text(value, where, blank=True))

    def ids(self, column: str) -> list[str]:
        """A column of ids: texts, or whole numbers, which stand for their digits.

        Raises:
            DataError: one is neither.
        """
        return self.each(column, _identity)

    def unique_ids(self, column: str) -> list[str]:
        """As `ids`, none of them twice.

        Raises:
            DataError: one is no id, or is there twice.
        """
        values = self.ids(column)
        if len(set(values)) < len(values):
            twice = [value for value, count in Counter(values).items() if count > 1]
            row = len(values) - 1 - values[::-1].index(twice[0])
            raise DataError(f"{self.at(row, column)}: these ids occur more than once: {shorten(twice)}")
        return values

    def numbers(self, column: str, low: float, high: float) -> list[float]:
        """A column of numbers in a range.

        Raises:
            DataError: one is no number or is out of range.
        """
        return self.each(column, lambda value, where: self.number(value, where, low, high))

    def number(self, value: object, where: object, low: float, high: float) -> float:
        """One number in a range; `where` is for the message. Raises DataError."""
        parsed = decimal(value) if self.is_text and isinstance(value, str) else value
        if isinstance(parsed, bool) or not isinstance(parsed, int | float) or not low <= parsed <= high:
            raise DataError(f"{where}: expected a number from {low:g} to {high:g}, got {described(value)}")
        return float(parsed)

    def whole_numbers(self, column: str) -> list[int]:
        """A column of whole numbers of at most 64 bits.

        Raises:
            DataError: one is none.
        """
        return self.each(column, self._whole_number)

    def _whole_number(self, value: object, where: object) -> int:
        parsed = _whole(value) if self.is_text else value
        if isinstance(parsed, bool) or not isinstance(parsed, int):
            written = decimal(str(value))
            hint = "; write whole numbers" if written is not None and written.is_integer() else ""
            raise DataError(f"{where}: expected a whole number, got {described(value)}{hint}")
        if not -_LARGEST <= parsed < _LARGEST:
            raise DataError(f"{where}: expected a whole number of at most 64 bits, got {described(value)}")
        return parsed

    def labels(self, column: str) -> list[Label]:
        """A column of labels, all texts or all whole numbers, at least two different ones.

        Where a file holds only text, digits are numbers if all of them are written as numbers are: 01 is not 1.

        Raises:
            DataError: they are not.
        """
        values = list(self.values[column])
        if self.is_text and all(str(_whole(value)) == value for value in values):
            values = [int(value) for value in values]
        first = values[0]
        checked = replace(self, values={column: values}).each(column, lambda value, at: check_label(value, first, at))
        if len(set(checked)) == 1:
            raise DataError(
                f"{self.where}, column {self.names[column]!r}: all rows have the label {first!r}; "
                "expected at least two labels"
            )
        return checked

    def lists(self, column: str) -> list[list[Any]]:
        """A column of lists that are not empty (written as JSON where a file holds only text).

        Raises:
            DataError: one is no list, or is empty.
        """
        return self.each(column, self._list)

    def _list(self, value: object, where: object) -> list[Any]:
        try:
            parsed = parse_json(value) if self.is_text and isinstance(value, str) else value
        except NoJsonError:
            parsed = None
        if not isinstance(parsed, list) or not parsed:
            raise DataError(f"{where}: expected a list, at least one in it, got {described(value)}")
        return parsed

    def text_lists(self, column: str) -> list[list[str]]:
        """As `lists`, of texts that are not empty.

        Raises:
            DataError: one is none.
        """

        def texts(value: object, where: object) -> list[str]:
            return [check_text(text, where, blank=self.allow_empty) for text in self._list(value, where)]

        return self.each(column, texts)


class _Place:
    """Where the value at hand is; written out only for a message, which few of millions of rows need."""

    __slots__ = ("_column", "_table", "row")

    def __init__(self, table: Table, column: str) -> None:
        self._table, self._column, self.row = table, column, 0

    def __str__(self) -> str:
        return self._table.at(self.row, self._column)


# Python takes 1_0 and the digits of all scripts for numbers
_WHOLE = re.compile(r"[+-]?[0-9]{1,400}")


def _whole(value: object) -> int | None:
    """The number that a cell of a text file writes; None if it writes none."""
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if _WHOLE.fullmatch(text) else None


def _identity(value: object, where: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"{where}: expected an id (text or whole number), got {described(value)}")
    if not value.strip():
        raise DataError(f"{where}: the id is empty")
    return check_text(value, where)


def check_label(value: object, first: object, where: object) -> Label:
    """A value that is a label (text or whole number), of the same kind as the first one.

    Raises:
        DataError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{where}: expected a label (text or whole number), got {described(value)}")
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        raise DataError(f"{where}: expected a label of at most 64 bits, got {described(value)}")
    if isinstance(value, str):
        check_text(value, where)
    if isinstance(value, str) != isinstance(first, str):
        raise DataError(
            f"{where}: expected a label like {described(first)}, got {described(value)}; write all of them alike"
        )
    return value


def check_text(value: object, where: object, *, blank: bool = False) -> str:
    """A value that is a text.

    Args:
        value: what should be one.
        where: file, row and column, for the message.
        blank: whether it may hold white space alone.

    Raises:
        DataError: it is none.
    """
    if not isinstance(value, str):
        raise DataError(f"{where}: expected a text, got {described(value)}")
    if not blank and not value.strip():
        raise DataError(
            f"{where}: the text is empty; mend it, or write allow_empty = true into [data] if that is meant"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: character {error.start + 1} is half of a pair and no character by itself") from None
    return value


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
    path = _file(spec, data, part)
    found = read_rows(path, data, part)
    return _table(str(path), found, data, wanted, optional)


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


def _table(where: str, found: Rows, data: LocalData, wanted: Sequence[str], optional: Sequence[str]) -> Table:
    # what has no header has our names
    headless = data.format == "trec" and found.is_text and {"query-id", "corpus-id"} <= set(wanted)
    names = {name: name if headless else _named(data, name) for name in (*wanted, *optional)}
    rows = found.rows
    if not rows:
        raise DataError(f"{where}: holds no rows")
    if found.header and (absent := [names[name] for name in wanted if names[name] not in found.header]):
        named = " and no ".join(map(clip, absent))
        raise DataError(f"{where}: no column {named} in its header (found {shorten(list(found.header))})")
    problems = [
        f"{where}, row {number}: {problem}"
        for number, row in enumerate(rows, start=1)
        for problem in dict.fromkeys(_absence(row, names[name], found.header) for name in wanted)
        if problem is not None
    ]
    if problems:
        raise DataError(listed(problems))
    values = {name: [row.get(key) for row in rows] for name, key in names.items()}
    return Table(where, values, names, data.allow_empty, found.is_text)


def _absence(row: Mapping[str, Any], column: str, header: Sequence[str]) -> str | None:
    """Why a row has no value of a column; None if it has one."""
    if row.get(column) is not None:
        return None
    if column in row:
        return f"column {clip(column)} is empty (null)"
    if header:
        return f"has {len(row)} {'cell' if len(row) == 1 else 'cells'}, the header {len(header)}"
    return f"no column {clip(column)} (found {_present(row)})"


def _present(row: Mapping[str, Any]) -> str:
    return shorten([name for name, value in row.items() if value is not None]) or "nothing"


def listed(problems: Sequence[str]) -> str:
    """Problems of one file, a line each, cut after five."""
    more = len(problems) - MAX_LISTED
    return "\n".join([*problems[:MAX_LISTED], *([f"... and {more} more of this kind"] if more > 0 else [])])


def tell_all(*checks: Callable[[], object]) -> None:
    """Make checks one by one, and tell what all of them found.

    Raises:
        DataError: some found something.
    """
    problems = []
    for check in checks:
        try:
            check()
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(dict.fromkeys(problems)))


def _named(data: LocalData, column: str) -> str:
    return next((name for ours, name in data.columns.items() if ours == column), column)


def _from_hub(data: LocalData, part: str, wanted: Sequence[str], optional: Sequence[str]) -> Table:
    from datasets import load_dataset

    config, _, split = data.files.get(part, part).rpartition(":")
    where = f"the data set {data.dataset} at revision {data.revision} [{config or 'default'}, {split}]"
    loaded = load_data(
        HubData(str(data.dataset), str(data.revision), where),
        lambda: load_dataset(data.dataset, config or None, split=split, revision=data.revision),
    )
    return _table(where, Rows(loaded.to_list(), is_text=False), data, wanted, optional)
