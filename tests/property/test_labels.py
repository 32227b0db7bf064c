"""Labels of points are in the frame, and on nothing."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from evalharness.reports.plots.drawing.labels import Box, Label, Room, place_labels

FRAME = Box(0, 0, 200, 150)
PLACES = st.tuples(st.integers(0, 200), st.integers(0, 150))
SIDES: tuple[Literal[1], Literal[-1]] = (1, -1)


@given(st.lists(PLACES, min_size=1, max_size=25), st.integers(5, 90), st.sampled_from(SIDES), st.integers(0, 25))
def test_no_label_is_on_anything(points: list[tuple[int, int]], width: int, side: Literal[1, -1], crowd: int) -> None:
    marks = [Box(x - 3, y - 3, x + 3, y + 3) for x, y in points]
    labels = [Label(x, y, width, 9) for x, y in points]
    placed = place_labels(labels, Room(FRAME, marks[crowd:], marks[:crowd], gap=5, free_side=side))
    boxes = [found.box for found in placed if found is not None]
    assert all(FRAME.contains(box) for box in boxes)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert not any(box.overlaps(mark) for box in boxes for mark in marks[crowd:])


@given(PLACES, st.integers(5, 60), st.sampled_from(SIDES))
def test_a_label_alone_has_a_place_beside_its_point(point: tuple[int, int], width: int, side: Literal[1, -1]) -> None:
    x, y = point
    (placed,) = place_labels([Label(x, y, width, 9)], Room(FRAME, [Box(x - 3, y - 3, x + 3, y + 3)], [], 5, side))
    assert placed is not None
    assert not placed.is_far
