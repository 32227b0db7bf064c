"""A comparison as markdown: a comment for a pull request, which GitHub bounds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from evalharness.compare import wording
from evalharness.compare.judged import Judged, Placed, Placement, labels, place, worst_failures
from evalharness.errors import MAX_CELL, MAX_NOTE, silent

# of a comment, in characters; bytes are never fewer
COMMENT_LIMIT = 65_536
_MOST_FAILURES = 5
_MOST_NOTES = 8
# of a table; more are folded away
_OPEN_ROWS = 20
# what makes a list, a heading or a rule of a line that begins so
_BEGINNINGS = re.compile(r"^(\d*)([-+=.)])")
_NUMBERS = ("Base", "Candidate", "Difference")
_TESTS = ("p", "Adjusted p", "Could show", "Verdict")
_OVER_TASKS = ("", *_NUMBERS, "95%, on these tasks", "95%, on tasks like these", *_TESTS)
_OF_TASKS = ("Task", *_NUMBERS, "95% interval", *_TESTS)


@dataclass(frozen=True, slots=True)
class _Room:
    """How much is shown.

    Attributes:
        rows: of each table at most.
        candidates: of a series at most.
    """

    rows: int
    candidates: int


@dataclass(frozen=True, slots=True)
class _Section:
    """All that may be shown of one candidate, as markdown.

    Attributes:
        judged: the comparison.
        label: the candidate.
        placement: findings with what fails.
        cells: by the identity of a finding: the cells of its row.
        remarks: by the identity of a finding: its footnotes.
        failures: the list of what fails.
    """

    judged: Judged
    label: str
    placement: Placement
    cells: dict[int, list[str]]
    remarks: dict[int, list[str]]
    failures: Sequence[str]

    @property
    def longest(self) -> int:
        """Rows of the longest table."""
        return max(len(self.placement.means) + len(self.placement.types), len(self.placement.tasks))


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows of a table, and how many of all were left out."""

    rows: Sequence[str]
    cut: int


def render(series: Sequence[Judged]) -> str:
    """The verdict first, then means, task types and tasks, the worst first; below 65,536 bytes of UTF-8.

    What says least is left out first where there is not enough room, and it is said how much that is.
    """
    return fitted(series, COMMENT_LIMIT)


def fitted(series: Sequence[Judged], limit: int) -> str:
    """The same below `limit` bytes of UTF-8; 16 KiB are enough for the verdict of anything."""
    sections = [_section(judged, label) for judged, label in zip(series, labels(series), strict=True)]

    def shown(room: _Room) -> str:
        return _document(sections, room)

    every = len(sections)
    rows = _most(lambda count: shown(_Room(count, every)), max([0, *(item.longest for item in sections)]), limit)
    if rows is not None:
        return shown(_Room(rows, every))
    return shown(_Room(0, _most(lambda count: shown(_Room(0, count)), every, limit) or 0))


def _most(shown: Callable[[int], str], high: int, limit: int) -> int | None:
    """The greatest count with which a text fits; None if it does not with 0, either."""

    def fits(count: int) -> bool:
        return len(shown(count).encode()) < limit

    if fits(high):
        return high
    low = 0
    if not fits(low):
        return None
    # `low` fits, `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _line(text: str, limit: int) -> str:
    """The same, where a line or an item of a list begins with it."""
    return _BEGINNINGS.sub(r"\1\\\2", silent(text, limit))


def _bold(text: str) -> str:
    """In bold; what is empty cannot be."""
    return f"**{text}**" if text.strip() else text


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _head(cells: Sequence[str], words: Sequence[str]) -> list[str]:
    return [_row(cells), _row("---" if cell in words else "---:" for cell in cells)]


def _section(judged: Judged, label: str) -> _Section:
    placement = place(judged)
    cells = {id(item.finding): _cells(item) for item in placement}
    remarks = {
        id(item.finding): [silent(text, MAX_NOTE) for text in wording.remarks(item.finding)] for item in placement
    }
    return _Section(judged, _line(label, MAX_CELL), placement, cells, remarks, _failures(placement))


def _cells(item: Placed) -> list[str]:
    finding = item.finding
    intervals = [wording.interval(finding.interval)]
    if finding.level != "task":
        intervals.append(wording.interval(finding.like_these))
    name, verdict = silent(finding.name), "; ".join([silent(item.label), *wording.wanted(finding)])
    return [
        _bold(name) if item.fails else name,
        wording.points(finding.base),
        wording.points(finding.candidate),
        wording.signed(finding.difference),
        *intervals,
        wording.p_value(finding.p_value),
        wording.p_value(finding.adjusted),
        wording.points(finding.smallest),
        f"**{verdict}**" if item.fails else verdict,
    ]


def _document(sections: Sequence[_Section], room: _Room) -> str:
    title = wording.headline_of([section.judged for section in sections])
    lines = [f"## {silent(title, MAX_NOTE)}", ""]
    if len(sections) == 1 and room.candidates:
        lines += _details(sections[0], room.rows)
    elif sections:
        lines += _overview(sections, room.candidates)
        for number, section in enumerate(sections[: room.candidates], start=1):
            lines += [f"### {number}. {section.label}", "", f"**{silent(wording.headline(section.judged))}**", ""]
            lines += _details(section, room.rows)
    lines += _how(sections)
    return "\n".join(lines).rstrip("\n") + "\n"


def _overview(sections: Sequence[_Section], most: int) -> list[str]:
    """A row for each candidate."""
    lines = _head(("Candidate", "Mean", "Difference", "95%, on these tasks", "Tasks", "Outcome"),
                  ("Candidate", "Tasks", "Outcome"))  # fmt: skip
    for number, section in enumerate(sections[:most], start=1):
        judged, mean = section.judged, section.judged.mean
        outcome = silent(wording.headline(judged), MAX_NOTE)
        lines.append(
            _row([
                f"{number}. {section.label}",
                wording.points(None if mean is None else mean.candidate),
                wording.signed(None if mean is None else mean.difference),
                wording.interval(None if mean is None else mean.interval),
                wording.counted(judged.comparison),
                f"**{outcome}**" if judged.fails else outcome,
            ])
        )  # fmt: skip
    left = len(sections) - most
    return [*lines, "", *([f"{left} more candidates are not shown: there is no room.", ""] if left > 0 else [])]


def _details(section: _Section, rows: int) -> list[str]:
    """Of one candidate: what fails, the tables and their footnotes."""
    comparison, placement = section.judged.comparison, section.placement
    lines = [
        f"{section.label} against {silent(str(comparison.base))}. {silent(wording.summed_up(section.judged), MAX_NOTE)}"
    ]
    lines += ["", *section.failures]
    notes = [_line(note, MAX_NOTE) for note in comparison.notes[:_MOST_NOTES]]
    lines += _listed("Differences beside the model", notes, len(comparison.notes))
    footnotes: dict[str, int] = {}
    over = _table(section, [*placement.means, *placement.types], rows, footnotes)
    tasks = _table(section, placement.tasks, rows, footnotes)
    if over.rows:
        lines += [*_head(_OVER_TASKS, ("", "Verdict")), *over.rows, "", f"{wording.ON_THESE} {wording.LIKE_THESE}", ""]
    lines += _cut(over.cut, "task types and means")
    lines += _folded(_head(_OF_TASKS, ("Task", "Verdict")), tasks.rows)
    lines += _cut(tasks.cut, "tasks")
    return [*lines, *(f"[{number}] {text}  " for text, number in footnotes.items()), *([""] if footnotes else [])]


def _failures(placement: Placement) -> list[str]:
    found = worst_failures(placement)
    told = [f"{_bold(silent(one.name))}: {one.reason}: {silent(one.why, MAX_NOTE)}" for one in found[:_MOST_FAILURES]]
    return _listed("What fails", told, len(found))


def _listed(title: str, texts: Sequence[str], every: int) -> list[str]:
    """A list of some, and how many there are beside them."""
    if not texts:
        return []
    more = [f"- and {every - len(texts)} more"] if every > len(texts) else []
    return [f"{title}:", "", *(f"- {text}" for text in texts), *more, ""]


def _table(section: _Section, items: Sequence[Placed], most: int, footnotes: dict[str, int]) -> _Table:
    """The most telling rows in the order of the items; footnotes are added to those that there are."""
    kept = sorted(items, key=lambda item: (item.finding.level != "mean", *item.how_telling))[:most]
    chosen = {id(item.finding) for item in kept}
    rows = []
    for item in items:
        place_of = id(item.finding)
        if place_of in chosen:
            name, *cells = section.cells[place_of]
            marks = [footnotes.setdefault(text, len(footnotes) + 1) for text in section.remarks[place_of]]
            rows.append(_row([" ".join([name, *(f"[{mark}]" for mark in marks)]), *cells]))
    return _Table(rows, len(items) - len(rows))


def _folded(head: Sequence[str], rows: Sequence[str]) -> list[str]:
    """A table; where it is long, its first rows and the others behind a click."""
    if not rows:
        return []
    lines = [*head, *rows[:_OPEN_ROWS], ""]
    if left := rows[_OPEN_ROWS:]:
        lines += [f"<details><summary>{len(left)} more tasks</summary>", "", *head, *left, "", "</details>", ""]
    return lines


def _cut(count: int, what: str) -> list[str]:
    return [f"{count} {what} are not shown: there is no room, and they say least.", ""] if count else []


def _how(sections: Sequence[_Section]) -> list[str]:
    """How it was made; what differs between candidates is said of the first."""
    if not sections:
        return []
    comparison = sections[0].judged.comparison
    texts = [wording.COULD_SHOW, *(f"{text}." for text in wording.made(comparison.settings))]
    if how := wording.methods(comparison):
        texts.append(f"Decided by {how}.")
    texts.append(f"Base: {comparison.base.place}, rules of {comparison.base.protocol}.")
    listed = [f"- {silent(text[:1].upper() + text[1:], MAX_NOTE)}" for text in texts]
    return ["<details><summary>How this was made</summary>", "", *listed, "", "</details>"]
