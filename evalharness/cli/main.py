"""The command line: names and flags to calls, values and errors to text and exit codes."""

from __future__ import annotations

import gc
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness import __version__
from evalharness.cli import shell
from evalharness.cli.baseline import baseline_app
from evalharness.cli.compare import compare
from evalharness.cli.lists import list_app, split_lists
from evalharness.cli.power import power
from evalharness.cli.ranks import ranks
from evalharness.cli.report import report
from evalharness.cli.shell import ExitCode, Loudness, loudness, run_guarded, say, tell, with_flags
from evalharness.cli.store import duration, store_app
from evalharness.cli.watch import watch
from evalharness.errors import DataError, EvalHarnessError, UsageError

if TYPE_CHECKING:
    from evalharness.models.loading import Named, System
    from evalharness.run.estimating.foreseeing import Setting
    from evalharness.run.evaluate import Means
    from evalharness.run.plan import Plan

_PATIENCE_SECONDS = 1.5
# as `options.MOST_THREADS`, whose import takes longer than --help
_MOST_THREADS = 1024
# per second; a thousand times what any device does today
_MOST_TOKENS = 1e12
# documents that a first stage finds per query: as deep as mteb's metrics go
_SEARCH_DEPTH = 1000
# options that take several values after one flag: --languages eng cmn
_LISTS = ("--tasks", "--suite", "--benchmark", "--languages", "--task-types", "--splits", "--subsets")
# no prompt is a prompt
_PROMPTS = ("--query-prompt", "--document-prompt")
_SHORT_FLAGS = ("-h", "-q", "-v")

app = typer.Typer(
    name="evalharness",
    help="Evaluate text embedding models the way MTEB and C-MTEB do.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(list_app, name="list")
app.add_typer(store_app, name="store")
app.add_typer(baseline_app, name="baseline")


def repeat_lists(arguments: Sequence[str]) -> list[str]:
    """Let list options take several values: `--languages eng cmn` becomes `--languages eng --languages cmn`.

    >>> repeat_lists(["run", "--languages", "eng", "cmn", "--dry-run"])
    ['run', '--languages', 'eng', '--languages', 'cmn', '--dry-run']
    """
    # the other commands have arguments without a flag
    if next((argument for argument in arguments if not argument.startswith("-")), "") != "run":
        return list(arguments)
    found: list[str] = []
    option: str | None = None
    values = 0
    for argument in arguments:
        if argument.startswith("--") or argument in _SHORT_FLAGS:
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and what it costs, and stop.")] = False,
    devices: Annotated[int | None, typer.Option(min=1, help="Devices that --dry-run counts with; default 1.")] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=1, max=_MOST_TOKENS, help="Tokens per second that --dry-run counts with, not measured."),
    ] = None,
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
    dtype: Annotated[
        str | None, typer.Option("--precision", "--dtype", help="float32, bfloat16, float16 (GPU) or int8 (CPU).")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="torch, onnx or openvino; by default the fastest that gives torch's numbers.")
    ] = None,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="Run the model's own code.")] = False,
    safetensors_only: Annotated[
        bool, typer.Option("--safetensors-only", help="Refuse weights that are pickles.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the best one if left out.")] = None,
    batch_tokens: Annotated[int | None, typer.Option(min=1, help="Padded tokens per batch; only speed.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=_MOST_THREADS, help="CPU threads that compute; with --ray, per actor.")
    ] = None,
    ray: Annotated[str | None, typer.Option(help="Encode on Ray: local, auto, or HOST:PORT of a cluster.")] = None,
    save_rankings: Annotated[bool, typer.Option("--save-rankings", help="Also write TREC run files.")] = False,
    store: Annotated[Path | None, typer.Option(help="Embedding store; default: in the user's cache folder.")] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Keep no embeddings.")] = False,
    time_budget: Annotated[str | None, typer.Option(help="End cleanly after this long: 90s, 30m, 2h.")] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="End at the first failed job.")] = False,
    overlap: Annotated[bool, typer.Option("--overlap/--no-overlap", help="Score jobs beside the next ones.")] = True,
) -> None:
    """Evaluate a model on tasks. With no task option: the quick suite of the model's language."""
    from evalharness.catalog.selection import Selection
    from evalharness.models.named import name_model
    from evalharness.models.options import Execution, parse_options, with_engine
    from evalharness.run.request import RunRequest, SecondStage, plan_run

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
    options = parse_options({
        "like": like, "name": name, "pooling": pooling, "normalize": normalize, "max_length": max_length,
        "query_prompt": query_prompt, "document_prompt": document_prompt, "dtype": dtype, "dimensions": dimensions,
        "mode": mode, "cutoff_layer": cutoff_layer, "mode_weights": mode_weights,
        "protocol": protocol, "backend": backend, "cards": cards, "url": url, "onnx_file": onnx_file,
        "trust_remote_code": trust_remote_code, "safetensors_only": safetensors_only,
    })  # fmt: skip
    seconds = None if time_budget is None else duration(time_budget)
    ends = None if seconds is None else time.monotonic() + seconds
    placed = Execution(device=device, batch_tokens=batch_tokens, ends=ends, overlap=overlap, ray=ray, threads=threads)
    options, execution = with_engine(options, placed, engine)
    second = SecondStage(reranker, reranker_url, rerank_top_k)
    request = RunRequest(model, options, selection, output, overwrite, save_rankings, second, execution)
    if not dry_run and (devices, rate) != (None, None):
        raise UsageError("--devices and --rate are for --dry-run, which only counts with them")
    plan, system = plan_run(request, download=not dry_run, warn=_warn)
    if dry_run:
        from evalharness.run.estimating.foreseeing import Setting

        setting = Setting(execution, _store(store, no_store), devices or 1, rate, may_measure=True)
        _show_plan(plan, system or name_model(model, options.options), setting)
    elif system is not None:
        from evalharness.run.evaluate import Means
        from evalharness.run.limits import Limits

        limits = Limits(seconds=seconds, ends=ends, fail_fast=fail_fast)
        _execute(plan, system, Means(execution, _store(store, no_store), limits))


def _store(named: Path | None, no_store: bool) -> Path | None:
    from evalharness.store.storing import default_store

    if no_store and named is not None:
        raise UsageError("--store and --no-store contradict each other; leave one of them out")
    return None if no_store else named or default_store()


def _warn(message: str) -> None:
    if loudness() is not Loudness.QUIET:
        tell(message)


def _show_plan(plan: Plan, system: System | Named, setting: Setting) -> None:
    from evalharness.cli.display import make_console
    from evalharness.cli.plan import print_plan
    from evalharness.models.loading import System
    from evalharness.run.estimating.foreseeing import foresee

    foresight = foresee(plan, system, setting, _warn)
    print_plan(make_console(), plan, foresight, model_known=isinstance(system, System))


def _execute(plan: Plan, system: System, means: Means) -> None:
    """Run what is to do, print the scores, and leave with the fitting exit code."""
    from evalharness.cli.display import RunDisplay, make_console, print_scores
    from evalharness.run.evaluate import carry_out

    display = RunDisplay(make_console(stderr=True), loudness())
    records = carry_out(plan, system, means, say=_warn, watching=display)
    print_scores(make_console(), plan, records)
    if undone := len(plan.jobs) - len(records):
        tell(f"{undone} jobs are not done; the same command goes on with them")
    if undone or any(record.error is not None for record in records):
        raise typer.Exit(ExitCode.INCOMPLETE)


@app.command("check-data")
def check_data(tasks: Annotated[list[Path], typer.Argument(help="Task files, or folders of them.")]) -> None:
    """Read local tasks as a run would, without a model, and print what is in them."""
    from evalharness.catalog.tasks import local_task, task_files
    from evalharness.run.without_model import check_data as check

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
            say(f"{item.job.task} [{item.job.split}]: {counts}; texts: {texts}")
            for note in item.notes:
                say(f"    note: {note}")
    if problems:
        raise DataError("\n".join(problems))


@app.command("score-run")
def score_run(  # noqa: PLR0913, PLR0917 -- a command has a parameter per flag
    file: Annotated[Path, typer.Argument(help="A TREC run file: query Q0 document rank score tag.")],
    task: Annotated[str, typer.Option(help="Retrieval or reranking task, by name or task file.")],
    name: Annotated[str, typer.Option(help="Name in results: organisation/system.")],
    splits: Annotated[list[str] | None, typer.Option(help="The split, if the task has several.")] = None,
    subsets: Annotated[list[str] | None, typer.Option(help="The subset, if the task has several.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for results.")] = Path("results"),
    measures: Annotated[list[str] | None, typer.Option(help="Also trec_eval's: 'Rprec bpref P@30 nDCG@10'.")] = None,
) -> None:
    """Score a ranking that was made elsewhere, and store it as a result."""
    from evalharness.catalog.selection import Selection, select
    from evalharness.files import check_writable
    from evalharness.metrics.trec_eval import parse_all
    from evalharness.run.without_model import ForeignRun
    from evalharness.run.without_model import score_run as score

    added = parse_all(measures or ())
    check_writable(output)
    choice = select(Selection(tasks=[task], splits=splits or (), subsets=subsets or ()))[0]
    record = score(ForeignRun(file, name, added), choice, output, say=_warn)
    notes = "".join(f"; {note}" for note in record.notes)
    say(f"{record.job}: {record.main_score} {record.metrics[record.main_score]:.4f}{notes}")
    for measure in added:
        say(f"    {measure} {record.metrics[str(measure)]:.4f}")


app.command()(report)
app.command()(compare)
app.command()(watch)
app.command()(power)
app.command()(ranks)


class _SignalledError(BaseException):
    """A signal ended the run; no library's `except Exception` or `KeyboardInterrupt` may keep it going."""


def _end_soon(number: int, frame: object) -> None:
    """End at once where Python can; if a library holds on, two seconds at the most."""
    del frame
    is_run = sys.argv[1:2] == ["run"] and "--dry-run" not in sys.argv
    kept = "; finished jobs and shards are kept. To go on" if is_run else ". To start again"
    tell(f"interrupted{kept}: {shlex.join(['evalharness', *sys.argv[1:]])}")
    timer = threading.Timer(_PATIENCE_SECONDS, os._exit, [ExitCode.SIGNALLED + number])
    timer.daemon = True
    timer.start()
    raise _SignalledError(number)


def execute(arguments: Sequence[str]) -> int:
    """Run one command line, without the program's name; what is wrong with it goes to stderr.

    Returns:
        The exit code.
    """
    return shell.execute(with_flags(app), repeat_lists(arguments), (*_LISTS, *_PROMPTS))


def main() -> None:
    """Entry point of `evalharness` and `python -m evalharness`."""
    from evalharness.hub import anchor_cache_folders

    anchor_cache_folders()  # before the libraries are imported, which read them once
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_soon)
    try:
        sys.exit(run_guarded(lambda: execute(sys.argv[1:])))
    except _SignalledError as signalled:
        # not sys.exit: threads of libraries may wait for work that never comes
        sys.stdout.flush()
        os._exit(ExitCode.SIGNALLED + signalled.args[0])
    finally:
        # Python would look for circles among all that is left, which takes a sixth of a short command
        gc.freeze()
