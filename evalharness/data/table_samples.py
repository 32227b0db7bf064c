"""The first rows of a file, and which share of it they are: to say about how much is in it without reading it all."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from evalharness.catalog.task_file import LocalData
from evalharness.data.table_files import Row, read_rows
from evalharness.errors import DataError

# a file of this size is read whole
_WHOLE = 1 << 20
_ROWS = 2000
_SEPARATORS = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True, slots=True)
class RowSample:
    """Some rows.

    Attributes:
        rows: the first ones.
        share: of all rows of the file, 0-1; about.
    """

    rows: Sequence[Row]
    share: float

    @property
    def count(self) -> int:
        """Rows of the whole file; about, unless they are all here."""
        return round(len(self.rows) / self.share)


def sample_rows(path: Path, data: LocalData, part: str) -> RowSample | None:
    """The beginning of a file of a local task; None where nothing of it can be read, or only all of it.

    Args:
        path: the file.
        data: says in which format and how.
        part: the split or part that the file holds.
    """
    try:
        size = path.stat().st_size
        if path.suffix == ".parquet":
            return _of_parquet(path)
        if size <= _WHOLE:
            rows = read_rows(path, data, part).rows
            return RowSample(rows, 1.0) if rows else None
        return _of_lines(path, data, size)
    except (OSError, ValueError, DataError, csv.Error):
        return None


def _of_lines(path: Path, data: LocalData, size: int) -> RowSample | None:
    """The first lines: of JSON, or of cells after a header."""
    with path.open("rb") as handle:
        begun = handle.read(_WHOLE)
    # the last line is not whole
    read = begun[: begun.rfind(b"\n") + 1]
    lines = read.decode(data.encoding, "replace").splitlines()
    ending = path.suffix.lower().removeprefix(".")
    kind = data.format if data.format in ("jsonl", *_SEPARATORS) else ending
    if kind == "jsonl":
        found = [row for line in lines if isinstance(row := _parsed(line), dict)]
    elif kind in _SEPARATORS:
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if data.quoting else csv.QUOTE_NONE
        found = list(csv.DictReader(lines, delimiter=data.delimiter or _SEPARATORS[kind], quoting=quoting))
    else:
        return None
    return RowSample(found, len(read) / size) if found else None


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    # what is nested too deeply as well
    except (ValueError, RecursionError):
        return None


def _of_parquet(path: Path) -> RowSample | None:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        rows = [row for batch in islice(file.iter_batches(_ROWS), 1) for row in batch.to_pylist()]
        return RowSample(rows, len(rows) / file.metadata.num_rows) if rows else None
    except pa.ArrowException:
        return None
