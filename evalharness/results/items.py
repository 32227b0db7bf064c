"""Per-item scores on disk: a Parquet file per job, `item_id` and then columns of floats.

The schema's metadata hold what the numbers in columns of labels stand for, as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

from evalharness.errors import DataError, clip, shorten
from evalharness.files import atomic_path
from evalharness.metrics.measures import LABEL, PREDICTED
from evalharness.types import ItemScores

_ID = "item_id"
_NAMES = b"evalharness.names"
_ADVICE = "run the command again that made it, which does this job anew"


def write_items(path: Path, items: ItemScores) -> None:
    """Write the scores of a job's items, atomically. See `records.items_path`."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = {name: pa.array(values, type=pa.float64()) for name, values in items.columns.items()}
    table = pa.table({_ID: pa.array(items.ids, type=pa.string()), **columns})
    if items.names:
        table = table.replace_schema_metadata({_NAMES: json.dumps(list(items.names)).encode()})
    with atomic_path(path) as temporary, pa.OSFile(os.fsencode(temporary), "wb") as handle:
        parquet.write_table(table, handle, compression="zstd")


def read_items(path: Path) -> ItemScores:
    """The scores of a job's items, to the last bit as they were written. See `records.items_path`.

    Raises:
        DataError: there is no such file, or it is not what `write_items` writes.
    """
    table = _read_table(path)
    columns = {name: column.to_pylist() for name, column in zip(table.column_names, table.columns, strict=True)}
    return ItemScores(columns.pop(_ID), columns, _names(path, table))


def read_arrays(path: Path) -> ItemScores:
    """The same as `read_items`, with an array for each column: of many items it takes a third of the time.

    Raises:
        DataError: as of `read_items`.
    """
    import numpy as np

    table = _read_table(path)
    columns: dict[str, Any] = {name: np.array(_array(table[name])) for name in table.column_names[1:]}
    return ItemScores(table[_ID].to_pylist(), columns, _names(path, table))


def _array(column: Any) -> Any:  # noqa: ANN401 -- of pyarrow, which has no types
    """A column as NumPy's, which may not be changed."""
    import numpy as np

    # `to_numpy` would import pandas
    return np.from_dlpack(column.combine_chunks())


def _read_table(path: Path) -> Any:  # noqa: ANN401 -- a table of pyarrow's, which has no types
    import pyarrow as pa
    from pyarrow import parquet

    if not path.is_file():  # a pipe would be waited for
        raise DataError(f"{path}: is missing or no file; {_ADVICE}")
    try:
        # a path would be taken for an address if it has a colon, and must be UTF-8
        with pa.OSFile(os.fsencode(path)) as handle:
            table = parquet.ParquetFile(handle).read()
        # pyarrow reads text that is no UTF-8 and says so later
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({clip(str(error))}); {_ADVICE}") from None
    names = table.column_names
    kinds = [pa.string(), *[pa.float64()] * (len(names) - 1)]
    if names[:1] != [_ID] or len({*names}) < len(names) or table.schema.types != kinds:
        found = shorten([f"{field.name} ({field.type})" for field in table.schema])
        raise DataError(f"{path}: expected item_id (string) and columns of double, found {found}; {_ADVICE}")
    if absent := [name for name in names if table[name].null_count]:
        raise DataError(f"{path}: has empty cells in {shorten(absent)}; {_ADVICE}")
    return table


def _names(path: Path, table: Any) -> tuple[Any, ...]:  # noqa: ANN401 -- as of `_read_table`
    """What the numbers in columns of labels stand for.

    Raises:
        DataError: it is no list of labels, or a number has none.
    """
    import numpy as np

    metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
    if _NAMES not in metadata:
        return ()
    try:
        names = json.loads(metadata[_NAMES])
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: the names of its labels are no JSON ({clip(str(error))}); {_ADVICE}") from None
    if not isinstance(names, list) or not all(_is_name(name) for name in names):
        raise DataError(f"{path}: expected a list of labels for its names, found {clip(str(names))}; {_ADVICE}")
    for column in filter(_holds_labels, table.column_names):
        # each of them once: there are few. By NumPy, since pyarrow's own way imports all that it can compute
        numbers = [number for number in np.unique(_array(table[column])).tolist() if not isnan(number)]
        if wrong := [str(n) for n in numbers if not (n.is_integer() and 0 <= n < len(names))]:
            raise DataError(f"{path}: {column} has numbers without a name: {shorten(wrong)}; {_ADVICE}")
    return tuple(names)


def _is_name(value: object) -> bool:
    return isinstance(value, str | int | float) or (
        isinstance(value, list) and all(isinstance(label, str | int | float) for label in value)
    )


def _holds_labels(column: str) -> bool:
    return column == LABEL or column.startswith(PREDICTED)


def with_names(items: ItemScores) -> dict[str, list[Any]]:
    """The ids of items and their columns, with labels, or lists of them, for numbers of labels; None for no label."""
    columns: dict[str, list[Any]] = {_ID: list(items.ids)}
    for name, values in items.columns.items():
        has_names = items.names and _holds_labels(name)
        columns[name] = [None if isnan(n) else items.names[int(n)] for n in values] if has_names else list(values)
    return columns
