"""TREC run files: `query Q0 document rank score tag`, a line per retrieved document; `#` begins a comment."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from evalharness.errors import DataError, clip
from evalharness.files import atomic_path

COMMENT = "#"
_FIELDS = 6


def read_run(path: Path, queries: AbstractSet[str] | None = None) -> dict[str, dict[str, float]]:
    """Read a run; ranks and the tag are ignored, as trec_eval does: the scores say the order.

    Args:
        path: the file.
        queries: ids of those that are wanted; None for all. Lines of others are not looked at.

    Returns:
        Query id -> document id -> score.

    Raises:
        DataError: the file cannot be read, a line is wrong, or a document is there twice for a query.
    """
    found: dict[str, dict[str, float]] = {}
    is_empty = True
    try:
        with path.open(encoding="utf-8-sig") as handle:
            for number, line in enumerate(handle, start=1):
                if line.strip() and not line.startswith(COMMENT):
                    is_empty = False
                    if queries is not None and line.split(maxsplit=1)[0] not in queries:
                        continue
                    query, document, score = _parsed(line, f"{path}, line {number}")
                    documents = found.setdefault(query, {})
                    if document in documents:
                        raise DataError(f"{path}, line {number}: {document} is there twice for the query {query}")
                    documents[document] = score
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    if is_empty:
        raise DataError(f"{path}: holds no lines")
    return found


def _parsed(line: str, where: str) -> tuple[str, str, float]:
    # the tag may be of several words
    fields = line.split(maxsplit=_FIELDS - 1)
    score = decimal(fields[4]) if len(fields) == _FIELDS else None
    if score is None:
        raise DataError(f"{where}: expected `query Q0 document rank score tag`, got {clip(line.strip())}")
    return fields[0], fields[2], score


# Python takes 1_0, the digits of all scripts, inf and nan for numbers
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def decimal(text: str) -> float | None:
    """A finite number written in ASCII; None if it is none.

    >>> decimal("1.5e3"), decimal("1_0"), decimal("nan")
    (1500.0, None, None)
    """
    found = float(text) if _DECIMAL.fullmatch(text.strip()) else math.inf
    return found if math.isfinite(found) else None


def write_run(path: Path, retrieved: Iterable[tuple[str, Mapping[str, float]]], tag: str) -> None:
    """Write a run, atomically. White space separates the fields of a line, and `#` at its start makes it a comment.

    Args:
        path: where.
        retrieved: for each query its id, and document id -> score, best first.
        tag: name of the system.

    Raises:
        DataError: an id has white space in it, or a query's begins with `#`.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        for query, documents in retrieved:
            if documents and query.startswith(COMMENT):
                raise DataError(
                    f"{path}: the query id {query!r} begins with {COMMENT}, which makes a line of a TREC run a "
                    "comment; rename the query, or leave --save-rankings out"
                )
            for rank, (document, score) in enumerate(documents.items(), start=1):
                for name in (query, document):
                    if len(name.split()) != 1:
                        raise DataError(f"{path}: the id {name!r} has white space in it, which a TREC run cannot hold")
                handle.write(f"{query} Q0 {document} {rank} {score!r} {tag}\n")
