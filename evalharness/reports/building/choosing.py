"""What a report is asked to show: which lists, which of their tasks, whose rows; all wrong names are told at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from evalharness.catalog.languages import language_codes
from evalharness.catalog.lists import NAMED, STORED, named_tasks
from evalharness.catalog.tasks import Member, TaskList, all_task_names, name_of, task_types
from evalharness.errors import UsageError, clip, letters, shorten, unknown_names
from evalharness.reports.building.cells import catalogued
from evalharness.results.stored import StoredRun

# what orders rows, besides the names of task types and tasks
SORTS = ("mean", "type-mean", "borda", "common", "name", "parameters", "speed")
_UNKNOWN_TYPE = "Other"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a report shows.

    Attributes:
        lists: a board for each: benchmarks, suites, own lists; of none, one of all tasks that any run has.
        tasks: names or task files; without lists they are the list, else they keep what they name of each.
        types, languages: to keep, as `catalog.selection` has them; a task's score is over what is kept of it.
        models: names of rows to keep, with or without organisation, with or without @revision; none: all.
        sort: what orders rows: one of SORTS, a task type or a task.
        common: whether a mean over the tasks that all rows have is shown.
        intervals: whether intervals are computed where items are at hand.
        nearest: how many published rows are kept for each row of results; None for all that are complete.
        ranks: whether ranks have intervals.
        subsets: whether text has a table of each task's subsets (languages) where it has several.
    """

    lists: Sequence[TaskList] = ()
    tasks: Sequence[str] = ()
    types: Sequence[str] = ()
    languages: Sequence[str] = ()
    models: Sequence[str] = ()
    sort: str = "mean"
    common: bool = False
    intervals: bool = True
    nearest: int | None = None
    ranks: bool = True
    subsets: bool = False


@dataclass(frozen=True, slots=True)
class ChosenList:
    """A list of tasks, or what is kept of it.

    Attributes:
        title: its name, with what was kept of it.
        types: its members by task type.
        is_named: whether somebody named its tasks, so that scores on other data than theirs are none.
        notes: footnotes of the table.
    """

    title: str
    types: Mapping[str, Sequence[Member]]
    is_named: bool
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """A choice with names as results and tasks have them.

    Attributes:
        runs: those that are shown.
        lists: a board for each.
        sort: see `Choice`; spelled as in the boards.
        common: see `Choice`.
    """

    runs: Sequence[StoredRun]
    lists: Sequence[ChosenList]
    sort: str
    common: bool


class _Recorded:
    """What results say of tasks that the catalogue may not know: their names, types, and languages by subset."""

    def __init__(self, runs: Sequence[StoredRun]) -> None:
        self.readable: set[str] = set()
        self.names: set[str] = set()
        self._types: dict[str, str] = {}
        self._languages: dict[str, dict[str, Sequence[str]]] = defaultdict(dict)
        # without a list, the tasks of results are shown, and what is published of them
        self.own = {task.task for run in runs if not run.is_published for task in run.tasks.values() if not task.damage}
        for stored in (task for run in runs for task in run.tasks.values()):
            self.names.add(stored.task)
            if not stored.damage:
                self.readable.add(stored.task)
            if stored.type is not None:
                self._types[stored.task] = stored.type
            for job in stored.jobs:
                if job.record is not None:
                    self._languages[stored.task][job.subset] = job.record.languages

    def type_of(self, name: str) -> str:
        """By the catalogue, or else by the task's records."""
        spec = catalogued(name)
        return spec.type if spec else self._types.get(name, _UNKNOWN_TYPE)

    def languages_of(self, name: str) -> Mapping[str, Sequence[str]]:
        """Subset -> codes, by the catalogue, or else by the task's records."""
        spec = catalogued(name)
        return spec.languages if spec else self._languages.get(name, {})


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is kept of lists: names as tasks have them; None where all of them are.

    Attributes:
        tasks, types, codes: of tasks, task types and languages.
        shown: the languages as they were asked for.
    """

    tasks: Collection[str] | None
    types: Collection[str] | None
    codes: Collection[str] | None
    shown: str = ""


def wanted_tasks(choice: Choice) -> set[str] | None:
    """Names of all tasks whose results a choice needs; None for all that there are.

    Raises:
        UsageError, DataError: a task file is missing or wrong.
    """
    if not choice.lists and not choice.tasks:
        return None
    names = {*map(name_of, choice.tasks), *(member.task for item in choice.lists for member in item.tasks)}
    return names | {part for name in names if (spec := catalogued(name)) for part in spec.parts}


def choose(runs: Sequence[StoredRun], choice: Choice) -> Chosen:
    """Resolve what was asked for.

    Raises:
        UsageError: names that do not exist, all of them, each with the nearest; or nothing is left of a list.
    """
    problems: list[str] = []
    recorded = _Recorded(runs)
    shown = _of_models(runs, choice.models, problems)
    named = _named(choice.tasks, recorded, problems)
    kept = _Kept(
        tasks=named if choice.tasks else None,
        types=_types(choice.types, recorded, problems) if choice.types else None,
        codes=_codes(choice.languages, recorded, problems) if choice.languages else None,
        shown=", ".join(choice.languages),
    )
    lists = _lists(choice, named, recorded, problems)
    sort = _sort(choice.sort, [member for item in lists for member in item.tasks], recorded, problems)
    if problems:
        raise UsageError("\n".join(problems))
    found = [_cut(item, kept, recorded, is_named=bool(choice.lists or choice.tasks)) for item in lists]
    if empty := [item.name for item, cut in zip(lists, found, strict=True) if item.tasks and not cut.types]:
        what = f"nothing is left of {shorten(empty)}"
        raise UsageError(f"{what}: check --tasks, --task-types and --languages, or leave out these lists")
    return Chosen(shown, found, sort, choice.common or sort == "common")


def _of_models(runs: Sequence[StoredRun], names: Sequence[str], problems: list[str]) -> Sequence[StoredRun]:
    """Runs of the named models, all where none is named."""
    if not names:
        return runs
    found: dict[int, StoredRun] = {}
    wrong = []
    for name in names:
        model, _, revision = name.casefold().partition("@")
        known = {place: run for place, run in enumerate(runs) if model in _names_of(run)}
        meant = {place: run for place, run in known.items() if run.revision.casefold().startswith(revision)}
        found |= meant
        if known and not meant:
            revisions = shorten(sorted({run.revision for run in known.values()}))
            problems.append(f"no results of the model {clip(name)}: those that there are have the revision {revisions}")
        wrong += [] if known else [name]
    if wrong:
        full = sorted({run.model for run in runs})
        problems.append(unknown_names("model", wrong, dict.fromkeys((*full, *(_short(name) for name in full)))))
    return [found[place] for place in sorted(found)]


def _names_of(run: StoredRun) -> tuple[str, str]:
    return run.model.casefold(), _short(run.model.casefold())


def _short(model: str) -> str:
    return model.rpartition("/")[2]


def _named(names: Sequence[str], recorded: _Recorded, problems: list[str]) -> list[str]:
    """The named tasks by the names that results have."""
    try:
        return list(named_tasks(names, recorded.names))
    except UsageError as error:
        problems.append(str(error))
    return []


def _types(names: Sequence[str], recorded: _Recorded, problems: list[str]) -> list[str]:
    known = {letters(name): name for name in (*map(recorded.type_of, recorded.names), *task_types())}
    if wrong := [name for name in names if letters(name) not in known]:
        problems.append(unknown_names("task type", wrong, sorted(known.values())))
    return [known[letters(name)] for name in names if letters(name) in known]


def _codes(names: Sequence[str], recorded: _Recorded, problems: list[str]) -> set[str]:
    groups = [codes for name in recorded.names for codes in recorded.languages_of(name).values()]
    try:
        found = language_codes(names, {code.partition("-")[0] for codes in groups for code in codes})
    except UsageError as error:
        problems.append(str(error))
        return set()
    return {code for codes in found.values() for code in codes}


def _lists(choice: Choice, named: Sequence[str], recorded: _Recorded, problems: list[str]) -> Sequence[TaskList]:
    """The lists that were named; of none, one of the named tasks, or of all that there are."""
    if not choice.lists:
        names = named if choice.tasks else sorted(recorded.own or recorded.readable)
        title = NAMED if choice.tasks else STORED
        return [TaskList(name=title, tasks=tuple(Member(task=name) for name in names))]
    for item in choice.lists:
        problems += _odd_members(item, recorded)
    everywhere = {member.task for item in choice.lists for member in item.tasks}
    absent = [name for name in named if name not in everywhere]
    problems += [f"the task {name} is in none of the named lists" for name in absent]
    return choice.lists


def _odd_members(item: TaskList, recorded: _Recorded) -> list[str]:
    """A message for each task, split and subset of a list that nobody knows."""
    specs = {member.task: catalogued(member.task) for member in item.tasks}
    wrong = [name for name, spec in specs.items() if spec is None and name not in recorded.names]
    problems = [unknown_names("task", wrong, [*all_task_names(), *sorted(recorded.names)])] if wrong else []
    for member in item.tasks:
        if spec := specs[member.task]:
            for kind, asked, known in (
                ("split", member.splits, spec.splits),
                ("subset", member.subsets, spec.languages),
            ):
                problems += [
                    f"{member.task} {unknown_names(kind, [name], known)}" for name in asked or () if name not in known
                ]
    return [f"{item.name}: {line}" for text in problems for line in text.splitlines()]


def _sort(name: str, members: Sequence[Member], recorded: _Recorded, problems: list[str]) -> str:
    """What orders rows, as boards spell it."""
    tasks = {member.task: recorded.type_of(member.task) for member in members}
    known = {letters(found): found for found in (*tasks, *tasks.values(), *SORTS)}
    if letters(name) not in known:
        wrong = unknown_names("order", [name], [*SORTS, *dict.fromkeys(tasks.values()), *tasks])
        problems.append(f"{wrong}\nRows are ordered by {', '.join(SORTS)}, a task type or a task of the lists")
    return known.get(letters(name), name)


def _cut(item: TaskList, kept: _Kept, recorded: _Recorded, *, is_named: bool) -> ChosenList:
    """What is kept of a list."""
    types: dict[str, list[Member]] = defaultdict(list)
    narrowed: list[str] = []
    unknown: list[str] = []
    for member in item.tasks:
        kind = recorded.type_of(member.task)
        if (kept.tasks is not None and member.task not in kept.tasks) or (kept.types and kind not in kept.types):
            continue
        subsets = member.subsets or tuple(recorded.languages_of(member.task))
        found = subsets if kept.codes is None else _spoken(subsets, recorded.languages_of(member.task), kept.codes)
        unknown += [] if subsets or kept.codes is None else [member.task]
        if found or kept.codes is None:
            types[kind].append(member if found == subsets else member.model_copy(update={"subsets": found}))
            narrowed += [] if found == subsets else [member.task]
    notes = [*([item.note] if item.note else []), *_notes(narrowed, unknown, kept.shown)]
    return ChosenList(_title(item, types, narrowed, kept), dict(types), is_named, notes)


def _spoken(subsets: Sequence[str], languages: Mapping[str, Sequence[str]], codes: Collection[str]) -> tuple[str, ...]:
    """Subsets that have one of the languages, by its code with or without a script."""
    return tuple(
        subset
        for subset in subsets
        if any(code in codes or code.partition("-")[0] in codes for code in languages.get(subset, ()))
    )


def _title(item: TaskList, types: Mapping[str, Sequence[Member]], narrowed: Sequence[str], kept: _Kept) -> str:
    """The list's name, and what makes its means other than the list's own."""
    count = sum(map(len, types.values()))
    parts = [f"only {count} of its {len(item.tasks)} tasks"] if count < len(item.tasks) else []
    parts += [f"only {', '.join(types)}"] if parts and kept.types else []
    parts += [f"only languages {kept.shown}"] if kept.codes is not None and (parts or narrowed) else []
    return ", ".join([item.name, *parts])


def _notes(narrowed: Sequence[str], unknown: Sequence[str], shown: str) -> list[str]:
    notes = []
    if narrowed:
        notes.append(f"over their subsets with {shown} only, not over all that they have: {', '.join(narrowed)}")
    if unknown:
        notes.append(f"left out, for nobody says their languages: {', '.join(unknown)}")
    return notes
