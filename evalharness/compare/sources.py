"""Which results go into a baseline: of one model with one set of settings, and every task whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from evalharness.catalog.tasks import Member, TaskList, find_task
from evalharness.compare.baseline import Manifest
from evalharness.compare.sides import runs_in, split_name
from evalharness.errors import UsageError, clip, shorten, unknown_names
from evalharness.results.records import experiment_name
from evalharness.results.stored import StoredRun
from evalharness.types import content_digest

# where the results of each task are, by its name
Sources: TypeAlias = Mapping[str, StoredRun]


def named_runs(results: Sequence[str]) -> list[StoredRun]:
    """All results below these folders; `FOLDER:MODEL` are those of one model in a folder.

    Raises:
        UsageError: there is no such folder or model.
        DataError: a folder has no results, or is a baseline that is not whole.
    """
    found: dict[Path, StoredRun] = {}
    for text in results:
        folder, model = split_name(text)
        if not folder.is_dir():
            raise UsageError(f"{folder.absolute()} is no folder; name the folder that holds results")
        found |= {run.folder.resolve(): run for run in runs_in(folder, model)}
    return list(found.values())


def members(lists: Sequence[TaskList], tasks: Sequence[str]) -> list[Member]:
    """Tasks that are wanted: those of lists with all splits and subsets that their scores need, and single ones.

    Args:
        lists: suites and benchmarks.
        tasks: names, or paths of task files, of which any split and subset will do.

    Raises:
        DataError: a task file cannot be read.
    """
    named = {name: find_task(name) if name.endswith(".toml") else None for name in tasks}
    found = {name: Member(task=name if spec is None else spec.name) for name, spec in named.items()}
    listed = [_complete(member) for item in lists for member in item.tasks]
    return [*{member.task: member for member in (*found.values(), *listed)}.values()]


def _complete(member: Member) -> Member:
    """The same with all splits and subsets named that its score needs."""
    spec = find_task(member.task)
    if spec is None:
        return member
    return Member(
        task=member.task, splits=member.splits or spec.splits, subsets=member.subsets or tuple(spec.languages)
    )


def choose(runs: Sequence[StoredRun], wanted: Sequence[Member] | None = None) -> Sources:
    """Where the results of each task are, all of one model with the same settings.

    Args:
        runs: see `named_runs`; several folders may each hold some of the tasks.
        wanted: tasks, with the splits and subsets that have to be there; None for whatever is stored.

    Raises:
        UsageError: the results are of several models, or something that is wanted is missing, failed or damaged.
    """
    owners = {identity(run): f"{described(run)} in {run.folder}" for run in runs}
    if len(owners) > 1:
        raise UsageError(
            f"the results are of {len(owners)} models or settings: {shorten(sorted(owners.values()))}. Name one with "
            "FOLDER:MODEL, or give its own folder"
        )
    sources: dict[str, StoredRun] = {}
    for run in runs:
        if run.problems:
            raise UsageError(f"{run.folder}: {shorten(run.problems)}")
        for name in run.tasks:
            if name in sources:
                raise UsageError(f"{name} is in two folders: {sources[name].folder} and {run.folder}; give one of them")
            sources[name] = run
    asked = [Member(task=name) for name in sources] if wanted is None else _parts(wanted, sources)
    if not asked:
        raise UsageError(f"there is no score in {shorten([str(run.folder) for run in runs])}")
    problems = {member.task: why for member in asked if (why := _why_not(member, sources))}
    if problems:
        told = shorten([f"{clip(name)} ({why})" for name, why in problems.items()])
        raise UsageError(
            f"a baseline is whole, and {len(problems)} of {len(asked)} tasks cannot be in it: {told}. Run them again, "
            "or name the others with --tasks"
        )
    return {member.task: sources[member.task] for member in asked}


def described(run: StoredRun | Manifest) -> str:
    """Whose results they are, for people."""
    changed = experiment_name(run.overrides)
    return f"{clip(run.model)[1:-1]} ({run.revision[:12]}{f', {changed}' if changed else ''})"


def identity(run: StoredRun | Manifest) -> str:
    """What results must have in common to be of one model with one set of settings."""
    return content_digest([run.model, run.revision, dict(run.overrides)])


def _parts(members: Sequence[Member], stored: Collection[str]) -> list[Member]:
    """The members; instead of an aggregate that has no results of its own, its parts."""
    found: dict[str, Member] = {}
    for member in members:
        spec = None if member.task in stored else find_task(member.task)
        inner = [_complete(Member(task=part)) for part in spec.parts] if spec is not None and spec.parts else [member]
        found |= {item.task: item for item in inner}
    return list(found.values())


def _why_not(member: Member, sources: Sources) -> str:
    """Why a task cannot be in a baseline; empty if it can."""
    stored = sources[member.task].tasks[member.task] if member.task in sources else None
    if stored is None:
        return "not run" if find_task(member.task) else unknown_names("task", [member.task], sources)
    if stored.damage:
        return stored.damage
    for split, found in stored.problems.items():
        for subset, why in found.items():
            return f"[{split}, {subset}] {next(iter(why.splitlines()), '')}"
    absent = [
        f"[{split}, {subset}]"
        for split in member.splits or ()
        for subset in member.subsets or ()
        if subset not in stored.scores.get(split, {})
    ]
    return f"not run: {shorten(absent)}" if absent else ""
