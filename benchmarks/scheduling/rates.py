"""What was measured before, read from results/measured: tokens per second, bytes per document, products per second."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MEASURED = Path(__file__).parents[2] / "results" / "measured"
_ENGINE, _PRECISION, _MIXED = "ours, unpadded", "bfloat16", "mixed"


class NotMeasuredError(Exception):
    """A file of measured figures has none of what is asked for."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens per second of one model on one device.

    Attributes:
        from_ids: tokens of a text -> tokens per second once texts are token ids.
        of_texts: what part of that is left if texts are tokenized beside it, 0-1.
    """

    from_ids: Mapping[int, float]
    of_texts: float

    def at(self, tokens: NDArray[np.float64]) -> NDArray[np.float64]:
        """Tokens per second from texts of so many tokens; between measured lengths, on a line over the logarithm."""
        lengths = sorted(self.from_ids)
        measured = [self.from_ids[length] for length in lengths]
        return self.of_texts * np.interp(np.log(tokens), np.log(lengths), measured)


def rates_of(model: str, page: str) -> Rates:
    """The rates of a model.

    Args:
        model: its name there.
        page: text of gpu.md.

    Raises:
        NotMeasuredError: it is not there.
    """
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in page.splitlines()]
    from_ids: dict[str, float] = {}
    from_texts: list[float] = []
    for row in rows:
        match row:
            case [name, "ids", engine, precision, texts, _, speed, *_] if (name, engine, precision) == (
                model,
                _ENGINE,
                _PRECISION,
            ):
                from_ids[texts.partition(",")[0]] = _number(speed)
            case [name, "texts", "ours", precision, texts, _, speed, *_] if (name, precision) == (model, _PRECISION):
                from_texts.append(_number(speed))
    if _MIXED not in from_ids or len(from_ids) == 1 or not from_texts:
        raise NotMeasuredError(f"no figures of {model}, {_ENGINE}, {_PRECISION}, from ids and from texts")
    mixed = from_ids.pop(_MIXED)
    return Rates({int(length): speed for length, speed in from_ids.items()}, min(from_texts[-1] / mixed, 1.0))


def bytes_per_document(page: str) -> int:
    """Memory that a document takes beside its vector, of growth.md. Raises NotMeasuredError."""
    return int(_found(r"^([\d,]+) bytes of memory that is no mapped file per document", page))


def search_gigaflops(page: str) -> float:
    """10^9 floating point operations per second of a search from disk, of speed.md. Raises NotMeasuredError."""
    return _found(r"^\| [\d,]+ \| ours, from disk [^|]*\| [\d.,]+ \| ([\d.,]+) \|$", page)


def _found(pattern: str, page: str) -> float:
    if match := re.search(pattern, page, re.MULTILINE):
        return _number(match[1])
    raise NotMeasuredError(f"nothing there is like {pattern}")


def _number(shown: str) -> float:
    return float(shown.replace(",", ""))
