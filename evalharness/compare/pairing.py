"""Two results of a task become pairs of items, or a reason why they cannot.

Only what is the same is compared: data, protocol, scoring, metric, items and what people say of them. Whatever is not
costs its own task the comparison, and is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, TypeAlias

from evalharness.catalog.tasks import Member, TaskSpec
from evalharness.compare.matching import (
    NotComparedError,
    PairedJob,
    ScoresOnlyError,
    first_line,
    items_of,
    pair_items,
)
from evalharness.compare.sides import ALL_SUBSETS, Results
from evalharness.errors import clip, shorten
from evalharness.results.records import JobRecord
from evalharness.results.stored import StoredTask
from evalharness.results.views import STALE
from evalharness.types import content_digest

# what a job's key says of the data and of how they are scored; the rest of it is the model
_OF_DATA = (
    "dataset_revision",
    "settings",
    "columns",
    "candidates",
    "protocol",
    "score_version",
    "runner",
    "drawn_before",
)
_NAMES = {
    "dataset_revision": "the revision of the data",
    "settings": "the task's settings",
    "columns": "the columns that were read",
    "candidates": "whether the task has candidates",
    "protocol": "the protocol",
    "score_version": "the version of our scoring",
    "runner": "what scores the task",
    "drawn_before": "the order of random draws",
}
_MTEB = "mteb"

Place: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PairedTask:
    """A task of both sides.

    Attributes:
        name, type, metric: of the task; the metric is empty where nobody says it.
        base, candidate: scores, 0-1; None where there is none.
        jobs: with their items; none where there are scores only.
        is_comparable: whether the two scores are of the same thing.
        why: why they are not, or why there are no items; empty if there are.
        notes: what a reader must know.
    """

    name: str
    type: str
    metric: str
    base: float | None = None
    candidate: float | None = None
    jobs: Sequence[PairedJob] = ()
    is_comparable: bool = True
    why: str = ""
    notes: tuple[str, ...] = ()


def pair_task(member: Member, spec: TaskSpec | None, base: Results, candidate: Results) -> PairedTask:
    """A task of both sides; one that is the mean of others is made of their jobs.

    Args:
        member: which task, and which of its splits and subsets.
        spec: what the catalogue knows of it; None if nothing.
        base: the results to compare with.
        candidate: the results to judge.
    """
    if spec is not None and spec.parts and member.task not in base.tasks and member.task not in candidate.tasks:
        parts = [pair_task(Member(task=part), None, base, candidate) for part in spec.parts]
        return _joined(member.task, spec.type, parts)
    one, other = base.tasks.get(member.task), candidate.tasks.get(member.task)
    recorded = next((task.type for task in (one, other) if task is not None and task.type), None)
    empty = PairedTask(member.task, (spec.type if spec else recorded) or "Other", "")
    try:
        return _paired(empty, _Sides(base, candidate, *_whole(one, other, base, candidate)), member, spec)
    except NotComparedError as error:
        scores = [None if task is None else _mean_of(task) for task in (one, other)]
        metric = _metric(one) or _metric(other)
        return replace(empty, base=scores[0], candidate=scores[1], is_comparable=False, why=str(error), metric=metric)


def _mean_of(task: StoredTask) -> float | None:
    scores = [score for subsets in task.scores.values() for score in subsets.values()]
    problems = [why for found in task.problems.values() for why in found.values() if not why.startswith(STALE)]
    return fmean(scores) if scores and not problems and not task.damage else None


def _metric(task: StoredTask | None) -> str:
    records = [job.record for job in task.jobs if job.record is not None and not job.problem] if task else []
    return records[0].main_score if records else ""


def _joined(name: str, kind: str, parts: Sequence[PairedTask]) -> PairedTask:
    """The mean of tasks as a task."""
    absent = [f"its part {part.name}: {part.why}" for part in parts if not part.is_comparable]
    scores = [[score for part in parts if (score := getattr(part, side)) is not None] for side in ("base", "candidate")]
    whole = [fmean(found) if len(found) == len(parts) else None for found in scores]
    why = absent[0] if absent else next((f"its part {part.name}: {part.why}" for part in parts if part.why), "")
    jobs = [of_part(job, part.name, len(parts)) for part in parts for job in part.jobs]
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return PairedTask(
        name=name,
        type=kind,
        metric=parts[0].metric,
        base=whole[0],
        candidate=whole[1],
        jobs=() if why else jobs,
        is_comparable=not absent,
        why=why,
        notes=notes,
    )


def of_part(job: PairedJob, name: str, count: int) -> PairedJob:
    """A job of a task that is one of several parts of another, as a job of that one.

    Args:
        job: of the part.
        name: of the part, whose items are no other part's.
        count: of the parts, which weigh the same.
    """
    return replace(job, weight=job.weight / count, groups=[f"{name}/{group}" for group in job.groups])


@dataclass(frozen=True, slots=True)
class _Sides:
    """Both sides and what they have of one task."""

    base: Results
    candidate: Results
    one: StoredTask
    other: StoredTask


def _whole(
    one: StoredTask | None, other: StoredTask | None, base: Results, candidate: Results
) -> tuple[StoredTask, StoredTask]:
    """The two, if both are there and can be read."""
    problems = []
    for task, results, who in ((one, base, "the base"), (other, candidate, "the candidate")):
        if task is None:
            problems.append(f"{who} has no result ({results.absent})")
        elif task.damage:
            problems.append(f"{who}: {first_line(task.damage)}")
    if problems or one is None or other is None:
        raise NotComparedError("; ".join(problems))
    return one, other


def _paired(empty: PairedTask, sides: _Sides, member: Member, spec: TaskSpec | None) -> PairedTask:
    places, notes = _places(sides, member, spec)
    scores = [fmean(task.scores[split][subset] for split, subset in found) for task, found in places]
    _check_revisions(sides.one.revision, sides.other.revision)
    found = replace(
        empty,
        metric=_metric(sides.one) or _metric(sides.other),
        base=scores[0],
        candidate=scores[1],
        notes=tuple(notes),
    )
    try:
        jobs = list(_jobs(sides, places[0][1], places[1][1]))
    except ScoresOnlyError as error:
        return replace(found, why=str(error))
    versions = {str(record.key.get(_MTEB)) for record in _records(sides.one, sides.other)}
    said = (f"scored with different versions of mteb: {shorten(sorted(versions))}",) if len(versions) > 1 else ()
    return replace(found, jobs=jobs, notes=(*notes, *said))


def _records(*tasks: StoredTask) -> list[JobRecord]:
    return [job.record for task in tasks for job in task.jobs if job.record is not None and not job.problem]


def _check_revisions(one: str | None, other: str | None) -> None:
    if one is not None and other is not None and one != other:
        raise NotComparedError(f"the data are not the same: revision {clip(one)} and {clip(other)}")


def _places(
    sides: _Sides, member: Member, spec: TaskSpec | None
) -> tuple[Sequence[tuple[StoredTask, Sequence[Place]]], list[str]]:
    """Splits and subsets of both whose scores are compared; the base says which, where nobody else does."""
    # published scores do not say which subsets they are of
    leader = sides.other if _is_published(sides.one) else sides.one
    wanted = _wanted(leader, member, spec)
    notes = []
    for task, who in ((sides.one, "the base"), (sides.other, "the candidate")):
        absent = (
            [] if _is_published(task) else [place for place in wanted if place[1] not in task.scores.get(place[0], {})]
        )
        if absent:
            split, subset = absent[0]
            why = task.problems.get(split, {}).get(subset, "not run")
            raise NotComparedError(
                f"{who} lacks {len(absent)} of {len(wanted)} subsets, first [{split}, {subset}]: {first_line(why)}"
            )
    published = [task for task in (sides.one, sides.other) if _is_published(task)]
    splits = list(dict.fromkeys(split for split, _ in wanted))
    if published:
        _check_subsets(wanted, member, spec)
        splits = [split for split in splits if all(split in task.scores for task in published)]
        if not splits:
            raise NotComparedError("no split has a score on both sides")
        wanted = [place for place in wanted if place[0] in splits]
    if more := _more(sides.other, wanted):
        notes.append(f"the candidate has {more} subsets more, which are left out")
    both = [(split, ALL_SUBSETS) for split in splits]
    return [(task, both if _is_published(task) else wanted) for task in (sides.one, sides.other)], notes


def _check_subsets(places: Sequence[Place], member: Member, spec: TaskSpec | None) -> None:
    """See that a published score, which is a mean over subsets that it does not name, may be of these."""
    found = {subset for _, subset in places}
    if spec is None or member.subsets is not None or ALL_SUBSETS in found:
        return
    if absent := set(spec.languages) - found:
        raise NotComparedError(
            f"published scores do not say which subsets they are of, and the results have {len(found)} of "
            f"{len(found | absent)}; run the others, or name a --benchmark that says which"
        )


def _is_published(task: StoredTask) -> bool:
    return any(ALL_SUBSETS in subsets for subsets in task.scores.values())


def _more(task: StoredTask, wanted: Sequence[Place]) -> int:
    found = [(split, subset) for split, subsets in task.scores.items() for subset in subsets]
    return 0 if _is_published(task) else len(set(found) - set(wanted))


def _wanted(base: StoredTask, member: Member, spec: TaskSpec | None) -> list[Place]:
    """Splits and subsets that a task's score needs: the list's, the catalogue's, or all that the base has."""
    has_list = member.splits is not None or member.subsets is not None
    if spec is not None and has_list:
        subsets = member.subsets or tuple(spec.languages)
        return [(split, subset) for split in member.splits or spec.splits for subset in subsets]
    found = {split: list(subsets) for split, subsets in base.scores.items()}
    for split, problems in base.problems.items():
        needed = [subset for subset, why in problems.items() if not why.startswith(STALE)]
        found[split] = [*found.get(split, []), *needed]
    places = [(split, subset) for split, subsets in sorted(found.items()) for subset in sorted(set(subsets))]
    if not places:
        raise NotComparedError("the base has no score")
    return places


def _jobs(sides: _Sides, ones: Sequence[Place], others: Sequence[Place]) -> Iterator[PairedJob]:
    """The items of all places.

    Raises:
        ScoresOnlyError: one side has none.
        NotComparedError: the two are not of the same items.
    """
    found = [_by_place(task) for task in (sides.one, sides.other)]
    if list(ones) != list(others) or not (found[0] and found[1]):
        who = "the base" if not found[0] else "the candidate"
        raise ScoresOnlyError(f"{who} has scores only, without items")
    for split, subset in ones:
        pair = [by_place[split, subset] for by_place in found]
        _check_keys(*pair)
        items = [items_of(results, record) for results, record in zip((sides.base, sides.candidate), pair, strict=True)]
        yield pair_items(items[0], items[1], pair, weight=1 / len(ones))


def _by_place(task: StoredTask) -> dict[Place, JobRecord]:
    return {(record.job.split, record.job.subset): record for record in _records(task)}


def _check_keys(one: JobRecord, other: JobRecord) -> None:
    """See that two records are of the same data, scored alike."""
    if one.main_score != other.main_score:
        raise NotComparedError(f"the main scores are not the same: {clip(one.main_score)} and {clip(other.main_score)}")
    different = [name for name in _OF_DATA if not _are_equal(one.key.get(name), other.key.get(name))]
    if _runner(one) and not _are_equal(one.key.get(_MTEB), other.key.get(_MTEB)):
        raise NotComparedError("mteb scores this task, in different versions on the two sides")
    if different:
        shown = [
            f"{_NAMES[name]} ({clip(str(one.key.get(name)))} and {clip(str(other.key.get(name)))})"
            for name in different
        ]
        raise NotComparedError(f"[{one.job.split}, {one.job.subset}] differs in {shorten(shown, 2)}; run both again")


def _runner(record: JobRecord) -> bool:
    return "runner" in record.key


def _are_equal(one: Any, other: Any) -> bool:  # noqa: ANN401 -- JSON
    return content_digest(one) == content_digest(other)
