"""What tasks, task types and means can show at all, before anything is run.

Of one test alone, two-sided at .05: a comparison adjusts for all that it tests, and so shows less in single tasks. Of a
mean over independent tasks the standard error is sqrt(sum of squares) / number of tasks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan, sqrt

from evalharness.catalog.tasks import Member, TaskList, TaskSpec, find_task
from evalharness.compare.comparison import OVER_TASKS, OVER_TYPES, Level
from evalharness.compare.differences import LEVEL
from evalharness.compare.power.cheapest import ALPHA, POWER, Choice, Option, cheapest, most_telling
from evalharness.compare.power.spreads import Source, Spread, spread_of
from evalharness.compare.sides import Results
from evalharness.metrics.statistics.intervals import Estimate, welch_mean
from evalharness.metrics.statistics.power import items_needed, power_of, smallest_detectable

# a drop of half a point, of one and of two
DROPS = (0.005, 0.01, 0.02)


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a task, or a mean over tasks, can show.

    Attributes:
        name: of the task, type or mean.
        level: which of these.
        type: task type; empty for a mean.
        metric: main score of a task.
        source: where the spread comes from; of a mean, the worst of its tasks'.
        said: more about it, or why it is unknown.
        items: independent items; of a mean, tasks. None where unknown.
        sd: standard deviation of the paired difference per item (of a mean: per task), 0-1; None where unknown.
        smallest: the smallest difference, 0-1, that is shown with a power of 0.8; None where unknown.
        needed: how many items (of a mean: tasks) would show the tolerance; None where unknown or without end.
        chances: to show each of `DROPS`; empty where unknown.
        characters: to encode; None where unknown.
        without: of a mean, tasks of which nothing is known.
    """

    name: str
    level: Level
    type: str
    metric: str
    source: Source
    said: str = ""
    items: int | None = None
    sd: float | None = None
    smallest: float | None = None
    needed: int | None = None
    chances: tuple[float, ...] = ()
    characters: int | None = None
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a list of tasks can show.

    Attributes:
        name: of the list.
        tolerance: difference that one wants to see, 0-1.
        tasks, types, means: in the order of the list.
        cheapest: the cheapest of its tasks whose mean shows the tolerance; None if none do.
        most_telling: those whose mean shows the smallest difference; None if nothing is known of any.
        not_chosen: tasks that neither could be made of, as their spread or their characters are unknown.
    """

    name: str
    tolerance: float
    tasks: Sequence[Prospect]
    types: Sequence[Prospect]
    means: Sequence[Prospect]
    cheapest: Choice | None
    most_telling: Choice | None
    not_chosen: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Row:
    prospect: Prospect
    spread: Spread


def look_ahead(tasks: TaskList, results: Sequence[Results], tolerance: float) -> Outlook:
    """What these tasks can show.

    Args:
        tasks: which.
        results: stored ones of any models, whose items say how large differences of items are.
        tolerance: difference that one wants to see, 0-1.
    """
    rows = [_task_row(member, results, tolerance) for member in tasks.tasks]
    types: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        types[row.prospect.type].append(row)
    of_types = {name: _mean_of(members) for name, members in types.items()}
    of_type = [_mean("type", name, types[name], of_types[name], tolerance) for name in types]
    means = [_mean("mean", OVER_TASKS, rows, _mean_of(rows), tolerance)] if len(rows) > 1 else []
    known = [estimate for estimate in of_types.values() if estimate is not None]
    if len(types) > 1:
        by_type = welch_mean(known, level=LEVEL) if known else None
        means.append(_mean("mean", OVER_TYPES, rows, by_type, tolerance, parts=len(known)))
    options = [option for row in rows if (option := _option(row)) is not None]
    there = {option.name for option in options}
    return Outlook(
        name=tasks.name,
        tolerance=tolerance,
        tasks=[row.prospect for row in rows],
        types=of_type,
        means=means,
        cheapest=cheapest(options, tolerance) if options else None,
        most_telling=most_telling(options),
        not_chosen=[row.prospect.name for row in rows if row.prospect.name not in there],
    )


def _task_row(member: Member, results: Sequence[Results], tolerance: float) -> _Row:
    spec = find_task(member.task)
    if spec is not None:
        # it may have been named by its file
        member = member.model_copy(update={"task": spec.name})
    stored = [result.tasks[member.task] for result in results if member.task in result.tasks]
    recorded = [(task.type, job.record.main_score) for task in stored for job in task.jobs if job.record and task.type]
    kind, metric = recorded[0] if recorded else ("Other", "")
    spread = spread_of(member, spec, results)
    prospect = Prospect(
        name=member.task,
        level="task",
        type=spec.type if spec is not None else kind,
        metric=spec.main_score if spec is not None else metric,
        source=spread.source,
        said=spread.said,
        items=spread.items,
        sd=spread.sd if isfinite(spread.sd) else None,
        needed=_needed(spread.sd, tolerance),
        characters=_characters(member, spec) if spec is not None else None,
    )
    return _Row(_shown(prospect, spread.estimate), spread)


def _needed(sd: float, tolerance: float) -> int | None:
    return items_needed(tolerance, sd, ALPHA, POWER) if isfinite(sd) else None


def _shown(prospect: Prospect, estimate: Estimate) -> Prospect:
    """With what can be shown, if the spread is known."""
    error, df = estimate.standard_error, estimate.df
    if not isfinite(error) or df < 1:
        return prospect
    return replace(
        prospect,
        smallest=smallest_detectable(error, df, ALPHA, POWER),
        chances=tuple(power_of(drop, error, df, ALPHA) for drop in DROPS),
    )


def _mean_of(rows: Sequence[_Row]) -> Estimate | None:
    known = [row.spread.estimate for row in rows if isfinite(row.spread.standard_error)]
    return welch_mean(known, level=LEVEL) if known else None


def _mean(
    level: Level, name: str, rows: Sequence[_Row], estimate: Estimate | None, tolerance: float, parts: int | None = None
) -> Prospect:
    known = [row for row in rows if isfinite(row.spread.standard_error)]
    parts = len(known) if parts is None else parts
    characters = [row.prospect.characters for row in rows]
    sd = nan if estimate is None else estimate.standard_error * sqrt(parts)
    prospect = Prospect(
        name=name,
        level=level,
        type=name if level == "type" else "",
        metric="",
        source=max((row.spread.source for row in known), key=list(Source).index, default=Source.UNKNOWN),
        items=parts,
        sd=sd if isfinite(sd) else None,
        needed=_needed(sd, tolerance),
        characters=None if None in characters else sum(count or 0 for count in characters),
        without=tuple(row.prospect.name for row in rows if row not in known),
    )
    return prospect if estimate is None else _shown(prospect, estimate)


def _option(row: _Row) -> Option | None:
    if row.prospect.smallest is None or row.prospect.characters is None:
        return None
    return Option(row.prospect.name, row.prospect.characters, row.spread.standard_error, row.spread.df)


def _characters(member: Member, spec: TaskSpec) -> int | None:
    """To encode, as the catalogue has it; None where it does not know some of it."""
    if spec.parts:
        parts = [(name, find_task(name)) for name in spec.parts]
        sizes = [None if part is None else _characters(Member(task=name), part) for name, part in parts]
    else:
        sizes = [
            size[1] if (size := spec.sizes.get(split, {}).get(subset)) else None
            for split in member.splits or spec.splits
            for subset in member.subsets or spec.languages
        ]
    return None if None in sizes else sum(size or 0 for size in sizes)
