"""What results folders hold, ours or mteb's own, read for reports; whatever is odd costs its own row or cell, no more.

A task's scores come from its records where there are any, as in the view that a run makes of them; else from mteb's
JSON. All tasks of a row that have records are of one model with one set of settings. Nobody checks what is in a folder
of results before we do: copies, files of other programs, pipes, links that lead in circles. None of it is an error; it
is said of the row that it belongs to.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from evalharness.catalog.models import facts_of_meta
from evalharness.catalog.tasks import mteb_task
from evalharness.errors import DataError, as_utf8, clip, shorten
from evalharness.files import no_collection
from evalharness.reading import checked, read_object, unique_keys
from evalharness.results.legacy import NO_SCORE, as_today, current_name
from evalharness.results.mixing import other_models, other_settings, recorded_type
from evalharness.results.records import BASELINE, JOBS, MODEL_META, ResultsOf, check_score, task_folder
from evalharness.results.views import StoredJob, read_jobs, settle, task_view
from evalharness.types import PROTOCOLS

_LONGEST_NAME = 240
_UNKNOWN = "unknown"
_DAMAGED = "damaged: "


@dataclass(frozen=True, slots=True)
class StoredTask:
    """What is stored of one task.

    Attributes:
        task: its name.
        scores: main scores, split -> subset -> score; a split `a+b` is the mean over both, where only that is known.
        revision: of the data; None where nobody says.
        problems: split -> subset -> why there is no score; a subset has a score or a problem.
        damage: why nothing of the task can be read; empty if something can.
        notes: footnotes of its numbers.
        type: as its records have it; None where none says it.
        jobs: its records as they were found; none where it was read from mteb's file.
        metric: name of the main scores' metric; empty where nobody says.
        sources: split -> subset -> whose number it is, of published scores: a revision of the model, `external`, ...
        mteb: version that wrote the file, where it is one of mteb's form that says it.
    """

    task: str
    scores: Mapping[str, Mapping[str, float]]
    revision: str | None = None
    problems: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    damage: str = ""
    notes: Sequence[str] = ()
    type: str | None = None
    jobs: Sequence[StoredJob] = ()
    metric: str = ""
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    mteb: str = ""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """All results of one model under one set of options.

    Attributes:
        model, revision: see `ModelSpec`; where nobody says, the folder and "unknown".
        overrides: what was changed against the model's card or files.
        tasks: by name.
        folder: where they are.
        problems: what is odd about the folder and belongs to no task.
        absent: what is said of a task that is not among them.
        is_published: whether the scores are what somebody published, not results that are at hand.
        about: what the folder says of the model itself, by the names of `catalog.models.ModelFacts`.
    """

    model: str
    revision: str
    overrides: Mapping[str, Any]
    tasks: Mapping[str, StoredTask]
    folder: Path
    problems: Sequence[str] = ()
    absent: str = "not run"
    is_published: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)


def read_runs(folders: Sequence[Path], wanted: Collection[str] | None = None) -> list[StoredRun]:
    """All runs below these folders, ours or mteb's own.

    Args:
        folders: where they are looked for.
        wanted: names of tasks; files of mteb's that are of others are not read. None for all.

    Raises:
        DataError: there is nothing.
    """
    found = {os.path.realpath(run): run for folder in folders for run in _run_folders(folder)}
    if not found:
        raise DataError(f"no results below {', '.join(map(str, folders))}: expected folders with a {MODEL_META}")
    with no_collection():
        return [_read_run(run, wanted) for run in sorted(found.values())]


def count_damage(runs: Iterable[StoredRun]) -> int:
    """How many files and folders are left out for what is in them; failed and stale jobs are not among them."""
    found = 0
    for run in runs:
        found += len(run.problems)
        for task in run.tasks.values():
            whys = [why for subsets in task.problems.values() for why in subsets.values()]
            found += 1 if task.damage else sum(why.startswith(_DAMAGED) for why in whys)
    return found


def _run_folders(top: Path) -> Iterator[Path]:
    """Folders that hold results, and those that nobody may look into; no links to folders, nothing that is hidden."""
    unreadable: list[str] = []
    for name, folders, files in os.walk(top, onerror=lambda error: unreadable.append(error.filename)):
        folders.sort()
        place = Path(name)
        # whatever it is: a file, a folder, a link that leads nowhere
        if (
            MODEL_META in (*files, *folders)
            or any((place / JOBS).glob("*/*.*.json"))
            or any(_is_of_mteb(place / file) for file in files)
        ):
            yield place
            folders[:] = [inner for inner in folders if inner not in (JOBS, MODEL_META)]
        # what somebody writes there is not done yet, or was never finished
        folders[:] = [inner for inner in folders if not inner.startswith(".")]
    yield from (Path(name) for name in unreadable if os.path.isdir(name))  # noqa: PTH112 -- Path.is_dir raises


def _is_of_mteb(path: Path) -> bool:
    """Whether it has scores of one of mteb's tasks, in mteb's form: early versions put nothing beside such files."""
    if path.suffix != ".json" or path.name.startswith("."):
        return False
    name = current_name(unicodedata.normalize("NFC", path.stem))
    return mteb_task(name) is not None and not read_task_file(path).damage


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose results a folder holds."""

    model: str
    revision: str
    overrides: Mapping[str, Any]
    about: Mapping[str, Any] = field(default_factory=dict)


def _read_run(folder: Path, wanted: Collection[str] | None) -> StoredRun:
    problems: list[str] = []
    listed, inside = _listed(folder, problems), _listed(folder / JOBS, problems)
    absent = "not run" if listed is not None and inside is not None else "part of its folder cannot be read"
    jobs: dict[str, Sequence[StoredJob]] = {}
    tasks: dict[str, StoredTask] = {}
    for name in _task_names(inside or (), problems):
        try:
            if found := settle(read_jobs(folder, name)):
                jobs[name], tasks[name] = found, _from_records(name, found, folder)
        except OSError as error:
            damage = f"{_DAMAGED}{task_folder(folder, name)} cannot be read ({error.strerror})"
            tasks[name] = StoredTask(name, {}, damage=damage)
    tasks |= {name: _void(tasks[name], why) for name, why in other_settings(jobs).items()}
    for path in listed or ():
        name = current_name(unicodedata.normalize("NFC", path.stem))
        is_result = path.suffix == ".json" and path.name not in (MODEL_META, BASELINE) and path.stem not in tasks
        if is_result and (wanted is None or name in wanted):
            task = read_task_file(path)
            # beside a file of an older name, the one of today's counts
            if task.task not in tasks or path.stem == task.task:
                tasks[task.task] = task
    tasks = {name: _within(folder, task) for name, task in tasks.items()}
    try:
        owner = _owner(read_object(folder / MODEL_META), str(folder / MODEL_META))
        whose = {"name": owner.model, "revision": owner.revision, "overrides": owner.overrides}
        tasks |= {name: _void(tasks[name], why) for name, why in other_models(jobs, whose).items()}
    except DataError as error:
        problems.append(f"{error}; the row is named by its folder. The next run of the model into it writes the file")
        overrides = _recorded_overrides([job for members in jobs.values() for job in members])
        owner = _Owner(as_utf8(folder), _UNKNOWN, overrides)
    overrides, protocol = dict(owner.overrides), owner.overrides.get("protocol", PROTOCOLS[0])
    if protocol not in PROTOCOLS:
        problems.append(f"{folder}: of an unknown protocol {clip(str(protocol))}, so its scores compare with no others")
        del overrides["protocol"]
        tasks, absent = {}, "of an unknown protocol"
    said = [as_utf8(text) for text in problems]
    return StoredRun(owner.model, owner.revision, overrides, tasks, folder, said, absent, about=owner.about)


def _within(folder: Path, task: StoredTask) -> StoredTask:
    """The same with the paths in its messages relative to the folder, which the row stands for."""

    def short(text: str) -> str:
        return text.replace(f"{folder}{os.sep}", "")

    if not task.damage and not task.problems:
        return task
    problems = {split: {name: short(why) for name, why in found.items()} for split, found in task.problems.items()}
    return replace(task, damage=short(task.damage), problems=problems)


def _owner(meta: Mapping[str, Any], where: str) -> _Owner:
    name = checked(meta.get("name"), str, f"{where}: name")
    if not name.strip():
        raise DataError(f"{where}: name: is empty")
    revision = checked(meta.get("revision"), (str, type(None)), f"{where}: revision")
    overrides = checked(meta.get("experiment_kwargs"), (dict, type(None)), f"{where}: experiment_kwargs")
    unknown = ResultsOf.model_fields["revision"].default
    return _Owner(name, revision or unknown, overrides or {}, facts_of_meta(meta))


def _recorded_overrides(jobs: Sequence[StoredJob]) -> Mapping[str, Any]:
    """What a record says was changed: it keeps scores of one protocol out of another's table."""
    for job in jobs:
        model = job.record.facts.get("model") if job.record is not None else None
        if isinstance(model, dict) and isinstance(model.get("overrides"), dict):
            found: dict[str, Any] = model["overrides"]
            return found
    return {}


def _listed(folder: Path, problems: list[str]) -> list[Path] | None:
    """What is in a folder, without what is hidden; nothing where there is no folder, None where it cannot be read."""
    try:
        names = [name for name in sorted(os.listdir(folder)) if not name.startswith(".")]  # noqa: PTH208 -- of many
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"{folder}: cannot be read ({error.strerror})")
        return None
    if unprintable := [clip(name) for name in names if not name.isprintable()]:
        problems.append(f"{folder}: holds files whose names cannot be shown: {shorten(unprintable)}")
    return [folder / name for name in names if name.isprintable()]


def _task_names(paths: Sequence[Path], problems: list[str]) -> list[str]:
    """Names of the tasks that folders of records are of."""
    names = {path: unquote(path.name) for path in paths}
    problems += [
        f"{path}: is no folder of a task's records" for path, name in names.items() if not _can_be_a_task(name)
    ]
    return [name for name in names.values() if _can_be_a_task(name)]


def _can_be_a_task(name: str) -> bool:
    return 0 < len(name.encode(errors="replace")) <= _LONGEST_NAME and name.isprintable() and not set(name) & set("/\\")


def _from_records(task: str, jobs: Sequence[StoredJob], folder: Path) -> StoredTask:
    copies = [f"{job.copy} is a copy beside the record, and does not count" for job in jobs if job.copy]
    # a folder that holds nothing else is damaged
    jobs = [job for job in jobs if not job.copy] or jobs
    view, problems = task_view(jobs), _by_place(jobs)
    damage = "" if any(job.record is not None for job in jobs) else jobs[0].problem
    if view is None:
        return StoredTask(task, {}, None, problems, damage)
    notes = {note for job in jobs if job.record is not None and not job.problem for note in job.record.notes}
    scores = _scores(view["scores"], str(folder / f"{task}.json"), problems)
    metrics = {job.record.main_score for job in jobs if job.record is not None and not job.problem}
    return StoredTask(
        task=task,
        scores=scores,
        revision=view["dataset_revision"],
        problems=problems,
        damage=damage,
        notes=[*sorted(notes), *copies],
        type=recorded_type(jobs),
        jobs=jobs,
        # of several, no board has them all
        metric=" and ".join(sorted(metrics)),
    )


def _void(task: StoredTask, why: str) -> StoredTask:
    """The same task, where the places that have a score have a problem instead."""
    void = {
        split: {**task.problems.get(split, {}), **dict.fromkeys(found, why)} for split, found in task.scores.items()
    }
    return replace(task, scores={}, problems={**task.problems, **void}, notes=())


def _by_place(jobs: Sequence[StoredJob]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for job in jobs:
        if job.problem:
            found.setdefault(job.split, {})[job.subset] = job.problem
    return found


def read_task_file(path: Path) -> StoredTask:
    """A file of mteb's format, of any age: all of it or, if it is odd beyond single scores, nothing of it."""
    problems: dict[str, dict[str, str]] = {}
    name = current_name(unicodedata.normalize("NFC", path.stem))
    try:
        file = as_today(read_object(path, hook=unique_keys), str(path))
        _check_name(file.task, name, path)
        scores = _scores(file.scores, str(path), problems)
        _check_any(scores, problems, path)
    except DataError as error:
        return StoredTask(name, {}, damage=f"{_DAMAGED}{error}; remove the file, or run the task again")
    return StoredTask(name, scores, file.revision, problems, notes=file.notes, mteb=file.version)


def _check_name(named: str, name: str, path: Path) -> None:
    if unicodedata.normalize("NFC", named) != name or not _can_be_a_task(name):
        raise DataError(f"{path}: says that it is of the task {clip(named)}; expected the name of the file")


def _check_any(scores: Mapping[str, Any], problems: Mapping[str, Mapping[str, str]], path: Path) -> None:
    if not any(scores.values()):
        reasons = (why.removeprefix(_DAMAGED) for subsets in problems.values() for why in subsets.values())
        raise DataError(next(reasons, f"{path}: holds no scores"))


def _scores(splits: Mapping[str, Any], where: str, problems: dict[str, dict[str, str]]) -> dict[str, dict[str, float]]:
    """Main scores by split and subset; a single one that can be none is added to the problems.

    Raises:
        DataError: there are no subsets to tell apart.
    """
    found: dict[str, dict[str, float]] = {}
    for split, entries in splits.items():
        place = f"{where}: scores.{clip(split)}"
        scores = found.setdefault(split, {})
        for entry in checked(entries, list, place):
            subset = checked(checked(entry, dict, place).get("hf_subset"), str, f"{place}: hf_subset")
            why = f"{place}, {clip(subset)}: {entry[NO_SCORE]}" if NO_SCORE in entry else ""
            try:
                score = 0.0 if why else check_score(entry.get("main_score"), f"{place}, {clip(subset)}: main_score")
            except DataError as error:
                why = str(error)
            if subset in scores or subset in problems.get(split, {}):
                why = f"{place}: has two entries of the subset {clip(subset)}"
            if why:
                scores.pop(subset, None)
                problems.setdefault(split, {})[subset] = f"{_DAMAGED}{why}"
            else:
                scores[subset] = score
    return found
