"""Passwords and tokens, kept out of every text that leaves: messages, records, logs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, quote, unquote, urlsplit

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
