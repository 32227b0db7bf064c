"""Where a task's rows come from: a fresh mteb task object, or the files of a local task."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalharness.catalog import LocalData, TaskSpec
from evalharness.errors import DataError, PrerequisiteError, UsageError, clip, shorten
from evalharness.hub import hub_errors, reason
from evalharness.selection import TaskChoice

Table = Mapping[str, Sequence[Any]]


def load_mteb_task(choice: TaskChoice) -> Any:  # noqa: ANN401 -- mteb's tasks have no common public type
    """A fresh mteb task object with its data loaded.

    Fresh, because the objects keep random state between evaluations; and only with the wanted subsets, so that no
    other is downloaded.

    Raises:
        PrerequisiteError: the data cannot be had from the Hub.
        DataError: they are there, but not as mteb expects them.
    """
    import mteb
    from datasets.utils import disable_progress_bars

    disable_progress_bars()
    spec = choice.spec
    task = mteb.get_task(spec.name, eval_splits=list(choice.splits), hf_subsets=list(choice.subsets))
    where = f"{spec.name}: the data set {task.metadata.dataset['path']} at revision {spec.revision}"
    try:
        task.load_data()
        if hasattr(task, "convert_v1_dataset_format_to_v2"):
            task.convert_v1_dataset_format_to_v2(num_proc=None)
    except hub_errors() as error:
        raise PrerequisiteError(
            f"{where} cannot be loaded from the Hub ({reason(error)}). "
            "Check the network and HF_ENDPOINT; what was loaded before is still in the cache"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where} is not as mteb expects it: {type(error).__name__}: {error}") from error
    return task


def mteb_rows(task: Any, split: str, subset: str) -> Any:  # noqa: ANN401
    """The data of one split and subset of a loaded mteb task, wherever it keeps them.

    Raises:
        DataError: the loaded data have no such split.
    """
    data = task.dataset
    if subset in data:
        data = data[subset]
    if split not in data:
        raise DataError(f"{task.metadata.name}: no split {split!r} in the loaded data (found {shorten(list(data))})")
    return data[split]


def require_standard_scoring(task: Any, methods: Sequence[str]) -> None:  # noqa: ANN401
    """Refuse a task that scores in a way of its own.

    Args:
        task: an mteb task object.
        methods: methods of its task type that must not be overridden.

    Raises:
        UsageError: one is.
    """
    base = next(cls for cls in type(task).__mro__ if cls.__module__.startswith("mteb.abstasks"))
    own = [name for name in methods if getattr(type(task), name) is not getattr(base, name)]
    if own:
        raise UsageError(
            f"{task.metadata.name} has a scoring of its own ({shorten(own)}), which cannot be run yet; leave it out"
        )


def column(rows: Any, name: str, where: str) -> list[Any]:  # noqa: ANN401
    """A column of a `datasets.Dataset` or of a `Table`, as a plain list (a lazy column is slow to index).

    Raises:
        DataError: there is no such column.
    """
    names = list(getattr(rows, "column_names", rows))
    if name not in names:
        raise DataError(f"{where}: no column {name!r} (found {shorten(names)})")
    return list(rows[name][:])


def text_column(rows: Any, name: str, where: str) -> list[str]:  # noqa: ANN401
    """As `column`, for texts.

    Raises:
        DataError: there is no such column, or a value is not a text.
    """
    values = column(rows, name, where)
    for number, value in enumerate(values):
        if not isinstance(value, str):
            raise DataError(f"{where}, row {number + 1}, column {name!r}: expected a text, got {clip(str(value))}")
    return values


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{path}, line {number}: is no JSON ({error.msg})") from None
                if not isinstance(row, dict):
                    raise DataError(f"{path}, line {number}: expected a JSON object, got {clip(line.strip())}")
                yield row
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None


def read_jsonl(path: Path, columns: Mapping[str, str], wanted: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """Read columns of a JSONL file.

    Args:
        path: one JSON object a line.
        columns: our column name -> name in the file, where they differ.
        wanted: our names of columns that every row must have.
        optional: our names of columns that a row may lack; then None.

    Raises:
        DataError: the file cannot be read, or a row lacks a wanted column; the message names file, line and column.
    """
    table: dict[str, list[Any]] = {name: [] for name in (*wanted, *optional)}
    for number, row in enumerate(_json_lines(path), start=1):
        for name in wanted:
            key = columns.get(name, name)
            if row.get(key) is None:
                raise DataError(f"{path}, row {number}: no column {key!r} (found {shorten(list(row))})")
            table[name].append(row[key])
        for name in optional:
            table[name].append(row.get(columns.get(name, name)))
    if wanted and not table[wanted[0]]:
        raise DataError(f"{path}: holds no rows")
    return table


def local_data(spec: TaskSpec) -> tuple[LocalData, Path]:
    """Data section and folder of a local task."""
    if spec.data is None or spec.origin is None:
        raise UsageError(f"{spec.name} is not a local task")
    return spec.data, spec.origin.parent


def jsonl_file(spec: TaskSpec, split: str) -> Path:
    """The file of one split of a local `jsonl` task.

    Raises:
        DataError: the task file names none.
    """
    data, folder = local_data(spec)
    if data.format != "jsonl" or split not in data.files:
        raise DataError(
            f'{spec.origin}: [data] must have format = "jsonl" and a file for the split {split!r} '
            f"(found format {data.format!r} and files for {shorten(list(data.files)) or 'none'})"
        )
    return folder / data.files[split]


def read_beir_qrels(path: Path) -> list[tuple[str, str, int]]:
    """Rows (query id, document id, grade) of a BEIR qrels file: tab-separated, one header line.

    Raises:
        DataError: the file cannot be read or a row is wrong.
    """
    rows = []
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            for number, cells in enumerate(csv.reader(handle, delimiter="\t"), start=1):
                if number == 1 or not cells:
                    continue
                try:
                    query, document, grade = cells
                    rows.append((query, document, int(grade)))
                except ValueError:
                    raise DataError(
                        f"{path}, line {number}: expected query-id, corpus-id and a whole-numbered score between tabs, "
                        f"got {clip(' | '.join(cells))}"
                    ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    return rows
