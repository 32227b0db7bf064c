"""A run's score of a task: the mean of the subsets that its list asks for, or what is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import fmean

from evalharness.catalog.tasks import Member, TaskSpec, find_task
from evalharness.errors import shorten
from evalharness.reports.board import Cell, Part
from evalharness.results.stored import StoredRun, StoredTask
from evalharness.results.views import STALE

_LONGEST_REASON = 160
_LONGEST_ADVICE = 60
_MOST_REASONS = 3
# of a commit or a content hash; mteb's catalogue also has "main", "1" and commits that are cut
_REVISION = re.compile(r"[0-9a-f]{7,}")


def mean_of(values: Sequence[float | None]) -> float | None:
    """Their mean; None where one is missing or there is none."""
    present = [value for value in values if value is not None]
    return fmean(present) if present and len(present) == len(values) else None


@cache
def catalogued(name: str) -> TaskSpec | None:
    """The catalogue's task of this name; results may have any name, that of a task file included."""
    return None if name.endswith(".toml") else find_task(name)


def _wanted(member: Member, spec: TaskSpec | None, stored: StoredTask) -> Mapping[str, set[str]]:
    """Split -> subsets that a task's score needs; where nobody says, whatever is stored counts."""
    if spec is None:
        wanted = {split: set(scores) for split, scores in stored.scores.items()}
        for split, problems in stored.problems.items():
            needed = {subset for subset, why in problems.items() if not why.startswith(STALE)}
            wanted[split] = wanted.get(split, set()) | needed
        return {
            split: found if member.subsets is None else found & set(member.subsets)
            for split, found in wanted.items()
            if member.splits is None or split in member.splits
        }
    return _of_catalogue(member.task, member.splits, member.subsets)


@cache
def _of_catalogue(task: str, splits: tuple[str, ...] | None, subsets: tuple[str, ...] | None) -> Mapping[str, set[str]]:
    """The same for a task that the catalogue has; hundreds of rows ask for it."""
    spec = catalogued(task)
    return {} if spec is None else {split: set(subsets or spec.languages) for split in splits or spec.splits}


def _task_score(stored: StoredTask, member: Member, spec: TaskSpec | None) -> Cell:
    """Mean over all wanted splits and subsets, or None and what is missing."""
    if stored.damage:
        return Cell(None, first_line(stored.damage))
    asked = _wanted(member, spec, stored)
    wanted = _as_published(stored, asked) if stored.sources else asked
    places = [(split, subset) for split in sorted(wanted) for subset in sorted(wanted[split])]
    absent = [place for place in places if place[1] not in stored.scores.get(place[0], {})]
    if not absent and places:
        parts = _parts(stored, places, spec)
        return Cell(
            score=fmean([part.score for part in parts]),
            parts=parts,
            notes=[*stored.notes, *(_on_some_splits(wanted, asked) if stored.sources else ())],
            source=_sources(stored, places) if stored.sources else "",
        )
    parts = _parts(stored, [place for place in places if place not in absent], spec)
    reasons = [
        (f"{split}, {subset}", first_line(why))
        for split, subset in absent
        if (why := stored.problems.get(split, {}).get(subset) or _published_together(stored, split))
    ]
    if len(places) == 1 and reasons:
        return Cell(None, reasons[0][1], parts=parts, notes=stored.notes)
    named = shorten([f"[{place}] {why}" for place, why in reasons], _MOST_REASONS)
    missing = f"{len(absent)} of {len(places)} subsets missing{': ' if named else ''}{named}"
    return Cell(None, missing, parts=parts, notes=stored.notes)


def _published_together(stored: StoredTask, split: str) -> str:
    """What is said of a split that was published in a mean with others; empty where it was not."""
    joint = (name for name in stored.scores if stored.sources and name != split and split in name.split("+"))
    return next((f"published over {name} together" for name in joint), "")


def _as_published(stored: StoredTask, wanted: Mapping[str, set[str]]) -> Mapping[str, set[str]]:
    """The splits that a published score is of: a mean over all that are wanted, or those of them that there are."""
    joint = "+".join(wanted)
    if joint in stored.scores:
        return {joint: set().union(*wanted.values())}
    there = {*stored.scores, *stored.problems}
    return {split: subsets for split, subsets in wanted.items() if split in there} or wanted


def _sources(stored: StoredTask, places: Sequence[tuple[str, str]]) -> str:
    return ", ".join(dict.fromkeys(stored.sources[split][subset] for split, subset in places))


def _on_some_splits(shown: Mapping[str, set[str]], wanted: Mapping[str, set[str]]) -> Sequence[str]:
    """A note of a published score that is of some of the task's splits only."""
    partial = len("+".join(shown).split("+")) < len(wanted)
    return [f"on {', '.join(shown)} alone, of {' and '.join(wanted)}"] if partial else ()


def _parts(stored: StoredTask, places: Sequence[tuple[str, str]], spec: TaskSpec | None) -> list[Part]:
    """The subsets that have a score."""
    jobs = {(job.split, job.subset): job for job in stored.jobs}
    languages: Mapping[str, Sequence[str]] = {} if spec is None else spec.languages
    return [
        Part(split, subset, languages.get(subset, ()), stored.scores[split][subset], job=jobs.get((split, subset)))
        for split, subset in places
    ]


def first_line(text: str, limit: int = _LONGEST_REASON) -> str:
    """The first line of a message, cut where it is long, but not in the advice that it ends with.

    >>> first_line("this is damaged: " + 20 * "x" + "; run it again", 36)
    'this is damaged: x...; run it again'
    """
    line = next(iter(text.splitlines()), "")
    if len(line) <= limit:
        return line
    what, mark, advice = line.rpartition("; ")
    if mark and len(advice) <= min(_LONGEST_ADVICE, limit // 2):
        return f"{what[: limit - len(advice) - 5]}...; {advice}"
    return f"{line[:limit]}..."


def other_revision(stored: StoredTask | None, spec: TaskSpec | None) -> str:
    """What is said of a score on other data than the catalogue's task has; empty where there is nothing to say."""
    if stored is None or not stored.scores or spec is None or not _REVISION.fullmatch(spec.revision):
        return ""
    if stored.revision is not None and stored.revision.startswith(spec.revision):
        return ""
    return f"data revision {stored.revision or 'unknown'}, the catalogue has {spec.revision}"


def _main_score(name: str) -> str:
    spec = catalogued(name)
    return spec.main_score if spec else ""


def member_cell(run: StoredRun, member: Member, metric: str = "", *, strict: bool) -> Cell:
    """A task's score; an aggregate's is the mean of its parts'.

    Args:
        run: where it is.
        member: the task.
        metric: the board's for this task; a score by another one is none. Empty where nobody says it.
        strict: whether a score on other data than the catalogue's is none; a published one stays, and its row says it.
    """
    spec, stored = catalogued(member.task), run.tasks.get(member.task)
    if spec is not None and spec.parts and stored is None:
        found = {part: member_cell(run, Member(task=part), _main_score(part), strict=strict) for part in spec.parts}
        absent = [f"{part} {cell.missing}" for part, cell in found.items() if cell.score is None]
        return Cell(
            score=mean_of([cell.score for cell in found.values()]),
            missing=f"its part {absent[0]}" if absent else "",
            source=", ".join(dict.fromkeys(cell.source for cell in found.values() if cell.source)),
        )
    if stored is None:
        return Cell(None, run.absent)
    if stored.metric not in ("", metric) and metric:
        return Cell(None, f"scored by {stored.metric}, the table has {metric}", notes=stored.notes)
    # of published scores, most have another revision or none; their row says how many
    if strict and not run.is_published and (why := other_revision(stored, spec)):
        return Cell(None, why, notes=stored.notes)
    return _task_score(stored, member, spec)
