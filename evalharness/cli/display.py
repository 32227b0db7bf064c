"""What a person sees of a run: progress on a terminal, plain lines elsewhere, and tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TaskID
from rich.table import Column, Table
from rich.text import Text

from evalharness.cli.shell import Loudness
from evalharness.errors import one_line, printable
from evalharness.results.records import JobId, JobRecord
from evalharness.run.events import Foreseen, JobEnded, JobStarted, RunEvent, TextsCounted
from evalharness.run.plan import Plan
from evalharness.run.together import JobResumed
from evalharness.types import Notice, TextsEncoded

# without a terminal, a sign of life comes this often
LINE_SECONDS = 30.0
# in characters, of what is told of a note with every job that has it
_LONGEST_NOTE = 100
_MINUTE, _HOUR = 60, 3600
# a file or pipe has no width to fit into
_FILE_WIDTH = 160


class _Lasting(Console):
    """A console whose reader may leave: a run is not lost because nobody watches it any more."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


def make_console(*, stderr: bool = False) -> Console:
    """Where tables (stdout) or progress (stderr) go."""
    kind = _Lasting if stderr else Console
    console = kind(stderr=stderr)
    return console if console.is_terminal else kind(stderr=stderr, width=_FILE_WIDTH)


class _Label(ProgressColumn):
    """The job; the only part that may be cut, where the line does not fit."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis", ratio=1))

    def render(self, task: Task) -> Text:
        return Text(task.description)


class _Count(ProgressColumn):
    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f}/{task.total or 0:,.0f} texts")


class _Rate(ProgressColumn):
    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


class _JobLeft(ProgressColumn):
    """What is left of the job."""

    def __init__(self, left: Callable[[_Job], float | None]) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))
        self._left = left

    def render(self, task: Task) -> Text:
        seconds = self._left(task.fields["job"])
        return Text("" if seconds is None else span(seconds))


class _RunLeft(ProgressColumn):
    """What is left of the whole run, beside what is left of the job."""

    def __init__(self, left: Callable[[], float | None]) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))
        self._left = left

    def render(self, task: Task) -> Text:
        del task
        seconds = self._left()
        return Text("" if seconds is None else f"run {span(seconds)}")


def span(seconds: float) -> str:
    """A time as people read it.

    >>> span(8.2), span(75), span(3 * 3600 + 120)
    ('8 s', '1 min 15 s', '3 h 2 min')
    """
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR:,} h {whole % _HOUR // _MINUTE} min"


def outcome(record: JobRecord) -> str:
    """One line about a finished job; of long notes the beginning, for the record has the whole."""
    if record.error is not None:
        return f"failed: {record.error}"
    notes = "".join(f" ({one_line(note, _LONGEST_NOTE)})" for note in record.notes)
    return f"{record.main_score} {record.metrics[record.main_score]:.4f} in {record.seconds:.1f} s{notes}"


@dataclass(slots=True)
class _Job:
    """How far a job is; texts that were there went through no model now, so they say nothing of its speed."""

    label: str
    started: float
    id: JobId | None = None
    texts: int | None = None
    encoded: int = 0
    there: int = 0
    bar: TaskID | None = None
    # when another one was told of, if it is not told of now
    behind: float | None = None
    # whether others are encoded beside it
    is_shared: bool = False

    def line(self, now: float, left: float | None) -> str:
        """Where it stands, with the seconds that are left of it, if anybody knows."""
        seconds = now - self.started
        is_encoded = not self.is_shared or self.texts is None or self.encoded + self.there >= self.texts
        if self.behind is not None and is_encoded:
            return f"{self.label}: scoring, {now - self.behind:.0f} s so far"
        if self.texts is None:
            return f"{self.label}: loading data, {seconds:.0f} s so far"
        done = min(self.encoded + self.there, self.texts)
        if not self.encoded:
            return f"{self.label}: {done:,}/{self.texts:,} texts, {seconds:.0f} s so far"
        foreseen = "" if left is None else f", {left:,.0f} s left"
        return f"{self.label}: {done:,}/{self.texts:,} texts, {self.encoded / seconds:,.1f} texts/s{foreseen}"

    def linear_left(self, now: float) -> float | None:
        """Seconds that are left if all texts take as long; those that come first are longest, so it is a limit."""
        if self.texts is None or not self.encoded:
            return None
        return max(self.texts - self.encoded - self.there, 0) * (now - self.started) / self.encoded

    def amounts(self) -> str:
        """What was encoded and what was not; empty if all of it was."""
        if not self.there:
            return ""
        return f", {self.encoded:,} texts encoded, {self.there:,} from the store or repeated"


class RunDisplay:
    """Watches a run: a live bar on a terminal; elsewhere a line when a job starts, ends, and every half a minute."""

    def __init__(
        self,
        console: Console,
        loudness: Loudness = Loudness.NORMAL,
        *,
        every: float = LINE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._loudness = loudness
        # lines of libraries would tear a bar
        self._live = console.is_terminal and loudness is Loudness.NORMAL
        self._progress = Progress(
            _Label(),
            _Count(),
            _Rate(),
            _JobLeft(self._job_left),
            _RunLeft(self._run_left),
            console=console,
            transient=True,
            expand=True,
            disable=not self._live,
        )
        # those that have not ended; texts are of the one that was named last
        self._jobs: dict[JobId, _Job] = {}
        self._job = _Job("", 0.0)
        self._foreseen: Foreseen | None = None
        self._every, self._clock = every, clock
        self._ended = threading.Event()
        self._lines = threading.Thread(target=self._tell_regularly, daemon=True)

    def __enter__(self) -> Self:
        self._progress.start()
        if not self._live and self._loudness is not Loudness.QUIET:
            self._lines.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._progress.stop()

    def __call__(self, event: RunEvent) -> None:
        """Show one event."""
        if isinstance(event, Foreseen):
            self._foreseen = event
        elif isinstance(event, JobStarted):
            self._start(event)
            self._line(f"{self._job.label}: loading data")
        elif isinstance(event, TextsCounted):
            self._job.texts, self._job.started = event.texts, self._clock()
            if self._live:
                self._job.bar = self._progress.add_task(self._job.label, total=event.texts, job=self._job)
            self._line(f"{self._job.label}: {event.texts:,} texts")
        elif isinstance(event, TextsEncoded):
            self._count(event)
        elif isinstance(event, JobResumed):
            self._resume(event.job)
        elif isinstance(event, Notice):
            if self._loudness is not Loudness.QUIET:
                self._print(event.message)
        elif isinstance(event, JobEnded):
            self._end(event.record)

    def _count(self, event: TextsEncoded) -> None:
        if event.tokens:
            self._job.encoded += event.count
        else:
            self._job.there += event.count
        if self._job.bar is not None:
            self._progress.advance(self._job.bar, event.count)

    def _start(self, event: JobStarted) -> None:
        self._drop_bar(self._job)
        self._job.behind = self._clock()
        self._job = _Job(printable(f"[{event.number}/{event.total}] {event.job.id}"), self._clock(), event.job.id)
        self._jobs[event.job.id] = self._job

    def _resume(self, job: JobId) -> None:
        self._job.behind = self._clock()
        self._job = self._jobs.get(job, self._job)
        self._job.behind, self._job.is_shared = None, True
        if self._live and self._job.bar is None and self._job.texts is not None:
            now = self._job
            now.bar = self._progress.add_task(now.label, total=now.texts, completed=now.encoded + now.there, job=now)

    def _drop_bar(self, job: _Job) -> None:
        if job.bar is not None:
            self._progress.remove_task(job.bar)
            job.bar = None

    def _end(self, record: JobRecord) -> None:
        job = self._jobs.pop(record.job, self._job)
        self._drop_bar(job)
        if record.error is not None or self._loudness is not Loudness.QUIET:
            amounts = "" if record.error is not None else job.amounts()
            self._print(f"{job.label}: {outcome(record)}{amounts}")

    def _run_left(self) -> float | None:
        return None if self._foreseen is None else self._foreseen.left()

    def _job_left(self, job: _Job) -> float | None:
        foreseen = None if self._foreseen is None or job.id is None else self._foreseen.left_of(job.id)
        return job.linear_left(self._clock()) if foreseen is None else foreseen

    def _tell_regularly(self) -> None:
        while not self._ended.wait(self._every):
            jobs, left = list(self._jobs.values()), self._run_left()
            for number, job in enumerate(jobs, start=1):
                # once, behind the job that started last
                whole = f"; the whole run: {left:,.0f} s left" if number == len(jobs) and left is not None else ""
                self._print(f"{job.line(self._clock(), self._job_left(job))}{whole}")

    def _line(self, line: str) -> None:
        """What a bar shows, where there is none."""
        if not self._live and self._loudness is not Loudness.QUIET:
            self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def print_scores(console: Console, plan: Plan, records: Sequence[JobRecord]) -> None:
    """Main scores of all jobs, and where the files are; why a job failed was told when it did."""
    table = Table()
    for heading in ("task", "split", "subset", "metric", "score"):
        table.add_column(heading, justify="right" if heading == "score" else "left")
    for record in records:
        value = "failed" if record.error else f"{record.metrics[record.main_score]:.4f}"
        cells = (record.job.task, record.job.split, record.job.subset, record.main_score, value)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console.print(table)
    console.print(printable(f"results: {plan.folder}"), markup=False, highlight=False, soft_wrap=True)
