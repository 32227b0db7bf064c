"""A comparison for a terminal: plain columns that fit 100 cells, also of letters that are two cells wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, chop_cells, set_cell_size

from evalharness.compare import wording
from evalharness.compare.comparison import Finding, Range, Verdict
from evalharness.compare.judged import Judged, Placed, labels, place, worst_failures
from evalharness.errors import MAX_NOTE, one_line

WIDTH = 100
_MOST_FAILURES = 10
_MOST_ROWS = 60
_MOST_NOTES = 10
_GAP = "  "
_NARROWEST = 8
_HEAD = ("", "base", "cand.", "diff.", "95% interval", "adj. p", "shows", "verdict")
# of columns: names and verdicts
_WORDS = (0, len(_HEAD) - 1)
_SHORT = {Verdict.NO_WORSE: "no worse", Verdict.TOO_NOISY: "too noisy"}
_NEEDED = "In brackets: about how many items, of a mean how many tasks, would tell."
_LIKE_THESE = "  on tasks like these"


def render(series: Sequence[Judged]) -> str:
    """The verdict first, then the means, task types and tasks of each candidate, the worst first."""
    names = labels(series)
    lines = [*_wrapped(wording.headline_of(series)), ""]
    if len(series) > 1:
        for number, (judged, name) in enumerate(zip(series, names, strict=True), start=1):
            lines += _wrapped(f"{number}. {name}: {wording.headline(judged)}", "   ")
        lines.append("")
    for number, (judged, name) in enumerate(zip(series, names, strict=True), start=1):
        lines += _details(judged, name, f"{number}. " if len(series) > 1 else "")
    if series:
        shows = wording.COULD_SHOW.replace("Could show", "Shows")
        for text in (wording.ON_THESE, wording.LIKE_THESE, shows, _NEEDED):
            lines += _wrapped(text)
        lines += _wrapped("; ".join(wording.made(series[0].comparison.settings)))
    return "\n".join(line.rstrip() for line in lines).rstrip("\n") + "\n"


def _details(judged: Judged, name: str, number: str) -> Iterator[str]:
    placement = place(judged)
    yield from _wrapped(f"{number}{one_line(name, MAX_NOTE)} against {judged.comparison.base}")
    yield from _wrapped(wording.counted(judged.comparison))
    fails = [f"{failure.name}: {failure.reason}: {failure.why}" for failure in worst_failures(placement)]
    yield from _listed(fails, _MOST_FAILURES)
    yield from _listed(list(judged.comparison.notes), _MOST_NOTES)
    yield ""
    footnotes: dict[str, int] = {}
    shown = [*placement.means, *placement.types, *placement.tasks[:_MOST_ROWS]]
    rows = [row for item in shown for row in _rows(item, footnotes)]
    if rows:
        yield from _table([_HEAD, *rows])
    if (left := len(placement.tasks) - _MOST_ROWS) > 0:
        yield f"and {left} more tasks, none worse than these; other formats have them"
    for text, mark in footnotes.items():
        yield from _wrapped(f"[{mark}] {text}", "    ")
    yield ""


def _listed(texts: Sequence[str], most: int) -> Iterator[str]:
    for text in texts[:most]:
        yield from _wrapped(f"- {text}", "  ")
    if len(texts) > most:
        yield f"- and {len(texts) - most} more"


def _rows(item: Placed, footnotes: dict[str, int]) -> Iterator[tuple[str, ...]]:
    """A row; of a mean with tasks resampled a second one."""
    finding = item.finding
    marks = "".join(
        f" [{footnotes.setdefault(one_line(text, MAX_NOTE), len(footnotes) + 1)}]" for text in wording.remarks(finding)
    )
    mark = "! " if item.fails else ""
    needed = "" if finding.needed is None else f" ({wording.about(finding.needed)})"
    yield (
        f"{mark}{one_line(finding.name, MAX_NOTE)}",
        wording.points(finding.base),
        wording.points(finding.candidate),
        wording.signed(finding.difference),
        _range(finding, finding.interval),
        wording.p_value(finding.adjusted),
        wording.points(finding.smallest),
        f"{_SHORT.get(finding.verdict, finding.verdict)}{needed}{marks}",
    )
    if finding.like_these is not None:
        yield (_LIKE_THESE, "", "", "", _range(finding, finding.like_these), "", "", "")


def _range(finding: Finding, found: Range | None) -> str:
    return "" if found is None and finding.interval is None else wording.interval(found)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they must be; names get what is left."""
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(_HEAD))]
    taken = sum(widths[1:]) + len(_GAP) * (len(widths) - 1)
    widths[0] = min(widths[0], max(WIDTH - taken, _NARROWEST))
    for row in rows:
        cells = [_cell(text, widths[column], is_word=column in _WORDS) for column, text in enumerate(row)]
        yield set_cell_size(_GAP.join(cells), WIDTH).rstrip()


def _cell(text: str, width: int, *, is_word: bool) -> str:
    if cell_len(text) > width:
        return set_cell_size(set_cell_size(text, width - 1).rstrip() + "\u2026", width)
    space = " " * (width - cell_len(text))
    return text + space if is_word else space + text


def _wrapped(text: str, indent: str = "") -> Iterator[str]:
    """Lines of at most 100 cells, broken between words where that is possible."""
    line = ""
    for word in one_line(text, 2 * MAX_NOTE).split():
        for part in [word] if cell_len(word) <= WIDTH - len(indent) else chop_cells(word, WIDTH - len(indent)):
            if not line.strip():
                line += part
            elif cell_len(line) + 1 + cell_len(part) <= WIDTH:
                line += f" {part}"
            else:
                yield line
                line = indent + part
    yield line
