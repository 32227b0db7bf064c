"""Per-item scores on disk: a Parquet file per job, `item_id` and then a column of floats per metric."""

from __future__ import annotations

from pathlib import Path

from evalharness.errors import DataError, clip, shorten
from evalharness.files import atomic_path
from evalharness.types import ItemScores

_ID = "item_id"
_ADVICE = "run the command again that made it, which does this job anew"


def write_items(path: Path, items: ItemScores) -> None:
    """Write the scores of a job's items, atomically. See `records.items_path`."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = {name: pa.array(values, type=pa.float64()) for name, values in items.columns.items()}
    with atomic_path(path) as temporary:
        parquet.write_table(pa.table({_ID: pa.array(items.ids, type=pa.string()), **columns}), temporary)


def read_items(path: Path) -> ItemScores:
    """The scores of a job's items, to the last bit as they were written. See `records.items_path`.

    Raises:
        DataError: there is no such file, or it is not what `write_items` writes.
    """
    import pyarrow as pa
    from pyarrow import parquet

    if not path.is_file():  # a pipe would be waited for
        raise DataError(f"{path}: is missing or no file; {_ADVICE}")
    try:
        # a relative path with a colon would be taken for an address
        table = parquet.ParquetFile(path.absolute()).read()
        names = table.column_names
        values = {name: column.to_pylist() for name, column in zip(names, table.columns, strict=True)}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({clip(str(error))}); {_ADVICE}") from None
    kinds = [pa.string(), *[pa.float64()] * (len(names) - 1)]
    if names[:1] != [_ID] or len(values) < len(names) or table.schema.types != kinds:
        found = shorten([f"{field.name} ({field.type})" for field in table.schema])
        raise DataError(f"{path}: expected item_id (string) and columns of double, found {found}; {_ADVICE}")
    if absent := [name for name, column in values.items() if None in column]:
        raise DataError(f"{path}: has empty cells in {shorten(absent)}; {_ADVICE}")
    return ItemScores(values.pop(_ID), values)
