"""An explanation as markdown: what changed most, item by item with its texts, then slices of all items."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from evalharness.compare.comparison import Side
from evalharness.compare.explanation import Change, Explanation, Fact, Hit, Passage, Rankings, Relevant, Slice
from evalharness.compare.wording import VOID, interval, points, signed
from evalharness.errors import MAX_NOTE, printable, silent

# characters of a text that are shown: its beginning, and its end
_HEAD, _TAIL = 400, 150
_CELL_HEAD, _CELL_TAIL = 110, 40
_MOST_SLICES = 20
_KINDS = {
    "subset": "By subset",
    "label": "By label",
    "length": "By length of the texts, in characters",
    "relevant documents": "By number of relevant documents",
}
_EXPLORING = (
    "Slices explore and prove nothing: there are many of them, and nobody chose them beforehand. One is marked as "
    "different where its difference is another one than that of all other items (Welch's t test, adjusted over all "
    "slices by Benjamini and Hochberg, at most 0.05). Too few items have no interval."
)


def render(explanation: Explanation) -> str:
    """Losses first, then gains, then slices; whatever stands in a text stays text."""
    found = explanation
    sides = [f"{points(score)} of {_text(str(side))}" for score, side in _scored(found)]
    has_places = any(item.kind == "subset" for item in found.slices)
    lines = [
        f"# Why {_text(found.task)} changed",
        "",
        f"Scores by {_text(found.metric)} ({_text(found.type)}): {', and '.join(sides)}.",
        (
            f"A difference of **{signed(found.difference)}** points: of {found.items:,} items {found.lost:,} lost and "
            f"{found.gained:,} gained."
        ),
        "",
        *(f"> {_text(note, 3 * MAX_NOTE)}\n" for note in found.notes),
    ]
    for title, changes, count in (
        ("What was lost", found.losses, found.lost),
        ("What was gained", found.gains, found.gained),
    ):
        shown = f" ({len(changes)} of {count:,} items, the most telling first)" if changes else ""
        lines += [f"## {title}{shown}", ""]
        lines += [line for change in changes for line in _change(change, has_places=has_places)] or ["Nothing.", ""]
    return "\n".join([*lines, *_slices(found)]).rstrip() + "\n"


def _scored(explanation: Explanation) -> list[tuple[float, Side]]:
    return [(explanation.base_score, explanation.base), (explanation.candidate_score, explanation.candidate)]


def _text(text: str, limit: int = MAX_NOTE) -> str:
    return silent(text, limit)


def _clipped(text: str, head: int, tail: int) -> str:
    """A text on one line, without its middle if it is long."""
    line = " ".join(printable(text).split())
    shown = line if len(line) <= head + tail else f"{line[:head]} […] {line[-tail:]}"
    return _text(shown, len(shown)) or "*empty*"


def _cell(text: str | None) -> str:
    return VOID if text is None else _clipped(text, _CELL_HEAD, _CELL_TAIL)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> list[str]:
    """A table with an empty line after it.

    Args:
        head: of the columns.
        rows: cells.
        numbers: columns that are set to the right.
    """
    marks = ["---:" if place in numbers else "---" for place in range(len(head))]
    return [_row(head), _row(marks), *map(_row, rows), ""]


def _change(change: Change, *, has_places: bool) -> Iterator[str]:
    where = f" ({_text(change.task)}: {_text(change.split)}, {_text(change.subset)})" if has_places else ""
    yield f"### {_text(change.id)}{where}: {_adds(change.adds)}"
    yield ""
    for passage in change.texts:
        yield _passage(passage)
        yield ""
    if change.facts:
        yield from _table(["", "Base", "Candidate"], map(_fact, change.facts), numbers=(1, 2))
    if change.rankings is not None:
        yield from _rankings(change.rankings)


def _adds(value: float) -> str:
    """In points; of many items each adds little."""
    return f"{100 * value:+.3g} points"


def _passage(passage: Passage) -> str:
    length = f" ({len(passage.text):,} characters)" if len(passage.text) > _HEAD + _TAIL else ""
    return f"**{_text(passage.name)}**{length}: {_clipped(passage.text, _HEAD, _TAIL)}"


def _fact(fact: Fact) -> list[str]:
    return [_text(fact.name), _value(fact.base), _value(fact.candidate)]


def _value(value: float | str) -> str:
    if isinstance(value, str):
        return _cell(value)
    return VOID if math.isnan(value) else f"{value:.4f}"


def _rankings(rankings: Rankings) -> Iterator[str]:
    sides = (rankings.base, rankings.candidate)
    depth = max(len(hits or ()) for hits in sides)
    if depth:
        rows = [[str(place + 1), *(_hit(hits, place) for hits in sides)] for place in range(depth)]
        yield from _table(["Rank", "Base found", "Candidate found"], rows, numbers=(0,))
    if not rankings.relevant:
        return
    rows = [
        [*map(_text, (found.document, str(found.grade))), *_ranks(found, sides), _cell(found.text)]
        for found in rankings.relevant
    ]
    yield from _table(["Relevant", "Grade", "Rank in the base", "In the candidate", "Text"], rows, numbers=(1, 2, 3))
    if rankings.more:
        yield f"And {rankings.more:,} more relevant documents."
        yield ""


def _hit(hits: Sequence[Hit] | None, place: int) -> str:
    if hits is None:
        return "not stored"
    if place >= len(hits):
        return VOID
    hit = hits[place]
    grade = "" if hit.grade is None else f", grade {hit.grade}"
    mark = "**" if hit.grade is not None and hit.grade > 0 else ""
    return f"{mark}{_text(hit.document)}{mark}{grade}: {_cell(hit.text)}"


def _ranks(found: Relevant, sides: tuple[Sequence[Hit] | None, Sequence[Hit] | None]) -> list[str]:
    return [
        "not stored" if hits is None else "not found" if rank is None else f"{rank:,}"
        for rank, hits in zip((found.base, found.candidate), sides, strict=True)
    ]


def _slices(explanation: Explanation) -> Iterator[str]:
    kinds = dict.fromkeys(item.kind for item in explanation.slices)
    if not kinds:
        return
    yield "## Slices"
    yield ""
    yield _EXPLORING
    yield ""
    for kind in kinds:
        members = [item for item in explanation.slices if item.kind == kind]
        told = explanation.metric if kind == "subset" else f"mean {explanation.measure}"
        yield f"### {_KINDS[kind]}: {_text(told)}"
        yield ""
        shown = _most_telling(members)
        head = ["Slice", "Items", "Base", "Candidate", "Difference", "95% interval", "From the rest"]
        yield from _table(head, map(_slice, shown), numbers=(1, 2, 3, 4, 5))
        if len(shown) < len(members):
            yield f"{len(members) - len(shown)} slices with smaller differences are left out."
            yield ""


def _most_telling(slices: Sequence[Slice]) -> list[Slice]:
    """At most so many, in their order: those that differ from the rest, then those that changed most."""
    telling = sorted(slices, key=lambda item: (not item.differs, -abs(item.difference)))[:_MOST_SLICES]
    kept = set(map(id, telling))
    return [item for item in slices if id(item) in kept]


def _slice(item: Slice) -> list[str]:
    p_value = "" if item.adjusted is None else f"adjusted p {item.adjusted:.3f}"
    return [
        _text(item.name),
        f"{item.items:,}",
        points(item.base),
        points(item.candidate),
        signed(item.difference),
        interval(item.interval),
        f"**different** ({p_value})" if item.differs else p_value,
    ]
