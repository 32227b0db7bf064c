"""Saving a baseline: a folder that takes the old one's place in a single step. Which results go in: see `sources`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from evalharness.compare.baseline import (
    ATTRIBUTES,
    SCHEMA,
    Manifest,
    check_baseline,
    files_in,
    read_baseline,
    run_of_baseline,
    saved_file,
)
from evalharness.compare.sources import Sources, described, identity
from evalharness.errors import DataError, UsageError, shorten
from evalharness.files import atomic_folder, atomic_path, no_folder, restore_folder, storage_errors, write_json
from evalharness.results.records import BASELINE, MODEL_META, installed_version, items_path, record_path
from evalharness.results.stored import StoredRun, StoredTask, read_runs
from evalharness.types import PROTOCOLS

# git would make other bytes of ends of lines, and no digest would fit
_ATTRIBUTES = "* -text\n"


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the score of a task's split (0-1, the mean over its subsets); None where there was or is none."""

    task: str
    split: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class Saved:
    """A baseline that was written.

    Attributes:
        before: the manifest of the one that it replaces; None if there was none.
        after: its own.
        tasks: how many are in it.
        changes: of the tasks that were written or are gone.
    """

    before: Manifest | None
    after: Manifest
    tasks: int
    changes: Sequence[Change]


def save(sources: Sources, folder: Path) -> Saved:
    """Write a baseline, instead of the one that is there.

    Args:
        sources: see `choose`.
        folder: new, empty, or a baseline.

    Raises:
        UsageError: the folder holds something else.
        DataError: what is there cannot be read, or the results changed while they were read.
        StorageError: the disk is full, say; what was there is as it was.
    """
    _check_target(folder, sources)
    old = None
    if folder.exists() and read_baseline(folder) is not None:
        with suppress(DataError):  # what is to be replaced need not be whole
            old = run_of_baseline(folder)
    return _written(sources, folder, old, {*sources, *(old.tasks if old is not None else ())})


def update(sources: Sources, folder: Path) -> Saved | None:
    """Replace the scores of some tasks of a baseline; the others stay.

    Args:
        sources: see `choose`.
        folder: of the baseline.

    Returns:
        None if it had all of it already.

    Raises:
        UsageError: scores would stay that are of another model, or scores would be lost.
        DataError: the baseline is not whole, or of other settings.
        StorageError: the disk is full, say; the baseline is as it was.
    """
    _check_target(folder, sources)
    manifest = check_baseline(folder)
    old, new = run_of_baseline(folder), next(iter(sources.values()))
    kept = {name: old for name in old.tasks if name not in sources}
    anew = f"Evaluate them too, or make the baseline anew: evalharness baseline save RESULTS --to {folder}"
    if kept and identity(old) != identity(new):
        raise UsageError(
            f"{folder} is of {described(old)}, the results are of {described(new)}, and {len(kept)} tasks would stay "
            f"of the former: {shorten(sorted(kept))}. {anew}"
        )
    lost = [place for name, run in sources.items() if name in old.tasks for place in _lost(old, run, name)]
    if lost:
        raise UsageError(f"{folder} has scores that the results have not: {shorten(lost)}. {anew}")
    return None if _has_all(manifest, sources) else _written({**kept, **sources}, folder, old, sources)


def _has_all(manifest: Manifest, sources: Sources) -> bool:
    """Whether a baseline has the very files of these results."""
    run = next(iter(sources.values()))
    if identity(run) != identity(manifest):
        return False
    wanted = {inside.as_posix(): source for name, run in sources.items() for source, inside in _files(run, name)}
    return all(
        inside in manifest.files and manifest.files[inside] == saved_file(source) for inside, source in wanted.items()
    )


def _lost(old: StoredRun, new: StoredRun, task: str) -> list[str]:
    there = {(split, subset) for split, subsets in new.tasks[task].scores.items() for subset in subsets}
    places = [(split, subset) for split, subsets in old.tasks[task].scores.items() for subset in subsets]
    return [f"{task} [{split}, {subset}]" for split, subset in places if (split, subset) not in there]


def _check_target(folder: Path, sources: Sources) -> None:
    """See that nothing but a baseline is replaced."""
    with _errors(folder):
        restore_folder(folder)
    if odd := no_folder(folder.absolute()):
        raise UsageError(f"a baseline is a folder: {odd}; choose another")
    here = folder.resolve()
    if inside := [run.folder for run in sources.values() if run.folder.resolve().is_relative_to(here)]:
        raise UsageError(f"{inside[0]} is in {folder}, which would be replaced; choose another folder")
    if not folder.exists():
        return
    manifest = read_baseline(folder)
    listed = {BASELINE, *manifest.files} if manifest is not None else set()
    if foreign := sorted(files_in(folder) - listed):
        what = "files that are no part of its baseline" if listed else "files, and no baseline"
        raise UsageError(f"{folder} holds {what}: {shorten(foreign)}. Move them away, or choose another folder")


def _errors(folder: Path) -> AbstractContextManager[None]:
    return storage_errors(folder.parent, f"the baseline cannot be written to {folder}", "choose another folder")


def _written(sources: Sources, folder: Path, old: StoredRun | None, changed: Iterable[str]) -> Saved:
    before = None if old is None else read_baseline(folder)
    changes = [change for name in sorted(changed) for change in _changes(name, old, sources.get(name))]
    with _errors(folder), atomic_folder(folder) as place:
        manifest = _fill(place, sources)
        write_json(place / BASELINE, json.loads(manifest.model_dump_json()))
        if before is not None and read_baseline(folder) != before:
            raise DataError(f"{folder} was changed by another command meanwhile; run this one again")
    return Saved(before, manifest, len(sources), changes)


def _fill(place: Path, sources: Sources) -> Manifest:
    """Copy the files of the tasks, and see that they are still those that were chosen."""
    first = next(iter(sources.values()))
    with atomic_path(place / ATTRIBUTES) as temporary:
        temporary.write_text(_ATTRIBUTES, encoding="utf-8")
    _copy(first.folder / MODEL_META, place / MODEL_META)
    for name, run in sources.items():
        for source, inside in _files(run, name):
            _copy(source, place / inside)
    (copied,) = read_runs([place])
    wanted = {name: _facts(run.tasks[name]) for name, run in sources.items()}
    found = {name: _facts(task) for name, task in copied.tasks.items()}
    if odd := sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name)):
        told = [why for name in odd if name in copied.tasks for why in _reasons(copied.tasks[name])]
        why = f": {shorten(told)}" if told else ", or changed while it was copied; try again"
        raise DataError(f"{shorten(odd)} cannot stand in one baseline with the other tasks{why}")
    return Manifest(
        schema_version=SCHEMA,
        saved=datetime.now(UTC).isoformat(timespec="seconds"),
        evalharness=installed_version("evalharness"),
        mteb=installed_version("mteb"),
        model=copied.model,
        revision=copied.revision,
        overrides=dict(copied.overrides),
        protocol=copied.overrides.get("protocol", PROTOCOLS[0]),
        files={name: saved_file(place / name) for name in sorted(files_in(place))},
    )


def _reasons(task: StoredTask) -> list[str]:
    found = [task.damage, *(why for subsets in task.problems.values() for why in subsets.values())]
    return [why for why in dict.fromkeys(found) if why]


def _facts(task: StoredTask) -> tuple[object, object]:
    """What must not change while files are copied."""
    return task.scores, task.revision


def _files(run: StoredRun, task: str) -> list[tuple[Path, Path]]:
    """A task's files, with their paths in a folder of results: records and items, or mteb's file if that is all."""
    found = []
    for record in (job.record for job in run.tasks[task].jobs if job.record is not None):
        found.append(record_path(run.folder, record.job))
        found += [items_path(run.folder, record.job)] if record.items is not None else []
    found = found or [run.folder / f"{task}.json"]
    return [(path, path.relative_to(run.folder)) for path in found]


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():  # a pipe would be waited for
        raise DataError(f"{source} is missing, or no file")
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _changes(name: str, old: StoredRun | None, new: StoredRun | None) -> list[Change]:
    before, after = (
        _split_scores(run.tasks[name]) if run is not None and name in run.tasks else {} for run in (old, new)
    )
    return [Change(name, split, before.get(split), after.get(split)) for split in sorted({*before, *after})]


def _split_scores(task: StoredTask) -> dict[str, float]:
    """The main score of each split, 0-1: the mean over its subsets."""
    return {split: fmean(subsets.values()) for split, subsets in task.scores.items() if subsets}
