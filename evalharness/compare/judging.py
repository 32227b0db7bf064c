"""From two results to a comparison: findings for tasks, types and means, with p-values of the family and verdicts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from evalharness.catalog.tasks import Member, TaskList, TaskSpec, find_task, name_of
from evalharness.compare.comparison import (
    OVER_TASKS,
    OVER_TYPES,
    Comparison,
    Finding,
    Level,
    Range,
    Settings,
    Verdict,
)
from evalharness.compare.differences import Difference, beyond, mean_difference, over_tasks, task_difference
from evalharness.compare.formats import Judged, render
from evalharness.compare.notes import differences_in_settings
from evalharness.compare.pairing import PairedTask, pair_task
from evalharness.compare.sides import Named, Results, read_side
from evalharness.errors import UsageError, shorten
from evalharness.metrics.statistics.intervals import Interval
from evalharness.metrics.statistics.multiple import benjamini_hochberg, holm
from evalharness.metrics.statistics.power import items_needed, shown_no_worse_from, smallest_detectable

POWER = 0.8
_POINTS = 100
_CLUSTERING = "Clustering"
# 2^(1 - n) is above .05 below
_FEWEST = 6
# so many draws at least as extreme do not keep a difference from being shown
_HITS = 5
_MOST_DRAWS = 200_000
_MEANS = 2


@dataclass(frozen=True, slots=True)
class _Row:
    """A finding in the making.

    Attributes:
        finding: with what is known without statistics.
        difference: None where there are no items.
        is_family: whether its p-values count in the adjustment: not where it only says what another row says.
    """

    finding: Finding
    difference: Difference | None = None
    is_family: bool = True


def compare_results(
    base: Named, candidate: Named, tasks: TaskList | Sequence[str] | None = None, settings: Settings | None = None
) -> Comparison:
    """Compare a candidate with a base: `print(compare_results("results/base", "results/candidate"))`.

    Args:
        base: the results to compare with: a folder, FOLDER:model, a baseline, or what `evaluate` gave.
        candidate: the results to judge, named alike.
        tasks: which; None for all that the base has.
        settings: how.

    Raises:
        UsageError: there are no such results, the two follow different protocols, or no task is in both.
        DataError: a baseline is not what was saved.
    """
    settings = settings or Settings()
    base, candidate = read_side(base), read_side(candidate)
    if base.side.protocol != candidate.side.protocol:
        raise UsageError(
            f"the base follows the protocol {base.side.protocol!r} and the candidate {candidate.side.protocol!r}, "
            "whose scores do not compare. Run one of them again with the other's --protocol"
        )
    pairs = [pair_task(member, _catalogued(member), base, candidate) for member in _members(base, tasks)]
    if not any(pair.is_comparable for pair in pairs):
        reasons = [f"{pair.name}: {pair.why}" for pair in pairs]
        raise UsageError(f"there is nothing to compare. {shorten(reasons) or f'{base.side.place} has no results'}")
    settings = _with_draws(settings, pairs)
    rows = [_task_row(pair, settings) for pair in pairs]
    types = _type_rows(rows, settings)
    means = _mean_rows(rows, types, settings)
    judged = _judged([*means, *types, *rows], settings)
    return Comparison(
        base=base.side,
        candidate=candidate.side,
        tasks=judged[len(means) + len(types) :],
        types=judged[len(means) : len(means) + len(types)],
        means=judged[: len(means)],
        settings=settings,
        notes=differences_in_settings(base, candidate),
        writer=_written,
    )


def _with_draws(settings: Settings, pairs: Sequence[PairedTask]) -> Settings:
    """As many draws as it takes for the smallest p-value that there can be to stay below alpha when it is adjusted.

    Raises:
        UsageError: no number of draws that anybody would wait for is enough.
    """
    findings = len(pairs) + len({pair.type for pair in pairs}) + _MEANS
    needed = math.ceil(_HITS * findings / settings.alpha)
    if needed > _HITS * _MOST_DRAWS:
        raise UsageError(
            f"of {findings} findings nothing can be shown at alpha {settings.alpha:.2g}; "
            "compare fewer tasks or candidates, or raise alpha"
        )
    return replace(settings, draws=max(settings.draws, min(needed, _MOST_DRAWS)))


def _written(comparison: Comparison, form: str) -> str:
    return render([Judged(comparison)], form)


def _catalogued(member: Member) -> TaskSpec | None:
    """What the catalogue knows of a task; nothing of one that a file describes."""
    return None if member.task.endswith(".toml") else find_task(member.task)


def _members(base: Results, tasks: TaskList | Sequence[str] | None) -> Sequence[Member]:
    if isinstance(tasks, TaskList):
        return tasks.tasks
    # one name is a sequence of texts, too: its letters
    names = [tasks] if isinstance(tasks, str) else tasks
    return [Member(task=name) for name in (sorted(base.tasks) if names is None else map(name_of, names))]


def _task_row(pair: PairedTask, settings: Settings) -> _Row:
    finding = Finding(
        name=pair.name,
        level="task",
        type=pair.type,
        metric=pair.metric,
        base=pair.base,
        candidate=pair.candidate,
        verdict=Verdict.BY_SCORE if pair.is_comparable else Verdict.NOT_COMPARED,
        tolerance=settings.tolerance_of(pair.name),
        why=pair.why,
        notes=pair.notes,
    )
    if not pair.jobs:
        return _Row(finding)
    return _Row(finding, task_difference(pair.name, pair.jobs, settings))


def _type_rows(rows: Sequence[_Row], settings: Settings) -> list[_Row]:
    types: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        types[row.finding.type].append(row)
    # of a type of which all may be missing there is nothing to miss
    asked = {name: members for name, members in types.items() if not all(_may_go(row, settings) for row in members)}
    return [_mean_row(name, "type", members, settings) for name, members in asked.items()]


def _may_go(row: _Row, settings: Settings) -> bool:
    """Whether means do without it."""
    return row.finding.verdict is Verdict.NOT_COMPARED and row.finding.name in settings.optional


def _mean_rows(rows: Sequence[_Row], types: Sequence[_Row], settings: Settings) -> list[_Row]:
    by_type: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.finding.difference is not None:
            by_type[row.finding.type].append(row.finding.difference)
    found = []
    for name, members, is_by_type in ((OVER_TASKS, rows, False), (OVER_TYPES, types, True)):
        row = _mean_row(name, "mean", members, settings)
        if row.finding.verdict is not Verdict.NOT_COMPARED and len(rows) > 1:
            interval = over_tasks(by_type, by_type=is_by_type)
            row = replace(row, finding=replace(row.finding, like_these=_range(interval)))
        if len(types) == 1 and row.finding.tolerance == types[0].finding.tolerance:
            # the one type says it all
            row = replace(row, difference=types[0].difference, is_family=False)
        found.append(row)
    return found


def _mean_row(name: str, level: Level, members: Sequence[_Row], settings: Settings) -> _Row:
    """The mean of rows; without those that it may do without."""
    lost = [row for row in members if row.finding.verdict is Verdict.NOT_COMPARED]
    optional = [row.finding.name for row in lost if row.finding.name in settings.optional]
    kept = [row for row in members if row.finding.name not in optional]
    finding = Finding(
        name=name,
        level=level,
        type=name if level == "type" else "",
        metric="",
        base=None,
        candidate=None,
        verdict=Verdict.NOT_COMPARED,
        tolerance=settings.tolerance_of(name, level),
        notes=tuple(f"without {name}, which may be missing" for name in optional),
    )
    missing = [row.finding.name for row in lost if row.finding.name not in optional]
    if missing or not kept:
        return _Row(replace(finding, why=f"a mean over what is not compared is void: {shorten(missing)}"))
    scores = [[score for row in kept if (score := getattr(row.finding, side)) is not None] for side in _SIDES]
    finding = replace(finding, base=fmean(scores[0]), candidate=fmean(scores[1]), verdict=Verdict.BY_SCORE)
    differences = [row.difference for row in kept if row.difference is not None]
    if len(differences) < len(kept):
        without = [row.finding.name for row in kept if row.difference is None]
        return _Row(replace(finding, why=f"by score only, as {shorten(without)}"))
    if level == "type" and len(kept) > 1:
        interval = over_tasks({name: [difference.estimate.difference for difference in differences]}, by_type=False)
        finding = replace(finding, like_these=_range(interval))
    if len(kept) == 1 and kept[0].finding.tolerance == finding.tolerance:
        return _Row(finding, differences[0], is_family=False)
    if len(kept) == 1:
        return _Row(finding, beyond(differences[0], finding.tolerance))
    return _Row(finding, mean_difference(differences, finding.tolerance))


_SIDES = ("base", "candidate")


def _range(interval: Interval | None) -> Range | None:
    return None if interval is None or not math.isfinite(interval.low) else Range(interval.low, interval.high)


def _judged(rows: Sequence[_Row], settings: Settings) -> list[Finding]:
    """Findings with adjusted p-values and verdicts."""
    adjust = holm if settings.adjustment == "holm" else benjamini_hochberg
    family = [row for row in rows if row.difference is not None and row.is_family]
    adjusted = adjust([row.difference.p_value for row in family if row.difference is not None])
    # that a loss is beyond the tolerance decides a gate, whose false alarms are counted over the whole family
    losses = holm([row.difference.p_beyond for row in family if row.difference is not None])
    by_difference = {
        id(row.difference): pair for row, pair in zip(family, zip(adjusted, losses, strict=True), strict=True)
    }
    return [
        row.finding
        if row.difference is None
        else _with_statistics(row.finding, row.difference, by_difference[id(row.difference)], settings)
        for row in rows
    ]


def _with_statistics(
    finding: Finding, difference: Difference, adjusted: tuple[float, float], settings: Settings
) -> Finding:
    estimate = difference.estimate
    smallest = smallest_detectable(estimate.standard_error, estimate.df, settings.alpha, POWER)
    found = replace(
        finding,
        interval=_range(estimate.interval),
        p_value=difference.p_value,
        adjusted=adjusted[0],
        p_beyond=adjusted[1],
        # items that are all the same tell nothing of how much they could differ
        smallest=smallest if math.isfinite(smallest) and estimate.standard_error > 0 else None,
        items=difference.items,
        clusters=difference.clusters,
        method=difference.method,
        notes=(*finding.notes, *_warnings(finding, difference)),
    )
    verdict = _verdict(found, estimate.difference, settings.alpha)
    if verdict is not Verdict.TOO_NOISY:
        return replace(found, verdict=verdict)
    notes = (*found.notes, *_shown_loss(found, estimate.difference, settings.alpha))
    return replace(found, verdict=verdict, needed=_needed(found, difference), notes=notes)


def _shown_loss(finding: Finding, difference: float, alpha: float) -> list[str]:
    """What is known although it cannot be told whether the loss is tolerable."""
    if finding.adjusted is None or finding.adjusted > alpha or difference >= 0 or not finding.tolerance:
        return []
    tolerated = f"{_POINTS * finding.tolerance:g}"
    return [f"a loss is shown, but not that it is more than the {tolerated} points that are tolerated"]


def _verdict(finding: Finding, difference: float, alpha: float) -> Verdict:
    # the test decides; where the interval, which is made otherwise, contradicts it, nothing is said to be shown
    low, high = (-1.0, 1.0) if finding.interval is None else (finding.interval.low, finding.interval.high)
    if finding.p_beyond is not None and finding.p_beyond <= alpha and difference < -finding.tolerance and high < 0:
        return Verdict.REGRESSED
    if finding.adjusted is not None and finding.adjusted <= alpha and low > 0:
        return Verdict.IMPROVED
    # what no test can show of so few items, an interval, be it a point, does not show either
    if finding.clusters >= _FEWEST and low > -finding.tolerance:
        return Verdict.NO_WORSE
    return Verdict.TOO_NOISY


def _needed(finding: Finding, difference: Difference) -> int | None:
    """How much would show that it is no worse if it is not, or, without a tolerance, the difference that was found.

    Returns:
        Items of a task, in clusters like these; tasks like these of a mean; None where nobody knows.
    """
    if finding.type == _CLUSTERING and finding.level == "task":
        # more draws of the same texts are no more texts
        return None
    count = difference.clusters if finding.level == "task" else difference.tasks
    spread = difference.estimate.standard_error * math.sqrt(count)
    if not math.isfinite(spread):
        return None
    if finding.tolerance:
        needed = shown_no_worse_from(finding.tolerance, spread, power=POWER)
    else:
        needed = items_needed(difference.estimate.difference, spread, power=POWER)
    if needed is None or finding.level != "task":
        return needed
    return math.ceil(needed * difference.items / difference.clusters)


def _warnings(finding: Finding, difference: Difference) -> list[str]:
    if finding.level != "task":
        return [] if difference.is_trusted else ["in some of its tasks few items differ, so that its interval is rough"]
    found = []
    if finding.type == _CLUSTERING:
        found.append(
            "its items are random draws of the same texts: that a difference is larger than what draws and starts of "
            "k-means make of it can be shown, not that it would be there on other texts"
        )
    few = f"{difference.differing} of {difference.clusters} independent items differ at all"
    if 1 < difference.clusters < _FEWEST:
        found.append(f"{difference.clusters} independent items, of which nothing can be shown at .05")
    elif 0 < difference.differing < _FEWEST:
        found.append(f"{few}, of which no permutation test can show anything at .05")
    elif not difference.is_trusted:
        found.append(f"{few}: the interval can be trusted from {difference.trusted_from} on")
    return found
