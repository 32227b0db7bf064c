"""What a program hands to the Python calls, checked item by item before anything is encoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike, fspath

from evalharness.errors import UsageError, clip, is_utf8, shorten


def described(value: object) -> str:
    """What somebody gave, for a message: its type, and the value where it says something."""
    if value is None:
        return "None"
    shown = repr(value) if isinstance(value, str | bytes | int | float) else ""
    return f"{type(value).__name__} {clip(shown)[1:-1]}".rstrip()


def _listed(given: object, example: str) -> list[object]:
    """The items of a list, tuple, array or column of a table.

    Raises:
        UsageError: it is none, or nothing is in it.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        what = "a single string" if isinstance(given, str) else described(given)
        raise UsageError(f"encode takes a list of texts, got {what}; put what you have into a list, as in {example}")
    found = list(given)
    if not found:
        raise UsageError("encode got no texts; give at least one")
    return found


def checked_texts(given: object) -> list[str]:
    """Texts that a user hands over.

    Raises:
        UsageError: it is no list of them; the first wrong item is named by its position, counted from 0.
    """
    found: list[str] = []
    for place, item in enumerate(_listed(given, 'encode(["a text"])')):
        if not isinstance(item, str):
            raise UsageError(f"item {place} of the texts is {described(item)}; expected a text (str)")
        _check_whole(item, f"item {place} of the texts")
        found.append(item)
    return found


def _check_whole(text: str, where: str) -> None:
    """See that a text is of whole characters: no tokenizer takes half of a pair. Raises UsageError."""
    if not is_utf8(text):
        raise UsageError(f"{where} holds half of a pair, which is no character by itself: {clip(text)}; mend the text")


def checked_documents(given: object) -> list[str | Mapping[str, str]]:
    """Documents that a user hands over: texts, or mappings with `text` and optionally `title`.

    Raises:
        UsageError: as `checked_texts`.
    """
    found: list[str | Mapping[str, str]] = []
    for place, item in enumerate(_listed(given, 'encode_corpus([{"title": "a title", "text": "a text"}])')):
        if isinstance(item, str):
            _check_whole(item, f"item {place} of the corpus")
            found.append(item)
            continue
        if not isinstance(item, Mapping):
            raise UsageError(
                f"item {place} of the corpus is {described(item)}; expected a text, or a mapping with a text and "
                "perhaps a title"
            )
        title, text = item.get("title"), item.get("text")
        if "text" not in item:
            there = shorten([str(key) for key in item]) or "nothing"
            raise UsageError(f"item {place} of the corpus has no 'text', only {there}; a document needs a text")
        if not isinstance(text, str):
            raise UsageError(f"the text of item {place} of the corpus is {described(text)}; expected a text (str)")
        if title is not None and not isinstance(title, str):
            raise UsageError(f"the title of item {place} of the corpus is {described(title)}; expected a text, or None")
        for part in (title or "", text):
            _check_whole(part, f"item {place} of the corpus")
        found.append(item)
    return found


def checked_kind(call: str, given: object, kinds: tuple[type, ...], expected: str) -> None:
    """See that what a user hands over is of some kind.

    Args:
        call: to what, for the message.
        given: the value.
        kinds: those that it may be of.
        expected: what they are, in words.

    Raises:
        UsageError: it is of none.
    """
    if not isinstance(given, kinds):
        raise UsageError(f"{call} got {type(given).__name__} {clip(str(given))}; expected {expected}")


def checked_name(call: str, given: object) -> str:
    """A model's name that a user hands over to `call`.

    Raises:
        UsageError: it is none.
    """
    expected = "a name such as 'BAAI/bge-base-en-v1.5', or a folder"
    name = fspath(given) if isinstance(given, str | PathLike) else None
    if not isinstance(name, str):
        raise UsageError(f"{call} got {type(given).__name__} {clip(str(given))}; expected {expected}")
    if not name.strip():
        raise UsageError(f"{call} got an empty name; expected {expected}")
    return name
