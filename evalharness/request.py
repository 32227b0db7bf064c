"""What `run` was asked for: check every name, find the model, plan the jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalharness.catalog import find_card, needs_hub, quick_suite
from evalharness.data import pin_revision
from evalharness.errors import PrerequisiteError, UsageError, unknown_names
from evalharness.hub import work_offline_if_unreachable
from evalharness.models import ModelOptions, ResolvedModel, check_options, resolve_model
from evalharness.models.source import check_name, is_hub_name
from evalharness.run import Plan, make_plan
from evalharness.selection import Selection, TaskChoice, select
from evalharness.storage import check_writable
from evalharness.tasks import check_runnable
from evalharness.types import DTYPES, POOLINGS, PROTOCOLS, Protocol


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What `run` was asked for; `changes` are the options that change the model."""

    model: str
    changes: Mapping[str, Any]
    selection: Selection
    protocol: str
    output: Path
    overwrite: bool


def plan_run(request: RunRequest, *, download: bool, warn: Callable[[str], None]) -> tuple[Plan, ResolvedModel | None]:
    """Check every name of the command before anything is fetched, then plan.

    The model is None if its files are not on disk and may not be fetched.
    """
    options, choices = _all_checked(request)
    check_writable(request.output)
    if download and (warning := _offline_warning(request, choices)):
        warn(warning)
    resolved: ResolvedModel | None = None
    try:
        resolved = resolve_model(request.model, options, download=download, say=warn)
    except PrerequisiteError:
        if download:
            raise
    if choices is None:
        languages = resolved.spec.languages if resolved else _card_languages(request)
        choices = _runnable_choices(replace(request.selection, suites=[quick_suite(languages)]))
    if download:
        choices = [replace(choice, spec=pin_revision(choice.spec)) for choice in choices]
    spec = resolved.spec if resolved else None
    plan = make_plan(choices, spec, request.output, protocol=_protocol(request), overwrite=request.overwrite)
    return plan, resolved


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
        check_name(request.model)
    with _gathered(problems):
        _protocol(request)
    with _gathered(problems):
        options = _model_options(request)
    with _gathered(problems):
        choices = _runnable_choices(request.selection) if _names_tasks(request.selection) else None
    if problems:
        raise UsageError("\n".join(problems))
    return options, choices


def _runnable_choices(selection: Selection) -> list[TaskChoice]:
    choices = select(selection)
    check_runnable([choice.spec for choice in choices])
    return choices


def _offline_warning(request: RunRequest, choices: Sequence[TaskChoice] | None) -> str | None:
    """Ask whether the Hub answers, if the command needs it for the model or for a task."""
    needs_data = choices is None or any(needs_hub(choice.spec) for choice in choices)
    return work_offline_if_unreachable() if needs_data or is_hub_name(request.model) else None


def _names_tasks(selection: Selection) -> bool:
    return bool(selection.tasks or selection.suites or selection.benchmarks)


def _card_languages(request: RunRequest) -> Sequence[str]:
    card = find_card(request.changes["like"] or request.model.partition("@")[0])
    return card.languages if card else ()


def _protocol(request: RunRequest) -> Protocol:
    if request.protocol not in PROTOCOLS:
        raise UsageError(unknown_names("protocol", [request.protocol], PROTOCOLS))
    return request.protocol


def _model_options(request: RunRequest) -> ModelOptions:
    for flag, known in (("pooling", POOLINGS), ("dtype", DTYPES)):
        if request.changes[flag] not in (None, *known):
            raise UsageError(f"--{flag} must be {' or '.join(known)}, got {request.changes[flag]!r}")
    options = ModelOptions.model_validate(request.changes)
    check_options(options)
    return options
