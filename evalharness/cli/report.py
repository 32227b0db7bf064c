"""`evalharness report`: which folders, which lists of tasks, and where the table goes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.lists import split_lists
from evalharness.cli.publishing import Publishing, publish
from evalharness.errors import UsageError, unknown_names
from evalharness.reports.formats import formats

if TYPE_CHECKING:
    from evalharness.catalog.tasks import TaskList, TaskSpec


def report(  # noqa: PLR0913, PLR0917 -- a command has a parameter per flag
    results: Annotated[list[Path] | None, typer.Argument(help="Folders with results; default: results.")] = None,
    suite: Annotated[list[str] | None, typer.Option(help="Columns and averages of these suites.")] = None,
    benchmark: Annotated[list[str] | None, typer.Option(help="Columns and averages of this benchmark.")] = None,
    format: Annotated[str, typer.Option(help=f"{', '.join(formats())}.")] = "md",  # noqa: A002 -- the flag's name
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
    eval_results: Annotated[
        Path | None, typer.Option(help="Folder of a model's repository on the Hub: scores for its .eval_results.")
    ] = None,
    model_index: Annotated[
        Path | None, typer.Option(help="File for the older model-index; a README.md that is there keeps the rest.")
    ] = None,
    submit_to: Annotated[Path | None, typer.Option(help="Folder in the layout of mteb's results repository.")] = None,
    every_eval_ever: Annotated[Path | None, typer.Option(help="Folder for a record of Every Eval Ever.")] = None,
    source_url: Annotated[
        str | None, typer.Option(help="Where more of the results can be read; published too.")
    ] = None,
) -> None:
    """Make a leaderboard from results, for each suite and benchmark. A missing task leaves an average void."""
    from evalharness.files import atomic_path, check_writable, storage_errors
    from evalharness.reports.building.boards import Choice, make_boards
    from evalharness.reports.formats import render
    from evalharness.results.stored import read_runs

    lists = split_lists({"--suite": suite, "--benchmark": benchmark})
    wanted = task_lists(lists["--suite"], lists["--benchmark"])
    folders = results or [Path("results")]
    _check_folders(folders)
    if output is not None:
        check_writable(output.parent)
        _check_file(output)
    publishing = Publishing(eval_results, model_index, submit_to, every_eval_ever, source_url)
    for place in publishing.places:
        check_writable(place.parent)
    runs = read_runs(folders)
    boards = make_boards(runs, Choice(lists=wanted))
    text = render(boards, format)
    publish(publishing, runs, boards)
    if output is None:
        typer.echo(text, nl=False)
        return
    with (
        storage_errors(output.parent, f"the report cannot be written to {output}", "choose another file with --output"),
        atomic_path(output) as temporary,
    ):
        temporary.write_text(text, encoding="utf-8")
    typer.echo(f"report: {output}")


def _check_file(output: Path) -> None:
    try:
        mode = output.stat().st_mode
    except OSError:  # not there yet; what keeps it from being written says so then
        return
    if S_ISDIR(mode):
        raise UsageError(
            f"--output {output} is a folder ({output.absolute()}); give a file, for example {output / 'report.md'}"
        )
    if not S_ISREG(mode):
        # a file would take its place
        raise UsageError(f"--output {output} is a device or a pipe; give a file")


def _check_folders(folders: Sequence[Path]) -> None:
    """All folders that are not there, at once, by where they were looked for."""
    problems = []
    for folder in folders:
        where = folder.absolute()
        try:
            if not S_ISDIR(folder.stat().st_mode):
                problems.append(f"{where} is no folder; name the folder that holds results")
        except FileNotFoundError:
            problems.append(f"no such folder: {where}; name one that a run has written (run --output)")
        except OSError as error:
            problems.append(f"{where} cannot be read ({error.strerror}); name the folder that holds results")
    if problems:
        raise UsageError("\n".join(problems))


def task_lists(suites: Sequence[str], benchmarks: Sequence[str]) -> list[TaskList]:
    """The named lists, suites first, each once; all wrong names at once."""
    from evalharness.catalog import tasks as catalog

    found: dict[str, TaskList] = {}
    wrong: dict[str, list[str]] = {"suite": [], "benchmark": []}
    for kind, name in [*(("suite", name) for name in suites), *(("benchmark", name) for name in benchmarks)]:
        item = catalog.suites().get(name) if kind == "suite" else catalog.benchmark(name)
        if item is None:
            wrong[kind].append(name)
        else:
            found[item.name] = item
    known = {"suite": catalog.suites(), "benchmark": catalog.benchmark_names()}
    if problems := [unknown_names(kind, names, known[kind]) for kind, names in wrong.items() if names]:
        raise UsageError("\n".join(problems))
    return list(found.values())


def named_tasks(names: Sequence[str], stored: Collection[str]) -> dict[str, TaskSpec | None]:
    """Tasks by name, by task file, or as results have them, with what the catalogue knows of each.

    Args:
        names: of tasks, or paths of task files.
        stored: names of tasks that results have.

    Raises:
        UsageError: some do not exist; all are named.
    """
    from evalharness.catalog.tasks import all_task_names, find_task

    found, wrong = {}, []
    for name in names:
        spec = find_task(name)
        if spec is None and name not in stored:
            wrong.append(name)
        else:
            found[name if spec is None else spec.name] = spec
    if wrong:
        raise UsageError(unknown_names("task", wrong, [*all_task_names(), *stored]))
    return found
