"""A series of checkpoints: is each one worse than the best before it, and has the series regressed?

The mean over tasks decides, by one test a step, against the checkpoint with the highest mean so far. A series is looked
at again and again, and the best so far was the best by luck, too; so the test of each step is made at a level of its
own, by which the whole series raises a false alarm with a chance of at most alpha, however long it is
(`evalharness.metrics.statistics.spending` has the argument). Single tasks are shown with it and decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from scipy.special import stdtr, stdtrit

from evalharness.catalog.tasks import Member, TaskList, find_task
from evalharness.compare.comparison import OVER_TASKS, Settings, Side, Verdict
from evalharness.compare.differences import Difference, mean_difference, task_difference
from evalharness.compare.pairing import PairedTask, pair_task
from evalharness.compare.sides import Results
from evalharness.errors import UsageError, shorten
from evalharness.metrics.statistics.intervals import Estimate
from evalharness.metrics.statistics.paired_tests import draws_for
from evalharness.metrics.statistics.spending import per_pair

_POINTS = 100
# a later look than this many draws can judge is judged by Student's t
_MOST_DRAWS = 25_000
# of a level: what is smaller decides nothing more, and is of a tail that nobody knows
_LEAST_SHARE = 1e-3


@dataclass(frozen=True, slots=True)
class Against:
    """A checkpoint against an earlier one.

    Attributes:
        place: of the earlier one in the series, from 0.
        mean: the difference of the means over tasks, this minus the earlier one; None if a task has no pairs of items.
        tasks: the difference in each task that has them.
        why: why there is no difference of the means; empty if there is one.
        is_trusted: whether there are enough items that differ for intervals that cover what they say.
    """

    place: int
    mean: Estimate | None
    tasks: Mapping[str, Estimate]
    why: str = ""
    is_trusted: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """A checkpoint of a series.

    Attributes:
        side: whose results.
        scores: of each task that has one, 0-1.
        score: their mean, 0-1; None where a task has none.
        verdict: what is shown against the best so far; None of the first, which is compared with nothing.
        best: against the best so far.
        first: against the first of the series.
        level: of the one test of this step.
        shown_by: p-value of a loss of at most the tolerance, one-sided: at most the level means `regressed`.
    """

    side: Side
    scores: Mapping[str, float]
    score: float | None
    verdict: Verdict | None = None
    best: Against | None = None
    first: Against | None = None
    level: float = 0.0
    shown_by: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Checkpoints in the order of their training; the first one is the base.

    Attributes:
        steps: what is known of each.
        results: of each.
        tasks: which tasks; None for all that the first one has.
        settings: how; `alpha` is that of the whole series.
    """

    steps: Sequence[Step] = ()
    results: Sequence[Results] = field(default=(), repr=False)
    tasks: TaskList | None = None
    settings: Settings = field(default_factory=Settings)

    @property
    def tolerance(self) -> float:
        """The loss of the mean that nobody minds, 0-1."""
        return self.settings.tolerance_of(OVER_TASKS, "mean")

    @property
    def best(self) -> int | None:
        """The place of the checkpoint with the highest mean, the first of equals; None where none has a mean."""
        scores = [(step.score, -place) for place, step in enumerate(self.steps) if step.score is not None]
        return -max(scores)[1] if scores else None

    @property
    def regressed(self) -> Step | None:
        """The first checkpoint that is shown to be worse than the best before it; None if none is."""
        return next((step for step in self.steps if step.verdict is Verdict.REGRESSED), None)

    @property
    def unjudged(self) -> Sequence[Step]:
        """Checkpoints that could be compared with none."""
        return [step for step in self.steps if step.verdict in (Verdict.NOT_COMPARED, Verdict.BY_SCORE)]

    def line(self, place: int) -> str:
        """A checkpoint in a line, for people; in points."""
        step = self.steps[place]
        score = "no mean" if step.score is None else f"{_POINTS * step.score:.2f}"
        if step.best is None:
            return f"{step.side.model}: {score}" + (f" ({step.verdict})" if step.verdict else " (the first)")
        against = f"against {self.steps[step.best.place].side.model}, the best so far"
        if step.best.mean is None:
            return f"{step.side.model}: {score}, {step.verdict} {against}: {step.best.why}"
        mean = step.best.mean
        low, high = _POINTS * mean.interval.low, _POINTS * mean.interval.high
        return (
            f"{step.side.model}: {score}, {_POINTS * mean.difference:+.2f} [{low:+.2f}, {high:+.2f}] {against}: "
            f"{step.verdict} (p of a loss within {_POINTS * self.tolerance:g}: {_shown(step.shown_by, step.level)}, "
            f"level {step.level:.2g}{'' if step.best.is_trusted else '; few items differ'})"
        )


def _shown(p_value: float | None, level: float) -> str:
    """A p-value for people."""
    least = _LEAST_SHARE * level
    return "unknown" if p_value is None else f"<{least:.2g}" if p_value < least else f"{p_value:.2g}"


def judge_series(
    checkpoints: Sequence[Results], tasks: TaskList | None = None, settings: Settings | None = None
) -> Series:
    """Judge checkpoints one after another, each against the best before it.

    Args:
        checkpoints: their results, in the order of the training; the first one is the base.
        tasks: which; None for all that the first one has.
        settings: how; `alpha` is that of the whole series.

    Raises:
        UsageError: they follow different protocols.
    """
    series = Series((), (), tasks, settings or Settings())
    for results in checkpoints:
        series = next_step(series, results)
    return series


def next_step(series: Series, results: Results) -> Series:
    """The series with one checkpoint more; those before it are not looked at again.

    Raises:
        UsageError: it follows another protocol than the first.
    """
    if series.results and results.side.protocol != (protocol := series.results[0].side.protocol):
        raise UsageError(
            f"the series follows the protocol {protocol!r} and {results.side.model} {results.side.protocol!r}, whose "
            "scores do not compare. Run it again with the other --protocol"
        )
    step = _step(series, results)
    return replace(series, steps=(*series.steps, step), results=(*series.results, results))


def _step(series: Series, results: Results) -> Step:
    base, look, best = (series.results or (results,))[0], len(series.steps), series.best
    members = series.tasks.tasks if series.tasks is not None else [Member(task=name) for name in sorted(base.tasks)]
    if not look or best is None:
        own = [_pair(member, results, results) for member in members]
        return replace(_scored(results, own), verdict=Verdict.NOT_COMPARED if look else None)
    level = per_pair(look, series.settings.alpha)
    # the mean decides, so what it tolerates is what a single task that is all of it does
    asked = replace(series.settings, tolerance=series.tolerance, tolerances={})
    settings = replace(asked, draws=max(asked.draws, min(draws_for(level), _MOST_DRAWS)), alpha=level)
    pairs = [_pair(member, series.results[best], results) for member in members]
    found = _differences(pairs, settings)
    against = _against(best, pairs, found)
    first = against
    if best != 0:
        others = [_pair(member, base, results) for member in members]
        first = _against(0, others, _differences(others, asked))
    step = replace(_scored(results, pairs), best=against, first=first, level=level)
    if against.mean is None:
        is_scored = all(pair.base is not None and pair.candidate is not None for pair in pairs)
        return replace(step, verdict=Verdict.BY_SCORE if is_scored else Verdict.NOT_COMPARED)
    mean = found[OVER_TASKS]
    shown_by = _beyond(mean, settings)
    return replace(step, verdict=_verdict(mean, shown_by, settings), shown_by=shown_by)


def _pair(member: Member, base: Results, candidate: Results) -> PairedTask:
    spec = None if member.task.endswith(".toml") else find_task(member.task)
    return pair_task(member, spec, base, candidate)


def _scored(results: Results, pairs: Sequence[PairedTask]) -> Step:
    scores = {pair.name: pair.candidate for pair in pairs if pair.candidate is not None}
    return Step(results.side, scores, fmean(scores.values()) if scores and len(scores) == len(pairs) else None)


def _differences(pairs: Sequence[PairedTask], settings: Settings) -> dict[str, Difference]:
    """Of each task that has items, and under `OVER_TASKS` of the mean if all have."""
    found = {pair.name: task_difference(pair.name, pair.jobs, settings) for pair in pairs if pair.jobs}
    if len(found) < len(pairs):
        return found
    every = list(found.values())
    # of a single task, what is known of it is more than what is known of a mean
    return {**found, OVER_TASKS: every[0] if len(every) == 1 else mean_difference(every, settings.tolerance)}


def _against(place: int, pairs: Sequence[PairedTask], found: Mapping[str, Difference]) -> Against:
    lost = [f"{pair.name}: {pair.why}" for pair in pairs if pair.name not in found]
    mean = found.get(OVER_TASKS)
    return Against(
        place=place,
        mean=None if mean is None else mean.estimate,
        tasks={pair.name: found[pair.name].estimate for pair in pairs if pair.name in found},
        why=shorten(lost),
        is_trusted=all(difference.is_trusted for difference in found.values()),
    )


def _beyond(mean: Difference, settings: Settings) -> float:
    """The p-value of a loss within the tolerance: by draws where there are enough of them for this level."""
    error = mean.estimate.standard_error
    if draws_for(settings.alpha) <= settings.draws or not error > 0:
        return mean.p_beyond
    return float(stdtr(mean.estimate.df, (mean.estimate.difference + settings.tolerance) / error))


def _verdict(mean: Difference, shown_by: float, settings: Settings) -> Verdict:
    lost, error = mean.estimate.difference, mean.estimate.standard_error
    if shown_by <= settings.alpha and lost < -settings.tolerance:
        return Verdict.REGRESSED
    # at the level of the step, which is not that of the interval that is shown
    reach = -stdtrit(mean.estimate.df, settings.alpha) * error if error > 0 else error
    if not math.isfinite(reach):
        return Verdict.TOO_NOISY
    if lost - reach > 0 and (reach > 0 or mean.p_value <= settings.alpha):
        return Verdict.IMPROVED
    return Verdict.NO_WORSE if lost - reach > -settings.tolerance else Verdict.TOO_NOISY
