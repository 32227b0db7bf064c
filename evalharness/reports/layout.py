"""What a leaderboard looks like as text: tables, marks and footnotes, before a format writes them.

A main table has a row for each model, what is known of the models is a second one, and in a third the tasks are rows
with models side by side. With many models there are several of these, of few models each, the best scores are marked,
and what is left out is said. All texts are as `wording` gives them; each format escapes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from evalharness.errors import MAX_NOTE, one_line
from evalharness.reports import wording
from evalharness.reports.board import Board, Mean, Part, Row
from evalharness.reports.noting import footnote_of

# a mark of a footnote for which there was no room
NO_ROOM = 0
# from so many rows on, the best are marked
_MANY = 5
_MOST_NOTES = 200
_MOST_SUBSETS = 100
_A_RUN = 3


@dataclass(frozen=True, slots=True)
class Room:
    """How much is shown.

    Attributes:
        rows: models of a table that has them as rows, at most.
        columns: models side by side in a table that has tasks as rows.
        blocks: such tables, one below the other.
    """

    rows: int = 100
    columns: int = 8
    blocks: int = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands in a cell.

    Attributes:
        text: one line of it.
        tail: what follows less boldly: an interval, a mark.
        is_best: whether it is the best of all rows of the board.
        marks: numbers of its footnotes, `NO_ROOM` for those that are left out.
    """

    text: str
    tail: str = ""
    is_best: bool = False
    marks: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """A column's head, and whether numbers stand below it, which are written here and hold no text of anyone's."""

    entry: Entry
    is_number: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        title: what it shows; empty for the first of a board.
        head: its columns.
        rows: an entry for each column.
    """

    title: str
    head: Sequence[Head]
    rows: Sequence[Sequence[Entry]]


@dataclass(frozen=True, slots=True)
class Page:
    """A board, laid out.

    Attributes:
        title, protocol: see `Board`.
        marks: numbers of the title's footnotes.
        tables: in this order; the first has a row for each model.
        remarks: how to read them, and what was left out.
        notes: footnotes, numbered from 1.
    """

    title: str
    protocol: str
    marks: Sequence[int]
    tables: Sequence[Table]
    remarks: Sequence[str]
    notes: Sequence[str]


@dataclass(slots=True)
class _Footnotes:
    """Footnotes as they are collected, each once."""

    numbers: dict[str, int] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)

    def mark(self, texts: Iterable[str]) -> list[int]:
        """Their numbers in order; those that are left out come last."""
        marks = set()
        for text in texts:
            if text in self.numbers or len(self.numbers) < _MOST_NOTES:
                marks.add(self.numbers.setdefault(text, len(self.numbers) + 1))
            else:
                self.left_out.add(text)
                marks.add(NO_ROOM)
        return sorted(marks, key=lambda mark: (mark == NO_ROOM, mark))


def marked(marks: Sequence[int]) -> str:
    """Marks as they are printed, `+` for those that are left out; empty if there are none.

    >>> marked([1, 3, 4, 5, 7, 8, 0])
    '[1, 3-5, 7, 8, +]'
    """
    runs: list[list[int]] = []
    for mark in marks:
        if runs and mark == runs[-1][-1] + 1:
            runs[-1].append(mark)
        else:
            runs.append([mark])
    shown = [f"{run[0]}-{run[-1]}" if len(run) >= _A_RUN else ", ".join(map(str, run)) for run in runs]
    return f"[{', '.join('+' if text == str(NO_ROOM) else text for text in shown)}]" if shown else ""


def lay_out(board: Board, room: Room) -> Page:
    """A board as tables.

    Args:
        board: the leaderboard; tables of subsets are made where it says so.
        room: how much is shown.
    """
    notes = _Footnotes()
    marks = notes.mark(one_line(note, MAX_NOTE) for note in board.notes)
    rows = _chosen(board, room.rows)
    names = {
        place: Entry(wording.named(board.rows[place]), marks=notes.mark(wording.footnotes(board.rows[place])))
        for place in rows
    }
    across = _chosen(board, min(room.rows, room.columns * room.blocks))
    blocks = [across[start : start + room.columns] for start in range(0, len(across), room.columns)] or [[]]
    heads = [{place: names[place] for place in block} for block in blocks]
    tables = [_means(board, names), *_facts(board, names)]
    tables += _titled("Tasks", [_tasks(board, block, notes) for block in heads])
    if board.shows_subsets:
        for task in board.tasks:
            subsets = [table for block in heads if (table := _subsets(board, task, block)) is not None]
            tables += _titled(f"{one_line(task)}: subsets", subsets)
    remarks = [*wording.remarks(board), *_marks_explained(board, tables), *_left_out(board, len(rows), len(across))]
    if notes.left_out:
        remarks.append(f"[+] {len(notes.left_out)} more footnotes: the formats json and html have them.")
    return Page(one_line(board.title), one_line(board.protocol), marks, tables, remarks, list(notes.numbers))


def _chosen(board: Board, most: int) -> list[int]:
    """Places of the rows for which there is room: results at hand before published scores, in the board's order."""
    own = [place for place, row in enumerate(board.rows) if row.origin == "results"]
    others = [place for place, row in enumerate(board.rows) if row.origin != "results"]
    return sorted([*own, *others][:most])


def _titled(title: str, tables: Sequence[Table]) -> list[Table]:
    """Tables with one title, numbered where there are several."""
    several = len(tables) > 1
    return [
        replace(table, title=f"{title} ({number} of {len(tables)})" if several else title)
        for number, table in enumerate(tables, start=1)
    ]


def _word(text: str) -> Head:
    return Head(Entry(text), is_number=False)


def _means(board: Board, names: Mapping[int, Entry]) -> Table:
    """Averages and ranks, a row for each model."""
    rows, tasks = board.rows, len(board.tasks)
    columns = [
        _mean_column(f"Mean (Task, {tasks})", [row.mean_task for row in rows]),
        _mean_column(f"Mean (TaskType, {len(board.types)})", [row.mean_type for row in rows]),
    ]
    if any(row.common is not None for row in rows):
        common = f"Mean (common, {len(board.common)} of {tasks} tasks)"
        columns.append(_mean_column(common, [row.common for row in rows]))
    columns += [
        _mean_column(f"{one_line(kind)} ({len(members)})", [row.types[kind] for row in rows])
        for kind, members in board.types.items()
    ]
    columns += [
        _column(one_line(column.title), column.values, [Entry(wording.points(value)) for value in column.values])
        for column in board.columns
    ]
    if any(row.borda is not None for row in rows):
        columns.append(_texts("Rank (Borda)", [wording.VOID if row.borda is None else str(row.borda) for row in rows]))
    for title, spans in (
        ("Rank 95% (these tasks)", [row.on_these_tasks for row in rows]),
        ("Rank 95% (such tasks)", [row.on_tasks_like_these for row in rows]),
    ):
        if any(spans):
            columns.append(_texts(title, list(map(wording.rank_span, spans))))
    lines = [[name, *(column.entries[place] for column in columns)] for place, name in names.items()]
    return Table("", [_word("Model"), *(column.head for column in columns)], lines)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column over all rows of a board."""

    head: Head
    entries: Sequence[Entry]


def _texts(title: str, texts: Sequence[str], *, is_number: bool = True) -> _Column:
    return _Column(Head(Entry(title), is_number), [Entry(text) for text in texts])


def _column(title: str, scores: Sequence[float | None], entries: Sequence[Entry]) -> _Column:
    """Scores and what is shown of them; the best are marked if there are many rows."""
    best = _best(scores)
    found = [replace(entry, is_best=entry.text == best) for entry in entries]
    return _Column(Head(Entry(title)), found)


def _mean_column(title: str, means: Sequence[Mean | None]) -> _Column:
    scores = [None if mean is None else mean.score for mean in means]
    entries = [
        Entry(wording.mean(mean), "" if mean is None or mean.score is None else wording.span(mean.interval))
        for mean in means
    ]
    return _column(title, scores, entries)


def _best(scores: Sequence[float | None]) -> str | None:
    return wording.best_points(scores) if len(scores) >= _MANY else None


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def _counted(value: int | None) -> str | None:
    return None if value is None else wording.count(value)


def _worded(value: str | None) -> str | None:
    return None if value is None else one_line(value)


# a column for each fact; those of which nothing is known of any model are left out
_FACTS: Mapping[str, Callable[[Row], str | None]] = {
    "Dimensions": lambda row: _number(row.facts.dimensions),
    "Max. tokens": lambda row: _number(row.facts.max_length),
    "Parameters": lambda row: _counted(row.facts.parameters),
    "Embedding parameters": lambda row: _counted(row.facts.embedding_parameters),
    "Zero-shot": lambda row: None if row.zero_shot is None else f"{row.zero_shot}%",
    "Texts/s": lambda row: None if row.texts_per_second is None else wording.speed(row.texts_per_second),
    "Step": lambda row: _number(row.step),
    "Licence": lambda row: _worded(row.facts.licence),
    "Released": lambda row: _worded(row.facts.release_date),
}
_WORDS = ("Licence", "Released")


def _facts(board: Board, names: Mapping[int, Entry]) -> list[Table]:
    """What is known of the models; no table if that is nothing."""
    found = {title: {place: fact(board.rows[place]) for place in names} for title, fact in _FACTS.items()}
    said = {title: values for title, values in found.items() if any(value is not None for value in values.values())}
    if not said:
        return []
    heads = [_word("Model"), *(Head(Entry(title), title not in _WORDS) for title in said)]
    lines = [
        [name, *(Entry(values[place] or wording.VOID) for values in said.values())] for place, name in names.items()
    ]
    return [Table("Models", heads, lines)]


def _tasks(board: Board, names: Mapping[int, Entry], notes: _Footnotes) -> Table:
    """A row for each task with these models' scores."""
    lines = []
    for kind, tasks in board.types.items():
        for task in tasks:
            best = _best([row.cells[task].score for row in board.rows])
            cells = [_score(task, board.rows[place], best, notes) for place in names]
            metric = [Entry(one_line(board.metrics.get(task, wording.VOID)))] if board.metrics else []
            lines.append([Entry(one_line(task)), Entry(one_line(kind)), *cells, *metric])
    metric_head = [_word("Metric")] if board.metrics else []
    return Table("", [_word("Task"), _word("Type"), *map(Head, names.values()), *metric_head], lines)


def _score(task: str, row: Row, best: str | None, notes: _Footnotes) -> Entry:
    cell = row.cells[task]
    text = wording.points(cell.score)
    interval = "" if cell.score is None else wording.span(cell.interval)
    tail = " ".join(filter(None, (interval, wording.TRAINED_ON if cell.is_trained_on else "")))
    # what is said of the row already is not said again
    marks = notes.mark(footnote_of(task, note, row.notes) for note in cell.notes)
    return Entry(text, tail, text == best, marks)


@dataclass(frozen=True, slots=True)
class _Place:
    split: str
    subset: str


def _subsets(board: Board, task: str, names: Mapping[int, Entry]) -> Table | None:
    """A row for each subset of a task with these models' scores; None if it has one at most."""
    parts: dict[_Place, list[Part | None]] = {}
    for number, row in enumerate(board.rows):
        for part in row.cells[task].parts:
            parts.setdefault(_Place(part.split, part.subset), [None] * len(board.rows))[number] = part
    if len(parts) <= 1 or not names:
        return None
    lines = []
    for place, found in list(parts.items())[:_MOST_SUBSETS]:
        best = _best([None if part is None else part.score for part in found])
        languages = next(part.languages for part in found if part is not None)
        cells = [_part(found[number], best) for number in names]
        words = (place.split, place.subset, ", ".join(languages) or wording.VOID)
        lines.append([*(Entry(one_line(text)) for text in words), *cells])
    if len(parts) > _MOST_SUBSETS:
        more = [Entry(""), Entry(f"and {len(parts) - _MOST_SUBSETS} more: the formats csv, json and html have them")]
        lines.append([*more, *(Entry("") for _ in range(1 + len(names)))])
    return Table("", [*map(_word, ("Split", "Subset", "Languages")), *map(Head, names.values())], lines)


def _part(part: Part | None, best: str | None) -> Entry:
    if part is None:
        return Entry(wording.VOID)
    text = wording.points(part.score)
    return Entry(text, wording.span(part.interval), text == best)


def _marks_explained(board: Board, tables: Sequence[Table]) -> list[str]:
    is_marked = any(entry.is_best for table in tables for line in table.rows for entry in line)
    return [f"The best of all {len(board.rows)} rows are marked."] if is_marked else []


def _left_out(board: Board, rows: int, across: int) -> list[str]:
    """What there was no room for, and how to get it."""
    every = len(board.rows)
    how = "the formats csv, json and html have all of them, and --models names those to show"
    if rows < every:
        return [f"Shown are {rows} of {every} rows, and {across} of them task by task: {how}."]
    return [f"Shown task by task are {across} of {every} rows: {how}."] if across < every else []
