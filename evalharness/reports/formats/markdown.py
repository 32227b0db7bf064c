"""Leaderboards as markdown."""

from __future__ import annotations

from collections.abc import Sequence

from evalharness.errors import MAX_NOTE, plain
from evalharness.reports.board import Board, Row

_VOID = "\u2013"


def _cell(score: float | None) -> str:
    return _VOID if score is None else f"{100 * score:.2f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _name(row: Row, notes: list[str]) -> str:
    """The model, with a mark for each of its footnotes, which are added to `notes`."""
    marks = []
    changed = (
        [f"run with other settings than the model's own: {plain(row.experiment, MAX_NOTE)}"] if row.experiment else []
    )
    missing = ", ".join(plain(item, MAX_NOTE) for item in row.missing)
    absent = [f"no averages over missing tasks: {missing}"] if missing else []
    for text in (*changed, *absent, *(plain(note, MAX_NOTE) for note in row.notes)):
        if text not in notes:
            notes.append(text)
        marks.append(f"[{notes.index(text) + 1}]")
    return " ".join([_system(row), f"({plain(row.revision[:8])})", *marks])


def _system(row: Row) -> str:
    return f"{plain(row.model)} + {plain(row.second_stage)}" if row.second_stage else plain(row.model)


def render(boards: Sequence[Board]) -> str:
    """Every board, one after the other: see `_board`."""
    return "\n".join(map(_board, boards))


def _board(board: Board) -> str:
    """A row per model, a column per task type and the averages; then a table of all tasks; then footnotes.

    Scores are main scores times 100. A missing task leaves its averages void.
    """
    notes: list[str] = []
    names = [_name(row, notes) for row in board.rows]
    sizes = {name: len(tasks) for name, tasks in board.types.items()}
    count = sum(sizes.values())
    head = ["Model", f"Mean (Task, {count})", f"Mean (TaskType, {len(sizes)})"]
    protocol = f"protocol: {plain(board.protocol)}"
    lines = [f"# {plain(board.title)} ({protocol})", ""]
    lines += [_line([*head, *(f"{plain(name)} ({size})" for name, size in sizes.items())])]
    lines += [_line(["---", *["---:"] * (2 + len(sizes))])]
    for name, row in zip(names, board.rows, strict=True):
        lines.append(
            _line([name, *(_cell(mean.score) for mean in (row.mean_task, row.mean_type, *row.types.values()))])
        )
    lines += ["", f"## Tasks ({protocol})", "", _line(["Task", "Type", *names])]
    lines += [_line(["---", "---", *["---:"] * len(board.rows)])]
    for kind, tasks in board.types.items():
        lines += [
            _line([plain(task), plain(kind), *(_cell(row.cells[task].score) for row in board.rows)]) for task in tasks
        ]
    lines += ["", f"Main scores times 100; {protocol}."]
    if notes:
        lines += ["", *(f"[{number}] {text}  " for number, text in enumerate(notes, start=1))]
    return "\n".join(lines) + "\n"
