from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.odd import FILES

from evalharness import reading
from evalharness.errors import DataError, ModelError
from evalharness.reading import (
    NoJsonError,
    checked,
    parse_json,
    read_bytes,
    read_json,
    read_object,
    read_toml,
    unique_keys,
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("read", [read_json, read_object, read_toml])
def test_no_content_gets_through_as_anything_but_a_value_or_an_error_of_ours(
    tmp_path: Path, name: str, read: Callable[..., object]
) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(FILES[name])
    value: object = None
    with suppress(ModelError):
        value = read(path, ModelError)
    # what does get through can be walked and written
    json.dumps(value, ensure_ascii=False).encode()


def test_messages_name_the_file_and_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("[1]")
    with pytest.raises(DataError, match=r"x\.json: expected a JSON object, found a list"):
        read_object(path)
    path.write_text('{"a": 1')
    with pytest.raises(DataError, match=r"x\.json: is damaged or no JSON: .*line 1, column 8"):
        read_json(path)
    path.write_text("[" * 70 + "]" * 70)
    with pytest.raises(DataError, match="nested deeper than 64"):
        read_json(path)
    path.write_text('"\\udcff"')
    with pytest.raises(DataError, match="half of a pair"):
        read_json(path)


@pytest.mark.parametrize("text", ['{"a": 1, "b": [{"c": 1, "c": 1}]}', '{"a" : 1, "a" : 2}', '{"a": 1, "\\u0061": 2}'])
def test_a_key_that_is_there_twice_is_found_where_it_matters(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert read_object(path) == json.loads(text)
    with pytest.raises(DataError, match=r"x\.json: is damaged or no JSON: the key '[ac]' is there twice"):
        read_object(path, hook=unique_keys)


@pytest.mark.parametrize("text", ['{"a": {"b": ["\\": \\":", {"a": "\\""}]}}', '{"a" : 1, "b"\n:2}', '{"":""}', "{}"])
def test_what_looks_like_a_key_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert read_object(path, hook=unique_keys) == json.loads(text)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(DataError, match="is no regular file"):
        read_bytes(tmp_path / "pipe.json")
    with pytest.raises(DataError, match="is a folder"):
        read_bytes(tmp_path)
    with pytest.raises(DataError, match="No such file"):
        read_bytes(tmp_path / "nothing.json")
    with pytest.raises(DataError, match="is no name of a file"):
        read_bytes(tmp_path / "a\0b")
    monkeypatch.setattr(reading, "LARGEST", 3)
    (tmp_path / "large.json").write_text("1234")
    with pytest.raises(DataError, match="has 4 bytes; expected at most 3"):
        read_bytes(tmp_path / "large.json")


def test_types_of_values() -> None:
    assert checked(1, (int, float), "x") == 1
    assert checked(None, (str, type(None)), "x") is None
    with pytest.raises(DataError, match="f, key a: expected a number, found true or false 'True'"):
        checked(True, (int, float), "f, key a")  # noqa: FBT003 -- the value is the point
    with pytest.raises(ModelError, match="expected a text or null, found a number '1'"):
        checked(1, (str, type(None)), "x", ModelError)


# what a number, a text and their neighbours may look like in a file
PIECES = [
    "[", "]", "{", "}", ",", ":", " ", "\n", '"', "\\", "\\u", "d83d", "0", "-", "1", "9", ".", "e", "E", "+", "NaN",
    "Infinity", "-Infinity", "true", "null", "tru", "\x01", "é", "\ufeff", '"a"', '"a":', "1e400", "123456789012345678",
]  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_both_parsers_are_of_one_mind(text: str) -> None:
    try:
        expected = repr(json.loads(text))
    except ValueError:
        expected = "refused"
    try:
        found = repr(parse_json(text))
    except NoJsonError:
        found = "refused"
    # half a character is refused on top of that
    assert found == expected or "\\ud" in expected.lower()


@given(st.floats(allow_nan=False), st.sampled_from(["{!r}", "{:.17e}", "{:.25g}", "{:.3f}"]))
def test_numbers_are_read_to_the_last_digit(value: float, form: str) -> None:
    text = form.format(value).replace("inf", "Infinity")
    assert repr(parse_json(f"[{text}]")) == repr(json.loads(f"[{text}]"))
