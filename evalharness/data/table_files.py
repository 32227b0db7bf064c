"""Files of local tasks as rows: what each format writes, read so that nothing is guessed."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evalharness.catalog.task_file import LocalData
from evalharness.data.trec import COMMENT
from evalharness.errors import DataError, clip, shorten
from evalharness.reading import NoJsonError, kind_of, parse_json, unique_keys

Row = Mapping[str, Any]

_SEPARATORS = {"csv": ",", "tsv": "\t"}
# of tables that are called CSV; the likeliest first
_DELIMITERS = ("\t", ";", "|", ",")
_ENDINGS = {".jsonl": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
# parts that a `trec` task holds as tables, for judgements alone have no header
_TABLES = ("corpus", "queries")
# fields of a line: query, document, grade; query, 0, document, grade; and a run file's
_PLAIN, _QRELS, _RUN = 3, 4, 6


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a file.

    Attributes:
        rows: a mapping each.
        is_text: whether all values are texts, and numbers and lists must be read out of them.
        header: names of the columns, where the file has them once for all rows.
    """

    rows: Sequence[Row]
    is_text: bool
    header: Sequence[str] = ()


def read_rows(path: Path, data: LocalData, part: str) -> Rows:
    """Read a file of a local task.

    Args:
        path: the file.
        data: says in which format and how.
        part: the split or part that the file holds.

    Raises:
        DataError: it cannot be read as what it should be.
    """
    kind = _kind(path, data, part)
    try:
        _check_unpacked(path)
        if kind == "parquet":
            return Rows(_parquet_rows(path), is_text=False)
        if kind in _SEPARATORS:
            return _cells(path, data.delimiter or _SEPARATORS[kind], data)
        if kind == "trec":
            return Rows(list(_judgements(path, data)), is_text=True)
        return Rows(_json_rows(path, data) if kind == "json" else list(_json_lines(path, data)), is_text=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeError as error:
        place = f" (byte {error.start})" if isinstance(error, UnicodeDecodeError) else ""
        raise DataError(
            f"{path}: is not {_shown(data.encoding)}{place}; save it as UTF-8, or give its encoding under [data]"
        ) from None


def _check_unpacked(path: Path) -> None:
    """See that a file is not what other programs pack tables into.

    Raises:
        DataError: it is.
    """
    with path.open("rb") as handle:
        start = handle.read(4)
    if start.startswith(b"\x1f\x8b"):
        raise DataError(f"{path}: is compressed with gzip; unpack it")
    if start == b"PK\x03\x04":
        raise DataError(f"{path}: is a zip or Excel file; export it as CSV, or unpack it")


def _shown(encoding: str) -> str:
    return "UTF-8" if encoding == "utf-8" else encoding


def _kind(path: Path, data: LocalData, part: str) -> str:
    if data.format == "beir":
        return "tsv" if path.suffix == ".tsv" else "jsonl"
    if data.format == "trec" and part in _TABLES:
        kind = _ENDINGS.get(path.suffix.lower())
        if kind is None:
            raise DataError(
                f"{path}: the {part} of a trec task is a table; expected a name ending in {'|'.join(_ENDINGS)}"
            )
        return kind
    return data.format


def _encoding(data: LocalData) -> str:
    # as Excel saves it: with a mark at the start
    return "utf-8-sig" if data.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else data.encoding


def _json_lines(path: Path, data: LocalData) -> Iterator[Row]:
    with path.open(encoding=_encoding(data)) as handle:
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, parse_constant=_no_constant, object_pairs_hook=unique_keys)
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


def _json_rows(path: Path, data: LocalData) -> list[Row]:
    try:
        value = parse_json(path.read_text(encoding=_encoding(data)), unique_keys)
    except NoJsonError as error:
        raise DataError(f"{path}: is no JSON ({error})") from None
    if not isinstance(value, list):
        raise DataError(
            f'{path}: expected a JSON list of objects, found {kind_of(value)}; format = "jsonl" has one a line'
        )
    for number, row in enumerate(value, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: expected a JSON object, got {clip(str(row))}")
    return value


def _cells(path: Path, delimiter: str, data: LocalData) -> Rows:
    """Rows of a CSV or TSV file with a header, as Excel and pandas write them."""
    found: list[Row] = []
    header: list[str] | None = None
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if data.quoting else csv.QUOTE_NONE
    # documents are longer than the library's usual limit for a cell
    before = csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding=_encoding(data), newline="") as handle:
            for cells in csv.reader(handle, delimiter=delimiter, quoting=quoting, strict=True):
                if not cells:
                    continue
                if header is None:
                    header = _header(path, cells, delimiter)
                    continue
                if len(cells) > len(header):
                    raise DataError(
                        f"{path}, row {len(found) + 1}: has {len(cells)} cells, and the header has {len(header)}; "
                        f"quote cells that hold {delimiter!r}"
                    )
                found.append(dict(zip(header, cells, strict=False)))
    except csv.Error as error:
        raise DataError(
            f"{path}, row {len(found) + 1}: is no table ({error}). A cell that begins with a quote must end with one, "
            "and a quote in it be doubled; where quotes are plain characters, write quoting = false into [data]"
        ) from None
    finally:
        csv.field_size_limit(before)
    return Rows(found, is_text=True, header=header or ())


def _header(path: Path, cells: Sequence[str], delimiter: str) -> list[str]:
    if any("\0" in name for name in cells):
        raise DataError(f'{path}: its header holds NUL; if it is UTF-16, write encoding = "utf-16" into [data]')
    if told := re.fullmatch(r"sep=(.)", delimiter.join(cells), re.IGNORECASE):
        advice = "" if told[1] == delimiter else f", and write delimiter = {json.dumps(told[1])} into [data]"
        raise DataError(f"{path}: its first line is {told[0]}, which only Excel understands; delete it{advice}")
    if len(cells) == 1 and (others := [mark for mark in _DELIMITERS if mark in cells[0]]):
        raise DataError(
            f"{path}: its header is a single cell, {clip(cells[0])}; if its columns are separated by {others[0]!r}, "
            f"write delimiter = {json.dumps(others[0])} into [data]"
        )
    if twice := [name for name, count in Counter(cells).items() if count > 1 and name]:
        raise DataError(f"{path}: its header names a column twice: {shorten(twice)}")
    return list(cells)


def _judgements(path: Path, data: LocalData) -> Iterator[Row]:
    """Lines without a header: `query 0 document grade`, `query document grade`, or a run file's."""
    with path.open(encoding=_encoding(data)) as handle:
        for number, line in enumerate(handle, start=1):
            fields = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
            if not line.strip() or (line.startswith(COMMENT) and not _is_judgement(fields)):
                continue
            if line.startswith(COMMENT):
                raise DataError(
                    f"{path}, line {number}: begins with {COMMENT} as a comment and has the form of a judgement: "
                    f'{clip(line.strip())}. If it is one, give the judgements as format = "tsv" with a header '
                    "(query-id, corpus-id, score); if it is a comment, leave it out"
                )
            if len(fields) == _PLAIN:
                query, document, grade = fields
            elif len(fields) == _QRELS or len(fields) >= _RUN:
                query, document, grade = fields[0], fields[2], fields[3]
            else:
                raise DataError(
                    f"{path}, line {number}: expected `query 0 document grade` or `query document grade`, got "
                    f"{clip(line.strip())}"
                )
            yield {"query-id": query.strip(), "corpus-id": document.strip(), "score": grade.strip()}


def _is_judgement(fields: Sequence[str]) -> bool:
    return len(fields) in (_PLAIN, _QRELS) and re.fullmatch(r"[+-]?[0-9]+", fields[-1].strip()) is not None


def _parquet_rows(path: Path) -> list[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
        rows: list[Row] = table.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{path}: is no Parquet file that can be read ({clip(str(error))})") from None
    if twice := [name for name, count in Counter(table.column_names).items() if count > 1]:
        raise DataError(f"{path}: names a column twice: {shorten(twice)}")
    return rows
