"""`evalharness ranks`: whose results or which table, which tasks, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.lists import split_lists
from evalharness.errors import UsageError, unknown_names

if TYPE_CHECKING:
    from evalharness.catalog.tasks import TaskList
    from evalharness.compare.ranks.boards import Scores
    from evalharness.compare.sides import Results

_TABLE = ".csv"


def ranks(
    results: Annotated[list[str], typer.Argument(help="Results, or a CSV table of scores in points: model, tasks.")],
    tasks: Annotated[list[str] | None, typer.Option(help="Over these tasks; default: those that all have.")] = None,
    suite: Annotated[list[str] | None, typer.Option(help="Over the tasks of these suites.")] = None,
    benchmark: Annotated[list[str] | None, typer.Option(help="Over the tasks of this benchmark.")] = None,
    format: Annotated[str, typer.Option(help="terminal, md or json.")] = "terminal",  # noqa: A002 -- the flag's name
    draws: Annotated[int, typer.Option(min=100, max=100_000, help="Resamples.")] = 1_000,
) -> None:
    """Rank many models: intervals of ranks, and which neighbours are told apart, on these and on like tasks."""
    from evalharness.catalog.lists import task_lists
    from evalharness.compare.sides import read_all

    lists = split_lists({"--tasks": tasks, "--suite": suite, "--benchmark": benchmark})
    wanted = task_lists(lists["--suite"], lists["--benchmark"])
    table = _table(results)
    stored = read_all(results) if table is None else []

    from evalharness.compare.ranks.boards import rank  # from here on NumPy is needed
    from evalharness.compare.ranks.formats import FORMATS

    if format not in FORMATS:
        raise UsageError(unknown_names("format", [format], FORMATS))
    given = _of_results(stored, lists["--tasks"], wanted) if table is None else _of(table, lists["--tasks"], wanted)
    typer.echo(FORMATS[format]([rank(scores, draws) for scores in given]), nl=False)


def _table(named: Sequence[str]) -> Path | None:
    """The table of published scores, if that is what is named."""
    tables = [name for name in named if name.endswith(_TABLE) and not Path(name).is_dir()]
    if tables and len(named) > 1:
        raise UsageError(f"{tables[0]} is a table of scores, which is ranked alone; name nothing beside it")
    return Path(tables[0]) if tables else None


def _of(table: Path, tasks: Sequence[str], wanted: Sequence[TaskList]) -> list[Scores]:
    from evalharness.compare.ranks.matrix import read_matrix, scores_of

    matrix = read_matrix(table)
    return [scores_of(matrix, item) for item in _lists(tasks, matrix.tasks, wanted)]


def _of_results(stored: Sequence[Results], tasks: Sequence[str], wanted: Sequence[TaskList]) -> list[Scores]:
    from evalharness.compare.ranks.stored import scores_of

    there = {task for result in stored for task in result.tasks}
    return [scores_of(stored, item) for item in _lists(tasks, sorted(there), wanted)]


def _lists(tasks: Sequence[str], there: Sequence[str], wanted: Sequence[TaskList]) -> list[TaskList | None]:
    from evalharness.catalog.lists import NAMED, named_tasks
    from evalharness.catalog.tasks import Member, TaskList

    named = named_tasks(tasks, there)
    own = [TaskList(name=NAMED, tasks=tuple(Member(task=name) for name in named))] if named else []
    return [*own, *wanted] or [None]
