"""What a comparison says, as values: of each task, each task type and the means a finding with its verdict.

Scores and differences are from 0 to 1 here, as in results; formats show points, which are hundredths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from evalharness.metrics.statistics import SEED

Level: TypeAlias = Literal["task", "type", "mean"]
Adjustment: TypeAlias = Literal["holm", "benjamini-hochberg"]

OVER_TASKS, OVER_TYPES = "Mean (Task)", "Mean (TaskType)"
# in points: 0.3
TOLERANCE = 0.003


# (comparison, format) -> text
Writer: TypeAlias = Callable[["Comparison", str], str]


class Verdict(StrEnum):
    """What is shown of a difference."""

    REGRESSED = "regressed"
    IMPROVED = "improved"
    NO_WORSE = "no worse than the tolerance"
    TOO_NOISY = "too noisy to tell"
    # there are no items, so nothing can be shown
    BY_SCORE = "by score only"
    # there are no two scores of the same thing
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True)
class Range:
    """An interval of a difference (candidate minus base), from 0 to 1."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Settings:
    """How a comparison is made; together with the results it decides every number.

    Attributes:
        tolerance: a loss that nobody minds, 0-1; `tolerances` has those of single tasks, types and means, by level and
            name.
        alpha: how often the whole family of findings may raise a false alarm.
        adjustment: of the p-values over a family: Holm for a gate, Benjamini-Hochberg for exploring.
        draws: resamples; `compare_results` makes more where a small alpha or many findings need them.
        seed: of all of them.
        optional: tasks that means may do without.
    """

    tolerance: float = TOLERANCE
    tolerances: Mapping[Level, Mapping[str, float]] = field(default_factory=dict)
    alpha: float = 0.05
    adjustment: Adjustment = "benjamini-hochberg"
    draws: int = 10_000
    seed: int = SEED
    optional: frozenset[str] = frozenset()

    def tolerance_of(self, name: str, level: Level = "task") -> float:
        """The loss that nobody minds in this task, type or mean."""
        return self.tolerances.get(level, {}).get(name, self.tolerance)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared.

    Attributes:
        model, revision, overrides: as in `StoredRun`; where nobody says, the revision is "unknown".
        place: where its results are, as it was named.
        protocol: whose rules its scores follow.
    """

    model: str
    revision: str
    overrides: Mapping[str, Any]
    place: str
    protocol: str

    def __str__(self) -> str:
        changed = "".join(f", {name} {value}" for name, value in self.overrides.items() if name != "protocol")
        return f"{self.model} ({self.revision[:8]}{changed})"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of the difference in one task, in the mean of a task type, or in the mean of all.

    Attributes:
        name: of the task or type; `OVER_TASKS` and `OVER_TYPES` of the means.
        level: which of these.
        type: task type; empty for the means.
        metric: main score of a task; empty for what is a mean over tasks.
        base, candidate: scores, 0-1; None where there is none.
        verdict: what is shown.
        tolerance: the loss that nobody minds, 0-1.
        interval: of the difference, 95%, with items resampled: "on these tasks". None where there are no items.
        like_these: of the difference, 95%, with tasks resampled: "on tasks like these". None for a task.
        p_value: of no difference, two-sided.
        adjusted: the same over all findings of the comparison.
        p_beyond: of a loss within the tolerance at most, one-sided, adjusted; at most alpha means `regressed`.
        smallest: the smallest difference, 0-1, that could have been shown here at all with a power of 0.8.
        items: pairs of items; of a mean, in all its tasks.
        clusters: what was resampled as a whole: groups of items that belong together.
        needed: how many items (of a mean: tasks) would tell; None where it is told, or nobody knows.
        method: how it was decided, for people.
        why: why it was compared by score only, or not at all.
        notes: what a reader must know: other precision, few items.
    """

    name: str
    level: Level
    type: str
    metric: str
    base: float | None
    candidate: float | None
    verdict: Verdict
    tolerance: float = TOLERANCE
    interval: Range | None = None
    like_these: Range | None = None
    p_value: float | None = None
    adjusted: float | None = None
    p_beyond: float | None = None
    smallest: float | None = None
    items: int = 0
    clusters: int = 0
    needed: int | None = None
    method: str = ""
    why: str = ""
    notes: tuple[str, ...] = ()

    @property
    def difference(self) -> float | None:
        """Candidate minus base, 0-1; None where one of them has no score, or one of something else."""
        if self.base is None or self.candidate is None or self.verdict is Verdict.NOT_COMPARED:
            return None
        return self.candidate - self.base


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate against a base.

    Attributes:
        base, candidate: who.
        tasks, types, means: findings, in the order of the tasks' names; a mean over a task that is not compared is
            not, either.
        settings: how.
        notes: what is different between the two beside the model: precision, engine, device, versions.
        writer: makes it text in a format; given by what makes a comparison, for formats know comparisons, and
            comparisons no formats.
    """

    base: Side
    candidate: Side
    tasks: Sequence[Finding]
    types: Sequence[Finding]
    means: Sequence[Finding]
    settings: Settings
    notes: Sequence[str] = ()
    writer: Writer | None = field(default=None, repr=False, compare=False)

    def render(self, format: str = "terminal") -> str:  # noqa: A002 -- as the command's flag
        """As text: `terminal`, `markdown`, `json`, `junit` ...; see `formats.formats`.

        Raises:
            UsageError: there is no such format.
        """
        return repr(self) if self.writer is None else self.writer(self, format)

    def __str__(self) -> str:
        return self.render()

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return self.render("markdown")

    def __iter__(self) -> Iterator[Finding]:
        """All findings: means first, then types, then tasks."""
        yield from (*self.means, *self.types, *self.tasks)

    def __getitem__(self, name: str) -> Finding:
        """The finding of this task, type or mean.

        Raises:
            KeyError: there is none.
        """
        for finding in self:
            if finding.name == name:
                return finding
        raise KeyError(name)

    def counts(self) -> dict[Verdict, int]:
        """How many tasks have each verdict, in the order of `Verdict`, without those that none has."""
        found = [task.verdict for task in self.tasks]
        return {verdict: found.count(verdict) for verdict in Verdict if verdict in found}
