"""The user's own clone of the public results repository: a folder per model and revision, with files of any age.

Of a model's folders, a row takes each score from a run of a pinned revision if there is one (of several, the one by the
newest mteb), else from an early run of an unknown revision (`no_revision_available`), else from its card (`external`).
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalharness.catalog.tasks import mteb_task
from evalharness.errors import DataError, shorten
from evalharness.results.legacy import COPIED, IN_PERCENT, current_name, is_routine
from evalharness.results.published import EXTERNAL, NOT_PUBLISHED, UNPINNED, row_revision, with_what_is_known
from evalharness.results.records import MODEL_META
from evalharness.results.stored import StoredRun, StoredTask, read_task_file

_UNCLEAR = "from 0 to 1 or in percent? It is copied from a card, as are files beside it that are in percent"
_MOST_SAID = 3
# after all kinds of candidates
_NO_SCORE = 3


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A file that may give a task's scores, from a folder named by a revision."""

    revision: str
    task: StoredTask

    @property
    def rank(self) -> tuple[int, list[int], str]:
        """What is smaller is taken first."""
        return (
            _kind(self.revision),
            [-int(digits[:9]) for digits in re.findall(r"[0-9]+", self.task.mteb)],
            self.revision,
        )


def _kind(revision: str) -> int:
    return {UNPINNED: 1, EXTERNAL: 2}.get(revision, 0)


def read_clone(
    folder: Path, tasks: Collection[str] | None = None, models: Collection[str] | None = None
) -> list[StoredRun]:
    """A row per model of a clone.

    Args:
        folder: the clone, or a folder of models' folders.
        tasks: names of the tasks to read, the parts of aggregates with them; None for all.
        models: only these; None for all.

    Raises:
        DataError: there are no results of models in it.
    """
    inner = folder / "results"
    top = inner if inner.is_dir() else folder
    wanted = None if tasks is None else {name for task in tasks for name in (task, *_parts(task))}
    runs = []
    for place in _folders(top):
        name = place.name.replace("__", "/", 1)
        revisions = _folders(place) if models is None or name in models else []
        if files := {revision: found for revision in revisions if (found := _files(revision))}:
            runs.append(_run(name, place, files, wanted))
    if not runs:
        raise DataError(
            f"no published results below {folder}: expected a clone of embeddings-benchmark/results, "
            "with results/ORGANISATION__MODEL/REVISION/TASK.json"
        )
    return runs


def _parts(task: str) -> Sequence[str]:
    spec = mteb_task(task)
    return () if spec is None else spec.parts


def _folders(place: Path) -> list[Path]:
    """What is in a folder and is a folder; none where it cannot be read."""
    try:
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return []
    return [place / name for name in sorted(names) if name.isprintable()]


def _files(place: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(place))  # noqa: PTH208 -- a path per name of 400,000 takes seconds
    except OSError:
        return []
    is_result = [name.endswith(".json") and name != MODEL_META and name.isprintable() for name in names]
    return [place / name for name, wanted in zip(names, is_result, strict=True) if wanted and name[0] != "."]


def _run(model: str, place: Path, files: Mapping[Path, Sequence[Path]], wanted: Collection[str] | None) -> StoredRun:
    candidates: dict[str, list[_Candidate]] = defaultdict(list)
    for kind in range(_NO_SCORE):
        # what a better kind of run has in full is not looked for in others: half of all files
        whole = {name for name, found in candidates.items() if any(_is_whole(item.task) for item in found)}
        for folder in (folder for folder in files if _kind(folder.name) == kind):
            for task in _read(files[folder], whole, wanted):
                known = with_what_is_known(model, folder.name, task)
                candidates[task.task].append(_Candidate(folder.name, known))
    tasks = {name: _merged(name, sorted(found, key=lambda item: item.rank)) for name, found in candidates.items()}
    tasks = _without_aggregates(tasks, candidates)
    used = [name for task in tasks.values() for subsets in task.sources.values() for name in subsets.values()]
    return StoredRun(
        model=model,
        revision=row_revision(used),
        overrides={},
        tasks=dict(sorted(tasks.items())),
        folder=place,
        absent=NOT_PUBLISHED,
        is_published=True,
    )


def _read(paths: Sequence[Path], whole: Collection[str], wanted: Collection[str] | None) -> list[StoredTask]:
    """The wanted tasks of a folder, those that are whole already apart."""
    named = {path: current_name(path.stem) for path in paths}
    unread = [path for path, name in named.items() if name not in whole and (wanted is None or name in wanted)]
    return _of_clear_range([read_task_file(path) for path in unread], paths)


def _is_whole(task: StoredTask) -> bool:
    """Whether it has every subset of every split that the catalogue knows."""
    spec = mteb_task(task.task)
    return spec is not None and all(spec.languages.keys() <= task.scores.get(split, {}).keys() for split in spec.splits)


def _of_clear_range(tasks: Sequence[StoredTask], paths: Sequence[Path]) -> list[StoredTask]:
    """The same tasks of one folder; a copied score that may be 0.4 or 0.4 percent is none."""
    doubtful = {task.task for task in tasks if task.mteb in COPIED and task.scores and IN_PERCENT not in task.notes}
    if not doubtful:
        return list(tasks)
    there = {task.task: task for task in tasks}
    others = (there.get(current_name(path.stem)) or read_task_file(path) for path in paths)
    if not any(IN_PERCENT in task.notes for task in others):
        return list(tasks)
    return [
        replace(
            task, scores={}, problems={split: dict.fromkeys(found, _UNCLEAR) for split, found in task.scores.items()}
        )
        if task.task in doubtful
        else task
        for task in tasks
    ]


def _merged(name: str, candidates: Sequence[_Candidate]) -> StoredTask:
    """Each score from the first candidate that has it.

    Args:
        name: of the task.
        candidates: in the order in which they are taken.
    """
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    sources: dict[str, dict[str, str]] = defaultdict(dict)
    problems: dict[str, dict[str, str]] = defaultdict(dict)
    used: dict[int, StoredTask] = {}
    for number, candidate in enumerate(candidates):
        for split, found in candidate.task.scores.items():
            for subset, score in found.items():
                if subset not in scores[split]:
                    scores[split][subset], sources[split][subset] = score, candidate.revision
                    used[number] = candidate.task
    for candidate in candidates:
        for split, missing in candidate.task.problems.items():
            for subset, why in missing.items():
                if subset not in scores[split]:
                    problems[split].setdefault(subset, f"{candidate.revision}: {why}")
    damaged = [item.task.damage for item in candidates if item.task.damage]
    left_out = [f"left out: {shorten(damaged, _MOST_SAID)}"] if damaged and used else []
    revisions = {task.revision for task in used.values()}
    return StoredTask(
        task=name,
        scores={split: found for split, found in scores.items() if found},
        revision=revisions.pop() if len(revisions) == 1 else None,
        problems=dict(problems),
        damage=damaged[0] if damaged and not used and not problems else "",
        notes=[*_notes(used.values()), *left_out],
        sources=dict(sources),
    )


def _notes(tasks: Iterable[StoredTask]) -> list[str]:
    """What is said of single scores; that a file is old, its folder says of all in it."""
    return list(dict.fromkeys(note for task in tasks for note in task.notes if not is_routine(note)))


def _without_aggregates(
    tasks: Mapping[str, StoredTask], candidates: Mapping[str, Sequence[_Candidate]]
) -> dict[str, StoredTask]:
    """The same tasks without aggregates whose parts are all there from one run, no worse: the mean of those counts."""

    def scored(name: str) -> set[str]:
        return {item.revision for item in candidates.get(name, ()) if item.task.scores}

    def is_made_of_parts(name: str) -> bool:
        whole = [scored(part) for part in _parts(name)]
        own = min(map(_kind, scored(name)), default=_NO_SCORE)
        return bool(whole) and any(_kind(revision) <= own for revision in set.intersection(*whole))

    return {name: task for name, task in tasks.items() if not is_made_of_parts(name)}
