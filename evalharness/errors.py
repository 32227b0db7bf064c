"""Everything that can go wrong in a way that the user can mend.

A message says what, for which thing, what was expected, what was found and what to do.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from evalharness.masking import without_secrets

MAX_LISTED = 5
MAX_TEXT = 80
MAX_GUESSES = 3
# two letters are another word, not a typing error
_SHORTEST_TYPO = 3
_JOINERS = "\u200c\u200d"


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


def is_utf8(text: str) -> bool:
    r"""Whether a text can be written as UTF-8: of a name or an option in other bytes, Python keeps halves of pairs.

    >>> is_utf8("façade"), is_utf8("m\udcff")
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    r"""A text of anyone's as a terminal may show it: nothing in it moves the cursor, colours or turns what follows.

    Line breaks stay; tabs become spaces, other control and format characters the replacement character. The joiners of
    Persian, Indic scripts and emoji are kept.

    >>> printable("red \x1b[31m\ttext")
    'red �[31m text'
    """
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character.isprintable() or character == "\n" or character in _JOINERS:
        return character
    if character.isspace():
        return " "
    # what is not assigned yet, or for private use, does nothing
    return character if unicodedata.category(character) in ("Cn", "Co") else "\ufffd"


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
    known = list(known)
    lines = []
    for name in names:
        guesses = nearest_names(name, known)
        hint = f"did you mean {' or '.join(guesses)}?" if guesses else "no name is near it"
        if not guesses and 0 < len(known) <= MAX_LISTED:
            hint = f"there is {' or '.join(known)}"
        lines.append(f"unknown {kind} {clip(name)}: {hint}")
    return "\n".join(lines)


def letters(name: str) -> str:
    """A name without what people get wrong first: letter case, spaces, punctuation.

    >>> letters("MTEB(eng, v2)")
    'mtebengv2'
    """
    return "".join(character for character in name.casefold() if character.isalnum())


def nearest_names(wrong: str, known: Iterable[str], limit: int = MAX_GUESSES) -> list[str]:
    """Names that somebody may have meant, likeliest first.

    The same letters come first, then small slips (a letter too many, missing, wrong, or two swapped), then longer names
    that contain what was given, then what is similar as a whole.

    >>> nearest_names("stsbenchmark", ["STSBenchmarkMultilingualSTS", "STSBenchmark"])
    ['STSBenchmark', 'STSBenchmarkMultilingualSTS']
    """
    given = letters(wrong)
    keys = {name: letters(name) for name in known if name != wrong}
    slips = {name: _slips(given, key, _allowed(given)) for name, key in keys.items()}
    near = sorted((name for name, count in slips.items() if count is not None), key=lambda name: slips[name] or 0)
    inside = sorted((name for name, key in keys.items() if given and given in key), key=lambda name: len(keys[name]))
    found = list(dict.fromkeys((*near, *inside)))
    if len(found) < limit:
        by_key = {key: name for name, key in reversed(keys.items())}
        found += [by_key[key] for key in get_close_matches(given, by_key, n=limit, cutoff=0.6)]
    return list(dict.fromkeys(found))[:limit]


def _allowed(given: str) -> int:
    """Slips that a word of this length may have."""
    return 0 if len(given) < _SHORTEST_TYPO else max(1, len(given) // 4)


def _slips(given: str, key: str, most: int) -> int | None:
    """Letters too many, missing, wrong, or swapped with their neighbour (optimal string alignment); None above `most`.

    >>> _slips("tpye", "type", 2), _slips("bankin77", "banking77", 2), _slips("a", "bcd", 2)
    (1, 1, None)
    """
    if given == key:
        return 0
    if not most or abs(len(given) - len(key)) > most:
        return None
    before: list[int] = []
    last = list(range(len(key) + 1))
    for row, letter in enumerate(given, start=1):
        line = [row]
        for column, other in enumerate(key, start=1):
            best = min(last[column] + 1, line[-1] + 1, last[column - 1] + (letter != other))
            if row > 1 and column > 1 and letter == key[column - 2] and given[row - 2] == other:
                best = min(best, before[column - 2] + 1)
            line.append(best)
        if min(line) > most:
            return None
        before, last = last, line
    return last[-1] if last[-1] <= most else None
