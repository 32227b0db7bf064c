"""Files that anyone may have written, read so that the worst they can be is wrong.

Whatever JSON or TOML comes from outside (results, model folders, task files, cards, the store's notes) goes through
here: a pipe instead of a file, a file of terabytes, bytes that are no UTF-8, 100,000 brackets, half a character.
"""

from __future__ import annotations

import json
import stat
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from sys import intern
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from evalharness.errors import DataError, EvalHarnessError, clip, unknown_names

Model = TypeVar("Model", bound=BaseModel)
Hook: TypeAlias = Callable[[Sequence[tuple[str, Any]]], Any]

# no file of numbers and names is larger; mteb's largest result (41,412 subsets) has about 40 MB
LARGEST = 512 * 2**20
# what real files have is less than ten; deeper values break whoever walks them by recursion
DEEPEST = 64
# what JSON and TOML values stand in
_NESTED = frozenset((dict, list))
_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
# what a key needs, by pydantic's names of types
_EXPECTED = {
    "string": "a text",
    "int": "a whole number",
    "int_from_float": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple": "a list",
    "list": "a list",
    "dict": "a table",
    "model": "a table",
}


class NoJsonError(ValueError):
    """A text that is no JSON, or none that can be used; the message says why."""


def kind_of(value: object) -> str:
    """What a JSON value is, for messages.

    >>> kind_of([1]), kind_of(None)
    ('a list', 'null')
    """
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


def described(value: object) -> str:
    """A value with what it is, for messages.

    >>> described(0), described("0"), described(True)
    ('0 (a number)', "'0' (a text)", 'true')
    """
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{clip(value) if isinstance(value, str) else clip(str(value))[1:-1]} ({kind_of(value)})"


def unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object, for `parse_json`, that has each key once: of two values, nobody can say which is meant.

    Raises:
        ValueError: it has one twice.
    """
    # of many objects with the same keys, each key is in memory once
    found = {intern(key): value for key, value in pairs}
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {clip(twice)} is there twice")
    return found


def parse_json(content: bytes | str, hook: Hook = dict) -> Any:  # noqa: ANN401 -- JSON
    """Parse JSON that can be walked by recursion and written again as UTF-8.

    Args:
        content: the text.
        hook: makes an object of its pairs. Of two values of a key, `dict` takes the last, as files of models need it.

    Raises:
        NoJsonError: it is not that.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        value = _decoded(text, hook)
        # most files have fewer values with something in them than may stand in each other
        if text.count("[") + text.count("{") > DEEPEST:
            _check_depth(value)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NoJsonError("a text in it holds half of a pair of characters") from None
    except UnicodeDecodeError as error:
        raise NoJsonError(f"it is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise NoJsonError(f"its values are nested deeper than {DEEPEST}") from None
    except json.JSONDecodeError as error:
        raise NoJsonError(f"{error.msg}, line {error.lineno}, column {error.colno}") from None
    except NoJsonError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise NoJsonError(str(error)) from None
    return value


def _decoded(text: str, hook: Hook) -> Any:  # noqa: ANN401 -- JSON
    """What `json` makes of it, in half the time; errors are those of `json`."""
    if hook in (dict, unique_keys):
        with suppress(ValueError):
            value = from_json(text)
            # as many keys as colons: none came twice; where texts have colons, too, only pairs tell
            if hook is dict or _has_keys(value, text.count(":")):
                return value
    return json.loads(text, object_pairs_hook=hook)


def _has_keys(value: object, count: int) -> bool:
    """Whether there are as many keys in it, which can be no more; what is not needed to know is not looked at."""
    layer = [value]
    count -= len(value) if isinstance(value, dict) else 0
    while layer and count:
        item = layer.pop()
        children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        inner = [child for child in children if type(child) in _NESTED]
        count -= sum(len(child) for child in inner if isinstance(child, dict))
        layer += inner
    return not count


def _check_depth(value: object) -> None:
    layer, depth = [value], 0
    while layer:
        inner: list[object] = []
        for item in layer:
            children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
            # most hold numbers and texts alone
            if not _NESTED.isdisjoint(map(type, children)):
                inner += [child for child in children if type(child) in _NESTED]
        layer, depth = inner, depth + 1
        if depth > DEEPEST:
            raise NoJsonError(f"its values are nested deeper than {DEEPEST}")


def read_bytes(path: Path, error: type[EvalHarnessError] = DataError) -> bytes:
    """The content of a regular file of bearable size.

    Args:
        path: the file.
        error: what to raise.

    Raises:
        EvalHarnessError: of the kind `error`; it cannot be read, is no regular file, or is too large.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise error(f"{path}: is {'a folder' if stat.S_ISDIR(found.st_mode) else 'no regular file'}")
        if found.st_size > LARGEST:
            raise error(f"{path}: has {found.st_size:,} bytes; expected at most {LARGEST:,}")
        # without Python's own buffer, of which one that is read once makes no use
        with path.open("rb", buffering=0) as handle:
            return handle.readall()
    except OSError as failure:
        raise error(f"{path}: cannot be read ({failure.strerror or failure})") from None
    except ValueError as failure:  # a NUL in the name
        raise error(f"{clip(str(path))}: is no name of a file ({failure})") from None


def read_json(path: Path, error: type[EvalHarnessError] = DataError, hook: Hook = dict) -> Any:  # noqa: ANN401 -- JSON
    """Parse a JSON file; arguments and errors as `read_bytes` and `parse_json`, also where it is no JSON."""
    content = read_bytes(path, error)
    try:
        return parse_json(content, hook)
    except NoJsonError as failure:
        raise error(f"{path}: is damaged or no JSON: {failure}") from None


def read_object(path: Path, error: type[EvalHarnessError] = DataError, hook: Hook = dict) -> dict[str, Any]:
    """As `read_json`, for a file that holds one object; anything else is an error, too."""
    value = read_json(path, error, hook)
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object, found {kind_of(value)}")
    return value


def read_toml(path: Path, error: type[EvalHarnessError] = DataError) -> dict[str, Any]:
    """Parse a TOML file; arguments and errors as `read_bytes`, also where it is no TOML."""
    content = read_bytes(path, error)
    try:
        value = tomllib.loads(content.decode())
        _check_depth(value)
    except NoJsonError as failure:
        raise error(f"{path}: {failure}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failure:
        raise error(f"{path}: is not valid TOML in UTF-8: {failure}") from None
    except RecursionError:
        raise error(f"{path}: its values are nested deeper than {DEEPEST}") from None
    except ValueError as failure:  # a number of thousands of digits, a day that no month has
        raise error(f"{path}: is not valid TOML: {failure}") from None
    return value


def checked(
    value: object, types: type | tuple[type, ...], where: str, error: type[EvalHarnessError] = DataError
) -> Any:  # noqa: ANN401 -- a value of one of the types
    """A value that is of one of these types; true and false are no numbers.

    Args:
        value: of a parsed file.
        types: Python's for the JSON that is wanted.
        where: file and key, for the message.
        error: what to raise.

    Raises:
        EvalHarnessError: of the kind `error`; it is of another type.
    """
    wanted = types if isinstance(types, tuple) else (types,)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        names = " or ".join(dict.fromkeys(_kind_names(wanted)))
        raise error(f"{where}: expected {names}, found {kind_of(value)} {clip(str(value))}")
    return value


def _kind_names(types: Iterable[type]) -> Iterable[str]:
    return ("null" if kind is type(None) else _NAMES.get(kind, kind.__name__) for kind in types)


def validated(model: type[Model], value: object, where: str) -> Model:
    """Parse into a spec; a wrong or misspelt key becomes one readable DataError."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = (_problem(item, model) for item in error.errors())
        raise DataError(f"{where}: " + "; ".join(dict.fromkeys(problems))) from None


def _problem(item: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong with one key: what was expected, and what is there, with its type."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return unknown_names("key", [key], model.model_fields)
    if item["type"] == "missing":
        return f"{key} is missing"
    kind = item["type"].removesuffix("_type").removesuffix("_parsing")
    expected = f"expected {_EXPECTED[kind]}" if kind in _EXPECTED else item["msg"].removeprefix("Value error, ")
    # a rule over several keys is about a whole table
    found = "" if isinstance(item["input"], Mapping) else f", got {described(item['input'])}"
    return (f"{key}: " if key else "") + expected + found
