"""What a person sees of a run."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console
from support.watched import LONG, Clock, planned, record, wait_for

from evalharness.cli.display import RunDisplay, print_scores
from evalharness.cli.shell import Loudness
from evalharness.results.records import JobRecord
from evalharness.run.job import JobEnded, JobStarted, TextsCounted
from evalharness.run.plan import Plan
from evalharness.types import Notice, TextsEncoded


def shown(loudness: Loudness = Loudness.NORMAL, *, record: JobRecord, here: int = 0) -> list[str]:
    out = io.StringIO()
    with RunDisplay(Console(file=out, width=160), loudness) as display:
        display(JobStarted(planned(), 1, 3))
        display(TextsCounted(1234))
        display(Notice("a file was set aside"))
        display(TextsEncoded(1234 - here, 5000))
        display(TextsEncoded(here))
        display(JobEnded(record))
    return out.getvalue().splitlines()


def test_lines_where_there_is_no_terminal() -> None:
    label = "[1/3] STS12 [test, default]: "
    assert shown(record=record(notes=["7 texts cut"])) == [
        f"{label}loading data",
        f"{label}1,234 texts",
        "a file was set aside",
        f"{label}cosine_spearman 0.5000 in 1.5 s (7 texts cut)",
    ]


def test_of_a_long_note_the_beginning_is_told() -> None:
    note = "quantised to int8: " + ", and ".join(["what it costs"] * 20)
    (line,) = [line for line in shown(record=record(notes=["7 texts cut", note])) if "cosine" in line]
    assert line.endswith(f"in 1.5 s (7 texts cut) ({note[:100]}…)")


def test_texts_from_the_store_are_not_said_to_be_encoded() -> None:
    assert shown(record=record(), here=1200)[-1].endswith(
        "in 1.5 s, 34 texts encoded, 1,200 from the store or repeated"
    )
    assert not any("encoding" in line for line in shown(record=record(), here=1234))


def test_quiet_tells_failures_and_nothing_else() -> None:
    assert shown(Loudness.QUIET, record=record()) == []
    assert shown(Loudness.QUIET, record=record(error="out of luck")) == [
        "[1/3] STS12 [test, default]: failed: out of luck"
    ]


def test_a_failure_is_told_once() -> None:
    failed = record(error="out of luck")
    told = shown(record=failed)
    out = io.StringIO()
    print_scores(Console(file=out, width=160), Plan(Path("results"), []), [failed])
    assert "failed" in out.getvalue()
    assert "\n".join([*told, out.getvalue()]).count("out of luck") == 1


def test_what_anyone_wrote_moves_no_cursor_and_colours_nothing() -> None:
    odd = record("a\x1b[2J[red]b", error="oh\x1b]0;title\x07 [bold]no[/bold]\n second line")
    out = io.StringIO()
    print_scores(Console(file=out, width=160), Plan(Path("results"), []), [odd])
    assert "[red]b" in out.getvalue()
    told = "\n".join(shown(record=odd))
    assert "[bold]no[/bold]" in told
    assert re.search("[\x00-\x09\x0b-\x1f]", told + out.getvalue()) is None


def test_a_line_comes_regularly_where_there_is_no_terminal() -> None:
    out, clock = io.StringIO(), Clock()
    with RunDisplay(Console(file=out, width=160), every=0.02, clock=clock) as display:
        display(JobStarted(planned(), 1, 1))
        clock.now = 40.0
        wait_for(out, "loading data, 40 s so far")
        display(TextsCounted(1000))
        clock.now = 70.0
        display(TextsEncoded(500))
        wait_for(out, "500/1,000 texts, 30 s so far")
        display(TextsEncoded(60, 700))
        wait_for(out, "560/1,000 texts, 2.0 texts/s, 220 s left")
        display(JobEnded(record()))
    lines = len(out.getvalue().splitlines())
    time.sleep(0.1)
    assert len(out.getvalue().splitlines()) == lines


def test_a_job_that_is_scored_beside_the_next_one_has_its_own_lines() -> None:
    out, clock = io.StringIO(), Clock()
    with RunDisplay(Console(file=out, width=160), every=0.02, clock=clock) as display:
        display(JobStarted(planned(), 1, 2))
        display(TextsCounted(10))
        display(TextsEncoded(4))
        display(TextsEncoded(6, 70))
        display(JobStarted(planned("STS13"), 2, 2))
        display(TextsCounted(5))
        clock.now = 9.0
        wait_for(out, "[1/2] STS12 [test, default]: scoring, 9 s so far")
        wait_for(out, "[2/2] STS13 [test, default]: 0/5 texts, 9 s so far")
        display(JobEnded(record()))
        display(TextsEncoded(5, 50))
        display(JobEnded(record("STS13")))
    lines = [line for line in out.getvalue().splitlines() if "so far" not in line and "left" not in line]
    assert lines == [
        "[1/2] STS12 [test, default]: loading data",
        "[1/2] STS12 [test, default]: 10 texts",
        "[2/2] STS13 [test, default]: loading data",
        "[2/2] STS13 [test, default]: 5 texts",
        "[1/2] STS12 [test, default]: cosine_spearman 0.5000 in 1.5 s, 6 texts encoded, 4 from the store or repeated",
        "[2/2] STS13 [test, default]: cosine_spearman 0.5000 in 1.5 s",
    ]


def test_a_terminal_has_one_bar_and_it_is_of_the_job_that_is_encoded() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, color_system=None, legacy_windows=False)
    with RunDisplay(console) as display:
        display(JobStarted(planned(), 1, 2))
        display(TextsCounted(10))
        display(TextsEncoded(10, 70))
        display(JobStarted(planned("STS13"), 2, 2))
        display(TextsCounted(5))
        display(JobEnded(record()))
        assert [task.description for task in display._progress.tasks] == ["[2/2] STS13 [test, default]"]
        display(JobEnded(record("STS13")))
        assert display._progress.tasks == []


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("name", ["STS12", LONG, "中文任务" * 10])
def test_the_bar_fits_the_terminal(width: int, name: str) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    with RunDisplay(console) as display:
        display(JobStarted(planned(name), 11, 12))
        display(TextsCounted(1_234_567))
        time.sleep(0.01)
        display(TextsEncoded(123_456, 99))
        display(TextsEncoded(0, 1))
        display._progress.refresh()
        (line,) = console.render_lines(display._progress.get_renderable(), pad=False)
    text = "".join(segment.text for segment in line)
    assert sum(segment.cell_length for segment in line) <= width
    assert width < 60 or "123,456/1,234,567 texts" in text
    # every frame is one line: rich goes up a line before it draws the next where there are more
    assert "\x1b[1A" not in out.getvalue().partition("\x1b[?25h")[0]


def test_a_reader_that_leaves_does_not_end_a_run() -> None:
    from evalharness.cli.display import make_console

    class Gone(io.StringIO):
        asked = 0

        def flush(self) -> None:
            self.asked += 1
            raise BrokenPipeError

    console = make_console(stderr=True)
    console.file = gone = Gone()
    with RunDisplay(console) as display:
        display(JobStarted(planned(), 1, 1))
        display(JobEnded(record()))
    assert gone.asked
