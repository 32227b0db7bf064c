"""What a dry run prints: the jobs of a run, how large they are, and what they will cost."""

from __future__ import annotations

from math import isnan

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalharness.cli.display import span
from evalharness.cli.store import human
from evalharness.errors import printable
from evalharness.run.estimating.costs import JobCost, RunCost
from evalharness.run.estimating.foreseeing import Foresight
from evalharness.run.events import PlannedJob
from evalharness.run.plan import Plan

_NUMBERS = ("texts", "characters", "seconds", "stored", "memory")
_NOT_COUNTED = (
    "Not counted: downloads, results and items; what a device holds beside weights and a batch (libraries, and what "
    "they set aside)."
)


def print_plan(console: Console, plan: Plan, foresight: Foresight, *, model_known: bool) -> None:
    """The jobs of a run, with sizes where known, what is done already, and what the others will cost."""
    table = Table()
    for heading in ("job", "type", *_NUMBERS, "state"):
        table.add_column(heading, justify="right" if heading in _NUMBERS else "left")
    costs = {} if foresight.cost is None else foresight.cost.jobs
    for job in plan.jobs:
        state = "unknown" if not model_known else "done" if job.record else "to do"
        sizes = ("?" if size is None else f"{size:,}" for size in (job.texts, job.characters))
        cells = (*sizes, *_cost_cells(job, costs.get(job.id)))
        table.add_row(Text(printable(str(job.id))), Text(printable(job.spec.type)), *cells, state)
    console.print(table)
    unknown = sum(job.texts is None for job in plan.todo)
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
    if plan.todo:
        for line in _told(foresight):
            console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _cost_cells(job: PlannedJob, cost: JobCost | None) -> list[str]:
    if job.record is not None:
        return ["", "", ""]
    if cost is None:
        return ["?", "?", "?"]
    return [
        f"{cost.seconds:,.1f}",
        "?" if isnan(cost.bytes) else human(cost.bytes),
        "?" if cost.memory is None else human(cost.memory),
    ]


def _told(foresight: Foresight) -> list[str]:
    if foresight.cost is None:
        return [f"No seconds: {foresight.why}."]
    cost = foresight.cost
    return [_seconds_line(cost, foresight.why), *_size_lines(cost, foresight.batch_tokens), _NOT_COUNTED]


def _seconds_line(cost: RunCost, why: str) -> str:
    parts = {"start": cost.start, "data": cost.load, "encoding": cost.encode, "scoring": cost.score}
    told = ", ".join(f"{name} {span(seconds)}" for name, seconds in parts.items())
    devices = "one device" if cost.devices == 1 else f"{cost.devices:,} devices"
    unknown = sum(one is None for one in cost.jobs.values())
    beside = f", and {unknown} jobs of unknown size" if unknown else ""
    return f"About {span(cost.seconds)} on {devices} ({told}){beside}, {why}."


def _size_lines(cost: RunCost, batch_tokens: int | None) -> list[str]:
    size = "of unknown size" if isnan(cost.bytes) else human(cost.bytes)
    lines = [f"Vectors to store: {size}."]
    if cost.memory:
        batch = "the longest text" if batch_tokens is None else f"a batch of {batch_tokens:,} tokens"
        lines.append(f"Memory of each device: {human(cost.memory)}, weights and {batch}.")
    return lines
