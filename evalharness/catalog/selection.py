"""Which tasks, splits and subsets a command means: names to choices, all wrong names reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalharness.catalog.languages import language_codes
from evalharness.catalog.lists import task_lists
from evalharness.catalog.task_file import same_name
from evalharness.catalog.tasks import (
    Member,
    TaskSpec,
    all_task_names,
    find_task,
    task_files,
    task_types,
)
from evalharness.errors import UsageError, letters, shorten, unknown_names


@dataclass(frozen=True, slots=True)
class TaskChoice:
    """A task with the splits and subsets that a run wants of it."""

    spec: TaskSpec
    splits: tuple[str, ...]
    subsets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user asked for, by name.

    Attributes:
        tasks: task names or paths of task files.
        suites, benchmarks: names of lists; a suite may be a file of lists, see `task_lists`.
        languages: codes or names, see `language_codes`; keeps tasks and subsets that have one of them.
        types: mteb task types to keep, in any letter case, with or without spaces.
        splits, subsets: to keep; every task must have at least one of each.
    """

    tasks: Sequence[str] = ()
    suites: Sequence[str] = ()
    benchmarks: Sequence[str] = ()
    languages: Sequence[str] = ()
    types: Sequence[str] = ()
    splits: Sequence[str] = ()
    subsets: Sequence[str] = ()


def _members(selection: Selection) -> tuple[list[Member], list[str]]:
    """The named tasks and lists, flat and in order, and a message for each name that does not exist."""
    members, problems = [], []
    for name in selection.tasks:
        # a folder stands for the task files in it
        names = map(str, task_files(Path(name))) if Path(name).is_dir() else [name]
        members += [Member(task=one) for one in names]
    named = [*(([name], []) for name in selection.suites), *(([], [name]) for name in selection.benchmarks)]
    for suite, benchmark in named:
        try:
            members += [member for item in task_lists(suite, benchmark) for member in item.tasks]
        except UsageError as error:
            problems.append(str(error))
    return members, problems


def _understood(selection: Selection, specs: Sequence[TaskSpec], problems: list[str]) -> Selection:
    """The selection with codes of languages and names of task types as tasks have them."""
    # a task file may be of a type that mteb has not
    types = {letters(name): name for name in (*(spec.type for spec in specs), *task_types())}
    if wrong := [name for name in selection.types if letters(name) not in types]:
        problems.append(unknown_names("task type", wrong, task_types()))
    own = {
        code.partition("-")[0] for spec in specs if spec.origin for group in spec.languages.values() for code in group
    }
    codes: set[str] = set()
    try:
        codes = {code for found in language_codes(selection.languages, own).values() for code in found}
    except UsageError as error:
        problems.append(str(error))
    kept = [types[letters(name)] for name in selection.types if letters(name) in types]
    return replace(selection, languages=sorted(codes), types=kept)


def _choose(spec: TaskSpec, member: Member, selection: Selection) -> TaskChoice | None:
    """The part of a task that the selection keeps; None if its type or languages are not wanted.

    Raises:
        UsageError: a named split or subset is not there.
    """
    if selection.types and spec.type not in selection.types:
        return None
    for kind, wanted, present in (
        ("split", selection.splits, spec.splits),
        ("subset", selection.subsets, tuple(spec.languages)),
    ):
        if wanted and not set(wanted) & set(present):
            raise UsageError(f"{spec.name} has no {kind} {' or '.join(wanted)}; it has {shorten(present)}")
    splits = tuple(s for s in member.splits or spec.splits if not selection.splits or s in selection.splits)
    subsets = tuple(s for s in member.subsets or spec.languages if not selection.subsets or s in selection.subsets)
    if selection.languages:
        wanted_codes = set(selection.languages)
        subsets = tuple(
            s
            for s in subsets
            for codes in [spec.languages[s]]
            if wanted_codes & {*codes, *(code.partition("-")[0] for code in codes)}
        )
    return TaskChoice(spec, splits, subsets) if splits and subsets else None


def _with_parts(name: str) -> list[str]:
    """An aggregate's sub-tasks in its place."""
    spec = find_task(name)
    return [part for inner in spec.parts for part in _with_parts(inner)] if spec and spec.parts else [name]


def select(selection: Selection) -> list[TaskChoice]:
    """Resolve names to tasks with splits and subsets; aggregates become their parts, repeated tasks one.

    Raises:
        UsageError: some names do not exist (all are named, each with its nearest), or nothing is left.
        DataError: a task file is wrong.
    """
    members, problems = _members(selection)
    named = [(member, name, find_task(name)) for member in members for name in _with_parts(member.task)]
    wrong = [name for _, name, spec in named if spec is None]
    selection = _understood(selection, [spec for _, _, spec in named if spec is not None], problems)
    chosen: dict[str, TaskChoice] = {}
    for member, _, spec in named:
        try:
            choice = _choose(spec, member, selection) if spec is not None else None
        except UsageError as error:
            problems.append(str(error))
            continue
        if choice is None:
            continue
        name_of_files = same_name(choice.spec.name)
        if (other := _other_of_the_name(choice.spec, chosen.get(name_of_files))) is not None:
            problems.append(other)
            continue
        chosen[name_of_files] = _merge(chosen.get(name_of_files), choice)
    problems += _unknown_parts(selection, chosen.values())
    paths = [name for name in wrong if "/" in name or "\\" in name]
    problems[:0] = [f"no such task file or folder: {Path(name).absolute()}" for name in paths]
    if wrong := [name for name in wrong if name not in paths]:
        problems.insert(0, unknown_names("task", wrong, all_task_names()))
    if problems:
        raise UsageError("\n".join(problems))
    if not chosen:
        raise UsageError(_nothing_left(selection, named=bool(named)))
    return list(chosen.values())


def _nothing_left(selection: Selection, *, named: bool) -> str:
    """Why no task is left."""
    limits = (("language", selection.languages), ("type", selection.types))
    asked = [f"the {kind} {' or '.join(values)}" for kind, values in limits if values]
    if not named or not asked:
        return "no task is left: name tasks, a suite or a benchmark, and check --languages and --task-types"
    return f"no task is left: none of those named has {' and '.join(asked)}; check --languages and --task-types"


def _unknown_parts(selection: Selection, choices: Iterable[TaskChoice]) -> list[str]:
    """A message for each wanted split or subset that none of the tasks has."""
    specs = [choice.spec for choice in choices]
    problems = []
    for kind, wanted, present in (
        ("split", selection.splits, {split for spec in specs for split in spec.splits}),
        ("subset", selection.subsets, {subset for spec in specs for subset in spec.languages}),
    ):
        if present and (wrong := [name for name in wanted if name not in present]):
            problems.append(unknown_names(kind, wrong, sorted(present)))
    return problems


def _other_of_the_name(spec: TaskSpec, known: TaskChoice | None) -> str | None:
    """A message if another task of the run has the name, which makes their results one."""
    if known is None or _place(known.spec) == _place(spec):
        return None
    other = f"{known.spec.name} ({known.spec.origin or 'mteb'})"
    return (
        f"{spec.origin or 'mteb'}: the name {spec.name} is also that of another task of this run, {other}; results go "
        "by names, so rename one of them"
    )


def _place(spec: TaskSpec) -> Path | None:
    return None if spec.origin is None else spec.origin.resolve()


def _merge(first: TaskChoice | None, second: TaskChoice) -> TaskChoice:
    if first is None:
        return second
    return replace(
        first,
        splits=tuple(dict.fromkeys((*first.splits, *second.splits))),
        subsets=tuple(dict.fromkeys((*first.subsets, *second.subsets))),
    )
