"""A comparison with what a gate says of it, and what of it is worst, for every format."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evalharness.compare.comparison import OVER_TASKS, Comparison, Finding, Verdict
from evalharness.compare.gate import Failure, GateOutcome, Reason

_WORST_FIRST = (
    Verdict.REGRESSED,
    Verdict.NOT_COMPARED,
    Verdict.BY_SCORE,
    Verdict.TOO_NOISY,
    Verdict.NO_WORSE,
    Verdict.IMPROVED,
)
# what says most; where there is no room, the last go first
_TELLING_FIRST = (
    Verdict.REGRESSED,
    Verdict.IMPROVED,
    Verdict.NOT_COMPARED,
    Verdict.BY_SCORE,
    Verdict.TOO_NOISY,
    Verdict.NO_WORSE,
)
_REASONS = tuple(Reason)


@dataclass(frozen=True, slots=True)
class Judged:
    """A comparison, and the gate's outcome if there was a gate."""

    comparison: Comparison
    outcome: GateOutcome | None = None

    @property
    def fails(self) -> bool:
        """Whether the gate fails; without a gate, whether anything regressed."""
        if self.outcome is not None:
            return not self.outcome.passes
        return any(finding.verdict is Verdict.REGRESSED for finding in self.comparison)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing of which both have a score."""
        return all(finding.verdict is Verdict.NOT_COMPARED for finding in self.comparison)

    @property
    def mean(self) -> Finding | None:
        """The mean over tasks."""
        return next((finding for finding in self.comparison.means if finding.name == OVER_TASKS), None)


@dataclass(frozen=True, slots=True)
class Placed:
    """A finding with what fails in it.

    Attributes:
        finding: which.
        failures: of the gate, in the order of `Reason`.
        fails: whether there are any; without a gate, whether it regressed.
    """

    finding: Finding
    failures: Sequence[Failure]
    fails: bool

    @property
    def label(self) -> str:
        """The verdict, and why it fails where the verdict does not say so."""
        told = {Reason.WORSE} if self.finding.verdict is Verdict.REGRESSED else set()
        reasons = dict.fromkeys(failure.reason for failure in self.failures if failure.reason not in told)
        return "; ".join([self.finding.verdict, *reasons])

    @property
    def how_bad(self) -> tuple[bool, int, int, float, str]:
        """Sorts the worst first."""
        return self._order(_WORST_FIRST)

    @property
    def how_telling(self) -> tuple[bool, int, int, float, str]:
        """Sorts what says most first."""
        return self._order(_TELLING_FIRST)

    def _order(self, verdicts: Sequence[Verdict]) -> tuple[bool, int, int, float, str]:
        reason = _REASONS.index(self.failures[0].reason) if self.failures else len(_REASONS)
        lost = self.finding.difference
        # NaN would leave the order to chance
        lost = 0.0 if lost is None or math.isnan(lost) else lost
        return not self.fails, reason, verdicts.index(self.finding.verdict), lost, self.finding.name


@dataclass(frozen=True, slots=True)
class Placement:
    """All of a comparison, each with its failures.

    Attributes:
        means, types: in the comparison's order.
        tasks: the worst first.
        elsewhere: failures of what the comparison does not have, such as a required task.
    """

    means: Sequence[Placed]
    types: Sequence[Placed]
    tasks: Sequence[Placed]
    elsewhere: Sequence[Failure]

    def __iter__(self) -> Iterator[Placed]:
        """Means first, then types, then tasks."""
        yield from (*self.means, *self.types, *self.tasks)


def place(judged: Judged) -> Placement:
    """Put each failure beside what fails."""
    failures: dict[tuple[str | None, str], list[Failure]] = defaultdict(list)
    for failure in judged.outcome.failures if judged.outcome is not None else ():
        failures[failure.level, failure.name].append(failure)

    def placed(finding: Finding) -> Placed:
        own = failures.get((finding.level, finding.name), [])
        fails = bool(own) if judged.outcome is not None else finding.verdict is Verdict.REGRESSED
        return Placed(finding, own, fails)

    comparison = judged.comparison
    there = {(finding.level, finding.name) for finding in comparison}
    return Placement(
        means=[placed(finding) for finding in comparison.means],
        types=[placed(finding) for finding in comparison.types],
        tasks=sorted((placed(finding) for finding in comparison.tasks), key=lambda item: item.how_bad),
        elsewhere=[failure for name, own in failures.items() if name not in there for failure in own],
    )


def worst_failures(placement: Placement) -> list[Failure]:
    """What fails the gate, in the order of `Reason`, the greatest loss of each first."""
    ordered = [failure for item in sorted(placement, key=lambda item: item.how_bad) for failure in item.failures]
    found = dict.fromkeys([*ordered, *placement.elsewhere])
    return sorted(found, key=lambda failure: _REASONS.index(failure.reason))


def labels(series: Sequence[Judged]) -> list[str]:
    """A name for each candidate; those that would have the same also say where they are."""
    names = [str(judged.comparison.candidate) for judged in series]
    count = Counter(names)
    return [
        f"{name} in {judged.comparison.candidate.place}" if count[name] > 1 else name
        for name, judged in zip(names, series, strict=True)
    ]
