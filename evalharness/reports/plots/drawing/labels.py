"""Where labels of points go, so that none is on a point, on a line or on another label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Align: TypeAlias = Literal["left", "center", "right"]
# by where a label is of its point: to the left of it, above or below, to the right
_ALIGNS: Sequence[Align] = ("right", "center", "left")
# how far labels are put, in gaps; as far as `_NEAR` one sees whose they are
_RINGS: Sequence[float] = (1.0, 1.8, 2.6, 3.6, 4.8, 6.0)
_NEAR, _DIAGONAL = 1.8, 0.7
# how many parts a line to a label is looked at in, and half of its width
_DOTS, _HALF = 12, 0.5


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, in any unit."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share more than an edge."""
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def contains(self, other: Box) -> bool:
        """Whether the other one is inside."""
        return (
            self.left <= other.left
            and self.bottom <= other.bottom
            and self.right >= other.right
            and self.top >= other.top
        )


@dataclass(frozen=True, slots=True)
class Label:
    """A label that wants a place beside its point.

    Attributes:
        x, y: of the point.
        width, height: of the text.
    """

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a label is.

    Attributes:
        box: what it covers.
        align: which of its edges is nearest to the point, as matplotlib aligns texts.
        is_far: whether it takes a line to its point.
    """

    box: Box
    align: Align
    is_far: bool

    @property
    def x(self) -> float:
        """Of the edge that it is aligned by."""
        ends = {"left": self.box.left, "right": self.box.right, "center": (self.box.left + self.box.right) / 2}
        return ends[self.align]

    @property
    def y(self) -> float:
        """Of its middle."""
        return (self.box.bottom + self.box.top) / 2


@dataclass(frozen=True, slots=True)
class Room:
    """Where labels may be.

    Attributes:
        frame: in which all are.
        taken: where none is.
        crowd: where one is only if there is no other place.
        gap: from a point to its label, a bit more than the size of its mark.
        free_side: where most room is, as a rule: 1 to the right of points, -1 to the left of them.
    """

    frame: Box
    taken: Sequence[Box]
    crowd: Sequence[Box]
    gap: float
    free_side: Literal[1, -1] = 1


def place_labels(labels: Sequence[Label], room: Room) -> list[Placed | None]:
    """Put each label at the first free place around its point, the first ones first.

    Args:
        labels: the most important first.
        room: for them.

    Returns:
        The place of each label; None of one for which there is none.
    """
    names: list[Box] = []
    used = list(room.taken)
    found: list[Placed | None] = []
    for label in labels:
        able = [placed for placed in _candidates(label, room) if _is_free(label, placed, room, used, names)]
        alone = (placed for placed in able if not any(placed.box.overlaps(box) for box in room.crowd))
        free = next(alone, able[0] if able else None)
        found.append(free)
        if free is not None:
            names.append(free.box)
            used += [free.box, *_leader(label, free)]
    return found


def _is_free(label: Label, placed: Placed, room: Room, used: Sequence[Box], names: Sequence[Box]) -> bool:
    """Whether it is on nothing, and the line to its point on no other name."""
    return (
        room.frame.contains(placed.box)
        and not any(placed.box.overlaps(box) for box in used)
        and not any(dot.overlaps(box) for dot in _leader(label, placed) for box in names)
    )


def _leader(label: Label, placed: Placed) -> list[Box]:
    """What the line from a point to its label covers, but for its ends; nothing where there is none."""
    if not placed.is_far:
        return []
    shares = [number / _DOTS for number in range(1, _DOTS)]
    dots = [(label.x + share * (placed.x - label.x), label.y + share * (placed.y - label.y)) for share in shares]
    return [Box(x - _HALF, y - _HALF, x + _HALF, y + _HALF) for x, y in dots]


def _candidates(label: Label, room: Room) -> Iterator[Placed]:
    """Places around a point, the nearest and the most usual ones first."""
    side = room.free_side
    for ring in _RINGS:
        for right, up in ((side, 0), (side, 1), (0, 1), (side, -1), (-side, 0), (-side, 1), (0, -1), (-side, -1)):
            # on a diagonal the corner is nearest
            reach = room.gap * ring * (1.0 if 0 in (right, up) else _DIAGONAL)
            left = label.x + right * reach - (label.width, label.width / 2, 0.0)[right + 1]
            bottom = label.y + up * reach - (label.height, label.height / 2, 0.0)[up + 1]
            box = Box(left, bottom, left + label.width, bottom + label.height)
            yield Placed(box, _ALIGNS[right + 1], is_far=ring > _NEAR)
