"""Leaderboards as values: what every format, plot and publication is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from evalharness.catalog.models import ModelFacts
from evalharness.results.views import StoredJob

# whose number it is: results that a run wrote, or somebody's published score
Origin: TypeAlias = Literal["results", "published"]


@dataclass(frozen=True, slots=True)
class Span:
    """The 95% interval of a score on items like these.

    Attributes:
        low, high: its ends, in units of the score; NaN where nothing can be said.
        method: how it was made, for people.
        is_trusted: whether there are enough items for it to cover what it says.
    """

    low: float
    high: float
    method: str = ""
    is_trusted: bool = True


@dataclass(frozen=True, slots=True)
class RankSpan:
    """From the best (1 is first) to the worst rank of a 95% interval."""

    best: int
    worst: int


@dataclass(frozen=True, slots=True)
class Part:
    """A task's score on one subset of one split.

    Attributes:
        split, subset: as in mteb.
        languages: mteb language codes of the subset; empty where unknown.
        score: 0-1.
        interval: None where no items are at hand.
        job: its record, whose items a reader may ask for; None where there is none.
    """

    split: str
    subset: str
    languages: Sequence[str]
    score: float
    interval: Span | None = None
    job: StoredJob | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A row's score of a task.

    Attributes:
        score: 0-1; None if it is missing or not complete.
        missing: what is missing; empty if nothing is.
        interval: of the score; None where no items are at hand.
        parts: its subsets, those that have a score, also where the whole is missing.
        notes: footnotes of the number.
        is_trained_on: whether the task is in the model's training data; None where nobody says.
        source: whose number it is, for a published score: a revision, `external`, ...; empty for results.
    """

    score: float | None
    missing: str = ""
    interval: Span | None = None
    parts: Sequence[Part] = ()
    notes: Sequence[str] = ()
    is_trained_on: bool | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over tasks, or over task types.

    Attributes:
        score: 0-1; None if one is missing.
        present, expected: how many of them have a score, of how many.
        interval: of the score; None where one of them has none.
    """

    score: float | None
    present: int
    expected: int
    interval: Span | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A model's line.

    Attributes:
        model, revision: which.
        second_stage: the reranker and its depth; empty if there is none.
        experiment: what else was changed by options, the protocol apart; empty if nothing.
        cells: by task, all of the board's.
        types: by task type, the mean of its tasks.
        mean_task: over all tasks.
        mean_type: over the means of the task types.
        notes: footnotes of the row.
        origin: whose numbers these are.
        common: the mean over the board's common tasks; None where none was asked for.
        borda: the rank among the rows by mteb's Borda count, 1 is first; None without any score.
        on_these_tasks: interval of the rank by the mean over tasks among the rows that have one, items resampled; None
            where not all of these have the same items.
        on_tasks_like_these: the same, tasks resampled; None where the row has no mean or is the only one with a mean,
            and of a single task.
        facts: what is known of the model itself.
        zero_shot: percent of the board's tasks that are not in its training data; None where nobody says.
        texts_per_second: as measured when the results were made, see `building.speed`; None where nobody measured.
        step: of a checkpoint of a training run; None if it is none.
        folder: where the results are; None for published ones.
    """

    model: str
    revision: str
    second_stage: str
    experiment: str
    cells: Mapping[str, Cell]
    types: Mapping[str, Mean]
    mean_task: Mean
    mean_type: Mean
    notes: Sequence[str] = ()
    origin: Origin = "results"
    common: Mean | None = None
    borda: int | None = None
    on_these_tasks: RankSpan | None = None
    on_tasks_like_these: RankSpan | None = None
    facts: ModelFacts = field(default_factory=ModelFacts)
    zero_shot: int | None = None
    texts_per_second: float | None = None
    step: int | None = None
    folder: Path | None = None

    @property
    def missing(self) -> list[str]:
        """Each task without a score, and what is missing."""
        return [f"{task} ({cell.missing})" for task, cell in self.cells.items() if cell.missing]


@dataclass(frozen=True, slots=True)
class Column:
    """A column that only this board has, such as what somebody printed.

    Attributes:
        title: its head.
        values: a score (0-1) by row, in the order of the rows; None where there is none.
    """

    title: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Board:
    """A table of models, all by one protocol.

    Attributes:
        title: name of the benchmark, suite or list.
        protocol: whose rules the scores follow.
        types: task type -> its tasks, both in the list's order.
        rows: in the order that was asked for, rows without what orders them last.
        metrics: by task, the name of its main score; tasks of which nobody says it are not in it.
        common: the tasks that all rows have, where a mean over them was asked for.
        sorted_by: what orders the rows.
        columns: more of them, see `Column`.
        notes: footnotes of the whole table.
        shows_subsets: whether text has a table of each task's subsets (languages) where it has several.
    """

    title: str
    protocol: str
    types: Mapping[str, Sequence[str]]
    rows: Sequence[Row]
    metrics: Mapping[str, str] = field(default_factory=dict)
    common: Sequence[str] = ()
    sorted_by: str = "mean"
    columns: Sequence[Column] = ()
    notes: Sequence[str] = ()
    shows_subsets: bool = False

    @property
    def tasks(self) -> list[str]:
        """All of its tasks, by type."""
        return [task for tasks in self.types.values() for task in tasks]
