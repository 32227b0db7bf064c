"""The simulated schedule: its shards are the store's, nothing is lost, and no bound of scheduling is broken."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import product
from unittest.mock import patch

import numpy as np
import pytest
import schedule
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling.lengths import Column, Lengths, borders, calls_of, draw, shard_seconds, together
from scheduling.rates import MEASURED, NotMeasuredError, Rates, bytes_per_document, rates_of, search_gigaflops
from scheduling.simulation import TRIES, Cluster, Death, NobodyLeftError, simulate

from evalharness.catalog.tasks import Member, find_task
from evalharness.store import shards as plan
from evalharness.store.shards import plan_shards

SECONDS = st.floats(0.01, 100)
CALL = st.lists(SECONDS, min_size=1, max_size=12)
TASKS = st.lists(st.lists(CALL, min_size=1, max_size=3), min_size=1, max_size=5)
DEVICES = st.integers(1, 6)
NEAR = pytest.approx


def lengths_of(texts: Sequence[str]) -> Lengths:
    found, counts = np.unique([len(text) for text in texts], return_counts=True)
    return Lengths(found[::-1].astype(np.int64), counts[::-1].astype(np.int64))


@settings(max_examples=300, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=60),
    most=st.tuples(st.integers(1, 9), st.integers(1, 60)),
)
def test_shards_are_those_of_the_store(lengths: list[int], most: tuple[int, int]) -> None:
    texts = ["x" * length for length in lengths]
    with patch.multiple(plan, SHARD_TEXTS=most[0], SHARD_CHARACTERS=most[1]):
        shards = plan_shards(texts, "key")
        assert np.diff(borders(lengths_of(texts))).tolist() == [len(shard.texts) for shard in shards]
        seconds = shard_seconds(lengths_of(texts), lambda found: (1.0 + found**2).astype(np.float64))
    expected = [sum(1.0 + len(text) ** 2 for text in shard.texts) for shard in shards]
    assert seconds.tolist() == NEAR(expected)


@settings(max_examples=50, deadline=None)
@given(
    texts=st.integers(1, 100_000),
    least=st.integers(0, 100),
    above=st.floats(0, 500),
    beyond=st.integers(0, 20_000),
    seed=st.integers(0, 9),
)
def test_lengths_that_are_drawn(texts: int, least: int, above: float, beyond: int, seed: int) -> None:
    column = Column(texts, texts, least, least + above, int(least + above) + beyond)
    found = draw(column, seed)
    again = draw(column, seed)
    assert (found.characters == again.characters).all()
    assert (found.texts == again.texts).all()
    assert int(found.texts.sum()) == texts
    assert (np.diff(found.characters) < 0).all()
    assert (found.texts >= 0).all()
    assert column.least <= found.characters[-1]
    assert found.characters[0] <= column.most


def test_the_mean_of_lengths_is_mtebs() -> None:
    for texts, least, mean, most in ((225_621, 8, 375.4, 3463), (301_580, 40, 2096.2, 105_982), (8000, 12, 54.0, 223)):
        found = draw(Column(texts, texts, least, mean, most))
        assert found.total() / texts == NEAR(mean, rel=0.02)
    # the longest of many is about as long as mteb's
    assert found.characters[0] > 223 / 2


def test_columns_of_one_call_are_cut_together() -> None:
    first, second = Lengths(np.array([5, 3]), np.array([1, 2])), Lengths(np.array([4, 3]), np.array([6, 1]))
    found = together([first, second])
    assert found.characters.tolist() == [5, 4, 3]
    assert found.texts.tolist() == [1, 6, 3]
    assert found.total() == first.total() + second.total()


def test_calls_are_those_that_a_task_makes() -> None:
    (queries,), (documents,) = calls_of(Member(task="SCIDOCS", splits=("test",)))
    assert (queries.rows, documents.rows) == (1000, 25_657)
    spec = find_task("SCIDOCS")
    assert spec is not None
    assert spec.sizes["test"]["default"] == (
        26_657,
        round(queries.rows * queries.mean + documents.rows * documents.mean),
    )
    # both sides of a pair have no prompt, so that they go together
    ((left, right),) = calls_of(Member(task="STSBenchmark", splits=("test",)))
    assert left.rows == right.rows == 1379
    assert left.texts < left.rows
    (columns,) = calls_of(Member(task="STS17", splits=("test",), subsets=("en-en",)))
    assert [column.rows for column in columns] == [250, 250]
    assert len(calls_of(Member(task="STS17", splits=("test",)))) > 1


@settings(max_examples=200, deadline=None)
@given(call=CALL, devices=DEVICES, start=st.floats(0, 9))
def test_one_call_is_within_the_bounds_of_scheduling(call: list[float], devices: int, start: float) -> None:
    found = simulate([[call]], Cluster(devices, start))
    working = found.seconds - start
    assert working >= max(sum(call) / devices, *call) - 1e-9
    # of any list, longest first or not (Graham, 1966)
    assert working <= sum(call) / devices + (1 - 1 / devices) * max(call) + 1e-9
    assert found.busy == NEAR(sum(call))
    assert found.starting == NEAR(devices * start)
    assert (found.lost, found.away, found.repeated) == (0, 0, 0)


@settings(max_examples=100, deadline=None)
@given(call=st.lists(SECONDS, min_size=1, max_size=6), devices=st.integers(1, 3))
def test_longest_first_is_nearly_the_best(call: list[float], devices: int) -> None:
    best = min(
        max(sum(each for each, place in zip(call, places, strict=True) if place == device) for device in range(devices))
        for places in product(range(devices), repeat=len(call))
    )
    found = simulate([[call]], Cluster(devices)).seconds
    # Graham, 1969
    assert best - 1e-9 <= found <= (4 / 3 - 1 / (3 * devices)) * best + 1e-9


def test_longest_first_on_a_case_by_hand() -> None:
    # 5 and 4; then 3 on the second, 3 on the first, 3 on the second
    assert simulate([[[3.0, 3, 5, 3, 4]]], Cluster(2)).seconds == 10
    assert simulate([[[3.0, 3, 5, 3, 4]]], Cluster(3)).seconds == 7


@settings(max_examples=200, deadline=None)
@given(tasks=TASKS, devices=DEVICES, at_once=st.integers(1, 6))
def test_calls_of_a_task_wait_for_each_other(tasks: list[list[list[float]]], devices: int, at_once: int) -> None:
    found = simulate(tasks, Cluster(devices), at_once)
    every = [seconds for task in tasks for call in task for seconds in call]
    assert found.busy == NEAR(sum(every))
    assert found.busy + found.idle == NEAR(devices * found.seconds)
    assert found.seconds >= max(sum(map(max, task)) for task in tasks) - 1e-9
    assert found.seconds >= sum(every) / devices - 1e-9
    one_by_one = sum(simulate([[call]], Cluster(devices)).seconds for task in tasks for call in task)
    if at_once == 1:
        assert found.seconds == NEAR(one_by_one)
    if devices == 1:
        assert found.seconds == NEAR(sum(every))
        assert found.idle == NEAR(0, abs=1e-6)


def test_several_tasks_at_once_fill_the_ends() -> None:
    tasks = [[[2.0], [4.0, 4]], [[2.0], [4.0, 4]]]
    alone, together_, queue = (
        simulate(tasks, Cluster(2)),
        simulate(tasks, Cluster(2), 2),
        simulate([[[seconds for task in tasks for call in task for seconds in call]]], Cluster(2)),
    )
    assert (alone.seconds, alone.idle) == (12, 4)
    assert (together_.seconds, together_.idle) == (10, 0)
    assert queue.seconds == 10
    assert alone.share(alone.idle) == NEAR(4 / 24)


@settings(max_examples=200, deadline=None)
@given(
    tasks=TASKS,
    devices=st.integers(2, 5),
    dying=st.lists(st.tuples(st.integers(1, 4), st.floats(0, 60), st.booleans()), max_size=2),
    start=st.floats(0, 5),
)
def test_nothing_is_lost_when_devices_die(
    tasks: list[list[list[float]]], devices: int, dying: list[tuple[int, float, bool]], start: float
) -> None:
    deaths = [Death(device % devices or devices - 1, at, comes_back=back) for device, at, back in dying]
    found = simulate(tasks, Cluster(devices, start, deaths), 2)
    assert found.busy == NEAR(sum(seconds for task in tasks for call in task for seconds in call))
    whole = found.busy + found.lost + found.starting + found.away + found.idle
    assert whole == NEAR(devices * found.seconds)
    assert found.repeated <= len(deaths)
    assert (found.lost > 0) <= (found.repeated > 0)


def test_deaths_by_hand() -> None:
    # the second device dies after 3 of 4 seconds; its shard goes to the first, once that is free
    for_good = simulate([[[4.0, 4]]], Cluster(2, 0, [Death(1, 3, comes_back=False)]))
    assert (for_good.seconds, for_good.lost, for_good.away, for_good.idle, for_good.repeated) == (8, 3, 5, 0, 1)
    # or another device begins in its place, which takes a second to load
    back = simulate([[[4.0, 4]]], Cluster(2, 1, [Death(1, 3, comes_back=True)]))
    assert (back.seconds, back.lost, back.starting, back.away) == (8, 2, 3, 0)
    # it dies while it loads
    loading = simulate([[[4.0, 4]]], Cluster(2, 1, [Death(1, 0.5, comes_back=True)]))
    assert (loading.seconds, loading.repeated, loading.starting) == (5.5, 0, 2.5)
    # while it waits
    waiting = simulate([[[4.0]]], Cluster(2, 0, [Death(1, 1, comes_back=False)]))
    assert (waiting.seconds, waiting.repeated, waiting.away, waiting.idle) == (4, 0, 3, 1)


def test_a_run_ends_where_nobody_is_left() -> None:
    with pytest.raises(NobodyLeftError, match="shards that are left: 1; devices: none"):
        simulate([[[4.0]]], Cluster(1, 0, [Death(0, 1, comes_back=False)]))
    thrice = [Death(0, at, comes_back=True) for at in (1.0, 2.0, 3.0)]
    assert simulate([[[4.0]]], Cluster(1, 0, thrice[:2])).seconds == 6
    with pytest.raises(NobodyLeftError, match=f"was tried {TRIES} times"):
        simulate([[[4.0]]], Cluster(1, 0, thrice))


def test_rates_are_the_measured_ones() -> None:
    page = (MEASURED / "gpu.md").read_text(encoding="utf-8")
    for model in schedule.MODELS:
        rates = rates_of(model.name, page)
        assert set(rates.from_ids) >= {16, 64, 128, 512}
        assert 0 < rates.of_texts <= 1
        for length, speed in rates.from_ids.items():
            assert f"| {speed:,.0f} |" in page
            assert rates.at(np.array([float(length)]))[0] == NEAR(speed * rates.of_texts)
    flat = Rates({16: 100.0, 64: 200.0}, 0.5)
    assert flat.at(np.array([1.0, 16, 32, 64, 1e6])).tolist() == NEAR([50, 50, 75, 100, 100])
    with pytest.raises(NotMeasuredError, match="no figures of nobody"):
        rates_of("nobody", page)
    with pytest.raises(NotMeasuredError, match="nothing there is like"):
        bytes_per_document(page)
    assert bytes_per_document((MEASURED / "growth.md").read_text(encoding="utf-8")) > 0
    assert search_gigaflops((MEASURED / "speed.md").read_text(encoding="utf-8")) > 0


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["schedule.py", *arguments])
    schedule.main()
    return capsys.readouterr().out


def undated(page: str) -> list[str]:
    """All lines but the one with the date and the versions."""
    return [line for line in page.splitlines() if not line.startswith("20")]


def test_the_page_is_what_the_benchmark_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = (MEASURED / "schedule.md").read_text(encoding="utf-8")
    assert undated(printed(monkeypatch, capsys)) == undated(written)
