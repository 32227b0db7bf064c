"""Whatever anyone wrote into names and notes, a report has its tables, its headings and nothing else."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from evalharness.errors import MAX_CELL, MAX_NOTE, plain, printable
from evalharness.reports.board import Board, Cell, Mean, Row
from evalharness.reports.formats import render

NASTY = [
    "|", "\\", "\\|", "`", "``", "*", "_", "__", "[", "]", "](x)", "![", "<", ">", "<script>", "</td>", "<!--", "&lt;",
    "#", "\n", "\r\n", "\n\n", "\u2028", "\t", "\x1b[31m", "\0", "\u202e", "\u2066", "~~", "- ", "1. ", "---", "===",
    "https://a.b", "www.a.b", "[1]: x", "a", "b c", "é", "中文", " ", "$", "{", "\ud800", "\u200f", "+", "!", ":",
]  # fmt: skip
TEXTS = st.one_of(st.lists(st.sampled_from(NASTY), max_size=12).map("".join), st.text(max_size=30))
# a row per model, the mean columns, a column per type
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def inline(tokens: list[Token]) -> set[str]:
    return {child.type for token in tokens for child in token.children or ()}


def rendered(text: str) -> str:
    (paragraph,) = (token for token in PARSER.parse(f"x {text} x") if token.type == "inline")
    assert {child.type for child in paragraph.children or ()} == {"text"}
    return "".join(child.content for child in paragraph.children or ())


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_what_is_rendered_is_what_was_written(text: str) -> None:
    line = " ".join(printable(text).split())[:MAX_CELL]
    assert rendered(plain(text)).removesuffix(" x").removesuffix("…").strip() == f"x {line}".strip()
    assert re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", plain(text)) is None


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, st.lists(TEXTS, max_size=3), TEXTS)
def test_a_table_has_its_rows_and_columns_and_nothing_else(name: str, task: str, notes: list[str], other: str) -> None:
    mean = Mean(0.5, 1, 1)
    row = Row(name, other, "", other, {task: Cell(None, task)}, {other: mean}, mean, mean, notes)
    second = replace(row, second_stage=other, notes=[])
    tokens = PARSER.parse(render([Board(name, other, {other: [task]}, [row, second])], "md"))
    types = [token.type for token in tokens]
    assert types.count("table_open") == 2
    # two heads, two models, one task
    assert types.count("tr_open") == 5
    assert types.count("td_open") == 2 * 4 + 4
    assert types.count("th_open") == 4 + 4
    assert types.count("heading_open") == 2
    assert {token.type for token in tokens if token.type.endswith("_open")} == {
        "table_open", "thead_open", "tbody_open", "tr_open", "td_open", "th_open", "heading_open", "paragraph_open"
    }  # fmt: skip
    assert "html_block" not in types
    assert inline(tokens) <= {"text", "softbreak", "hardbreak"}


def test_long_texts_are_cut() -> None:
    mean = Mean(0.5, 1, 1)
    row = Row("m" * 500, "r", "", "", {"t": Cell(0.5)}, {"STS": mean}, mean, mean, ["n" * 5000])
    text = render([Board("b", "mteb", {"STS": ["t"]}, [row])], "md")
    assert "m" * MAX_CELL + "…" in text
    assert "m" * (MAX_CELL + 1) not in text
    assert "n" * MAX_NOTE + "…" in text
    assert "n" * (MAX_NOTE + 1) not in text


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("sentence-transformers/all-MiniLM-L6-v2", "map_at_1000", "MTEB(eng, v2)", "7 texts cut to 256 tokens",
                 "intfloat/multilingual_e5", "中文模型 (v2)", "STSB (not run)", "50% + 3 = x; y's: z!"):  # fmt: skip
        assert plain(name) == name
