"""Replies of servers: their JSON, and what a server says where there is no result in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")


class BadReplyError(Exception):
    """A reply that does not hold what was asked for; the message says what is wrong with it.

    Attributes:
        said: the server's own words, uncut, with whatever is in them; empty if there are none.
    """

    said: str = ""


def _parsed(content: bytes) -> Any:  # noqa: ANN401 -- JSON
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise BadReplyError("the reply is no JSON") from None


def result_in(read: Callable[[Any], Result], content: bytes) -> Result:
    """What is read of a reply; where it cannot be, with what the server says of it.

    Raises:
        BadReplyError: it cannot be read.
    """
    reply = _parsed(content)
    try:
        return read(reply)
    except BadReplyError as error:
        error.said = said_in(reply)
        raise


def said_in(reply: object) -> str:
    """A server's own words on why its reply is no result; empty if there are none.

    >>> said_in({"error": {"message": "no quota"}}), said_in([])
    ('no quota', '')
    """
    found = reply.get("error") or reply.get("message") or reply.get("detail") if isinstance(reply, Mapping) else None
    if isinstance(found, Mapping):
        found = found.get("message")
    return found if isinstance(found, str) else ""


def json_or_none(content: bytes) -> Any | None:  # noqa: ANN401 -- JSON
    """The JSON of a reply; None if it is none."""
    with suppress(BadReplyError):
        return _parsed(content)
    return None
