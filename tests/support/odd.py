"""Contents that no program of ours writes, for every reader of files that anyone may have written."""

from __future__ import annotations

import json
from collections.abc import Mapping

DEEP = 100_000

# JSON values that are valid and wrong where an object or a list is expected
VALUES: Mapping[str, object] = {
    "null": None,
    "true": True,
    "number": 9000,
    "fraction": -1.5,
    "text": "abc",
    "empty text": "",
    "empty list": [],
    "list of nulls": [None, None],
    "list of lists": [[1], [2]],
    "empty object": {},
    "object of nulls": {"a": None},
    "NUL": "a\0b",
    "path": "../../../etc/passwd",
    "markup": "<script>alert(1)</script>|\n# x\x1b[31m",
    "very long": "x" * 100_000,
}

# bytes of a whole file
FILES: Mapping[str, bytes] = {
    **{name: json.dumps(value).encode() for name, value in VALUES.items()},
    "no bytes": b"",
    "spaces": b"  \n",
    "no JSON": b"{'a': 1}",
    "cut": b'{"a": [1, 2',
    "NUL bytes": b"\0" * 64,
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "half a pair": b'{"a": "\\ud800"}',
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "depth that parses": b"[" * 500 + b"]" * 500,
    "not a number": b'{"a": NaN}',
    "endless number": b'{"a": 1e999}',
    "many digits": b'{"a": ' + b"9" * 6000 + b"}",
    "HTML": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "two values": b"{}{}",
}


def with_each_key_odd(value: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Copies of an object, each with one key gone or of another shape; by a name for test ids."""
    found: dict[str, dict[str, object]] = {}
    for key in value:
        found[f"without {key}"] = {name: item for name, item in value.items() if name != key}
        for name, odd in VALUES.items():
            found[f"{key} is {name}"] = {**value, key: odd}
    return found
