"""Which models nothing beats: the best score for what a model costs, by its size or by how slow it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan

from evalharness.reports.board import Row


@dataclass(frozen=True, slots=True)
class Against:
    """A fact that scores are looked at with.

    Attributes:
        name: for code and files.
        title: for people.
        more_is_better: whether a high value is good, as of a speed.
        of: a row's value; None where nobody knows it.
    """

    name: str
    title: str
    more_is_better: bool
    of: Callable[[Row], float | None]


AGAINST: Sequence[Against] = (
    Against("parameters", "Parameters", more_is_better=False, of=lambda row: row.facts.parameters),
    Against("dimensions", "Dimension of the vectors", more_is_better=False, of=lambda row: row.facts.dimensions),
    Against("speed", "Texts per second, as measured", more_is_better=True, of=lambda row: row.texts_per_second),
)


def pareto_front(costs: Sequence[float | None], scores: Sequence[float | None]) -> list[int]:
    """The points that no other one beats: at least as good in both, and better in one.

    Equal points are on the front together. A point that lacks one of the two is on no front.

    Args:
        costs: less is better; of a value of which more is better, its negative.
        scores: more is better; as many.

    Returns:
        Their places, cheapest first.

    >>> pareto_front([1, 2, 3, 4], [0.5, 0.4, 0.7, 0.7])
    [0, 2]
    """
    known = [
        (cost, -score, place)
        for place, (cost, score) in enumerate(zip(costs, scores, strict=True))
        if cost is not None and score is not None and not isnan(cost) and not isnan(score)
    ]
    front: list[int] = []
    last: tuple[float, float] | None = None
    for cost, negative, place in sorted(known):
        # of one cost the best come first, so whatever is not higher than the last is beaten by it, or the same point
        if last is None or negative < last[1] or (cost, negative) == last:
            front.append(place)
            last = (cost, negative)
    return front


def front_of(rows: Sequence[Row], scores: Sequence[float | None], against: Against) -> list[int]:
    """The rows on the front of a fact, by their places: see `pareto_front`."""
    sign = -1 if against.more_is_better else 1
    values = [against.of(row) for row in rows]
    return pareto_front([None if value is None else sign * value for value in values], scores)
