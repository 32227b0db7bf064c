"""What a person sees of a run: progress on a terminal, plain lines elsewhere, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from evalharness.job import JobEnded, JobStarted, RunEvent, TextsCounted
from evalharness.results import JobRecord
from evalharness.run import Plan
from evalharness.types import Notice, TextsEncoded


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} texts/s")


def outcome(record: JobRecord) -> str:
    """One line about a finished job."""
    if record.error is not None:
        return f"failed: {record.error}"
    notes = "".join(f" ({note})" for note in record.notes)
    return f"{record.main_score} {record.metrics[record.main_score]:.4f} in {record.seconds:.1f} s{notes}"


class RunDisplay:
    """Watches a run: a live bar on a terminal, a line when a job starts and one when it ends elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} texts"),
            _Rate(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not self._live,
        )
        self._task: TaskID | None = None
        self._label = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: RunEvent) -> None:
        """Show one event."""
        if isinstance(event, JobStarted):
            self._label = f"[{event.number}/{event.total}] {event.job.id}"
            if not self._live:
                self._print(f"{self._label}: loading data")
        elif isinstance(event, TextsCounted):
            if self._live:
                self._task = self._progress.add_task(self._label.replace("[", r"\["), total=event.texts)
            else:
                self._print(f"{self._label}: encoding {event.texts:,} texts")
        elif isinstance(event, TextsEncoded):
            if self._task is not None:
                self._progress.advance(self._task, event.count)
        elif isinstance(event, Notice):
            self._print(event.message)
        elif isinstance(event, JobEnded):
            if self._task is not None:
                self._progress.remove_task(self._task)
                self._task = None
            self._print(f"{self._label}: {outcome(event.record)}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_plan(console: Console, plan: Plan, *, model_known: bool) -> None:
    """The jobs of a run, with sizes where known and what is done already."""
    table = Table()
    for heading in ("job", "type", "texts", "characters", "state"):
        table.add_column(heading, justify="right" if heading in ("texts", "characters") else "left")
    for job in plan.jobs:
        state = "unknown" if not model_known else "done" if job.record else "to do"
        sizes = ("?" if size is None else f"{size:,}" for size in (job.texts, job.characters))
        table.add_row(Text(str(job.id)), job.spec.type, *sizes, state)
    console.print(table)
    unknown = sum(job.texts is None for job in plan.jobs)
    texts, characters = (
        sum(size or 0 for size in sizes)
        for sizes in ([job.texts for job in plan.todo], [job.characters for job in plan.todo])
    )
    console.print(
        f"{len(plan.jobs)} jobs, {len(plan.jobs) - len(plan.todo)} done; to do: {texts:,} texts, {characters:,} "
        f"characters (about {characters // 4:,} tokens in English)"
        + (f", and {unknown} jobs of unknown size" if unknown else "")
    )
    if not model_known:
        console.print("The model is not on disk yet, so what is done already is not known.")


def print_scores(console: Console, plan: Plan, records: Sequence[JobRecord]) -> None:
    """Main scores of all jobs, failures, and where the files are."""
    table = Table()
    for heading in ("task", "split", "subset", "metric", "score"):
        table.add_column(heading, justify="right" if heading == "score" else "left")
    for record in records:
        value = "failed" if record.error else f"{record.metrics[record.main_score]:.4f}"
        table.add_row(record.job.task, record.job.split, record.job.subset, record.main_score, value)
    console.print(table)
    for record in records:
        if record.error is not None:
            console.print(f"{record.job}: failed: {record.error}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"results: {plan.folder}", markup=False, highlight=False, soft_wrap=True)
