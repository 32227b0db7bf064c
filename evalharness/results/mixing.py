"""Whether all tasks of a row were run with the same settings of the model; cards change, and the folder stays.

Only what both records say is compared: a field that came later voids no older record, and a record that does not say
what model it is of is believed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from evalharness.catalog.tasks import find_task
from evalharness.errors import clip, shorten
from evalharness.results.views import StoredJob, newest_first
from evalharness.types import BY_KEY, ModelSpec, content_digest

# what a model is called, said of, or allowed; nothing of it is in the key of a job
_NO_SETTINGS = ("name", "revision", "facts_from", "origins", "languages", "notes", "remote_code")
_SIDES = ("query", "document")
_MOST_SHOWN = 2
_LONGEST_VALUE = 24
# how a task type is called, one that mteb has not as well
_TYPE = re.compile(r"[A-Z][A-Za-z0-9]{0,39}")


def other_settings(tasks: Mapping[str, Sequence[StoredJob]]) -> dict[str, str]:
    """Tasks that were not run with the settings of the row's newest score, and what is different.

    Args:
        tasks: the settled jobs of each task of one folder of results.

    Returns:
        Task -> why its scores do not belong into the row.
    """
    newest = newest_first(job for jobs in tasks.values() for job in jobs if not job.problem)
    told: dict[str, Mapping[str, Any]] = {}
    for job in newest:
        if job.record is not None and job.record.job.task not in told and (model := _model(job)):
            told[job.record.job.task] = model
    if not told:
        return {}
    leader = next(iter(told))
    found = {}
    for task, model in told.items():
        if different := _differences(task, _type_of(task, tasks[task]), model, told[leader]):
            shown = shorten(different, _MOST_SHOWN)
            found[task] = f"run with other settings of the model than {leader} ({shown}); run it again with --overwrite"
    return found


def other_models(tasks: Mapping[str, Sequence[StoredJob]], whose: Mapping[str, Any]) -> dict[str, str]:
    """Tasks whose records say that they are of another model than their folder.

    Args:
        tasks: the settled jobs of each task of one folder of results.
        whose: `name`, `revision` and `overrides` of the folder's model.

    Returns:
        Task -> why its scores do not belong into the row.
    """
    found = {}
    for task, jobs in tasks.items():
        for said in (job.record.facts.get("model") for job in jobs if job.record is not None and not job.problem):
            told = {name: said[name] for name in whose if name in said} if isinstance(said, dict) else {}
            if wrong := [name for name, value in told.items() if content_digest(value) != content_digest(whose[name])]:
                shown = shorten([f"{name} {_shown(told[name])} instead of {_shown(whose[name])}" for name in wrong])
                found[task] = f"its record is of another model than the folder ({shown})"
    return found


def recorded_type(jobs: Sequence[StoredJob]) -> str | None:
    """The type of a task as its newest record has it; None if none says it."""
    said = (job.record.facts.get("task_type") for job in newest_first(jobs) if job.record is not None)
    return next((name for name in said if isinstance(name, str) and _TYPE.fullmatch(name)), None)


def _type_of(task: str, jobs: Sequence[StoredJob]) -> str | None:
    if said := recorded_type(jobs):
        return said
    spec = None if task.endswith(".toml") else find_task(task)
    return spec.type if spec else None


def _model(job: StoredJob) -> Mapping[str, Any] | None:
    """The settings that a job was run with; None if its record does not say them, or in no way that we know."""
    said = job.record.facts.get("model") if job.record is not None else None
    if not isinstance(said, dict):
        return None
    try:
        ModelSpec.model_validate({name: value for name, value in said.items() if name in ModelSpec.model_fields})
    except ValidationError:
        return None
    return {name: value for name, value in said.items() if name not in _NO_SETTINGS}


def _differences(task: str, kind: str | None, here: Mapping[str, Any], leader: Mapping[str, Any]) -> list[str]:
    found = []
    for name in sorted(set(here) & set(leader)):
        mine, other = (_of_task(task, kind, name, model[name]) for model in (here, leader))
        if content_digest(mine) != content_digest(other):
            found.append(f"{name} {_shown(mine)} instead of {_shown(other)}")
    return found


def _of_task(task: str, kind: str | None, name: str, value: Any) -> Any:  # noqa: ANN401 -- JSON
    """The part of a setting that a task can feel; all of it, where the task's type is not known."""
    if kind is None:
        return value
    if name in BY_KEY:
        keys = {"", *_SIDES, *(f"{of}{side}" for of in (task, kind) for side in ("", *(f"-{side}" for side in _SIDES)))}
        return {key: value[key] for key in value if key in keys}
    return kind in value if name == "unnormalized_types" else value


def _shown(value: object) -> str:
    return clip(value, _LONGEST_VALUE) if isinstance(value, str) else clip(str(value), _LONGEST_VALUE)[1:-1]
