"""The command line: names and flags to calls, values and errors to text and exit codes."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness import __version__
from evalharness.errors import DataError, EvalHarnessError, UsageError, unknown_names
from evalharness.list_cli import list_app, split_lists
from evalharness.store_cli import duration, store_app

if TYPE_CHECKING:
    from rich.console import Console

    from evalharness.catalog import TaskList
    from evalharness.models import System
    from evalharness.run import Limits, Plan
    from evalharness.types import Execution

EXIT_USAGE = 2
EXIT_FAILED_JOBS = 3
# a shell's exit code for a command that a signal ended is this and the signal's number
_SIGNALLED = 128
_PATIENCE_SECONDS = 1.5
_FILE_WIDTH = 160
# documents that a first stage finds per query: as deep as mteb's metrics go
_SEARCH_DEPTH = 1000
# options that take several values after one flag: --languages eng cmn
_LISTS = ("--tasks", "--suite", "--benchmark", "--languages", "--task-types", "--splits", "--subsets")

app = typer.Typer(
    name="evalharness",
    help="Evaluate text embedding models the way MTEB and C-MTEB do.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(list_app, name="list")
app.add_typer(store_app, name="store")


def repeat_lists(arguments: Sequence[str]) -> list[str]:
    """Let list options take several values: `--languages eng cmn` becomes `--languages eng --languages cmn`.

    >>> repeat_lists(["run", "--languages", "eng", "cmn", "--dry-run"])
    ['run', '--languages', 'eng', '--languages', 'cmn', '--dry-run']
    """
    if not arguments or arguments[0] != "run":  # the other commands have arguments without a flag
        return list(arguments)
    found: list[str] = []
    option: str | None = None
    values = 0
    for argument in arguments:
        if argument.startswith("--"):
            option, values = (argument, 0) if argument in _LISTS else (None, 0)
            found.append(argument)
            continue
        if option and values:
            found.append(option)
        found.append(argument)
        values += 1
    return found


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def run(  # noqa: PLR0913, PLR0917 -- a command has a parameter per flag
    model: Annotated[str, typer.Option(help="Hub id (with @revision if you like), folder, or all-MiniLM-L6-v2.")],
    tasks: Annotated[list[str] | None, typer.Option(help="Task names or task files.")] = None,
    suite: Annotated[list[str] | None, typer.Option(help="Our lists; see: list suites.")] = None,
    benchmark: Annotated[list[str] | None, typer.Option(help="mteb's lists; see: list benchmarks.")] = None,
    languages: Annotated[list[str] | None, typer.Option(help="Keep these languages, for example: eng cmn.")] = None,
    task_types: Annotated[list[str] | None, typer.Option(help="Keep these task types.")] = None,
    splits: Annotated[list[str] | None, typer.Option(help="Keep these splits.")] = None,
    subsets: Annotated[list[str] | None, typer.Option(help="Keep these subsets.")] = None,
    protocol: Annotated[str, typer.Option(help="Whose rules: mteb, or published (the authors' own).")] = "mteb",
    output: Annotated[Path, typer.Option(help="Folder for results.")] = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do done jobs again.")] = False,
    like: Annotated[str | None, typer.Option(help="Use the card of this model, for a fine-tuned checkpoint.")] = None,
    name: Annotated[str | None, typer.Option(help="Name in results: organisation/model.")] = None,
    reranker: Annotated[str | None, typer.Option(help="A cross-encoder that ranks again what the model found.")] = None,
    reranker_url: Annotated[str | None, typer.Option(help="Server that has the reranker.")] = None,
    rerank_top_k: Annotated[
        int | None, typer.Option(min=1, max=_SEARCH_DEPTH, help="Documents it gets per query; default 100.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="What runs the model; see README.")] = None,
    cards: Annotated[Path | None, typer.Option(help="A file of your own model cards.")] = None,
    url: Annotated[str | None, typer.Option(help="Server that has the model, for --backend http.")] = None,
    onnx_file: Annotated[str | None, typer.Option(help="ONNX file of the model's folder, or: export.")] = None,
    pooling: Annotated[str | None, typer.Option(help="cls, mean, weightedmean or lasttoken.")] = None,
    normalize: Annotated[bool | None, typer.Option(help="Scale vectors to length 1, or do not.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens kept of a text.")] = None,
    dimensions: Annotated[int | None, typer.Option(help="Dimensions kept of a vector (Matryoshka).")] = None,
    mode: Annotated[str | None, typer.Option(help="bge-m3: dense, sparse, multi-vector, or some joined by +.")] = None,
    cutoff_layer: Annotated[int | None, typer.Option(help="Layer of a layer-wise reranker.")] = None,
    mode_weights: Annotated[str | None, typer.Option(help="What each of them counts: 0.4,0.2,0.4.")] = None,
    query_prompt: Annotated[str | None, typer.Option(help="Text put before each query.")] = None,
    document_prompt: Annotated[str | None, typer.Option(help="Text put before each document.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="Run the model's own code.")] = False,
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="Load weights that are pickles.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the best one if left out.")] = None,
    batch_tokens: Annotated[int | None, typer.Option(min=1, help="Padded tokens per batch; only speed.")] = None,
    save_rankings: Annotated[bool, typer.Option("--save-rankings", help="Also write TREC run files.")] = False,
    store: Annotated[Path | None, typer.Option(help="Embedding store; default: in the user's cache folder.")] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Keep no embeddings.")] = False,
    time_budget: Annotated[str | None, typer.Option(help="End cleanly after this long: 90s, 30m, 2h.")] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="End at the first failed job.")] = False,
) -> None:
    """Evaluate a model on tasks. With no task option: the quick suite of the model's language."""
    from evalharness.request import RunRequest, plan_run
    from evalharness.selection import Selection

    named = {"--tasks": tasks, "--suite": suite, "--benchmark": benchmark, "--languages": languages}
    lists = split_lists({**named, "--task-types": task_types, "--splits": splits, "--subsets": subsets})
    selection = Selection(
        tasks=lists["--tasks"],
        suites=lists["--suite"],
        benchmarks=lists["--benchmark"],
        languages=lists["--languages"],
        types=lists["--task-types"],
        splits=lists["--splits"],
        subsets=lists["--subsets"],
    )
    changes = {
        "like": like, "name": name, "pooling": pooling, "normalize": normalize, "max_length": max_length,
        "query_prompt": query_prompt, "document_prompt": document_prompt, "dtype": dtype, "dimensions": dimensions,
        "mode": mode, "cutoff_layer": cutoff_layer, "mode_weights": mode_weights,
        "protocol": protocol, "backend": backend, "cards": cards, "url": url, "onnx_file": onnx_file,
        "trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle,
    }  # fmt: skip
    request = RunRequest(model, changes, selection, output, overwrite, reranker, reranker_url, rerank_top_k)
    plan, system = plan_run(request, download=not dry_run, warn=_warn)
    if dry_run:
        _show_plan(plan, models_known=system is not None)
    elif system is not None:
        from evalharness.run import Limits
        from evalharness.types import Execution

        seconds = None if time_budget is None else duration(time_budget)
        limits = Limits(seconds=seconds, fail_fast=fail_fast, save_rankings=save_rankings)
        _execute(plan, system, Execution(device=device, batch_tokens=batch_tokens), limits, _store(store, no_store))


def _store(named: Path | None, no_store: bool) -> Path | None:
    from evalharness.embeddings import default_store

    if no_store and named is not None:
        raise UsageError("--store and --no-store contradict each other; leave one of them out")
    return None if no_store else named or default_store()


def _warn(message: str) -> None:
    typer.echo(message, err=True)


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr)
    # a file or pipe has no width to fit into
    return console if console.is_terminal else Console(stderr=stderr, width=_FILE_WIDTH)


def _show_plan(plan: Plan, *, models_known: bool) -> None:
    from evalharness.console import print_plan

    print_plan(_console(), plan, model_known=models_known)


def _execute(plan: Plan, system: System, execution: Execution, limits: Limits, store: Path | None) -> None:
    """Run what is to do, print the scores, and leave with the fitting exit code."""
    from evalharness.console import RunDisplay, print_scores
    from evalharness.run import run_plan

    errors = _console(stderr=True)
    if done := len(plan.jobs) - len(plan.todo):
        errors.print(f"{done} of {len(plan.jobs)} jobs are done already; --overwrite does them again", highlight=False)
    records = [job.record for job in plan.jobs if job.record is not None]
    if plan.todo:
        from evalharness.models import open_model

        errors.print(f"loading {system.spec.name} ({system.spec.facts_from})", markup=False, highlight=False)
        model = open_model(system, execution, store=store)
        with RunDisplay(errors) as display:
            records = run_plan(plan, model, display, limits)
    print_scores(_console(), plan, records)
    if undone := len(plan.jobs) - len(records):
        errors.print(f"{undone} jobs are not done; the same command goes on with them", highlight=False)
    if undone or any(record.error is not None for record in records):
        raise typer.Exit(EXIT_FAILED_JOBS)


@app.command("check-data")
def check_data(tasks: Annotated[list[Path], typer.Argument(help="Task files, or folders of them.")]) -> None:
    """Read local tasks as a run would, without a model, and print what is in them."""
    from evalharness.catalog import local_task, task_files
    from evalharness.scoring import check_data as check

    problems = []
    for path in [file for given in tasks for file in task_files(given)]:
        try:
            reports = check(local_task(path))
        except EvalHarnessError as error:
            problems.append(str(error))
            continue
        for item in reports:
            counts = ", ".join(f"{count:,} {name}" for name, count in item.counts.items())
            texts = ", ".join(f"{n:,} {name} ({item.distinct[name]:,} distinct)" for name, n in item.texts.items())
            typer.echo(f"{item.job.task} [{item.job.split}]: {counts}; texts: {texts}")
            for note in item.notes:
                typer.echo(f"    note: {note}")
    if problems:
        raise DataError("\n".join(problems))


@app.command("score-run")
def score_run(
    file: Annotated[Path, typer.Argument(help="A TREC run file: query Q0 document rank score tag.")],
    task: Annotated[str, typer.Option(help="Retrieval or reranking task, by name or task file.")],
    name: Annotated[str, typer.Option(help="Name in results: organisation/system.")],
    splits: Annotated[list[str] | None, typer.Option(help="The split, if the task has several.")] = None,
    subsets: Annotated[list[str] | None, typer.Option(help="The subset, if the task has several.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for results.")] = Path("results"),
) -> None:
    """Score a ranking that was made elsewhere, and store it as a result."""
    from evalharness.scoring import score_run as score
    from evalharness.selection import Selection, select
    from evalharness.storage import check_writable

    check_writable(output)
    choice = select(Selection(tasks=[task], splits=splits or (), subsets=subsets or ()))[0]
    record = score(file, choice, name, output, say=_warn)
    notes = "".join(f"; {note}" for note in record.notes)
    typer.echo(f"{record.job}: {record.main_score} {record.metrics[record.main_score]:.4f}{notes}")


@app.command()
def report(
    results: Annotated[list[Path] | None, typer.Argument(help="Folders with results; default: results.")] = None,
    suite: Annotated[str | None, typer.Option(help="Columns and averages of this suite.")] = None,
    benchmark: Annotated[str | None, typer.Option(help="Columns and averages of this benchmark.")] = None,
    format: Annotated[str, typer.Option(help="md.")] = "md",  # noqa: A002 -- the flag's name
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
) -> None:
    """Make a leaderboard from results. A missing task leaves an average void and is named."""
    from evalharness.reports import render
    from evalharness.reports.leaderboard import make_leaderboards
    from evalharness.results import read_runs
    from evalharness.storage import atomic_path, check_writable

    tasks = _task_list(suite, benchmark)
    text = render(make_leaderboards(read_runs(results or [Path("results")]), tasks), format)
    if output is None:
        typer.echo(text, nl=False)
        return
    check_writable(output.parent)
    with atomic_path(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    typer.echo(f"report: {output}")


def _task_list(suite: str | None, benchmark: str | None) -> TaskList | None:
    from evalharness import catalog

    if suite is not None and benchmark is not None:
        raise UsageError("a report is about a suite or about a benchmark; give one of --suite and --benchmark")
    if suite is not None:
        if suite not in catalog.suites():
            raise UsageError(unknown_names("suite", [suite], catalog.suites()))
        return catalog.suites()[suite]
    if benchmark is not None:
        found = catalog.benchmark(benchmark)
        if found is None:
            raise UsageError(unknown_names("benchmark", [benchmark], catalog.benchmark_names()))
        return found
    return None


def _quiet_libraries() -> None:
    """Libraries below us keep their progress bars and hints to themselves; our messages say what matters."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.simplefilter("ignore")
    logging.getLogger().setLevel(logging.ERROR)


class _SignalledError(BaseException):
    """A signal ended the run; no library's `except Exception` or `KeyboardInterrupt` may keep it going."""


def _end_soon(number: int, frame: object) -> None:
    """End at once where Python can; if a library holds on, two seconds at the most."""
    del frame
    command = shlex.join(["evalharness", *sys.argv[1:]])
    typer.echo(f"interrupted; finished jobs and shards are kept. To go on: {command}", err=True)
    timer = threading.Timer(_PATIENCE_SECONDS, os._exit, [_SIGNALLED + number])
    timer.daemon = True
    timer.start()
    raise _SignalledError(number)


def execute(arguments: Sequence[str]) -> int:
    """Run one command line, without the program's name; what is wrong with it goes to stderr.

    Returns:
        The exit code.
    """
    try:
        app(args=repeat_lists(arguments))
    except EvalHarnessError as error:
        typer.echo(f"error: {error}", err=True)
        return EXIT_USAGE
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def main() -> None:
    """Entry point of `evalharness` and `python -m evalharness`."""
    from evalharness.hub import anchor_cache_folders

    anchor_cache_folders()  # before the libraries are imported, which read them once
    _quiet_libraries()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_soon)
    try:
        sys.exit(execute(sys.argv[1:]))
    except _SignalledError as signalled:
        # not sys.exit: threads of libraries may wait for work that never comes
        sys.stdout.flush()
        os._exit(_SIGNALLED + signalled.args[0])
