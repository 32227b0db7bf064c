"""From stored runs to a leaderboard: averages by task type and over all, void where a task is missing."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean

from evalharness.catalog.tasks import Member, TaskList, TaskSpec, find_task
from evalharness.errors import shorten
from evalharness.results.records import experiment_name
from evalharness.results.stored import StoredRun, StoredTask
from evalharness.results.views import STALE
from evalharness.types import PROTOCOLS, content_digest

_UNKNOWN_TYPE = "Other"
_LONGEST_REASON = 160
_MOST_REASONS = 3
# of a commit or a content hash; mteb's catalogue also has "main", "1" and commits that are cut
_REVISION = re.compile(r"[0-9a-f]{7,}")
# changes of a model that a table shows in its title or beside the name
_SHOWN_ELSEWHERE = ("protocol", "reranker", "rerank_top_k")


@dataclass(frozen=True, slots=True)
class Row:
    """A model's line.

    Attributes:
        model, revision: which.
        second_stage: the reranker and its depth; empty if there is none.
        experiment: what else was changed by options, the protocol apart; empty if nothing.
        tasks: task -> score (0-1), None if it is missing or not complete.
        types: task type -> mean of its tasks, None if one is missing.
        mean_task: mean over all tasks, None if one is missing.
        mean_type: mean of the means of the task types, None if one is missing.
        missing: for each task without a score, what is missing.
        notes: footnotes of single numbers, "task: note".
    """

    model: str
    revision: str
    second_stage: str
    experiment: str
    tasks: Mapping[str, float | None]
    types: Mapping[str, float | None]
    mean_task: float | None
    mean_type: float | None
    missing: Sequence[str]
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """A table of models, all by one protocol.

    Attributes:
        title: name of the benchmark or suite.
        protocol: whose rules the scores follow.
        types: task type -> its tasks, both in the list's order.
        rows: best mean over tasks first, models without one last.
    """

    title: str
    protocol: str
    types: Mapping[str, Sequence[str]]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class _Cell:
    """A row's score of a task, or None and why there is none."""

    score: float | None
    missing: str


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present and len(present) == len(values) else None


@cache
def _catalogued(name: str) -> TaskSpec | None:
    """The catalogue's task of this name; results may have any name, that of a task file included."""
    return None if name.endswith(".toml") else find_task(name)


def _wanted(member: Member, spec: TaskSpec | None, stored: StoredTask) -> dict[str, set[str]]:
    """Split -> subsets that a task's score needs; where nobody says, whatever is stored counts."""
    if spec is None:
        wanted = {split: set(scores) for split, scores in stored.scores.items()}
        for split, problems in stored.problems.items():
            needed = {subset for subset, why in problems.items() if not why.startswith(STALE)}
            wanted[split] = wanted.get(split, set()) | needed
        return wanted
    subsets = set(member.subsets or spec.languages)
    return dict.fromkeys(member.splits or spec.splits, subsets)


def _task_score(stored: StoredTask, member: Member, spec: TaskSpec | None) -> _Cell:
    """Mean over all wanted splits and subsets, or None and what is missing."""
    if stored.damage:
        return _Cell(None, _first_line(stored.damage))
    wanted = _wanted(member, spec, stored)
    places = [(split, subset) for split in sorted(wanted) for subset in sorted(wanted[split])]
    absent = [place for place in places if place[1] not in stored.scores.get(place[0], {})]
    if not absent and places:
        return _Cell(fmean(stored.scores[split][subset] for split, subset in places), "")
    reasons = [
        (f"{split}, {subset}", _first_line(why))
        for split, subset in absent
        if (why := stored.problems.get(split, {}).get(subset)) is not None
    ]
    if len(places) == 1 and reasons:
        return _Cell(None, reasons[0][1])
    named = shorten([f"[{place}] {why}" for place, why in reasons], _MOST_REASONS)
    return _Cell(None, f"{len(absent)} of {len(places)} subsets missing{': ' if named else ''}{named}")


def _first_line(text: str) -> str:
    line = next(iter(text.splitlines()), "")
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."


def _left_out(stored: StoredTask) -> list[str]:
    places = [(f"[{split}, {name}]", why) for split, found in stored.problems.items() for name, why in found.items()]
    return [f"{place} {why}" for place, why in places if why.startswith(STALE)]


def _other_revision(stored: StoredTask | None, spec: TaskSpec | None) -> str:
    """What is said of a score on other data than the catalogue's task has; empty where there is nothing to say."""
    if stored is None or not stored.scores or spec is None or not _REVISION.fullmatch(spec.revision):
        return ""
    if stored.revision is not None and stored.revision.startswith(spec.revision):
        return ""
    return f"data revision {stored.revision or 'unknown'}, the catalogue has {spec.revision}"


def _member_score(run: StoredRun, member: Member, *, strict: bool) -> _Cell:
    """A task's score; an aggregate's is the mean of its parts'.

    Args:
        run: where it is.
        member: the task.
        strict: whether a score on other data than the catalogue's is none.
    """
    spec, stored = _catalogued(member.task), run.tasks.get(member.task)
    if spec is not None and spec.parts and stored is None:
        found = {part: _member_score(run, Member(task=part), strict=strict) for part in spec.parts}
        absent = [f"{part} {cell.missing}" for part, cell in found.items() if cell.score is None]
        return _Cell(_mean([cell.score for cell in found.values()]), f"its part {absent[0]}" if absent else "")
    if strict and (why := _other_revision(stored, spec)):
        return _Cell(None, why)
    return _Cell(None, run.absent) if stored is None else _task_score(stored, member, spec)


def _row(run: StoredRun, types: Mapping[str, Sequence[Member]], *, strict: bool) -> Row:
    scores: dict[str, float | None] = {}
    missing, notes = [], list(run.problems)
    for member in (member for members in types.values() for member in members):
        cell = _member_score(run, member, strict=strict)
        scores[member.task] = cell.score
        if cell.missing:
            missing.append(f"{member.task} ({cell.missing})")
        if stored := run.tasks.get(member.task):
            notes += [f"{member.task}: {note}" for note in stored.notes]
            notes += [f"{member.task}: {why}" for why in _left_out(stored)] if _catalogued(member.task) is None else []
    notes += [_first_line(task.damage) for task in run.tasks.values() if task.damage and task.task not in scores]
    second = str(run.overrides.get("reranker", "")).partition("@")[0]
    other = {key: value for key, value in run.overrides.items() if key not in _SHOWN_ELSEWHERE}
    means = {name: _mean([scores[member.task] for member in members]) for name, members in types.items()}
    return Row(
        model=run.model,
        revision=run.revision,
        second_stage=f"{second} (top {run.overrides.get('rerank_top_k')})" if second else "",
        experiment=experiment_name(other) or "",
        tasks=scores,
        types=means,
        mean_task=_mean(list(scores.values())),
        mean_type=_mean(list(means.values())),
        missing=missing,
        notes=notes,
    )


def _by_type(members: Sequence[Member], runs: Sequence[StoredRun]) -> dict[str, list[Member]]:
    """Members by the catalogue's type, or by the type that the records of a task have."""
    recorded = {name: task.type for run in runs for name, task in run.tasks.items() if task.type is not None}
    types: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        spec = _catalogued(member.task)
        types[spec.type if spec else recorded.get(member.task, _UNKNOWN_TYPE)].append(member)
    return dict(types)


def _told_apart(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The same runs; where several are of one model with the same settings, each says where it is."""

    def identity(run: StoredRun) -> str:
        return content_digest([run.model, run.revision, dict(run.overrides)])

    count = Counter(map(identity, runs))
    return [
        replace(run, problems=(*run.problems, f"one of {count[identity(run)]} folders of this model: {run.folder}"))
        if count[identity(run)] > 1
        else run
        for run in runs
    ]


def _revisions_noted(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The same runs; where data of a task are not the same in all of them or in the catalogue, each says its own."""
    revisions: dict[str, set[str | None]] = defaultdict(set)
    for task in (task for run in runs for task in run.tasks.values() if task.scores):
        revisions[task.task].add(task.revision)

    def noted(task: StoredTask) -> StoredTask:
        why = _other_revision(task, _catalogued(task.task))
        if not why and len(revisions[task.task]) > 1:
            why = f"data revision {task.revision or 'unknown'}, other rows have another"
        return replace(task, notes=(*task.notes, why)) if why else task

    return [replace(run, tasks={name: noted(task) for name, task in run.tasks.items()}) for run in runs]


def make_leaderboards(runs: Sequence[StoredRun], tasks: TaskList | None) -> list[Leaderboard]:
    """Put runs side by side: a table per protocol, for their scores do not compare.

    Args:
        runs: see `stored.read_runs`.
        tasks: a benchmark or suite; None for all tasks that any run has.
    """
    strict, runs = tasks is not None, _told_apart(runs)
    if tasks is None:
        runs = _revisions_noted(runs)
        names = sorted({name for run in runs for name, task in run.tasks.items() if not task.damage})
        tasks = TaskList(name="all stored tasks", tasks=tuple(Member(task=name) for name in names))
    protocols: dict[str, list[StoredRun]] = defaultdict(list)
    for run in runs:
        protocols[str(run.overrides.get("protocol", PROTOCOLS[0]))].append(run)
    types = _by_type(tasks.tasks, runs)
    return [
        _leaderboard([_row(run, types, strict=strict) for run in members], tasks.name, protocol, types)
        for protocol, members in sorted(protocols.items())
    ]


def _leaderboard(rows: list[Row], title: str, protocol: str, types: Mapping[str, Sequence[Member]]) -> Leaderboard:
    ordered = sorted(rows, key=lambda row: (row.mean_task is None, -(row.mean_task or 0.0), row.model, row.revision))
    return Leaderboard(title, protocol, {name: [m.task for m in members] for name, members in types.items()}, ordered)
