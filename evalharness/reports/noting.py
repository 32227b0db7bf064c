"""What is said of several tasks at once: a footnote of each kind, whatever the number that it begins with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from evalharness.errors import MAX_NOTE, one_line, shorten

# "7 texts cut to 256 tokens", but not "1 of 3 subsets"
_COUNTED = re.compile(r"(\d+) (?!of\b)(.+)", re.DOTALL)
_NO_INTERVAL, _NO_INTERVALS = "no interval: ", "no interval of "


def together(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """A row's footnotes of what is said of its tasks; counts of one kind are summed for each task.

    >>> together({"A": ["2 texts cut", "odd"], "B": ["3 texts cut", "4 texts cut", "odd"], "C": ["5 texts empty"]})
    ['texts cut: A (2), B (7)', 'A, B: odd', 'C: 5 texts empty']

    Args:
        notes: by task, those of each of its splits and subsets.
    """
    found: dict[str, dict[str, int | None]] = {}
    for task, texts in notes.items():
        for text in texts:
            counted = _COUNTED.fullmatch(text)
            tasks = found.setdefault(_kind(text), {})
            tasks[task] = (tasks.get(task) or 0) + int(counted[1]) if counted else None
    return [_said(kind, tasks) for kind, tasks in found.items()]


def _said(kind: str, tasks: Mapping[str, int | None]) -> str:
    if None in tasks.values():
        return f"{shorten(list(tasks))}: {kind}"
    if len(tasks) == 1:
        return next(f"{task}: {count} {kind}" for task, count in tasks.items())
    return f"{kind}: {shorten([f'{task} ({count})' for task, count in tasks.items()])}"


def _kind(text: str) -> str:
    counted = _COUNTED.fullmatch(text)
    return counted[2] if counted else text


def footnote_of(task: str, note: str, row: Sequence[str]) -> str:
    """The footnote of a row that says a task's note, on one line; the note itself where none does.

    >>> footnote_of("A", "2 texts cut", ["texts cut: A (2), B (7)"])
    'texts cut: A (2), B (7)'
    >>> footnote_of("C", "2 texts cut", ["texts cut: A (2), B (7)"])
    '2 texts cut'
    """
    return next(
        (line for text in row if _says(line := one_line(text, MAX_NOTE), text, task, note)), one_line(note, MAX_NOTE)
    )


def _says(line: str, text: str, task: str, note: str) -> bool:
    if note.startswith(_NO_INTERVAL):
        # what is cut there is said of the score
        return line.startswith(_NO_INTERVALS) and one_line(f"{task} ({note[len(_NO_INTERVAL) :]})", MAX_NOTE) in line
    kind = _kind(note)
    if kind != note and text.startswith(f"{kind}: "):
        named = [name.rpartition(" (")[0] for name in text.removeprefix(f"{kind}: ").split(", ")]
        return task in named or text.endswith(" more")
    tasks, _, what = text.partition(": ")
    return _kind(what) == kind and (task in tasks.split(", ") or tasks.endswith(" more"))
