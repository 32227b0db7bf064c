"""The door: what `run` does, as a call. A plan is carried out here, also for the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TypeAlias

from pydantic import Field

from evalharness.catalog.selection import Selection
from evalharness.errors import StoppedError, UsageError
from evalharness.files import no_folder
from evalharness.hub import check_environment, without_progress_bars
from evalharness.models.given import checked_kind, checked_name, described
from evalharness.models.lazy import OpenedOtherwiseError
from evalharness.models.loading import LoadedModel, System, open_model
from evalharness.models.options import Execution, ModelOptions, ParsedOptions
from evalharness.ranking.records import K_VALUES
from evalharness.results.evaluation import Evaluation, JobResult
from evalharness.results.records import JobRecord
from evalharness.run.estimating.foreseeing import Setting
from evalharness.run.estimating.learning import follow
from evalharness.run.events import RunEvent, Watch
from evalharness.run.limits import Limits
from evalharness.run.plan import Plan, run_plan
from evalharness.run.request import RunRequest, SecondStage, plan_run
from evalharness.run.views import refresh_views
from evalharness.store.storing import default_store
from evalharness.types import Frozen, Notice

Tasks: TypeAlias = str | PathLike[str] | Sequence[str | PathLike[str]] | Selection


def ignore_progress(event: RunEvent) -> None:
    """A `Watch` for callers that watch nothing."""
    del event


class RunOptions(Frozen):
    """How `evaluate` goes about its jobs; the names are those of the command line's options.

    Attributes:
        overwrite: whether done jobs are done again.
        save_rankings: whether what was retrieved is kept as TREC run files, too.
        store: folder of the embedding store, by default in the user's cache folder; None to keep no vectors.
        reranker: name of a cross-encoder that ranks again what the model found.
        reranker_url: address of the server that has the reranker.
        rerank_top_k: how many documents it gets per query; None for the usual number.
        time_budget: in seconds; the run ends cleanly after so many, at the next batch. None for no limit.
        fail_fast: whether the first failed job ends the run.
        watch: is told of progress: `Foreseen`, `JobStarted`, `TextsCounted`, `TextsEncoded`, `Notice`, `JobEnded`;
            where a model has several engines, also `JobResumed`.
    """

    overwrite: bool = False
    save_rankings: bool = False
    store: Path | None = Field(default_factory=default_store)
    reranker: str | None = None
    reranker_url: str | None = None
    rerank_top_k: int | None = Field(default=None, ge=1, le=max(K_VALUES))
    time_budget: float | None = Field(default=None, gt=0)
    fail_fast: bool = False
    watch: Watch = ignore_progress


@dataclass(frozen=True, slots=True)
class Means:
    """How a plan is carried out; nothing of it changes a number.

    Attributes:
        execution: how the model runs, unless it is loaded already.
        store: folder of the embedding store; None to keep no vectors.
        limits: when the run ends before its time.
    """

    execution: Execution
    store: Path | None
    limits: Limits = field(default_factory=Limits)


def evaluate(
    model: str | PathLike[str] | LoadedModel,
    tasks: Tasks | None = None,
    *,
    output: str | PathLike[str] = "results",
    options: ModelOptions | None = None,
    execution: Execution | None = None,
    run: RunOptions | None = None,
) -> Evaluation:
    """Evaluate a model on tasks: what `python -m evalharness run` does, with the same files as its result.

    A job that is done already is not done again. One that fails is in the result as failed, and the others go on.
    Nothing is printed.

    Args:
        model: a name or folder as `load_model` takes it, also of a reranker, `bm25` or `python:module:function`; or
            what `load_model` gave, which is not loaded again.
        tasks: a task's name or a task file, or several; or a `Selection`, for suites, benchmarks, languages, task
            types, splits and subsets. With none, the quick suite of the model's language.
        output: folder for results.
        options: what to change against the model's card or files; not of a loaded model, which has them.
        execution: device and batch size; they never change a number. Not of a loaded model.
        run: everything else, see `RunOptions`.

    Returns:
        A result per job, with its record and items; `frame()` makes a pandas frame of them.

    Raises:
        UsageError: names that do not exist, all at once, or that do not go together, or results in the way.
        PrerequisiteError: the model, or the data of every task, cannot be had; a device or package is not there.
        StorageError: the disk is full, say; what was done before is kept.
        ModelError: the model cannot be loaded as asked.
        DataError: a task file is wrong.

    >>> from tempfile import TemporaryDirectory
    >>> from evalharness import RunOptions, evaluate
    >>> with TemporaryDirectory() as folder:
    ...     results = evaluate("all-MiniLM-L6-v2", "StarterSTSEng", output=folder, run=RunOptions(store=None))
    ...     items = results[0].frame()
    >>> results
    sentence-transformers/all-MiniLM-L6-v2: 1 job
    task           split  subset   metric           score
    StarterSTSEng  test   default  cosine_spearman  0.7191
    >>> list(items)[:3]
    ['item_id', 'gold', 'similarity']
    """
    checked_kind("evaluate", run, (RunOptions, type(None)), "a RunOptions as run")
    run = run or RunOptions()
    request = _request(model, options, execution, selected(tasks), output, run)
    check_environment()
    return _evaluated(request, run)


def _evaluated(request: RunRequest, run: RunOptions) -> Evaluation:
    def say(message: str) -> None:
        run.watch(Notice(message))

    with without_progress_bars():
        plan, system = plan_run(request, download=True, warn=say)
        if system is None:
            raise AssertionError("a model that may be downloaded is there, or an error tells why not")
        limits = Limits(seconds=run.time_budget, ends=request.execution.ends, fail_fast=run.fail_fast)
        means = Means(request.execution, run.store, limits)
        records = carry_out(plan, system, means, say=say, watching=nullcontext(run.watch))
    done = {record.job for record in records}
    undone = tuple(job.id for job in plan.jobs if job.id not in done)
    # of use wherever the process stands later
    folder = plan.folder.absolute()
    return Evaluation(system.spec, folder, tuple(JobResult(record, folder) for record in records), undone)


def _request(
    model: object,
    options: ModelOptions | None,
    execution: Execution | None,
    selection: Selection,
    output: object,
    run: RunOptions,
) -> RunRequest:
    ends = None if run.time_budget is None else time.monotonic() + run.time_budget
    kinds = (str, PathLike, LoadedModel)
    checked_kind("evaluate", model, kinds, "a model's name, a folder, or what load_model gave")
    checked_kind("evaluate", options, (ModelOptions, type(None)), "a ModelOptions as options")
    checked_kind("evaluate", execution, (Execution, type(None)), "an Execution as execution")
    if isinstance(model, LoadedModel):
        if options is not None or execution is not None:
            raise UsageError(
                f"{model.spec.name} is loaded already, so options and execution would do nothing; give them to "
                "load_model, or give evaluate the model's name"
            )
        options, execution = model.named.options, model.execution
    execution = execution or Execution()
    return RunRequest(
        model if isinstance(model, LoadedModel) else checked_name("evaluate", model),
        ParsedOptions(options or ModelOptions()),
        selection,
        _folder(output),
        run.overwrite,
        run.save_rankings,
        SecondStage(run.reranker, run.reranker_url, run.rerank_top_k),
        execution if ends is None else execution.changed({"ends": ends}),
    )


def _folder(output: object) -> Path:
    folder = fspath(output) if isinstance(output, str | PathLike) else None
    if not isinstance(folder, str) or not folder:
        raise UsageError(f"evaluate got {described(output)} as output; expected a folder, such as 'results'")
    return Path(folder)


def selected(tasks: object) -> Selection:
    """What is asked for in any of the ways that `Tasks` has.

    Raises:
        UsageError: it is none of them, or empty, which is no way to ask for the quick suite.
    """
    if tasks is None:
        return Selection()
    if isinstance(tasks, Selection):
        asked = {item.name: getattr(tasks, item.name) for item in fields(tasks)}
        return replace(tasks, **{name: _names(name, given) for name, given in asked.items() if len(given)})
    return Selection(tasks=_names("tasks", [tasks] if isinstance(tasks, str | PathLike) else tasks))


def _names(what: str, given: object) -> list[str]:
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise UsageError(f"evaluate got {described(given)} as {what}; expected a list of names")
    names = [fspath(name) if isinstance(name, PathLike) else name for name in given]
    if wrong := [name for name in names if not isinstance(name, str) or not name.strip()]:
        raise UsageError(f"evaluate got {described(wrong[0])} among the {what}; expected a name")
    if not names:
        raise UsageError(f"evaluate got an empty list of {what}; name some, or leave them out for the quick suite")
    return names


def carry_out(
    plan: Plan,
    system: System,
    means: Means,
    *,
    say: Callable[[str], None],
    watching: AbstractContextManager[Watch],
) -> list[JobRecord]:
    """Load the model if anything is left to do, do it, and bring the views of the records up to date.

    Args:
        plan: see `plan_run`.
        system: as above.
        means: how.
        say: is told what a person should know before the first job begins.
        watching: gives what is told of progress, once the model is loaded.

    Returns:
        As `run_plan`.

    Raises:
        UsageError: the store can be none.
        PrerequisiteError, ModelError, StorageError: as `open_model` and `run_plan`.
    """
    if means.store is not None and (odd := no_folder(means.store)):
        raise UsageError(
            f"the embedding store {means.store} cannot be used: {odd}. Name another with --store, or do without: "
            "--no-store"
        )
    records = [job.record for job in plan.jobs if job.record is not None]
    if records:
        say(f"{len(records)} of {len(plan.jobs)} jobs are done already; --overwrite does them again")
        if named := [stage.name for stage in system.stages if stage.backend == "python"]:
            say(f"{named[0]} is known by its module's own file: changes of what that imports or loads are not noticed")
    if not plan.todo:
        refresh_views(plan.folder, plan.jobs, system.spec)
        return records
    try:
        # absolute: where data of the Hub are loaded, the process may stand elsewhere meanwhile
        store = None if means.store is None else means.store.absolute()
        tasks = list({job.spec.name: job.spec.context() for job in plan.todo}.values())
        following = follow(plan, system, Setting(means.execution, store))
        model = open_model(system, means.execution, store=store, tasks=tasks, say=say)
        with watching as watch:
            hear = following.beside(watch, model)
            try:
                done = run_plan(plan, model, hear, means.limits, overlap=means.execution.overlap)
            except OpenedOtherwiseError:
                # what it really is has been kept now; jobs that are done stay done
                model = open_model(system, means.execution, store=store)
                return run_plan(plan, model, hear, means.limits, overlap=means.execution.overlap)
            following.keep(model)
            return done
    except StoppedError as stopped:
        say(str(stopped))
        return records
