"""What a run tells of as it goes, and the jobs that it tells of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from evalharness.catalog.selection import TaskChoice
from evalharness.catalog.tasks import TaskSpec
from evalharness.results.records import JobId, JobRecord
from evalharness.run.together import JobResumed
from evalharness.types import Notice, ShardsUsed, TextsEncoded, TextsPlanned


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job to do or done.

    Attributes:
        id: which.
        choice: its task, with all splits and subsets that the run wants of it.
        key: all that can change its scores.
        texts, characters: size, where known.
        record: the stored record if it is valid, so that there is nothing to do.
    """

    id: JobId
    choice: TaskChoice
    key: Mapping[str, Any]
    texts: int | None
    characters: int | None
    record: JobRecord | None

    @property
    def spec(self) -> TaskSpec:
        """Its task."""
        return self.choice.spec


@dataclass(frozen=True, slots=True)
class JobStarted:
    """Progress: a job begins; `number` counts from 1 among `total` jobs to do."""

    job: PlannedJob
    number: int
    total: int


@dataclass(frozen=True, slots=True)
class TextsCounted:
    """Progress: the data are loaded, so many texts are to be encoded."""

    texts: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """Progress: a job is done or has failed; `spent` are the seconds of each of its steps, where it was done now."""

    record: JobRecord
    spent: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Progress: the run begins; says, whenever it is asked, about how many seconds are left.

    Attributes:
        left: of all of it; None where nothing tells it yet.
        left_of: the same of a job that is under way.
    """

    left: Callable[[], float | None]
    left_of: Callable[[JobId], float | None]


RunEvent: TypeAlias = (
    Foreseen | JobStarted | JobResumed | TextsCounted | TextsPlanned | TextsEncoded | ShardsUsed | Notice | JobEnded
)
Watch: TypeAlias = Callable[[RunEvent], None]
