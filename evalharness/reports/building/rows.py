"""A run's row: its cells, their means, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalharness.catalog.tasks import Member
from evalharness.errors import MAX_NOTE
from evalharness.reports.board import Cell, Mean, Row
from evalharness.reports.building.cells import catalogued, first_line, mean_of, member_cell
from evalharness.reports.building.public import sources_of
from evalharness.reports.building.speed import texts_per_second
from evalharness.reports.noting import together
from evalharness.results.checkpoints import checkpoint_step
from evalharness.results.records import experiment_name
from evalharness.results.stored import StoredRun, StoredTask
from evalharness.results.views import STALE

# changes of a model that a table shows in its title or beside the name
_SHOWN_ELSEWHERE = ("protocol", "reranker", "rerank_top_k")


def _left_out(stored: StoredTask) -> list[str]:
    places = [(f"[{split}, {name}]", why) for split, found in stored.problems.items() for name, why in found.items()]
    return [f"{place} {why}" for place, why in places if why.startswith(STALE)]


def _every_note(stored: StoredTask) -> list[str]:
    """Notes of a task, those of its records as often as records have them, for what they count is summed."""
    done = [job.record.notes for job in stored.jobs if job.record is not None and not job.problem]
    recorded = sorted(note for notes in done for note in notes)
    return [
        *(note for note in recorded if note in stored.notes),
        *(note for note in stored.notes if note not in recorded),
    ]


def mean(scores: Sequence[float | None]) -> Mean:
    """The mean of scores, void where one is missing."""
    return Mean(mean_of(scores), sum(score is not None for score in scores), len(scores))


def make_row(
    run: StoredRun, types: Mapping[str, Sequence[Member]], metrics: Mapping[str, str] | None = None, *, strict: bool
) -> Row:
    """A run as a row of a board.

    Args:
        run: as it was read.
        types: the board's tasks by type.
        metrics: by task, the only metric by which a score may be, where the board knows it; None where any may.
        strict: whether a score on other data than the catalogue's is none.
    """
    cells: dict[str, Cell] = {}
    notes = list(run.problems)
    said: dict[str, Sequence[str]] = {}
    for member in (member for members in types.values() for member in members):
        cells[member.task] = member_cell(run, member, (metrics or {}).get(member.task, ""), strict=strict)
        # what is said of each of hundreds of published scores stands with the score alone
        if not run.is_published and (stored := run.tasks.get(member.task)):
            said[member.task] = _every_note(stored)
            notes += [f"{member.task}: {why}" for why in _left_out(stored)] if catalogued(member.task) is None else []
    notes += together(said)
    notes += sources_of(run, cells) if run.is_published else []
    notes += [
        first_line(task.damage, MAX_NOTE) for task in run.tasks.values() if task.damage and task.task not in cells
    ]
    second = str(run.overrides.get("reranker", "")).partition("@")[0]
    other = {key: value for key, value in run.overrides.items() if key not in _SHOWN_ELSEWHERE}
    means = {name: mean([cells[member.task].score for member in members]) for name, members in types.items()}
    return Row(
        model=run.model,
        revision=run.revision,
        second_stage=f"{second} (top {run.overrides.get('rerank_top_k')})" if second else "",
        experiment=experiment_name(other) or "",
        cells=cells,
        types=means,
        mean_task=mean([cell.score for cell in cells.values()]),
        mean_type=mean([found.score for found in means.values()]),
        notes=notes,
        origin="published" if run.is_published else "results",
        texts_per_second=None if run.is_published else texts_per_second(run.folder),
        step=None if run.is_published else checkpoint_step(run.model),
        folder=None if run.is_published else run.folder,
    )
