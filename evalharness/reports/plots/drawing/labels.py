"""Where labels of points go, so that none is on a point, on a line or on another label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


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
        is_needed: whether it is put farther away before it is left out.
    """

    x: float
    y: float
    width: float
    height: float
    is_needed: bool = True


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a label is, and whether so far away that it takes a line to its point."""

    box: Box
    is_far: bool


def place_labels(labels: Sequence[Label], taken: Sequence[Box], frame: Box, gap: float) -> list[Placed | None]:
    """Put each label at the first free place around its point, the first ones first.

    Args:
        labels: the most important first.
        taken: where none may be.
        frame: in which all are.
        gap: from a point to its label, a bit more than the size of its mark.

    Returns:
        The place of each label; None of one for which there is none.
    """
    used = list(taken)
    found: list[Placed | None] = []
    for label in labels:
        free = next(
            (
                placed
                for placed in _candidates(label, gap)
                if frame.contains(placed.box) and not any(placed.box.overlaps(box) for box in used)
            ),
            None,
        )
        found.append(free)
        if free is not None:
            used.append(free.box)
    return found


def _candidates(label: Label, gap: float) -> Iterator[Placed]:
    """Places around a point, the nearest and the most usual ones first."""
    for ring in (1.0, 1.8, 3.0, 4.5, 6.5) if label.is_needed else (1.0, 1.8):
        away = gap * ring
        for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            # on a diagonal the corner is nearest
            reach = away if 0 in (right, up) else away * 0.7
            left = label.x + right * reach - (label.width, label.width / 2, 0.0)[right + 1]
            bottom = label.y + up * reach - (label.height, label.height / 2, 0.0)[up + 1]
            yield Placed(Box(left, bottom, left + label.width, bottom + label.height), is_far=ring > 2)  # noqa: PLR2004 -- rings
