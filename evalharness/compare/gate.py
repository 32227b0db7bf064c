"""The gate: rules from `gate.toml`, and whether a comparison passes them. Nothing passes by default."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field

from evalharness.compare.comparison import OVER_TASKS, OVER_TYPES, TOLERANCE, Comparison, Finding, Level, Verdict
from evalharness.errors import unknown_names
from evalharness.reading import read_toml, validated
from evalharness.types import Frozen

GateKind: TypeAlias = Literal["regression", "non-inferiority"]

_POINTS = 100
# in points: no score has so many digits, but sums have
_ROUNDING = 1e-9
_MEANS = {"tasks": OVER_TASKS, "types": OVER_TYPES}
_UNJUDGED = (Verdict.BY_SCORE, Verdict.NOT_COMPARED)
_SHOWN = (Verdict.NO_WORSE, Verdict.IMPROVED)


class Rule(Frozen):
    """What is asked of a task, a task type or a mean; in points.

    Attributes:
        tolerance: a loss that nobody minds; None for that of all.
        minimum: the least score of the candidate.
        may_be_missing: whether the gate passes where it cannot be compared.
        by_score: whether, where there are no items, a loss in scores alone of at most the tolerance passes.
    """

    tolerance: float | None = Field(default=None, ge=0, le=_POINTS)
    minimum: float | None = Field(default=None, ge=-_POINTS, le=_POINTS)
    may_be_missing: bool = False
    by_score: bool = False


class GateRules(Frozen):
    """A `gate.toml`.

    Attributes:
        tolerance: in points, where no rule of its own says another.
        alpha: how often the gate may fail although nothing is worse.
        levels: what must be shown to be no worse, for the gate of that kind: tasks, types, means.
        required: tasks that must be in the comparison.
        tasks, types: rules by name.
        means: rules of the means over `tasks` and over `types`.
    """

    tolerance: float = Field(default=_POINTS * TOLERANCE, ge=0, le=_POINTS)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    levels: tuple[Level, ...] = ("task", "type", "mean")
    required: tuple[str, ...] = ()
    tasks: dict[str, Rule] = {}
    types: dict[str, Rule] = {}
    means: dict[Literal["tasks", "types"], Rule] = {}

    def by_level(self) -> dict[Level, dict[str, Rule]]:
        """All rules by the levels and names that findings have."""
        means = {_MEANS[name]: rule for name, rule in self.means.items()}
        return {"task": self.tasks, "type": self.types, "mean": means}

    def tolerances(self) -> dict[Level, dict[str, float]]:
        """Tolerances of their own, by the levels and names that findings have, 0-1."""
        return {
            level: {name: rule.tolerance / _POINTS for name, rule in rules.items() if rule.tolerance is not None}
            for level, rules in self.by_level().items()
        }

    def optional(self) -> frozenset[str]:
        """Tasks that may be missing."""
        return frozenset(name for name, rule in self.tasks.items() if rule.may_be_missing)


def read_rules(path: Path) -> GateRules:
    """The rules of a file.

    Raises:
        UsageError: it cannot be read.
        DataError: it holds what is no rule.
    """
    return validated(GateRules, read_toml(path), str(path))


class Reason(StrEnum):
    """Why a gate fails."""

    WORSE = "worse"
    BELOW_MINIMUM = "below the minimum"
    NOT_SHOWN = "not shown to be no worse"
    # it could not be judged
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class Failure:
    """What fails, and why.

    Attributes:
        name: of a task, type or mean.
        reason: which kind.
        why: for people.
        level: which of them; None for what is not in the comparison.
    """

    name: str
    reason: Reason
    why: str
    level: Level | None = None


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """Whether a comparison passes.

    Attributes:
        kind: which gate.
        failures: all of them, in the order of `Reason`; none if it passes.
    """

    kind: GateKind
    failures: Sequence[Failure]

    @property
    def passes(self) -> bool:
        """Whether nothing fails."""
        return not self.failures

    @property
    def is_only_unjudged(self) -> bool:
        """Whether it fails for nothing but what could not be judged."""
        return bool(self.failures) and all(failure.reason is Reason.NOT_JUDGED for failure in self.failures)


def judge(comparison: Comparison, rules: GateRules, kind: GateKind) -> GateOutcome:
    """Whether a comparison passes a gate.

    `regression` fails where a loss beyond the tolerance is shown; `non-inferiority` also where it is not shown that
    there is none. Both fail below a minimum, and where something cannot be judged: a task that is missing, or whose
    items do not match.

    Args:
        comparison: made with the tolerances of the rules.
        rules: what is asked.
        kind: which gate.
    """
    by_level = rules.by_level()
    found = [
        replace(failure, level=item.level)
        for item in comparison
        for failure in _failures(item, by_level[item.level].get(item.name, Rule()), rules, kind)
    ]
    there = {(finding.level, finding.name) for finding in comparison}
    named: list[tuple[Level, str]] = [("task", name) for name in rules.required]
    named += [(level, name) for level, own in by_level.items() for name, rule in own.items() if not rule.may_be_missing]
    for level, name in dict.fromkeys(named):
        if (level, name) not in there:
            guess = unknown_names(level, [name], sorted(known for of, known in there if of == level))
            found.append(Failure(name, Reason.NOT_JUDGED, f"the rules ask for it, and it was not compared: {guess}"))
    if not there:
        found.append(Failure("everything", Reason.NOT_JUDGED, "nothing was compared"))
    order = list(Reason)
    return GateOutcome(kind, sorted(found, key=lambda failure: order.index(failure.reason)))


def _failures(finding: Finding, rule: Rule, rules: GateRules, kind: GateKind) -> Iterator[Failure]:
    lost = "" if finding.difference is None else f"{_POINTS * finding.difference:+.2f} points"
    if finding.interval is not None:
        low, high = (_POINTS * end for end in (finding.interval.low, finding.interval.high))
        lost += f", interval [{low:+.2f}, {high:+.2f}]"
    lost += f", tolerance {_POINTS * finding.tolerance:g}"
    if finding.verdict is Verdict.REGRESSED:
        shown = "" if finding.p_beyond is None else f", p {finding.p_beyond:.2g} of a loss within it"
        yield Failure(finding.name, Reason.WORSE, f"{lost}{shown}")
    elif finding.verdict in _UNJUDGED:
        yield from _unjudged(finding, rule, lost)
    elif kind == "non-inferiority" and finding.level in rules.levels and finding.verdict not in _SHOWN:
        yield Failure(finding.name, Reason.NOT_SHOWN, lost)
    if rule.minimum is None:
        return
    if finding.candidate is None:
        yield Failure(finding.name, Reason.NOT_JUDGED, f"has no score, and the rules ask for {rule.minimum:g} points")
    elif _POINTS * finding.candidate < rule.minimum - _ROUNDING:
        why = f"{_POINTS * finding.candidate:.2f} points, the rules ask for {rule.minimum:g}"
        yield Failure(finding.name, Reason.BELOW_MINIMUM, why)


def _unjudged(finding: Finding, rule: Rule, lost: str) -> Iterator[Failure]:
    """Of what has no items on both sides."""
    if finding.difference is None or finding.verdict is Verdict.NOT_COMPARED:
        if not rule.may_be_missing:
            yield Failure(finding.name, Reason.NOT_JUDGED, finding.why or "there are no two scores to compare")
    elif not rule.by_score:
        why = f"{lost}, but nothing is shown: {finding.why}. by_score = true in its rule judges the scores alone"
        yield Failure(finding.name, Reason.NOT_JUDGED, why)
    elif _POINTS * (finding.difference + finding.tolerance) < -_ROUNDING:
        yield Failure(finding.name, Reason.WORSE, f"{lost}, judged by score only")
