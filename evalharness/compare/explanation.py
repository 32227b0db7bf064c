"""Why a task is better or worse, as values: the items that changed most with their texts, and slices of all items.

Scores and differences are from 0 to 1 here, as in results; what shows them makes points of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from evalharness.compare.comparison import Range, Side

SliceKind: TypeAlias = Literal["subset", "label", "length", "relevant documents"]


@dataclass(frozen=True, slots=True)
class Fact:
    """What the two sides say of an item: a number, or a text."""

    name: str
    base: float | str
    candidate: float | str


@dataclass(frozen=True, slots=True)
class Passage:
    """A text of an item, and what it is called."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found; its grade is None where nobody judged it, its text where nobody has it."""

    document: str
    text: str | None
    grade: int | None


@dataclass(frozen=True, slots=True)
class Relevant:
    """A relevant document, and its rank from 1 on both sides; None where it was not found, or nobody knows."""

    document: str
    text: str | None
    grade: int
    base: int | None
    candidate: int | None


@dataclass(frozen=True, slots=True)
class Rankings:
    """What both sides found for a query.

    Attributes:
        base, candidate: the first documents, best first; None where no ranking is stored.
        relevant: documents, the highest grades first.
        more: relevant documents that are left out here.
    """

    base: Sequence[Hit] | None
    candidate: Sequence[Hit] | None
    relevant: Sequence[Relevant]
    more: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """An item that changed.

    Attributes:
        id: as in the file of items.
        task, split, subset: where it is; the task is another one where a task is the mean of others.
        adds: what it adds to the task's difference, 0-1; where the score is a mean over items, these add up to it.
        facts: what the two sides say of it.
        texts: of it; none where nobody has them.
        rankings: of a query.
    """

    id: str
    task: str
    split: str
    subset: str
    adds: float
    facts: Sequence[Fact]
    texts: Sequence[Passage] = ()
    rankings: Rankings | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of a task's items.

    Attributes:
        kind: by what they are told apart.
        name: which of them.
        items: how many; those of one group count as one in what follows.
        base, candidate: of a subset its scores; else the means of what `Explanation.measure` says of an item, 0-1.
        interval: of the difference, 95%; None where items are too few.
        p_value: of no other difference here than in the rest, two-sided; None where items are too few.
        adjusted: the same over all slices, by Benjamini and Hochberg.
        differs: whether the difference is another one than in the rest.
    """

    kind: SliceKind
    name: str
    items: int
    base: float
    candidate: float
    interval: Range | None = None
    p_value: float | None = None
    adjusted: float | None = None
    differs: bool = False

    @property
    def difference(self) -> float:
        """Candidate minus base, 0-1."""
        return self.candidate - self.base


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a task is better or worse.

    Attributes:
        task, type, metric: which.
        base, candidate: who.
        base_score, candidate_score: of the task, 0-1.
        items: how many there are.
        lost, gained: how many of them take from the score, and add to it.
        losses, gains: those that do most, the most telling first.
        slices: by kind.
        measure: what the numbers of slices are means of.
        notes: what is missing here and why, for people.
    """

    task: str
    type: str
    metric: str
    base: Side
    candidate: Side
    base_score: float
    candidate_score: float
    items: int
    lost: int
    gained: int
    losses: Sequence[Change]
    gains: Sequence[Change]
    slices: Sequence[Slice]
    measure: str
    notes: Sequence[str] = ()

    @property
    def difference(self) -> float:
        """Candidate minus base, 0-1."""
        return self.candidate_score - self.base_score
