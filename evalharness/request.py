"""What `run` was asked for: check every name, find the model, plan the jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evalharness.catalog import needs_hub, quick_suite
from evalharness.data import pin_revision
from evalharness.errors import PrerequisiteError, UsageError, unknown_names
from evalharness.hub import work_offline_if_unreachable
from evalharness.job import check_rankable
from evalharness.models import ModelOptions, System, resolve_model
from evalharness.models.backends import BACKENDS, check_execution
from evalharness.models.options import card_of
from evalharness.models.resolving import check_model
from evalharness.models.resolving import needs_hub as model_needs_hub
from evalharness.run import Plan, make_plan
from evalharness.selection import Selection, TaskChoice, select
from evalharness.storage import check_writable
from evalharness.tasks import check_runnable
from evalharness.types import DTYPES, POOLINGS, PROTOCOLS, Execution, ModelSpec


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What `run` was asked for.

    Attributes:
        model: the model's name, as the user gave it.
        changes: the values of `ModelOptions`.
        selection: which tasks.
        output: root of all results.
        overwrite: whether done jobs are done again.
        reranker, reranker_url, rerank_top_k: the second stage.
        execution: how the model runs; looked at only to refuse what would do nothing.
    """

    model: str
    changes: Mapping[str, Any]
    selection: Selection
    output: Path
    overwrite: bool
    reranker: str | None = None
    reranker_url: str | None = None
    rerank_top_k: int | None = None
    save_rankings: bool = False
    execution: Execution = field(default_factory=Execution)


_RERANK_TOP_K = 100


def plan_run(request: RunRequest, *, download: bool, warn: Callable[[str], None]) -> tuple[Plan, System | None]:
    """Check every name of the command before anything is fetched, then plan.

    The system is None if its files are not on disk and may not be fetched.
    """
    options, choices = _all_checked(request)
    check_writable(request.output)
    if download and (warning := _offline_warning(request, options, choices)):
        warn(warning)
    system: System | None = None
    try:
        system = _resolved(request, options, download=download, warn=warn)
    except PrerequisiteError:
        if download:
            raise
    if choices is None:
        languages = system.spec.languages if system else _card_languages(request.model, options)
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
        protocol=options.protocol,
        overwrite=request.overwrite,
        save_rankings=request.save_rankings,
    )
    return plan, system


def _resolved(request: RunRequest, options: ModelOptions, *, download: bool, warn: Callable[[str], None]) -> System:
    model = resolve_model(request.model, options, download=download, say=warn)
    if request.reranker is None:
        return System(model)
    second = resolve_model(request.reranker, _reranker_options(request, options), download=download, say=warn)
    if second.spec.kind != "reranker":
        raise UsageError(
            f"--reranker {request.reranker} is of the kind {second.spec.kind}, and a second stage scores pairs. Give a "
            f"cross-encoder, or run it as --model {request.reranker}"
        )
    if model.spec.kind == "reranker":
        raise UsageError(
            f"--model {request.model} is a reranker, too; the first stage finds documents. Give an embedder or bm25"
        )
    return System(model, second, request.rerank_top_k or _RERANK_TOP_K)


def _reranker_options(request: RunRequest, options: ModelOptions) -> ModelOptions:
    """The permissions of the command hold for both stages; what changes the first does not change the second."""
    served = {"backend": "http-rerank", "url": request.reranker_url} if request.reranker_url else {}
    return ModelOptions(
        **served,
        cards=options.cards,
        trust_remote_code=options.trust_remote_code,
        safetensors_only=options.safetensors_only,
        dtype=options.dtype,
    )


def _check_rankable(choices: Sequence[TaskChoice], spec: ModelSpec) -> None:
    """All tasks that the model cannot do, at once."""
    problems: list[str] = []
    for choice in choices:
        with _gathered(problems):
            check_rankable(choice.spec, spec)
    if problems:
        raise UsageError("\n".join(problems))


@contextmanager
def _gathered(problems: list[str]) -> Iterator[None]:
    """Note a usage error and go on, so that all of them are reported at once."""
    try:
        yield
    except UsageError as error:
        problems.append(str(error))


def _all_checked(request: RunRequest) -> tuple[ModelOptions, list[TaskChoice] | None]:
    """Resolve all names that can be resolved without the Hub. No choices means that no task was named."""
    options, choices = ModelOptions(), None
    problems: list[str] = []
    with _gathered(problems):
        options = _model_options(request.changes)
    with _gathered(problems):
        check_model(request.model, options)
    with _gathered(problems):
        _check_second_stage(request, options)
    with _gathered(problems):
        choices = _runnable_choices(request.selection) if _names_tasks(request.selection) else None
    if problems:
        raise UsageError("\n".join(problems))
    return options, choices


def _runnable_choices(selection: Selection) -> list[TaskChoice]:
    choices = select(selection)
    check_runnable([choice.spec for choice in choices])
    return choices


def _check_second_stage(request: RunRequest, options: ModelOptions) -> None:
    if request.reranker is not None:
        check_model(request.reranker, _reranker_options(request, options))
    elif request.rerank_top_k is not None or request.reranker_url is not None:
        flag = "--rerank-top-k" if request.rerank_top_k is not None else "--reranker-url"
        raise UsageError(f"{flag} is about a second stage; name one with --reranker")


def _offline_warning(request: RunRequest, options: ModelOptions, choices: Sequence[TaskChoice] | None) -> str | None:
    """Ask whether the Hub answers, if the command needs it for the model or for a task."""
    needs_data = choices is None or any(needs_hub(choice.spec) for choice in choices)
    named = [name for name in (request.model, request.reranker) if name is not None]
    needs_model = any(model_needs_hub(name, options) for name in named)
    return work_offline_if_unreachable() if needs_data or needs_model else None


def _names_tasks(selection: Selection) -> bool:
    return bool(selection.tasks or selection.suites or selection.benchmarks)


def _card_languages(model: str, options: ModelOptions) -> Sequence[str]:
    card = card_of(model, options)
    return card.languages if card else ()


def _model_options(changes: Mapping[str, Any]) -> ModelOptions:
    poolings = tuple(name for name in POOLINGS if name != "own")
    for flag, known in (("pooling", poolings), ("dtype", DTYPES)):
        if changes[flag] not in (None, *known):
            raise UsageError(f"--{flag} must be {' or '.join(known)}, got {changes[flag]!r}")
    if changes["protocol"] not in PROTOCOLS:
        raise UsageError(unknown_names("protocol", [changes["protocol"]], PROTOCOLS))
    if changes["backend"] not in (None, *BACKENDS):
        raise UsageError(unknown_names("backend", [changes["backend"]], BACKENDS))
    weights = _weights(changes["mode_weights"])
    return ModelOptions.model_validate({**changes, "mode_weights": weights})


def _weights(given: str | None) -> tuple[float, ...] | None:
    try:
        return None if given is None else tuple(float(part) for part in given.split(","))
    except ValueError:
        raise UsageError(
            f"--mode-weights are numbers with commas between them, such as 0.4,0.2,0.4; got {given!r}"
        ) from None
