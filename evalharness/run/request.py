"""What `run` was asked for: check every name, find the model, plan the jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from evalharness.catalog.selection import Selection, TaskChoice, select
from evalharness.catalog.tasks import needs_hub, quick_suite
from evalharness.data.mteb import pin_revision
from evalharness.errors import PrerequisiteError, UsageError
from evalharness.files import check_writable
from evalharness.hub import work_offline_if_unreachable
from evalharness.models.loading import LoadedModel, ModelOptions, Named, System, name_model, resolve
from evalharness.models.options import Execution, ParsedOptions, asked_tokens
from evalharness.models.registry import check_execution
from evalharness.run.plan import Plan, make_plan
from evalharness.tasks import check_runnable, is_native, task_type
from evalharness.types import ModelSpec


@dataclass(frozen=True, slots=True)
class SecondStage:
    """The reranker that was asked for, if any.

    Attributes:
        name: its name, as the user gave it; None for no second stage.
        url: address of the server that has it.
        top_k: how many documents it gets per query; None for the usual number.
    """

    name: str | None = None
    url: str | None = None
    top_k: int | None = None


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What `run` was asked for.

    Attributes:
        model: the model's name, as the user gave it, or the model itself, loaded.
        options: what is changed of it.
        selection: which tasks.
        output: root of all results.
        overwrite: whether done jobs are done again.
        save_rankings: whether what was retrieved is kept as TREC run files, too.
        second: the second stage.
        execution: how the model runs; looked at only to refuse what would do nothing.
    """

    model: str | LoadedModel
    options: ParsedOptions
    selection: Selection
    output: Path
    overwrite: bool = False
    save_rankings: bool = False
    second: SecondStage = field(default_factory=SecondStage)
    execution: Execution = field(default_factory=Execution)


@dataclass(frozen=True, slots=True)
class _Names:
    """A request whose names are all right; no choices means that no task was named."""

    model: Named
    loaded: LoadedModel | None
    reranker: Named | None
    choices: list[TaskChoice] | None

    @property
    def to_find(self) -> list[Named]:
        """The models whose files are not known yet."""
        return [
            *([self.model] if self.loaded is None else []),
            *([] if self.reranker is None else [self.reranker]),
        ]


_RERANK_TOP_K = 100


def plan_run(request: RunRequest, *, download: bool, warn: Callable[[str], None]) -> tuple[Plan, System | None]:
    """Check every name of the command before anything is fetched, then plan.

    The system is None if its files are not on disk and may not be fetched.
    """
    names = _all_checked(request)
    choices = names.choices
    check_writable(request.output)
    if download and (warning := _offline_warning(names)):
        warn(warning)
    system: System | None = None
    try:
        system = _resolved(names, request.second.top_k, download=download, warn=warn)
    except PrerequisiteError:
        if download:
            raise
    if choices is None:
        card = names.model.card
        languages = system.spec.languages if system else card.languages if card else ()
        choices = _runnable_choices(replace(request.selection, suites=[quick_suite(languages)]))
    if system is not None:
        check_execution(system.stages, request.execution)
        _check_rankable(choices, system.spec)
    if download:
        choices = [replace(choice, spec=pin_revision(choice.spec)) for choice in choices]
    spec = system.spec if system else None
    plan = make_plan(
        choices,
        spec,
        request.output,
        protocol=names.model.options.protocol,
        overwrite=request.overwrite,
        save_rankings=request.save_rankings,
    )
    return plan, system


def _resolved(names: _Names, top_k: int | None, *, download: bool, warn: Callable[[str], None]) -> System:
    loaded = names.loaded
    model = resolve(names.model, download=download, say=warn) if loaded is None else loaded.resolved
    opened = None if loaded is None else loaded.opened
    if names.reranker is None:
        return System(model, opened=opened)
    second, name = resolve(names.reranker, download=download, say=warn), names.reranker.name
    if second.spec.kind != "reranker":
        raise UsageError(
            f"--reranker {name} is of the kind {second.spec.kind}, and a second stage scores pairs. Give a "
            f"cross-encoder, or run it as --model {name}"
        )
    if model.spec.kind == "reranker":
        raise UsageError(
            f"--model {names.model.name} is a reranker, too; the first stage finds documents. Give an embedder or bm25"
        )
    return System(model, second, top_k or _RERANK_TOP_K, opened)


def _reranker_options(url: str | None, options: ModelOptions) -> ModelOptions:
    """The permissions of the command hold for both stages; what changes the first does not change the second."""
    return ModelOptions(
        backend="http-rerank" if url else None,
        url=url or None,
        cards=options.cards,
        trust_remote_code=options.trust_remote_code,
        safetensors_only=options.safetensors_only,
        dtype=options.dtype,
    )


def _check_rankable(choices: Sequence[TaskChoice], model: ModelSpec) -> None:
    """See that a model that makes no vectors is only asked to rank; all other tasks are named at once."""
    if model.kind == "embedder" and "reranker" not in model.overrides and not model.output_weights:
        return
    what = "a lexical model" if model.kind == "lexical" else f"a {model.kind}"
    if model.kind == "embedder":
        mode = "+".join(model.output_weights)
        what = "run with a reranker" if "reranker" in model.overrides else f"run with --mode {mode}"
    problems = [
        f"{model.name} is {what}, which ranks documents, but {task.name} ({task.type}) needs vectors; choose "
        "retrieval and reranking tasks (--task-types Retrieval Reranking)"
        for task in (choice.spec for choice in choices)
        if not (is_native(task) and task_type(task.scoring).ranks)
    ]
    if problems:
        raise UsageError("\n".join(problems))


@contextmanager
def _gathered(problems: list[str]) -> Iterator[None]:
    """Note a usage error and go on, so that all of them are reported at once."""
    try:
        yield
    except UsageError as error:
        problems.append(str(error))


def _all_checked(request: RunRequest) -> _Names:
    """Resolve all names that can be resolved without the Hub."""
    options, problems = request.options.options, list(request.options.problems)
    loaded = request.model if isinstance(request.model, LoadedModel) else None
    model: Named | None = None
    reranker, choices = None, None
    with _gathered(problems):
        model = request.model.named if isinstance(request.model, LoadedModel) else name_model(request.model, options)
    with _gathered(problems):
        asked_tokens(request.execution)
    with _gathered(problems):
        reranker = _second_stage(request.second, options)
    with _gathered(problems):
        choices = _runnable_choices(request.selection) if _names_tasks(request.selection) else None
    if problems or model is None:
        raise UsageError("\n".join(problems))
    return _Names(model, loaded, reranker, choices)


def _runnable_choices(selection: Selection) -> list[TaskChoice]:
    choices = select(selection)
    check_runnable([choice.spec for choice in choices])
    return choices


def _second_stage(second: SecondStage, options: ModelOptions) -> Named | None:
    if second.name is not None:
        return name_model(second.name, _reranker_options(second.url, options))
    if second.top_k is not None or second.url is not None:
        flag = "--rerank-top-k" if second.top_k is not None else "--reranker-url"
        raise UsageError(f"{flag} is about a second stage; name one with --reranker")
    return None


def _offline_warning(names: _Names) -> str | None:
    """Ask whether the Hub answers, if the command needs it for the model or for a task."""
    needs_data = names.choices is None or any(needs_hub(choice.spec) for choice in names.choices)
    return work_offline_if_unreachable() if needs_data or any(named.needs_hub for named in names.to_find) else None


def _names_tasks(selection: Selection) -> bool:
    return bool(selection.tasks or selection.suites or selection.benchmarks)
