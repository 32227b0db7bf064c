"""`evalharness watch`: which training, how its checkpoints are evaluated, and what is said of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.lists import split_lists
from evalharness.cli.shell import ExitCode, say, tell
from evalharness.cli.store import duration
from evalharness.errors import UsageError

if TYPE_CHECKING:
    from evalharness.run.following import Training
    from evalharness.run.watching import Until

_POINTS = 100


def watch(  # noqa: PLR0913, PLR0917 -- a command has a parameter per flag
    checkpoints: Annotated[Path, typer.Argument(help="Folder in which the training writes its checkpoints.")],
    tasks: Annotated[list[str] | None, typer.Option(help="Task names or task files.")] = None,
    suite: Annotated[list[str] | None, typer.Option(help="Our lists; see: list suites.")] = None,
    benchmark: Annotated[list[str] | None, typer.Option(help="mteb's lists; see: list benchmarks.")] = None,
    gate: Annotated[bool, typer.Option("--gate", help="End with exit code 1 once the series has regressed.")] = False,
    baseline: Annotated[str | None, typer.Option(help="Results to begin with; default: the first checkpoint.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, max=_POINTS, help="Points nobody minds.")] = 0.3,
    every: Annotated[str, typer.Option(help="From look to look: 30s, 5m.")] = "30s",
    settled: Annotated[str, typer.Option(help="Unchanged for so long, a checkpoint is whole.")] = "5s",
    until: Annotated[int | None, typer.Option(min=1, help="End after so many checkpoints.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End when all that are there are evaluated.")] = False,
    like: Annotated[str | None, typer.Option(help="Use the card of this model: that of the fine-tuned one.")] = None,
    pooling: Annotated[str | None, typer.Option(help="cls, mean, weightedmean or lasttoken.")] = None,
    normalize: Annotated[bool | None, typer.Option(help="Scale vectors to length 1, or do not.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens kept of a text.")] = None,
    dtype: Annotated[
        str | None, typer.Option("--precision", "--dtype", help="float32, bfloat16, float16 (GPU) or int8 (CPU).")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="torch, onnx or openvino; by default the fastest that gives torch's numbers.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the best one if left out.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for results.")] = Path("results"),
    store: Annotated[Path | None, typer.Option(help="Embedding store; default: in the user's cache folder.")] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Keep no embeddings.")] = False,
) -> None:
    """Evaluate each new checkpoint of a training. With --gate, exit 1 once one is worse than the best before it."""
    from evalharness.catalog.selection import Selection
    from evalharness.compare.comparison import Settings
    from evalharness.models.options import Execution, parse_options, with_engine
    from evalharness.run.evaluate import RunOptions
    from evalharness.run.following import How, Training
    from evalharness.run.watching import Until
    from evalharness.store.storing import default_store

    lists = split_lists({"--tasks": tasks, "--suite": suite, "--benchmark": benchmark})
    if no_store and store is not None:
        raise UsageError("--store and --no-store contradict each other; leave one of them out")
    selection = Selection(tasks=lists["--tasks"], suites=lists["--suite"], benchmarks=lists["--benchmark"])
    parsed = parse_options({
        "like": like, "pooling": pooling, "normalize": normalize, "max_length": max_length, "dtype": dtype,
        "protocol": "mteb", "mode_weights": None,
    })  # fmt: skip
    parsed, execution = with_engine(parsed, Execution(device=device), engine)
    if parsed.problems:
        raise UsageError("\n".join(parsed.problems))
    how = How(
        tasks=selection if any(lists.values()) else None,
        output=output,
        options=parsed.options,
        execution=execution,
        run=RunOptions(store=None if no_store else store or default_store()),
        baseline=baseline,
        settings=Settings(tolerance=tolerance / _POINTS),
    )
    ends = Until(checkpoints=until, once=once, every=duration(every), settled=duration(settled))
    if code := _watched(Training(checkpoints, how), ends, is_gate=gate):
        raise typer.Exit(code)


def _watched(training: Training, ends: Until, *, is_gate: bool) -> int:
    """Say what comes of each checkpoint; the exit code of all."""
    from evalharness.run.following import failures
    from evalharness.run.watching import watch as watched

    is_whole, said = True, set[str]()
    training.go_on()
    for item in watched(training, ends):
        if item.evaluation is None:
            is_whole = False
            tell(f"{item.checkpoint.name} is not evaluated: {item.error}")
            continue
        for line in failures(item.evaluation):
            is_whole = False
            tell(f"{item.checkpoint.name}: {line}")
        line = training.series.line(training.place(item.checkpoint))
        said.add(line)
        say(line)
        if is_gate and training.series.regressed is not None:
            break
    series = training.series
    if not series.steps:
        tell(f"{training.folder} holds no checkpoint: expected folders such as checkpoint-100 with a model's files")
    if is_gate and (regressed := series.regressed) is not None:
        # which a watch before this one may have found
        if (line := series.line(series.steps.index(regressed))) not in said:
            say(line)
        say(f"the series has regressed at {regressed.side.model}")
        return ExitCode.REGRESSION
    return 0 if is_whole and series.steps and not series.unjudged else ExitCode.INCOMPLETE
