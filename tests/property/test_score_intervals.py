"""Intervals of scores: whatever the items are, the score is inside, and order changes nothing."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from support.stored import StoredScores, ndcg, pairs, spec_of, write_results

from evalharness.compare.comparison import Settings
from evalharness.compare.matching import alone
from evalharness.compare.single import ScoreEstimate, score_estimate
from evalharness.reports.board import Row
from evalharness.reports.building.boards import make_boards
from evalharness.results.stored import StoredRun, read_runs
from evalharness.types import ItemScores

FEW = Settings(draws=200)
# round ones, so that there are ties
NUMBERS = st.integers(0, 20).map(lambda number: number / 20)
MINE = ("Mine", "test", "default")


@st.composite
def decisions(draw: st.DrawFn) -> StoredScores:
    labels = draw(
        st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=40).filter(lambda found: len({*found}) == 2)
    )
    similarities = [draw(NUMBERS) for _ in labels]
    columns = {"label": labels, "similarity": similarities, "cosine_similarity": similarities}
    ids = [str(number) for number in range(len(labels))]
    metric = draw(st.sampled_from(["cosine_ap", "cosine_f1", "cosine_accuracy"]))
    return StoredScores(ItemScores(ids, columns), metric, "PairClassification")


@st.composite
def correlations(draw: st.DrawFn) -> StoredScores:
    gold = draw(st.lists(NUMBERS, min_size=4, max_size=40).filter(lambda found: len({*found}) > 1))
    return pairs(gold, draw(st.lists(NUMBERS, min_size=len(gold), max_size=len(gold)).filter(lambda x: len({*x}) > 1)))


STORED = st.one_of(st.lists(NUMBERS, min_size=1, max_size=40).map(ndcg), decisions(), correlations())


def known(stored: StoredScores) -> ScoreEstimate:
    with TemporaryDirectory() as folder:
        (run,) = read_runs([write_results(Path(folder), {MINE: stored})])
        record = run.tasks["Mine"].jobs[0].record
        assert record is not None
        return score_estimate("Mine", [alone(run.folder, record, 1.0)], FEW)


@settings(max_examples=60, deadline=None)
@given(STORED)
def test_a_score_is_in_its_interval(stored: StoredScores) -> None:
    found = known(stored)
    if found.interval is None:
        assert found.clusters == 1 or math.isnan(found.estimate.standard_error) or not found.is_trusted
        return
    assert found.lowest <= found.interval.low <= found.estimate.difference <= found.interval.high <= 1 + 1e-12


@settings(max_examples=40, deadline=None)
@given(STORED, st.randoms(use_true_random=False))
def test_the_order_of_items_does_not_matter(stored: StoredScores, random: st.DataObject) -> None:
    assert stored.items is not None
    order = list(range(len(stored.items.ids)))
    random.shuffle(order)  # type: ignore[attr-defined]
    mixed = ItemScores(
        [stored.items.ids[row] for row in order],
        {name: [values[row] for row in order] for name, values in stored.items.columns.items()},
    )
    one, other = known(stored), known(StoredScores(mixed, stored.metric, stored.type))
    assert (one.which, one.values.tolist()) == (other.which, other.values.tolist())
    if one.interval is not None:
        # the score itself is added up in the order of the file
        assert other.interval is not None
        assert math.isclose(one.interval.low, other.interval.low, abs_tol=1e-12)
        assert math.isclose(one.interval.high, other.interval.high, abs_tol=1e-12)


@settings(max_examples=20, deadline=None)
@given(NUMBERS, st.integers(2, 40))
def test_equal_items_are_a_point(value: float, count: int) -> None:
    found = known(ndcg([value] * count))
    assert found.interval is not None
    assert math.isclose(found.interval.low, value, abs_tol=1e-9)
    assert math.isclose(found.interval.high, value, abs_tol=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(NUMBERS, min_size=12, max_size=12), min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[list[float]], random: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        for number, values in enumerate(rows):
            jobs = {("One", "test", "d"): ndcg(values), ("Two", "test", "d"): ndcg(values[::-1])}
            write_results(Path(folder), jobs, spec_of(f"me/{number}"))
        runs = read_runs([Path(folder)])
        told = by_model(runs)
        random.shuffle(runs)  # type: ignore[attr-defined]
        assert by_model(runs) == told


def by_model(runs: list[StoredRun]) -> dict[str, Row]:
    (board,) = make_boards(runs)
    return {row.model: row for row in board.rows}
