"""A comparison as annotations of GitHub Actions: workflow commands, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from evalharness.compare import wording
from evalharness.compare.comparison import Verdict
from evalharness.compare.judged import Judged, labels, place, worst_failures
from evalharness.errors import one_line, printable

# what GitHub shows of a step, of each kind; ours are no more in all, so that none is lost without a word
MOST = 10
_LONGEST_TITLE, _LONGEST_MESSAGE = 200, 2000
_UNTOLD = (Verdict.NOT_COMPARED, Verdict.BY_SCORE, Verdict.TOO_NOISY)


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is shown beside a step.

    Attributes:
        kind: how it is shown.
        title: on one line.
        message: may have several lines.
    """

    kind: Literal["error", "warning", "notice"]
    title: str
    message: str

    def __str__(self) -> str:
        """The workflow command."""
        title = escaped(self.title).replace(":", "%3A").replace(",", "%2C")
        return f"::{self.kind} title={title}::{escaped(self.message)}"


def escaped(text: str) -> str:
    r"""A text as the message of a workflow command.

    >>> escaped("50%\nof")
    '50%25%0Aof'
    """
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def render(series: Sequence[Judged]) -> str:
    """Errors for what fails, warnings for what could not be told, or else a notice; the worst first, ten at most."""
    found = annotate(series)
    if len(found) > MOST:
        shown, left = found[: MOST - 1], found[MOST - 1 :]
        errors = sum(item.kind == "error" for item in left)
        rest = [
            f"{count} {word}"
            for count, word in ((errors, "more fail"), (len(left) - errors, "more could not be told"))
            if count
        ]
        found = [*shown, Annotation(left[0].kind, f"{len(left)} more", ", ".join(rest))]
    return "".join(f"{item}\n" for item in found)


def annotate(series: Sequence[Judged]) -> list[Annotation]:
    """All of them: errors first, of each kind the worst first, a series in its order."""
    names = [f"{label}: " if len(series) > 1 else "" for label in labels(series)]
    found = [item for judged, name in zip(series, names, strict=True) for item in _of(judged, name)]
    errors = [item for item in found if item.kind == "error"]
    if not errors:
        told = " ".join(wording.summed_up(judged) for judged in series[:1]) if len(series) == 1 else ""
        found.insert(0, _annotation("notice", wording.headline_of(series), told))
    return [*errors, *(item for item in found if item.kind != "error")]


def _of(judged: Judged, candidate: str) -> Iterator[Annotation]:
    placement = place(judged)
    for failure in worst_failures(placement):
        yield _annotation("error", f"{candidate}{failure.name}: {failure.reason}", failure.why)
    for item in sorted(placement, key=lambda item: item.how_bad):
        finding = item.finding
        title = f"{candidate}{finding.name}: {finding.verdict}"
        told = "\n".join([wording.numbers(finding), *wording.wanted(finding), *wording.remarks(finding)])
        if item.fails and judged.outcome is None:
            yield _annotation("error", title, told)
        elif not item.fails and finding.verdict in _UNTOLD:
            yield _annotation("warning", title, told)


def _annotation(kind: Literal["error", "warning", "notice"], title: str, message: str) -> Annotation:
    text = printable(message).strip()[:_LONGEST_MESSAGE]
    # a command without a message is none
    return Annotation(kind, one_line(title, _LONGEST_TITLE), text or one_line(title, _LONGEST_TITLE))
