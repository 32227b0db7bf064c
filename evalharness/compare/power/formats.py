"""What tasks can show, as text: for a terminal, as markdown, and as JSON in the units of scores (0-1)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from evalharness.compare.power.cheapest import Choice
from evalharness.compare.power.outlook import DROPS, Outlook, Prospect
from evalharness.compare.power.spreads import Source
from evalharness.errors import MAX_NOTE, plain, printable, shorten

_POINTS = 100
_UNKNOWN = "?"
_MOST_NAMED = 20
_EXPLAINED = (
    "Points are hundredths of a score. sd: of the paired difference per item (of a mean: per task, as if all were "
    "alike). Shows: the smallest difference found with a chance of 80%, by a two-sided test at .05 alone; adjusted for "
    "many tests it is larger. Needed: items (of a mean: tasks) that show the tolerance. Then the chance to show a drop "
    "of so many points. Of clustering an item is a random draw of the same texts."
)


def _terminal(outlooks: Sequence[Outlook]) -> str:
    parts = []
    for outlook in outlooks:
        rows = [_head(outlook), *(_cells(prospect) for prospect in _all(outlook))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join(_padded(row, widths)).rstrip() for row in rows]
        parts.append("\n".join([printable(outlook.name), "", *table, "", *map(printable, _remarks(outlook))]))
    return "\n\n".join([*parts, _EXPLAINED]) + "\n"


def _padded(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    last = len(row) - 1
    for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.ljust(width) if place in (0, last) else cell.rjust(width)


def _markdown(outlooks: Sequence[Outlook]) -> str:
    parts = []
    for outlook in outlooks:
        head = _head(outlook)
        lines = [f"# What {plain(outlook.name)} can show", "", f"| {' | '.join(head)} |"]
        lines.append(f"|{'|'.join([' --- ', *[' ---: '] * (len(head) - 2), ' --- '])}|")
        lines += [f"| {' | '.join(map(plain, _cells(prospect)))} |" for prospect in _all(outlook)]
        lines += ["", *(f"* {plain(remark, 5 * MAX_NOTE)}" for remark in _remarks(outlook))]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, _EXPLAINED]) + "\n"


def _json(outlooks: Sequence[Outlook]) -> str:
    values = [{**asdict(outlook), "drops": DROPS} for outlook in outlooks]
    return json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Outlook]], str]] = {"terminal": _terminal, "md": _markdown, "json": _json}


def _all(outlook: Outlook) -> Iterator[Prospect]:
    yield from (*outlook.means, *outlook.types, *outlook.tasks)


def _head(outlook: Outlook) -> list[str]:
    drops = [f"{_POINTS * drop:g}" for drop in DROPS]
    return ["", "items", "sd", "shows", f"needed for {_points(outlook.tolerance)}", *drops, "characters", "from"]


def _cells(prospect: Prospect) -> list[str]:
    items = _count(prospect.items)
    if prospect.level != "task":
        items += " task" if prospect.items == 1 else " tasks"
    chances = [f"{chance:.0%}" for chance in prospect.chances] or [_UNKNOWN] * len(DROPS)
    name = f"{prospect.name} (mean)" if prospect.level == "type" else printable(prospect.name)
    numbers = [_points(prospect.sd), _points(prospect.smallest), _count(prospect.needed), *chances]
    return [name, items, *numbers, _count(prospect.characters), prospect.source]


def _points(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{_POINTS * value:.2f}"


def _count(value: int | None) -> str:
    return _UNKNOWN if value is None else f"{value:,}"


def _remarks(outlook: Outlook) -> Iterator[str]:
    """The cheapest tasks, or that there are none, and what is not known."""
    wanted = f"{_points(outlook.tolerance)} points"
    characters = sum(task.characters or 0 for task in outlook.tasks)
    if outlook.cheapest is not None:
        how = "no choice is cheaper" if outlook.cheapest.is_exact else "another choice might be a little cheaper"
        share = f", {100 * outlook.cheapest.cost / characters:.2g}% of all" if characters else ""
        yield (
            f"The cheapest tasks whose mean shows {wanted} ({how}): {_named(outlook.cheapest)}. "
            f"{outlook.cheapest.cost:,} characters{share}; shows {_points(outlook.cheapest.smallest)}, of these alone"
        )
    elif outlook.most_telling is not None:
        best = outlook.most_telling
        least = f"the least is {_points(best.smallest)}, of {_named(best)}"
        yield f"No choice of these tasks shows {wanted} in its mean, nor do all of them: {least}"
    else:
        missing = "how long their texts are" if any(task.smallest for task in outlook.tasks) else "what they show"
        yield f"No cheapest tasks can be chosen: of none of these it is known {missing}"
    if outlook.not_chosen and len(outlook.not_chosen) < len(outlook.tasks):
        names = shorten(list(outlook.not_chosen))
        yield f"Not chosen from, as what they show or how long their texts are is not known: {names}"
    if without := next((mean.without for mean in outlook.means if mean.without), ()):
        count = f"{len(without)} of {len(outlook.tasks)} tasks"
        yield f"Means are without {count}, of which what they show is not known: {shorten(list(without))}"
    said: dict[str, list[str]] = {}
    for task in outlook.tasks:
        said.setdefault(task.said, []).append(task.name)
    for text, alike in said.items():
        kind = next(task.source for task in outlook.tasks if task.said == text)
        yield f"{'Unknown' if kind is Source.UNKNOWN else f'From {kind}'} ({text}): {shorten(alike)}"


def _named(choice: Choice) -> str:
    names = list(choice.names)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more} ({len(names)} {'task' if len(names) == 1 else 'tasks'})"
