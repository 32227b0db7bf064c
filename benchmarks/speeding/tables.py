"""Tables of figures, and a page of them of which each section can be measured by itself."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SECTION = re.compile(r"<!-- (?P<name>[\w-]+) -->\n(?P<text>.*?)<!-- end -->\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of several rounds of one thing."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        spread = f" ({min(self.seconds):.3g} to {max(self.seconds):.3g})" if len(self.seconds) > 1 else ""
        return f"{self.median:.3g}{spread}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table; all columns but the first are numbers."""
    lines = [head, ["---", *(["---:"] * (len(head) - 1))], *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def with_sections(path: Path, head: str, sections: Mapping[str, str]) -> str:
    """A page with these sections, and with those of before that were not measured again.

    Args:
        path: the page as it is; it may be missing.
        head: what stands above them.
        sections: name -> text, each ends with a line feed.
    """
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    known = {hit["name"]: hit["text"] for hit in _SECTION.finditer(before)}
    whole = {**known, **sections}
    return head + "".join(f"\n<!-- {name} -->\n{text}<!-- end -->\n" for name, text in whole.items())
