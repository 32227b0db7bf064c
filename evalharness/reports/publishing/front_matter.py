"""A key of the YAML at the head of a README, put there or replaced; all else stays as it is, to the byte."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from evalharness.errors import DataError, clip

_FENCE = re.compile(r"---[ \t]*")


def with_key(text: str, key: str, value: object) -> str:
    r"""The text with this value of the key in its front matter, which is made where there is none.

    Args:
        text: of a README; its line ends are kept.
        key: of the front matter's top level.
        value: what YAML can say.

    Raises:
        DataError: that cannot be done without damage to the rest.

    >>> with_key("---\nlicense: mit\n---\n# A model\n", "tags", ["mteb"])
    '---\nlicense: mit\ntags:\n- mteb\n---\n# A model\n'
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    block = _dump({key: value}).replace("\n", newline).splitlines(keepends=True)
    head, body = split(text)
    if head is None:
        fence = f"---{newline}"
        return "".join([fence, *block, fence, text])
    lines = head.splitlines(keepends=True)
    start, end = _place(lines, key)
    if any(line.lstrip().startswith("#") for line in lines[start:end]):
        raise DataError(f"a comment inside {key} would be lost")
    new = [*lines[:start], *block, *lines[end:]]
    old = _load(head)
    # a key of another spelling would be there twice
    if (key in old) != (start < end) or not _are_equal(_load("".join(new)), {**old, key: value}):
        raise DataError(f"{key} cannot be changed there without changing other values")
    first = text[: len(text) - len(head) - len(body)]
    return "".join([first, *new, body])


def front_matter(text: str) -> dict[str, Any]:
    """What the front matter says; nothing where there is none.

    Raises:
        DataError: it is no YAML of names and values, or has no end.
    """
    head, _ = split(text)
    return {} if head is None else _load(head)


def split(text: str) -> tuple[str | None, str]:
    """The lines between the fences, without the first fence; and the rest, from the second fence on.

    Raises:
        DataError: there is a first fence and no second one, or something before it that nobody sees.
    """
    lines = text.splitlines(keepends=True)
    if text.startswith("\ufeff"):
        raise DataError("it begins with a byte order mark, before which nothing can be put")
    if not lines or not _FENCE.fullmatch(lines[0].rstrip("\r\n")):
        if text.lstrip().startswith("---"):
            raise DataError("its front matter does not begin in its first line")
        return None, text
    for number, line in enumerate(lines[1:], start=1):
        if _FENCE.fullmatch(line.rstrip("\r\n")):
            return "".join(lines[1:number]), "".join(lines[number:])
    raise DataError("its front matter has no end: a second line of --- is missing")


def _place(lines: list[str], key: str) -> tuple[int, int]:
    """First and last line but one of a key's block; an empty place at the end where there is none."""
    starts = [number for number, line in enumerate(lines) if re.match(rf"[\"']?{re.escape(key)}[\"']?\s*:", line)]
    if len(starts) > 1:
        raise DataError(f"its front matter has {key} more than once")
    if not starts:
        return len(lines), len(lines)
    end = starts[0] + 1
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " \t-#"):
        end += 1
    # what stands between two keys belongs to the next
    while end > starts[0] + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    return starts[0], end


def _are_equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether they are; False for what has itself in it, of which nobody can tell."""
    try:
        return one == other
    except RecursionError:
        return False


def _load(text: str) -> dict[str, Any]:
    import yaml

    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"its front matter is no YAML ({clip(' '.join(str(error).split()))})") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DataError("its front matter holds no names with values")
    return value


def _dump(value: Mapping[str, object]) -> str:
    import yaml

    text: str = yaml.safe_dump(dict(value), sort_keys=False)
    return text
