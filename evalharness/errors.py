"""Everything that can go wrong in a way that the user can mend.

A message says what, for which thing, what was expected, what was found and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from evalharness.masking import without_secrets

MAX_LISTED = 5
MAX_TEXT = 80


class EvalHarnessError(Exception):
    """Base of all errors that are reported without a traceback; no message of one has a password in it."""

    def __init__(self, message: str = "") -> None:
        super().__init__(without_secrets(message))


class UsageError(EvalHarnessError):
    """The command or call asks for something that does not exist or does not fit."""


class PrerequisiteError(EvalHarnessError):
    """Something outside is missing: a package, a reachable Hub, a writable folder."""


class StorageError(PrerequisiteError):
    """A disk is full, a folder is read-only or gone: nothing more can be kept, so the run ends."""


class StoppedError(EvalHarnessError):
    """The run ends here on purpose; what was done is kept."""


class DataError(EvalHarnessError):
    """A task's data are not what its type needs."""


class ModelError(EvalHarnessError):
    """A model cannot be loaded as asked, or gives vectors that are no vectors."""


def shorten(values: Sequence[str], limit: int = MAX_LISTED) -> str:
    """Join names for a message, cut after `limit`.

    >>> shorten(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(values[:limit])
    return shown if len(values) <= limit else f"{shown} and {len(values) - limit} more"


def clip(text: str, limit: int = MAX_TEXT) -> str:
    """Quote a text for a message, cut after `limit` characters.

    >>> clip("a long text", limit=6)
    "'a long...'"
    """
    return repr(text if len(text) <= limit else text[:limit] + "...")


def unknown_names(kind: str, names: Iterable[str], known: Iterable[str]) -> str:
    """Describe names that do not exist, each with the nearest that do.

    Args:
        kind: what the names should have been, for example "task".
        names: the wrong names.
        known: all valid names.

    Returns:
        One line per wrong name.

    >>> unknown_names("task", ["STS21"], ["STS12", "Banking77"])
    "unknown task 'STS21': did you mean STS12?"
    """
    candidates = {name.lower(): name for name in known}
    lines = []
    for name in names:
        wrong = name.lower()
        inside = sorted((key for key in candidates if wrong in key and key != wrong), key=len)
        near = get_close_matches(wrong, candidates, n=3, cutoff=0.6)
        guesses = [candidates[key] for key in dict.fromkeys((*inside, *near)) if key != wrong][:3]
        hint = f"did you mean {' or '.join(guesses)}?" if guesses else "no name is near it"
        lines.append(f"unknown {kind} {name!r}: {hint}")
    return "\n".join(lines)
