"""Whatever anyone wrote into names and notes, every format says it and obeys nothing of it."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from itertools import pairwise
from typing import Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.cells import cell_len

from evalharness.catalog.models import ModelFacts
from evalharness.errors import printable
from evalharness.reports.board import Board, Cell, Column, Mean, Origin, Part, Row, Span
from evalharness.reports.formats import csv as csv_format
from evalharness.reports.formats import latex, markdown, render
from evalharness.reports.formats.json import Document
from evalharness.reports.notebook import to_html

NASTY = [
    "\\write18{rm -rf}", "\\input{/etc/passwd}", "\\", "{", "}", "$", "$$", "&", "#", "^", "_", "~", "%", "^^5c", "--",
    ",,", "[", "*", "]", "`", "'", '"', "<script>", "</td>", "<!--", "&lt;", "|", "=1+1", "+1", "-1", "@SUM(A1)", "\t",
    "=cmd|' /C calc'!A0", "\n", "\r\n", "\x1b[31m", "\x9b31m", "\0", "\u202e", "\u2066", "\u2028", "\ud800", "\ufffd",
    "https://a.b", "@everyone", "#1", "GH-1", ":smile:", "[bold]", "[/]", "a", "b c", "é", "中文", "ﷺ", "😀", " ", ",",
    "\uff1d1", "[1]: x", "**", "NaN", "null",
]  # fmt: skip
TEXTS = st.one_of(st.lists(st.sampled_from(NASTY), max_size=6).map("".join), st.text(max_size=12))
SCORES = st.one_of(st.none(), st.floats(-1, 1))
SPANS = st.one_of(st.none(), st.builds(Span, st.floats(), st.floats(), TEXTS, is_trusted=st.booleans()))
ORIGINS: tuple[Origin, ...] = ("results", "published")
VALIDATOR = jsonschema.Draft202012Validator(Document.model_json_schema(mode="serialization"))


def line_of(text: str) -> str:
    return " ".join(printable(text).split())


@st.composite
def hostile_boards(draw: st.DrawFn) -> Board:
    """A board of one to seven rows in which every text is anyone's."""
    kinds = draw(st.lists(TEXTS, min_size=1, max_size=2, unique=True))
    names = draw(st.lists(TEXTS, min_size=len(kinds), max_size=4, unique=True))
    types = {kind: names[number :: len(kinds)] for number, kind in enumerate(kinds)}

    def cell() -> Cell:
        parts = [
            Part(draw(TEXTS), draw(TEXTS), [draw(TEXTS)], draw(st.floats(-1, 1)), draw(SPANS))
            for _ in range(draw(st.integers(0, 2)))
        ]
        return Cell(draw(SCORES), draw(TEXTS), draw(SPANS), parts, [draw(TEXTS)], draw(st.booleans()), draw(TEXTS))

    def row() -> Row:
        mean = Mean(draw(SCORES), draw(st.integers(0, 3)), 3, draw(SPANS))
        facts = ModelFacts(licence=draw(TEXTS), release_date=draw(TEXTS), link=draw(TEXTS), trained_on=frozenset(names))
        origin = draw(st.sampled_from(ORIGINS))
        made = Row(
            draw(TEXTS), draw(TEXTS), draw(TEXTS), draw(TEXTS), {name: cell() for name in names},
            dict.fromkeys(kinds, mean), mean, mean, [draw(TEXTS)], origin, facts=facts,
        )  # fmt: skip
        return replace(made, common=draw(st.sampled_from([None, mean])), borda=draw(st.sampled_from([None, 1])))

    rows = [row() for _ in range(draw(st.integers(1, 7)))]
    return Board(
        draw(TEXTS), draw(TEXTS), types, rows, metrics={names[0]: draw(TEXTS)}, sorted_by=draw(TEXTS),
        columns=[Column(draw(TEXTS), [draw(SCORES) for _ in rows])], notes=[draw(TEXTS)],
        shows_subsets=draw(st.booleans()),
    )  # fmt: skip


FEW = settings(max_examples=25, deadline=None)


@FEW
@given(hostile_boards())
def test_markdown_has_its_tables_and_nothing_else(board: Board) -> None:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(render([board], "md"))
    opened = [token.type for token in tokens if token.type.endswith("_open")]
    assert set(opened) <= {
        "table_open", "thead_open", "tbody_open", "tr_open", "td_open", "th_open", "heading_open", "paragraph_open"
    }  # fmt: skip
    # every table has a heading, and the first has a row for each model
    assert opened.count("heading_open") == opened.count("table_open")
    first = opened[: [*opened, "table_open"].index("table_open", opened.index("table_open") + 1)]
    assert first.count("tr_open") == 1 + len(board.rows)
    assert first.count("td_open") == first.count("th_open") * len(board.rows)
    inline = {child.type for token in tokens for child in token.children or ()}
    assert inline <= {"text", "softbreak", "hardbreak", "strong_open", "strong_close", "text_special"}


@given(TEXTS)
def test_markdown_reads_back_as_it_was_written(text: str) -> None:
    line = line_of(text)
    (paragraph,) = (t for t in MarkdownIt("commonmark").parse(f"x {markdown.escaped(line)} x") if t.type == "inline")
    shown = "".join(child.content for child in paragraph.children or ()).replace("\u200b", "")
    assert shown.split() == f"x {line} x".replace("\u200b", "").split()


@FEW
@given(st.lists(hostile_boards(), max_size=2))
def test_csv_reads_back_equal(boards: list[Board]) -> None:
    text = render(boards, "csv")
    lines = list(csv.DictReader(StringIO(text, newline=""), strict=True))
    assert all(set(line) == set(csv_format.COLUMNS) and None not in line.values() for line in lines)
    tasks = [line for line in lines if line["kind"] == "task"]
    expected = [(board, row, name) for board in boards for row in board.rows for name in board.tasks]
    for line, (board, row, name) in zip(tasks, expected, strict=True):
        found = (line["board"], line["model"], line["revision"], line["name"], line["missing"], line["source"])
        cell = row.cells[name]
        wanted = (board.title, row.model, row.revision, name, cell.missing, cell.source)
        assert [text.removeprefix("'") for text in found] == [line_of(text) for text in wanted]
        assert (float(line["score"]) if line["score"] else None) == cell.score
    # nothing in it can end a line, move a terminal or be computed
    assert text.count("\n") == 1 + len(lines)
    assert all(character.isprintable() or character in "\n\u200c\u200d" or odd(character) for character in text)
    for line in lines:
        assert not any(re.match(r"[=+@\uff1d\uff0b\uff0d\uff20]|-(?![\d.])", value) for value in line.values())


def odd(character: str) -> bool:
    """What is not assigned or of private use does nothing, and `printable` leaves it."""
    return printable(character) == character


@given(TEXTS)
def test_an_apostrophe_taken_off_a_text_of_csv_leaves_the_text(text: str) -> None:
    found = csv_format.escaped(text)
    assert found.removeprefix("'") == line_of(text)
    assert not re.match(r"[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]", found)


COMMANDS = {
    "\\textbackslash{}": "\\", "\\textasciicircum{}": "^", "\\textasciitilde{}": "~", "\\textless{}": "<",
    "\\textgreater{}": ">", "\\textbar{}": "|", "\\textasciigrave{}": "`", "\\textquotesingle{}": "'",
    "{\\char34}": '"', "\\{": "{", "\\}": "}", "\\$": "$", "\\&": "&", "\\#": "#", "\\_": "_", "\\%": "%",
    "\\textendash{}": "\u2013", "\\dag{}": "\u2020", "\\ldots{}": "\u2026", "-{}": "-", ",{}": ",",
    "{[}": "[", "{*}": "*",
}  # fmt: skip
LATEX = re.compile("|".join(map(re.escape, COMMANDS)) + r"|[^\\{}$&#^_~%]", re.DOTALL)


@given(TEXTS)
def test_latex_prints_a_text_and_does_nothing_else(text: str) -> None:
    line = line_of(text)
    found = latex.escaped(line)
    parts = LATEX.findall(found)
    assert "".join(parts) == found
    assert "".join(COMMANDS.get(part, part) for part in parts) == line.replace("\ufffd", "?")
    # nothing that grows together, nor what the end of a line would take as its argument
    assert all((a, b) not in {("-", "-"), (",", ",")} for a, b in pairwise(parts))
    assert not found.startswith(("[", "*"))


OWN = re.compile(
    r"\\(begin|end)\{(table|tabular|center|flushleft)\}|\\(centering|footnotesize|scriptsize|resizebox|ifdim|else|fi"
    r"|width|linewidth|toprule|midrule|bottomrule|caption|refstepcounter|tablename|thetable|nobreak|textbf"
    r"|textsuperscript|par)(?![a-z])"
)


@FEW
@given(st.lists(hostile_boards(), max_size=2))
def test_latex_has_the_commands_of_its_tables_and_no_others(boards: list[Board]) -> None:
    text = render(boards, "tex")
    head, _, body = text.partition("\n")
    assert head.startswith("% needs")
    assert "%" not in body.replace("\\%", "")
    for command in COMMANDS:
        body = body.replace(command, "")
    body = body.replace(r"\\", "")
    assert OWN.sub("", body).count("\\") == 0
    depth = 0
    for character in body:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(rows) >= sum(1 + len(board.rows) for board in boards)


def whole(value: Any) -> Any:
    """What JSON can say of a text: halves of characters are replaced."""
    return re.sub("[\ud800-\udfff]", "\ufffd", value) if isinstance(value, str) else value


def refused(text: str) -> float:
    raise AssertionError(text)


@FEW
@given(st.lists(hostile_boards(), max_size=2))
def test_json_reads_back_equal(boards: list[Board]) -> None:
    text = render(boards, "json")
    value = json.loads(text, parse_constant=refused)
    VALIDATOR.validate(value)
    assert Document.model_validate_json(text).model_dump(mode="json", by_alias=True) == value
    for found, board in zip(value["boards"], boards, strict=True):
        assert (found["title"], found["sorted_by"]) == (whole(board.title), whole(board.sorted_by))
        for line, row in zip(found["rows"], board.rows, strict=True):
            assert (line["model"], line["experiment"]) == (whole(row.model), whole(row.experiment))
            assert line["notes"] == [whole(note) for note in row.notes]
            by_name = {whole(name): cell for name, cell in row.cells.items()}
            assert {name: cell["score"] for name, cell in line["cells"].items()} == {
                name: cell.score for name, cell in by_name.items()
            }
    assert all(character == "\n" or character.isprintable() for character in text)


@FEW
@given(st.lists(hostile_boards(), max_size=2))
def test_a_terminal_shows_lines_that_move_nothing(boards: list[Board]) -> None:
    text = render(boards, "terminal")
    assert all(character == "\n" or odd(character) for character in text)
    assert all(cell_len(line) <= 100 for line in text.split("\n"))


class Names(HTMLParser):
    """Names of elements and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(name for name, _ in attrs)}

    def handle_comment(self, data: str) -> None:
        self.found.add("comment")


@FEW
@given(hostile_boards())
def test_a_notebook_has_tables_and_nothing_else(board: Board) -> None:
    text = to_html([board])
    names = Names()
    names.feed(text)
    names.close()
    assert names.found <= {
        "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "strong", "span", "p", "ol", "li", "style",
        "scope",
    }  # fmt: skip
    assert "$" not in text
