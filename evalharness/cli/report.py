"""`evalharness report`: which folders, lists, tasks and rows, and where it goes."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.lists import split_lists
from evalharness.cli.published import Public
from evalharness.cli.publishing import Publishing, publish
from evalharness.cli.shell import Loudness, loudness, tell
from evalharness.errors import UsageError
from evalharness.files import atomic_path, check_writable, no_collection, storage_errors
from evalharness.reports.formats import format_of, formats, uncoloured
from evalharness.reports.plots import check_plots, plots

if TYPE_CHECKING:
    from evalharness.reports.board import Board
    from evalharness.results.stored import StoredRun

_DEFAULT = Path("results")
_STANDARD_OUTPUT = 1
# what stands behind an option's value is a folder of results
_COMMAS = ". Several values of an option are given with commas: --tasks A,B"


@no_collection()
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
    no_intervals: Annotated[bool, typer.Option("--no-intervals", help="Leave intervals of scores out.")] = False,
    format: Annotated[  # noqa: A002 -- the flag's name
        str | None, typer.Option(help=f"{', '.join(formats())}; default: as the output's ending says, or md.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
    plot: Annotated[list[str] | None, typer.Option(help=f"Also draw, as SVG and PNG: {','.join(plots())}.")] = None,
    plots_folder: Annotated[
        Path | None, typer.Option("--plots", help="Folder of the plots; default: beside the output, or plots.")
    ] = None,
    eval_results: Annotated[
        Path | None, typer.Option(help="Folder of a model's repository on the Hub: scores for its .eval_results.")
    ] = None,
    model_index: Annotated[
        Path | None, typer.Option(help="File for the older model-index; a README.md that is there keeps the rest.")
    ] = None,
    submit_to: Annotated[Path | None, typer.Option(help="Folder in the layout of mteb's results repository.")] = None,
    every_eval_ever: Annotated[Path | None, typer.Option(help="Folder for a record of Every Eval Ever.")] = None,
    with_published: Annotated[
        bool, typer.Option("--with-published", help="Also public models that have each task that any of them has.")
    ] = False,
    nearest: Annotated[
        int | None, typer.Option(min=1, help="Also this many public models that are nearest to each of mine.")
    ] = None,
    published: Annotated[
        Path | None, typer.Option(help="Also the models of your clone of embeddings-benchmark/results.")
    ] = None,
    published_table: Annotated[
        list[str] | None, typer.Option(help="Tables of a model card from published scores: bge.")
    ] = None,
    space: Annotated[
        Path | None, typer.Option(help="Folder for a static Space of the Hugging Face Hub that shows the report.")
    ] = None,
    source_url: Annotated[
        str | None, typer.Option(help="Where more of the results can be read; published too.")
    ] = None,
) -> None:
    """Make a leaderboard from results, for each suite and benchmark. A missing task leaves an average void."""
    from evalharness.catalog.lists import task_lists
    from evalharness.reports.building.boards import make_boards
    from evalharness.reports.building.choosing import Choice, wanted_tasks
    from evalharness.reports.formats import render

    lists = {"--suite": suite, "--benchmark": benchmark, "--tasks": tasks, "--task-types": task_types}
    lists |= {"--published-table": published_table}
    asked = split_lists({**lists, "--languages": languages, "--models": models, "--plot": plot})
    public = Public(with_published, nearest, published, asked["--published-table"])
    form = format_of(format, output, flag="--output ", advice="Name the format with --format")
    choice = Choice(
        lists=task_lists(asked["--suite"], asked["--benchmark"]),
        tasks=asked["--tasks"],
        types=asked["--task-types"],
        languages=asked["--languages"],
        models=asked["--models"],
        sort=sort,
        common=common,
        intervals=not no_intervals,
        nearest=nearest,
        subsets=subsets,
    )
    public.check()
    if output is not None:
        check_writable(output.parent)
        _check_file(output)
    drawn_in = _plots_folder(asked["--plot"], plots_folder, output)
    publishing = Publishing(eval_results, model_index, submit_to, every_eval_ever, source_url, space)
    for place in publishing.places:
        check_writable(place.parent)
    alone = public.is_alone(named=bool(results), choice=choice)
    advice = _COMMAS if any(asked.values()) else ""
    own = [] if alone else _own_runs(results, wanted_tasks(choice), needed=not public.is_asked, advice=advice)
    runs = [*own, *public.runs(own, choice)]
    boards = [*public.tables(), *([] if alone else make_boards(runs, choice))]
    text = render(boards, form)
    drawn = _draw(boards, asked["--plot"], drawn_in)
    publish(publishing, runs, boards)
    _write(text, output)
    for path in drawn:
        (tell if output is None else typer.echo)(f"plot: {path}")


def _own_runs(
    results: Sequence[Path] | None, wanted: Collection[str] | None, *, needed: bool, advice: str
) -> list[StoredRun]:
    """The user's own results.

    Args:
        results: folders; None for the default one.
        wanted: tasks whose results are needed; None for all.
        needed: whether a report without them is none; if not, and nobody named any, the default folder may be missing.
        advice: what is added where a folder is not there.
    """
    from evalharness.results.stored import count_damage, read_runs

    if results is None and not needed and not _DEFAULT.is_dir():
        _warn(f"no folder {_DEFAULT}: the report is of published scores alone")
        return []
    folders = results or [_DEFAULT]
    _check_folders(folders, advice)
    runs = read_runs(folders, wanted)
    if skipped := count_damage(runs):
        what = "1 file or folder is" if skipped == 1 else f"{skipped} files or folders are"
        were = "was" if skipped == 1 else "were"
        _warn(f"{what} odd or damaged and {were} left out; the footnotes say which and why")
    return runs


def _warn(message: str) -> None:
    if loudness() is not Loudness.QUIET:
        tell(message)


def _write(text: str, output: Path | None) -> None:
    """To a file, whole or not at all, or to the terminal."""
    if output is None:
        typer.echo(text, nl=False)
        return
    with (
        storage_errors(output.parent, f"the report cannot be written to {output}", "choose another file with --output"),
        # what a link leads to is replaced, not the link
        atomic_path(Path(os.path.realpath(output))) as temporary,
    ):
        temporary.write_text(uncoloured(text), encoding="utf-8")
    typer.echo(f"report: {output}")


def _plots_folder(names: Sequence[str], folder: Path | None, output: Path | None) -> Path:
    """Where plots go, after a look whether they can be drawn and written at all."""
    if folder is not None and not names:
        raise UsageError(f"--plots {folder} without --plot; say which: --plot {','.join(plots())}")
    check_plots(names)
    chosen = folder or (Path("plots") if output is None else output.parent)
    if names:
        check_writable(chosen, "--plots")
    return chosen


def _draw(boards: Sequence[Board], names: Sequence[str], folder: Path) -> Sequence[Path]:
    """Before anything is written of a report, for a board may have nothing to draw; gives the files."""
    from evalharness.reports.plots import save_plots

    if not names:
        return []
    with storage_errors(folder, f"the plots cannot be written to {folder}", "choose another folder with --plots"):
        done = save_plots(boards, names, folder)
    for message in done.left_out:
        _warn(message)
    return done.files


def _check_file(output: Path) -> None:
    try:
        found = output.stat()
    except OSError:  # not there yet; what keeps it from being written says so then
        return
    if S_ISDIR(found.st_mode):
        raise UsageError(
            f"--output {output} is a folder ({output.absolute()}); give a file, for example {output / 'report.md'}"
        )
    if not S_ISREG(found.st_mode):
        # a file would take its place
        raise UsageError(f"--output {output} is a device or a pipe; give a file")
    with suppress(OSError):  # it is closed
        # /dev/stdout > file
        if os.path.samestat(found, os.fstat(_STANDARD_OUTPUT)):
            raise UsageError(f"--output {output} is where the terminal's text goes; leave --output out")


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
