"""`evalharness report`: which folders, lists, tasks and rows, and where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.lists import split_lists
from evalharness.cli.shell import Loudness, loudness, tell
from evalharness.errors import UsageError
from evalharness.reports.formats import format_of, formats, uncoloured

if TYPE_CHECKING:
    from evalharness.results.stored import StoredRun

_DEFAULT = Path("results")
# what stands behind an option's value is a folder of results
_COMMAS = ". Several values of an option are given with commas: --tasks A,B"


def report(  # noqa: PLR0913, PLR0917 -- a command has a parameter per flag
    results: Annotated[list[Path] | None, typer.Argument(help="Folders with results; default: results.")] = None,
    suite: Annotated[
        list[str] | None, typer.Option(help="Columns and averages of these suites, or of the lists of a TOML file.")
    ] = None,
    benchmark: Annotated[list[str] | None, typer.Option(help="Columns and averages of this benchmark.")] = None,
    tasks: Annotated[list[str] | None, typer.Option(help="These tasks, or of the lists these: A,B.")] = None,
    task_types: Annotated[list[str] | None, typer.Option(help="Keep these task types: STS,Retrieval.")] = None,
    languages: Annotated[
        list[str] | None, typer.Option(help="Keep these languages, and score tasks over them: eng,cmn.")
    ] = None,
    models: Annotated[list[str] | None, typer.Option(help="Keep rows of these models: NAME, or NAME@revision.")] = None,
    sort: Annotated[
        str, typer.Option(help="mean, type-mean, borda, common, name, parameters, speed, a task type or a task.")
    ] = "mean",
    common: Annotated[bool, typer.Option("--common", help="Also the mean over the tasks that all rows have.")] = False,
    subsets: Annotated[
        bool, typer.Option("--subsets", help="Also a table of each task's subsets (languages), in formats of text.")
    ] = False,
    no_intervals: Annotated[bool, typer.Option("--no-intervals", help="Leave intervals out.")] = False,
    format: Annotated[  # noqa: A002 -- the flag's name
        str | None, typer.Option(help=f"{', '.join(formats())}; default: as the output's ending says, or md.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
) -> None:
    """Make a leaderboard from results, for each suite and benchmark. A missing task leaves an average void."""
    from evalharness.catalog.lists import task_lists
    from evalharness.files import check_writable
    from evalharness.reports.building.boards import Choice, make_boards
    from evalharness.reports.formats import render

    lists = {"--suite": suite, "--benchmark": benchmark, "--tasks": tasks, "--task-types": task_types}
    asked = split_lists({**lists, "--languages": languages, "--models": models})
    form = format_of(format, output)
    choice = Choice(
        lists=task_lists(asked["--suite"], asked["--benchmark"]),
        tasks=asked["--tasks"],
        types=asked["--task-types"],
        languages=asked["--languages"],
        models=asked["--models"],
        sort=sort,
        common=common,
        intervals=not no_intervals,
        subsets=subsets,
    )
    if output is not None:
        check_writable(output.parent)
        _check_file(output)
    runs = _own_runs(results, needed=True, advice=_COMMAS if any(asked.values()) else "")
    boards = make_boards(runs, choice)
    _write(render(boards, form), output)


def _own_runs(results: Sequence[Path] | None, *, needed: bool, advice: str) -> list[StoredRun]:
    """The user's own results.

    Args:
        results: folders; None for the default one.
        needed: whether a report without them is none; if not, and nobody named any, the default folder may be missing.
        advice: what is added where a folder is not there.
    """
    from evalharness.results.stored import read_runs

    if results is None and not needed and not _DEFAULT.is_dir():
        _warn(f"no folder {_DEFAULT}: the report is of published scores alone")
        return []
    folders = results or [_DEFAULT]
    _check_folders(folders, advice)
    return read_runs(folders)


def _warn(message: str) -> None:
    if loudness() is not Loudness.QUIET:
        tell(message)


def _write(text: str, output: Path | None) -> None:
    """To a file, whole or not at all, or to the terminal."""
    from evalharness.files import atomic_path, storage_errors

    if output is None:
        typer.echo(text, nl=False)
        return
    with (
        storage_errors(output.parent, f"the report cannot be written to {output}", "choose another file with --output"),
        atomic_path(output) as temporary,
    ):
        temporary.write_text(uncoloured(text), encoding="utf-8")
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


def _check_folders(folders: Sequence[Path], advice: str) -> None:
    """All folders that are not there, at once, by where they were looked for."""
    problems = []
    for folder in folders:
        where = folder.absolute()
        try:
            if not S_ISDIR(folder.stat().st_mode):
                problems.append(f"{where} is no folder; name the folder that holds results")
        except FileNotFoundError:
            problems.append(f"no such folder: {where}; name one that a run has written (run --output){advice}")
        except OSError as error:
            problems.append(f"{where} cannot be read ({error.strerror}); name the folder that holds results")
    if problems:
        raise UsageError("\n".join(problems))
