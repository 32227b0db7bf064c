"""Everything that can go wrong in a way that the user can mend, and how texts of anyone's are shown without harm.

A message says what, for which thing, what was expected, what was found and what to do.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MAX_LISTED = 5
MAX_TEXT = 80
MAX_GUESSES = 3
# two letters are another word, not a typing error
_SHORTEST_TYPO = 3
_JOINERS = "\u200c\u200d"
# of a table, and below it
MAX_CELL, MAX_NOTE = 80, 300
# what can begin something wherever it stands; an underscore only at the edge of a word
_MARKS = re.compile(r"[\\`*\[\]<>|#~&$]|(?<![^\W_])_|_(?![^\W_])")
# what GitHub tells people about, or links to, although it is no markdown; a space without width ends it
_CALLS = re.compile(r"[@#](?=\\?\w)|\bGH-(?=\d)", re.IGNORECASE)
# what GitHub makes a link of without any mark
_LINKS = re.compile(r"(?<=\bwww)(?=\.)|(?<=[a-z])(?=://)", re.IGNORECASE)

MASK = "***"
# addresses that a user may have put a password into, and keys
_ADDRESSES = ("HF_ENDPOINT", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_KEYS = ("EVALHARNESS_API_KEY", "OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
# a word so short is no secret, and would be found everywhere
_SHORTEST = 4
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/?#\s'\"<>]*@", re.IGNORECASE)
# of an address, whole or only its path: what follows ? or #
_QUERY = re.compile(r"((?:://|/)[^\s'\"<>?#]*)([?#])([^\s'\"<>]+)")
_VALUE = re.compile(r"([^=&;?#]*=)[^&;?#]*")


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


class EngineError(ModelError):
    """An engine cannot compute a model as torch does, which another engine may well do."""


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


def as_utf8(path: object) -> str:
    r"""A path, or a text with one in it, as anything can hold it: bytes of a name that are no UTF-8 by their codes.

    >>> as_utf8("m\udcff/façade")
    'm\\udcff/façade'
    """
    return str(path).encode(errors="backslashreplace").decode()


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


def one_line(text: str, limit: int = MAX_CELL) -> str:
    r"""A text of anyone's on one line, printable and cut after `limit` characters.

    >>> one_line("one\ntwo three", 7)
    'one two…'
    """
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else f"{line[:limit]}\u2026"


def plain(text: str, limit: int = MAX_CELL) -> str:
    r"""A text of anyone's that stays text in markdown, on one line and cut after `limit` characters.

    >>> plain("a|b *c* <script>")
    'a\\|b \\*c\\* \\<script\\>'
    >>> plain("one\ntwo three", limit=7)
    'one two…'
    """
    return _LINKS.sub(r"\\", _MARKS.sub(r"\\\g<0>", one_line(text, limit)))


def silent(text: str, limit: int = MAX_CELL) -> str:
    r"""The same where GitHub reads it: nobody is told of it, and nothing links to an issue.

    >>> silent("@everyone")
    '@&#8203;everyone'
    """
    return _CALLS.sub(r"\g<0>&#8203;", plain(text, limit))


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


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """A text in which addresses have no user, no password and no values after the question mark.

    What stands in the environment as a key, or in an address there, is masked wherever it is, since libraries repeat
    parts of what they were given.

    >>> without_secrets("cannot reach https://me:secret@example.org/a?token=abc&x=1 (timed out)", {})
    'cannot reach https://***@example.org/a?token=***&x=*** (timed out)'
    """
    text = _USER.sub(rf"\1{MASK}@", text)
    text = _QUERY.sub(lambda found: found[1] + found[2] + _masked(found[3]), text)
    for secret in sorted(set(_known(environment)), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def _masked(query: str) -> str:
    tail = query[len(query.rstrip(").,;:!")) :]
    inner = query[: len(query) - len(tail)]
    return (_VALUE.sub(rf"\1{MASK}", inner) if "=" in inner else MASK) + tail


def _known(environment: Mapping[str, str]) -> Iterator[str]:
    """The secrets of the environment, in each spelling."""
    for name, value in environment.items():
        found = [value.strip()] if name in _KEYS else _of_address(value) if name.upper() in _ADDRESSES else []
        for secret in found:
            yield from (form for form in (secret, unquote(secret), quote(secret, safe="")) if len(form) >= _SHORTEST)


def _of_address(address: str) -> list[str]:
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        return [*([parts.password] if parts.password else []), *(value for _, value in parse_qsl(parts.query))]
    except ValueError:
        return []
