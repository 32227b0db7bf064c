"""`evalharness power`: which tasks, which stored results, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.lists import split_lists
from evalharness.errors import UsageError, unknown_names

if TYPE_CHECKING:
    from evalharness.catalog.tasks import Member, TaskList, TaskSpec
    from evalharness.compare.sides import Results

_POINTS = 100


def power(
    results: Annotated[list[str] | None, typer.Argument(help="Stored results, to know how far items differ.")] = None,
    tasks: Annotated[list[str] | None, typer.Option(help="Task names or task files.")] = None,
    suite: Annotated[list[str] | None, typer.Option(help="The tasks of these suites.")] = None,
    benchmark: Annotated[list[str] | None, typer.Option(help="The tasks of this benchmark.")] = None,
    tolerance: Annotated[float, typer.Option(max=_POINTS, help="Points that are to be seen.")] = 0.3,
    format: Annotated[str, typer.Option(help="terminal, md or json.")] = "terminal",  # noqa: A002 -- the flag's name
) -> None:
    """What could tasks show at all? Smallest detectable differences, items needed, and the cheapest tasks that do."""
    from evalharness.catalog.lists import task_lists
    from evalharness.compare.sides import read_all

    if not tolerance > 0:
        raise UsageError(f"--tolerance {tolerance:g}: a difference of nothing cannot be shown; give points above 0")
    lists = split_lists({"--tasks": tasks, "--suite": suite, "--benchmark": benchmark})
    stored = read_all(results or [])
    named = [_named(lists["--tasks"], stored)] if lists["--tasks"] else []
    wanted = [*named, *task_lists(lists["--suite"], lists["--benchmark"])]
    if not wanted and not stored:
        raise UsageError("of what? Name tasks (--tasks), a suite, a benchmark, or folders with results")

    from evalharness.compare.power.formats import FORMATS  # from here on NumPy is needed
    from evalharness.compare.power.outlook import look_ahead

    if format not in FORMATS:
        raise UsageError(unknown_names("format", [format], FORMATS))
    outlooks = [look_ahead(item, stored, tolerance / _POINTS) for item in wanted or [_stored(stored)]]
    typer.echo(FORMATS[format](outlooks), nl=False)


def _named(names: Sequence[str], stored: Sequence[Results]) -> TaskList:
    """Each with all of its splits and subsets, as a run would do it."""
    from evalharness.catalog.lists import NAMED, named_tasks
    from evalharness.catalog.tasks import TaskList

    found = named_tasks(names, {task for result in stored for task in result.tasks})
    return TaskList(name=NAMED, tasks=tuple(_whole(name, spec) for name, spec in found.items()))


def _whole(name: str, spec: TaskSpec | None) -> Member:
    from evalharness.catalog.tasks import Member

    if spec is None or spec.parts:
        return Member(task=name)
    place = name if spec.origin is None else str(spec.origin)
    return Member(task=place, splits=spec.splits, subsets=tuple(spec.languages))


def _stored(stored: Sequence[Results]) -> TaskList:
    """All tasks that results have, with the splits and subsets that they have."""
    from evalharness.catalog.lists import STORED
    from evalharness.catalog.tasks import Member, TaskList

    members: dict[str, Member] = {}
    for result in stored:
        for name, task in result.tasks.items():
            subsets = tuple(dict.fromkeys(subset for found in task.scores.values() for subset in found))
            members.setdefault(name, Member(task=name, splits=tuple(task.scores), subsets=subsets))
    return TaskList(name=STORED, tasks=tuple(members[name] for name in sorted(members)))
