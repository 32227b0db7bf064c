"""Tables that somebody printed, computed again from published scores, with a footnote wherever they differ.

A file in results/published/tables/ has the rows in their order, the values as printed, and the reasons that are known
for differences. The boards show what the published scores give; only the averages are shown as printed, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evalharness.catalog.tasks import Member, TaskList, benchmark, suites
from evalharness.errors import UsageError, unknown_names
from evalharness.reading import read_toml, validated
from evalharness.reports.board import Board, Column, Row
from evalharness.reports.building.cells import catalogued, mean_of
from evalharness.reports.building.facts import with_facts
from evalharness.reports.building.rows import make_row
from evalharness.results.published import NOT_PUBLISHED, published_folder, published_runs
from evalharness.results.stored import StoredRun
from evalharness.types import PROTOCOLS, Frozen

# points; the cards print two decimals of means over numbers that were rounded themselves
TOLERANCE = 0.05
_AVERAGE = "average"
_POINTS = 100.0
# of a task that the catalogue does not have
_TYPE_OF_OTHERS = "Reranking"
_RULE = (
    "public scores, not results of ours: of several, the one copied from the model's card is taken, "
    "else the early leaderboard's, else a pinned revision's"
)
_UNEXPLAINED = "the reason is not known"


class PrintedRow(Frozen):
    """A model's line: values in points, in the order of the columns.

    Attributes:
        model: by the name of its published scores.
        printed: as printed.
        average_over: benchmark or suite whose tasks the average is over; None for all of the table's.
        note: a footnote.
    """

    model: str
    printed: tuple[float, ...]
    average_over: str | None = None
    note: str = ""


class Difference(Frozen):
    """Why cells of a row differ from what was printed; no columns means all of them."""

    model: str
    columns: tuple[str, ...] | None = None
    why: str


class PrintedTable(Frozen):
    """A table as it was printed.

    Attributes:
        title: its name.
        list: name of the benchmark or suite whose tasks it is over.
        columns: of the printed values: `average`, a task type or a task.
        rows: in the order of print.
        notes: footnotes of the whole.
        exceptions: differences that are known.
    """

    title: str
    list: str
    columns: tuple[str, ...]
    rows: tuple[PrintedRow, ...]
    notes: tuple[str, ...] = ()
    exceptions: tuple[Difference, ...] = ()


class PrintedTables(Frozen):
    """What a file has."""

    table: tuple[PrintedTable, ...]


def table_names() -> list[str]:
    """Of whose tables there are files."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def _folder() -> Path:
    return published_folder() / "tables"


def printed_tables(name: str) -> Sequence[PrintedTable]:
    """The tables of a file.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in table_names():
        raise UsageError(unknown_names("published table", [name], table_names()))
    path = _folder() / f"{name}.toml"
    return validated(PrintedTables, read_toml(path), str(path)).table


def table_boards(name: str) -> list[Board]:
    """A board for each of the tables, from the published scores that their authors had.

    Args:
        name: of the file.

    Raises:
        UsageError: there is none of this name.
    """
    tables = printed_tables(name)
    models = {row.model for table in tables for row in table.rows}
    runs = {run.model: run for run in published_runs("card", models)}
    return [_board(table, runs) for table in tables]


def _list(name: str) -> TaskList:
    found = suites().get(name) or benchmark(name)
    if found is None:
        raise UsageError(unknown_names("benchmark or suite", [name], [*suites()]))
    return found


def _board(table: PrintedTable, runs: Mapping[str, StoredRun]) -> Board:
    types = _types(table)
    absent = [row.model for row in table.rows if row.model not in runs]
    metrics, of_row = _metrics(types, runs), [runs.get(row.model) or _nothing(row.model) for row in table.rows]
    rows = [with_facts(make_row(run, types, metrics, strict=False), run) for run in of_row]
    averages = [_average(printed, row) for printed, row in zip(table.rows, rows, strict=True)]
    noted = [_noted(table, *pair) for pair in zip(table.rows, rows, averages, strict=True)]
    at = table.columns.index(_AVERAGE)
    columns = [Column("average, printed", [row.printed[at] / _POINTS for row in table.rows])]
    if any(row.average_over for row in table.rows):
        columns = [Column("average as the card counts", averages), *columns]
    return Board(
        title=f"{table.title} ({len(rows)} rows as printed, {table.list})",
        protocol=PROTOCOLS[0],
        types={name: [member.task for member in members] for name, members in types.items()},
        rows=noted,
        metrics=metrics,
        sorted_by="print",
        columns=columns,
        notes=[_RULE, *table.notes, *(f"{model}: nothing is published" for model in absent)],
    )


def _nothing(model: str) -> StoredRun:
    return StoredRun(model, "unknown", {}, {}, published_folder(), absent=NOT_PUBLISHED, is_published=True)


def _types(table: PrintedTable) -> dict[str, list[Member]]:
    """Members by type, in the order of the printed columns."""
    found: dict[str, list[Member]] = defaultdict(list)
    for member in _list(table.list).tasks:
        spec = catalogued(member.task)
        found[spec.type if spec is not None else _TYPE_OF_OTHERS].append(member)
    order = [name for name in table.columns if name in found]
    return {name: found[name] for name in [*order, *(name for name in found if name not in order)]}


def _metrics(types: Mapping[str, Sequence[Member]], runs: Mapping[str, StoredRun]) -> dict[str, str]:
    """By task, what the shown scores are of."""
    names = {member.task for members in types.values() for member in members}
    return {task.task: task.metric for run in runs.values() for task in run.tasks.values() if task.task in names}


def _average(printed: PrintedRow, row: Row) -> float | None:
    """Over the tasks that the printed average is over."""
    if printed.average_over is None:
        return row.mean_task.score
    return mean_of([row.cells[member.task].score for member in _list(printed.average_over).tasks])


def _noted(table: PrintedTable, printed: PrintedRow, row: Row, average: float | None) -> Row:
    """The same row with a footnote for each cell that is not as printed."""
    differences: dict[str, list[str]] = defaultdict(list)
    for column, value in zip(table.columns, printed.printed, strict=True):
        found = average if column == _AVERAGE else _value(row, column)
        if found is not None and abs(_POINTS * found - value) > TOLERANCE:
            shown = f"{column} {_POINTS * found:.2f} (printed {value:.2f})"
            differences[_why(table, printed.model, column)].append(shown)
    notes = [f"not as printed: {', '.join(found)}: {why}" for why, found in differences.items()]
    notes += [printed.note] if printed.note else []
    return replace(row, notes=[*row.notes, *notes])


def _value(row: Row, column: str) -> float | None:
    """Of a task type or a task."""
    return row.types[column].score if column in row.types else row.cells[column].score


def _why(table: PrintedTable, model: str, column: str) -> str:
    known = (item for item in table.exceptions if item.model == model)
    return next((item.why for item in known if item.columns is None or column in item.columns), _UNEXPLAINED)
