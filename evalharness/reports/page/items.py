"""Scores of single items for the page: as many as a page may carry, and what was left out.

A page has no room for all items of all models. Of each subset it has how the scores are spread, and, for a few items,
the score of every model: each model's lowest and highest, and those that models differ in most. Items have their ids;
their texts are not stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalharness.errors import DataError, UsageError
from evalharness.reports.board import Board, Part, Row
from evalharness.reports.page.data import part_places
from evalharness.results.records import JobRecord, items_path

if TYPE_CHECKING:
    from evalharness.compare.changes import Measured

# of all boards together
MOST_BYTES = 300_000
MOST_FILES = 1_000
# the first rows of a board that have items
_MOST_ROWS = 16
BINS = 20
# of a model's lowest items, of its highest, and of those that models differ in
_MOST_ITEMS = 8
_LONGEST_ID = 60
# scores of items are shown with three digits
_STEPS = 1_000


@dataclass(frozen=True, slots=True)
class _Scored:
    """A row's items of a job: their ids, and a value for each."""

    row: int
    ids: Sequence[str]
    measured: Measured


@dataclass(slots=True)
class _Room:
    """What may still be read and written."""

    bytes: int
    files: int = MOST_FILES
    damaged: int = 0
    left_out: int = 0


def item_views(boards: Sequence[Board], most_bytes: int = MOST_BYTES) -> list[dict[str, Any] | None]:
    """By board, what the page shows of items; None where none are at hand.

    Args:
        boards: of the page.
        most_bytes: of the JSON of all of them together.
    """
    with_items = [board for board in boards if any(_jobs(board))]
    room = _Room(0)
    views: list[dict[str, Any] | None] = []
    for board in boards:
        if board in with_items:
            # what one board does not need is the next one's
            room.bytes += most_bytes // len(with_items)
            views.append(_view(board, room))
        else:
            views.append(None)
    return views


@dataclass(frozen=True, slots=True)
class _Job:
    """A row's record of a subset, and where its items are."""

    row: int
    record: JobRecord
    folder: Path


def _job(place: int, row: Row, part: Part) -> _Job | None:
    record = part.job.record if part.job is not None else None
    there = record is not None and record.items is not None and row.folder is not None
    return _Job(place, record, row.folder) if there and record is not None and row.folder is not None else None


def _jobs(board: Board) -> Iterator[_Job]:
    for place, row in enumerate(board.rows):
        for cell in row.cells.values():
            yield from filter(None, (_job(place, row, part) for part in cell.parts))


def _view(board: Board, room: _Room) -> dict[str, Any]:
    rows = sorted({job.row for job in _jobs(board)})
    shown = set(rows[:_MOST_ROWS])
    tasks: dict[int, list[dict[str, Any]]] = {}
    room.damaged = room.left_out = 0
    for number, part, jobs in _in_turn(board, shown):
        if room.files < len(jobs) or room.bytes <= 0:
            room.left_out += 1
            continue
        room.files -= len(jobs)
        view = _part([scored for job in jobs if (scored := _read(job, room)) is not None])
        size = len(json.dumps(view))
        if view is None or size > room.bytes:
            room.left_out += view is not None
            continue
        room.bytes -= size
        named = {"part": part, "split": jobs[0].record.job.split, "subset": jobs[0].record.job.subset}
        tasks.setdefault(number, []).append({**named, **view})
    return {"tasks": tasks, "left": _left_out(len(rows), room)}


def _left_out(rows: int, room: _Room) -> list[str]:
    """What a reader has to know is not there."""
    said = []
    if rows > _MOST_ROWS:
        said.append(f"Items of the first {_MOST_ROWS} of {rows} models that have them are in this page.")
    if room.left_out:
        said.append(f"Items of {room.left_out} subsets are left out, for a page may not grow without end.")
    if room.damaged:
        scores, them = ("score", "it") if room.damaged == 1 else ("scores", "them")
        said.append(f"Items of {room.damaged} {scores} are left out, for they cannot be read or do not give {them}.")
    return said


def _in_turn(board: Board, shown: set[int]) -> Iterator[tuple[int, int, list[_Job]]]:
    """Each task's first subset, then each one's second, and so on: number of the task, of the subset, and its jobs."""
    yield from (
        found
        for turn in zip_longest(*(_subsets(board, number, task, shown) for number, task in enumerate(board.tasks)))
        for found in turn
        if found is not None
    )


def _subsets(board: Board, number: int, task: str, shown: set[int]) -> Iterator[tuple[int, int, list[_Job]]]:
    cells = [row.cells[task] for row in board.rows]
    jobs: dict[int, list[_Job]] = {}
    places = part_places(cells)
    for place in sorted(shown):
        for part in cells[place].parts:
            if job := _job(place, board.rows[place], part):
                jobs.setdefault(places[part.split, part.subset], []).append(job)
    yield from ((number, part, found) for part, found in sorted(jobs.items()))


def _read(job: _Job, room: _Room) -> _Scored | None:
    """A job's items; None, and counted, where they cannot be read or do not give the score."""
    from evalharness.compare.changes import measured
    from evalharness.compare.matching import NotComparedError, ScoresOnlyError, checked_form, quick_score
    from evalharness.results.items import read_items

    try:
        items = read_items(items_path(job.folder, job.record.job))
        if items.ids:
            # what contradicts the score beside it is not shown as what it is made of
            form = checked_form(items, job.record, quick_score)
            return _Scored(job.row, items.ids, measured(form, job.record.main_score))
    except (NotComparedError, ScoresOnlyError, DataError, UsageError, LookupError, TypeError, ValueError, OSError):
        pass  # counted below: nobody checked what is in a file of items before we do
    room.damaged += 1
    return None


def _part(scored: Sequence[_Scored]) -> dict[str, Any] | None:
    """A subset's items: how each row's scores are spread, and the scores of a few items in all rows."""
    values = {one.row: _by_id(one) for one in scored}
    values = {row: found for row, found in values.items() if found}
    if not values:
        return None
    ids = _chosen(values)
    low = min(0.0, *(min(found.values()) for found in values.values()))
    high = max(1.0, *(max(found.values()) for found in values.values()))
    return {
        "what": scored[0].measured.name,
        "range": [low, high],
        "ids": [name if len(name) <= _LONGEST_ID else f"{name[:_LONGEST_ID]}\u2026" for name in ids],
        "rows": {
            row: {
                "n": len(found),
                "spread": _spread(list(found.values()), low, high),
                "s": [round(found[name] * _STEPS) if name in found else None for name in ids],
            }
            for row, found in values.items()
        },
    }


def _by_id(scored: _Scored) -> dict[str, float]:
    """Finite scores by id."""
    values: list[float] = scored.measured.values.tolist()
    return {name: value for name, value in zip(scored.ids, values, strict=True) if abs(value) < float("inf")}


def _spread(values: Sequence[float], low: float, high: float) -> list[int]:
    """How many scores are in each of `BINS` equal parts of the range."""
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int((value - low) / (high - low) * BINS))] += 1
    return counts


def _chosen(values: Mapping[int, Mapping[str, float]]) -> list[str]:
    """Ids of the items that are shown, hardest first."""
    chosen: dict[str, None] = {}
    for found in values.values():
        ordered = sorted(found, key=lambda name: (found[name], name))
        chosen |= dict.fromkeys((*ordered[:_MOST_ITEMS], *ordered[-_MOST_ITEMS:]))
    first, *others = values.values()
    if others:
        everywhere = [name for name in first if all(name in found for found in others)]
        apart = {
            name: max(column) - min(column) for name in everywhere if (column := [f[name] for f in values.values()])
        }
        chosen |= dict.fromkeys(sorted(apart, key=lambda name: (-apart[name], name))[: 2 * _MOST_ITEMS])
    means = {name: [found[name] for found in values.values() if name in found] for name in chosen}
    return sorted(chosen, key=lambda name: (sum(means[name]) / len(means[name]), name))
