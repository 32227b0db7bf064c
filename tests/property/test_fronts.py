"""Pareto fronts against the definition, on points with many ties."""

from __future__ import annotations

from math import nan

from hypothesis import example, given
from hypothesis import strategies as st

from evalharness.reports.fronts import pareto_front

FEW = st.one_of(st.none(), st.just(nan), st.integers(0, 4).map(float), st.floats(-1e300, 1e300))


def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether one is at least as cheap and as good, and cheaper or better."""
    return one[0] <= other[0] and one[1] >= other[1] and one != other


@given(st.lists(st.tuples(FEW, FEW), max_size=12))
@example([(1.0, 0.5), (1.0, 0.5), (1.0, 0.6), (2.0, 0.6)])
def test_a_front_is_what_nothing_beats(points: list[tuple[float | None, float | None]]) -> None:
    known = {
        place: (cost, score)
        for place, (cost, score) in enumerate(points)
        # NaN is not itself
        if cost is not None and score is not None and cost == cost and score == score  # noqa: PLR0124
    }
    expected = {place for place, point in known.items() if not any(beats(other, point) for other in known.values())}
    front = pareto_front([cost for cost, _ in points], [score for _, score in points])
    assert set(front) == expected
    assert len(front) == len(expected)
    assert [known[place][0] for place in front] == sorted(known[place][0] for place in front)
