"""How much of a run is left, as it goes, and what is kept of it for the next estimate."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from support.watched import LONG, Clock, planned, record, wait_for

from evalharness.cli.display import RunDisplay, span
from evalharness.results.records import JobId
from evalharness.run.estimating.costs import START_SECONDS, JobCost, Part, RunCost
from evalharness.run.estimating.learning import Following
from evalharness.run.estimating.progress import Progress, _Job
from evalharness.run.estimating.speed import Seen
from evalharness.run.events import Foreseen, JobEnded, JobStarted, TextsCounted
from evalharness.run.together import JobResumed
from evalharness.types import TextsEncoded


@dataclass
class Engines:
    """`Workers` of which only their number is of interest."""

    engines: int


def cost(encode: float = 100.0, texts: int = 100) -> JobCost:
    return JobCost(load=2, encode=encode, score=3, course=[Part(texts, encode)], tokens=10.0 * texts)


def job(name: str) -> JobId:
    return JobId(name, "test", "default")


def run(*names: str, trusted: bool = True, clock: Clock) -> Progress:
    return Progress(RunCost({job(name): cost() for name in names}, start=10), trusted=trusted, clock=clock)


def test_a_run_begins_with_its_estimate() -> None:
    clock = Clock()
    progress = run("A", "B", clock=clock)
    assert progress.left() == pytest.approx(10 + 2 * 105)
    clock.now = 4
    assert progress.left() == pytest.approx(6 + 2 * 105)


def test_what_is_left_goes_down_with_what_is_done() -> None:
    clock = Clock()
    progress = run("A", "B", clock=clock)
    progress(JobStarted(planned("A"), 1, 2))
    progress(TextsCounted(100))
    clock.now = 10
    progress(TextsEncoded(1, 10))
    clock.now = 60
    progress(TextsEncoded(50, 500))
    # exactly as estimated: 49 texts of this job, and the other one
    assert progress.left() == pytest.approx(49 + 3 + 105)
    clock.now = 109
    progress(TextsEncoded(49, 490))
    assert progress.left() == pytest.approx(3 + 105)
    progress(JobStarted(planned("B"), 2, 2))
    clock.now = 111
    assert progress.left() == pytest.approx(1 + 103, abs=1)
    progress(JobEnded(record("A"), {"load": 2.0, "score": 3.0}))
    assert progress.left() == pytest.approx(103, abs=1)


def test_a_run_that_is_slower_than_was_said_says_so() -> None:
    clock = Clock()
    progress = run("A", "B", clock=clock)
    progress(JobStarted(planned("A"), 1, 2))
    progress(TextsCounted(100))
    progress(TextsEncoded(1, 10))
    clock.now = 200
    progress(TextsEncoded(50, 500))
    left = progress.left()
    assert left is not None
    # four times as slow; nearly, for the estimate counts a little as well
    assert 0.9 * 4 * 149 < left < 4 * 149 + 10


def test_where_nothing_is_known_a_run_learns_as_it_goes() -> None:
    clock = Clock()
    progress = run("A", "B", trusted=False, clock=clock)
    assert progress.left() is None
    progress(JobStarted(planned("A"), 1, 2))
    progress(TextsCounted(100))
    progress(TextsEncoded(1, 10))
    clock.now = 0.5
    progress(TextsEncoded(1, 10))
    # too short to say anything
    assert progress.left() is None
    clock.now = 24.5
    progress(TextsEncoded(48, 480))
    assert progress.left() == pytest.approx(0.5 * (50 + 100) + 2 + 3 + 3, abs=1)


def test_texts_that_were_there_take_no_time_and_say_nothing_of_the_speed() -> None:
    clock = Clock()
    progress = run("A", clock=clock)
    progress(JobStarted(planned("A"), 1, 1))
    progress(TextsCounted(100))
    progress(TextsEncoded(50))
    progress(TextsEncoded(1, 10))
    clock.now = 25
    progress(TextsEncoded(25, 250))
    # half of the job's texts were to be encoded, and half of these are done in as long as was said
    assert progress.left() == pytest.approx(24 + 3, abs=1)


def test_a_job_that_is_not_encoded_when_another_starts_has_its_texts_before_it() -> None:
    clock = Clock()
    progress = run("A", "B", clock=clock)
    progress(JobStarted(planned("A"), 1, 2))
    progress(TextsCounted(100))
    progress(TextsEncoded(10, 100))
    progress(JobStarted(planned("B"), 2, 2))
    assert progress.left() == pytest.approx(90 + 3 + 105)


def test_jobs_that_fail_or_that_nobody_estimated_do_not_stay() -> None:
    clock = Clock()
    progress = run("A", clock=clock)
    progress(JobStarted(planned("Unknown"), 1, 2))
    progress(TextsCounted(7))
    progress(TextsEncoded(7, 70))
    progress(JobEnded(record("Unknown")))
    progress(JobStarted(planned("A"), 2, 2))
    progress(JobEnded(record("A", error="no")))
    assert progress.left() == 0


def test_a_run_shows_what_its_jobs_took() -> None:
    clock = Clock()
    progress = run("A", clock=clock)
    progress(JobStarted(planned("A"), 1, 1))
    progress(TextsCounted(100))
    clock.now = 30
    # the model is open now
    progress(TextsEncoded(20, 200))
    clock.now = 190
    progress(TextsEncoded(80, 800))
    progress(JobEnded(record("A"), {"load": 1.0, "encode": 190.0, "score": 6.0}))
    shown = progress.shown()
    assert (shown.texts, shown.tokens) == (100, 1000)
    # of which the start of the program, before anything can be heard, is no part
    assert shown.steps["start"] == Seen(actual=30, estimated=10 - START_SECONDS + 2)
    assert shown.steps["encode"] == Seen(actual=160, estimated=80)
    assert shown.steps["score"] == Seen(actual=6, estimated=3)
    # libraries are imported while the first data are loaded
    assert shown.steps["load"] == Seen()
    assert progress.left() == 0


def test_several_engines_take_their_share_of_the_time() -> None:
    clock = Clock()
    progress = run("A", "B", "C", clock=clock)
    engines = 0
    progress.spread(lambda: engines)
    # nobody knows yet how many there are
    assert progress.left() is None
    engines = 4
    assert progress.left() == pytest.approx(10 + 3 * (2 + 100 / 4 + 3))
    for number, name in enumerate("AB", start=1):
        progress(JobStarted(planned(name), number, 3))
        progress(TextsCounted(100))
        progress(TextsEncoded(1, 10))
    # two jobs share four engines, so both are done in half of the time that one engine takes for one of them
    clock.now = 25
    for name in "AB":
        progress(JobResumed(job(name)))
        progress(TextsEncoded(49, 490))
    # 50 texts each, about as fast as was said
    assert progress.left() == pytest.approx((50 + 50 + 100) / 4 + 3 * 3 + 2, abs=1)
    assert progress.left_of(job("A")) == progress.left_of(job("B")) == pytest.approx(50 / 2 + 3, abs=1)
    # of what has not started or has ended, nobody asks
    assert progress.left_of(job("C")) is None


def test_what_is_left_of_a_job_is_never_more_than_what_is_left_of_all() -> None:
    clock = Clock()
    # the longest texts come first, and take half of the time
    course = [Part(10, 50), Part(90, 50)]
    cost = JobCost(load=2, encode=100, score=3, course=course, tokens=1000)
    progress = Progress(RunCost({job("A"): cost}, start=10), trusted=True, clock=clock)
    progress(JobStarted(planned("A"), 1, 1))
    assert progress.left_of(job("A")) == pytest.approx(105)
    progress(TextsCounted(100))
    progress(TextsEncoded(1, 10))
    clock.now = 45
    progress(TextsEncoded(9, 90))
    assert progress.left_of(job("A")) == progress.left() == pytest.approx(50 + 3)
    clock.now = 95
    progress(TextsEncoded(90, 90))
    assert progress.left_of(job("A")) == pytest.approx(3)
    clock.now = 97
    assert progress.left_of(job("A")) == pytest.approx(1)


def test_a_run_asks_its_model_for_the_engines() -> None:
    engines = Engines(0)
    progress = run("A", clock=Clock())
    following = Following(None, progress, {}, is_known=True)  # type: ignore[arg-type]  # nothing asks for the system
    told: list[object] = []
    following.beside(told.append, SimpleNamespace(workers=engines))  # type: ignore[arg-type]  # as above, of a model
    (foreseen,) = told
    assert isinstance(foreseen, Foreseen)
    assert foreseen.left() is None
    engines.engines = 2
    assert foreseen.left() == pytest.approx(10 + 2 + 50 + 3)


def display(width: int, out: io.StringIO, **options: Any) -> RunDisplay:
    return RunDisplay(Console(file=out, width=width, **options), every=0.02)


def test_lines_say_what_is_left_of_the_whole_run() -> None:
    out = io.StringIO()
    with display(160, out) as shown:
        shown(Foreseen(lambda: 1234.4, lambda _: None))
        shown(JobStarted(planned(), 1, 2))
        wait_for(out, "loading data, 0 s so far; the whole run: 1,234 s left")
        shown(JobStarted(planned("STS13"), 2, 2))
        wait_for(out, "[2/2] STS13 [test, default]: loading data, 0 s so far; the whole run: 1,234 s left")
    # said once, not of each job
    assert "scoring, 0 s so far; the whole run" not in out.getvalue()


def test_lines_say_what_is_left_of_a_job() -> None:
    out = io.StringIO()
    with display(160, out) as shown:
        shown(Foreseen(lambda: 55.0, lambda _: 44.4))
        shown(JobStarted(planned(), 1, 2))
        shown(TextsCounted(100))
        shown(TextsEncoded(10, 99))
        wait_for(out, " texts/s, 44 s left; the whole run: 55 s left")


def test_nothing_is_said_while_nothing_is_known() -> None:
    out = io.StringIO()
    with display(160, out) as shown:
        shown(Foreseen(lambda: None, lambda _: None))
        shown(JobStarted(planned(), 1, 2))
        wait_for(out, "loading data, 0 s so far")
    assert "whole run" not in out.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("name", ["STS12", LONG])
def test_the_bar_has_room_for_it(width: int, name: str) -> None:
    out = io.StringIO()
    with display(width, out, force_terminal=True, color_system=None, legacy_windows=False) as shown:
        shown(Foreseen(lambda: 4000.0, lambda _: None))
        shown(JobStarted(planned(name), 11, 12))
        shown(TextsCounted(1_234_567))
        shown(TextsEncoded(123_456, 99))
        shown._progress.refresh()
        console = shown._console
        (line,) = console.render_lines(shown._progress.get_renderable(), pad=False)
    text = "".join(segment.text for segment in line)
    assert sum(segment.cell_length for segment in line) <= width
    assert width < 60 or "123,456/1,234,567 texts" in text
    assert width < 80 or "run 1 h 6 min" in text


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (1e7, "2,777 h 46 min")]
)
def test_times_are_read_by_people(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


def test_the_display_needs_no_estimate(tmp_path: Path) -> None:
    out = io.StringIO()
    with display(160, out) as shown:
        shown(JobStarted(planned(), 1, 1))
        wait_for(out, "so far")
    assert "whole run" not in out.getvalue()


def test_repeated_texts_are_left_out_of_an_estimate_once() -> None:
    under_way = _Job(cost(encode=10, texts=100), began=0.0, texts=400)
    # 300 of the 400 are repetitions, which the estimate of 100 knows
    assert under_way.estimated(100) == pytest.approx(10)
    under_way.there = 300
    assert under_way.estimated(100) == pytest.approx(10)
    assert under_way.missing() == 1
    # half of the others were in the store
    under_way.there = 350
    assert under_way.estimated(50) == pytest.approx(5)
