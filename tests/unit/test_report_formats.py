from __future__ import annotations

import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.cells import cell_len
from support.boards import HOSTILE, TYPES, boards, many
from support.golden import FOLDER, NAMES, golden

from evalharness.catalog.models import ModelFacts
from evalharness.errors import shorten
from evalharness.reports.board import Board, Cell, Mean, Row, Span
from evalharness.reports.formats import files_of_formats, render, uncoloured
from evalharness.reports.formats.csv import COLUMNS
from evalharness.reports.formats.json import Document
from evalharness.reports.layout import Room, lay_out, marked
from evalharness.reports.noting import together

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "report.schema.json"
(EVERYTHING, PUBLISHED, EMPTY) = boards()


def refused(text: str) -> float:
    raise AssertionError(text)


def strict(text: str) -> Any:
    return json.loads(text, parse_constant=refused)


def lines_of_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_what_was_looked_at(name: str) -> None:
    # if it is not: see tests/support/golden.py
    assert golden(name) == (FOLDER / name).read_bytes().decode()


@pytest.mark.parametrize("name", files_of_formats())
def test_every_format_takes_any_number_of_boards(name: str) -> None:
    for count in range(4):
        text = render(boards()[:count], name)
        assert text.endswith("\n") or not text
        assert ("lab/own-1" in text.replace("{-}", "-")) == (count > 1)


# markdown and what all text formats share


def tables(text: str) -> Iterator[list[list[str]]]:
    for block in text.split("\n\n"):
        if block.startswith("|"):
            yield [line.strip("| ").split(" | ") for line in block.splitlines()]


def test_the_best_of_many_are_bold_and_those_of_few_are_not() -> None:
    (means, *_) = tables(render([EVERYTHING], "md"))
    bold = [[place for place, cell in enumerate(line) if cell.startswith("**")] for line in means[2:]]
    # the mean over tasks, over types and over common tasks, each type, and what somebody printed
    assert bold[0] == [1, 2, 3, 4, 5, 6]
    assert [place for places in bold[1:] for place in places] == [7]
    assert "**" not in render([replace(EVERYTHING, rows=EVERYTHING.rows[:4], columns=[])], "md")


def test_what_is_printed_alike_is_marked_alike() -> None:
    mean = Mean(0.5, 1, 1)
    rows = [
        Row(f"m{number}", "r", "", "", {"t": Cell(score)}, {"STS": mean}, mean, mean)
        for number, score in enumerate([0.50001, 0.5, 0.1, 0.1, None])
    ]
    last = list(tables(render([Board("b", "mteb", {"STS": ["t"]}, rows)], "md")))[-1]
    assert last[2] == ["t", "STS", "**50.00**", "**50.00**", "10.00", "10.00", "–"]


def test_of_many_models_mine_are_shown_and_it_is_said_what_is_left_out() -> None:
    board = many()
    text = render([board], "md")
    assert len(text) < 100_000
    means, facts, *tasks = tables(text)
    assert len(means) == len(facts) == 2 + 100
    assert [len(table) for table in tasks] == [2 + 56] * 4
    assert [len(table[0]) for table in tasks] == [2 + 8] * 4
    for mine in ("lab0/model-0", "lab20/model-300"):
        assert all(any(mine in cell for line in table for cell in line) for table in (means, facts))
        assert sum(any(mine in cell for cell in table[0]) for table in tasks) == 1
    assert "Shown are 100 of 600 rows, and 32 of them task by task" in text
    assert "Shown" not in render([EVERYTHING], "md")
    # the best of all rows, also where it is not among those that are shown
    page = lay_out(board, Room(rows=2, columns=2, blocks=1))
    assert [line[0].text.partition(" ")[0] for line in page.tables[0].rows] == ["lab20/model-300", "lab0/model-0"]
    assert not any(entry.is_best for line in page.tables[0].rows for entry in line)


def test_only_columns_that_say_something_are_there() -> None:
    (means, tasks) = tables(render([replace(PUBLISHED, rows=[replace(r, borda=None) for r in PUBLISHED.rows])], "md"))
    assert means[0] == ["Model", "Mean (Task, 2)", "Mean (TaskType, 1)", "Reranking (2)"]
    assert tasks[0] == ["Task", "Type", "lab/own-1 (01234567)", "lab/own-0 (01234567)"]


def test_subsets_are_shown_where_the_board_says_so() -> None:
    assert ": subsets" not in render([EVERYTHING], "md")
    text = render([replace(EVERYTHING, shows_subsets=True)], "md")
    assert [line for line in text.splitlines() if "subsets (" in line] == [
        f"## MassiveIntentClassification: subsets ({number} of 3) (protocol: mteb)" for number in (1, 2, 3)
    ]
    assert text.count("| test | zh-CN | cmn-Hans |") == 3


def test_intervals_are_shown_where_they_say_something() -> None:
    spans = [Span(0.4, 0.6), Span(0.4, 0.6, is_trusted=False), Span(float("nan"), 0.6), None]
    mean = Mean(0.5, 1, 1)
    rows = [
        Row(f"m{number}", "r", "", "", {"t": Cell(0.5, interval=span)}, {"STS": mean}, mean, mean)
        for number, span in enumerate(spans)
    ]
    text = render([Board("b", "mteb", {"STS": ["t"]}, rows)], "md")
    assert "| t | STS | 50.00 [40.00, 60.00] | 50.00 [40.00, 60.00]? | 50.00 | 50.00 |" in text
    assert "In brackets: 95% intervals" in text
    assert "?: from so few items" in text


def test_footnotes_are_numbered_once_and_are_not_without_end() -> None:
    mean = Mean(0.5, 1, 1)
    noisy = [
        Row(
            f"m{number}", "r", "", "", {"t": Cell(0.5)}, {"STS": mean}, mean, mean, [f"n{number}-{i}" for i in range(9)]
        )
        for number in range(30)
    ]
    text = render([Board("b", "mteb", {"STS": ["t"]}, noisy)], "md")
    assert "| m0 (r) [1-9] |" in text
    assert "| m29 (r) [+] |" in text
    assert "[200] n22-1  " in text
    assert "[201]" not in text
    assert "70 more footnotes" in text
    assert marked([1, 2, 4]) == "[1, 2, 4]"


@pytest.mark.parametrize("tasks", [["t", "u"], [f"t{number}" for number in range(30)]], ids=len)
def test_what_a_row_says_of_several_tasks_is_not_said_again_at_their_scores(tasks: list[str]) -> None:
    mean = Mean(0.5, len(tasks), len(tasks))
    cells = {task: Cell(0.5, notes=["vectors cut to 16 dimensions"]) for task in tasks}
    said = [f"{shorten(tasks)}: vectors cut to 16 dimensions"]
    row = Row("m", "r", "", "", cells, {"STS": mean}, mean, mean, said)
    page = lay_out(Board("b", "mteb", {"STS": tasks}, [row]), Room())
    assert page.notes == said
    assert [line[2].marks for line in page.tables[1].rows] == [[1]] * len(tasks)


def test_what_is_counted_in_several_tasks_is_one_footnote_which_their_scores_have() -> None:
    notes = {"t": ["40 texts cut"], "u": ["3 texts cut", "2 texts cut"], "v": ["42 texts cut", "odd"], "w": ["9 empty"]}
    mean = Mean(0.5, 4, 4)
    cells = {task: Cell(0.5, notes=found) for task, found in notes.items()}
    said = together(notes)
    row = Row("m", "r", "", "", cells, {"STS": mean}, mean, mean, said)
    page = lay_out(Board("b", "mteb", {"STS": list(notes)}, [row]), Room())
    assert page.notes == said == ["texts cut: t (40), u (5), v (42)", "v: odd", "w: 9 empty"]
    assert [line[2].marks for line in page.tables[1].rows] == [[1], [1], [1, 2], [3]]


def test_many_tasks_of_a_footnote_are_not_all_named_and_have_it() -> None:
    notes = {f"t{number}": [f"{number} texts cut"] for number in range(30)}
    mean = Mean(0.5, 30, 30)
    cells = {task: Cell(0.5, notes=found) for task, found in notes.items()}
    row = Row("m", "r", "", "", cells, {"STS": mean}, mean, mean, together(notes))
    page = lay_out(Board("b", "mteb", {"STS": list(notes)}, [row]), Room())
    assert page.notes == ["texts cut: t0 (0), t1 (1), t2 (2), t3 (3), t4 (4) and 25 more"]
    assert [line[2].marks for line in page.tables[1].rows] == [[1]] * 30


@pytest.mark.parametrize(("why", "marks"), [("items of t do not tell", [1]), ("x" * 400, [1, 2])], ids=["whole", "cut"])
def test_why_there_is_no_interval_is_said_once(why: str, marks: list[int]) -> None:
    mean = Mean(0.5, 1, 1)
    said = f"no interval of 1 task whose items do not tell: t ({why})"
    row = Row("m", "r", "", "", {"t": Cell(0.5, notes=[f"no interval: {why}"])}, {"STS": mean}, mean, mean, [said])
    page = lay_out(Board("b", "mteb", {"STS": ["t"]}, [row]), Room())
    assert len(page.notes) == len(marks)
    assert page.tables[1].rows[0][2].marks == marks[-1:]


def test_what_a_row_says_of_a_task_is_not_said_again_at_its_score() -> None:
    mean = Mean(0.5, 1, 1)
    row = Row("m", "r", "", "", {"t": Cell(0.5, notes=["cut", "other"])}, {"STS": mean}, mean, mean, ["t: cut"])
    text = render([Board("b", "mteb", {"STS": ["t"]}, [row])], "md")
    assert "| t | STS | 50.00 [1, 2] |" in text
    assert text.endswith("\n[1] t: cut  \n[2] other  \n")


# JSON


def test_the_schema_in_the_docs_is_that_of_the_document() -> None:
    # if it is not: write it anew, and think whether SCHEMA must be one higher
    assert json.loads(SCHEMA_FILE.read_text(encoding="utf-8")) == Document.model_json_schema(mode="serialization")


def test_json_is_one_valid_document_whatever_the_number_of_boards() -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    for count in range(4):
        value = strict(render(boards()[:count], "json"))
        validator.validate(value)
        assert len(value["boards"]) == count
    wrongs: list[dict[str, Any]] = [{"schema": 2}, {"boards": [{}]}, {"more": 1}]
    for wrong in wrongs:
        assert not validator.is_valid({**value, **wrong})
    del value["boards"][0]["rows"][3]["cells"]["SciFact"]["score"]
    assert not validator.is_valid(value)


def test_json_has_all_that_boards_have() -> None:
    text = render([EVERYTHING], "json")
    (board,) = strict(text)["boards"]
    assert set(board) == {one.name for one in fields(Board)} - {"shows_subsets"}
    assert set(board["rows"][0]) == {one.name for one in fields(Row)}
    assert set(board["rows"][0]["facts"]) == {one.name for one in fields(ModelFacts)}
    cell, row = board["rows"][0]["cells"]["NFCorpus"], EVERYTHING.rows[0]
    assert set(cell) == {one.name for one in fields(Cell)}
    interval = row.cells["NFCorpus"].interval
    assert interval is not None
    assert (cell["score"], cell["interval"]["low"]) == (row.cells["NFCorpus"].score, interval.low)
    assert [row["model"] for row in board["rows"]] == [row.model for row in EVERYTHING.rows]
    assert set(board["rows"][0]["types"]) == set(TYPES)
    tuned = next(row for row in board["rows"] if row["cells"]["NFCorpus"]["notes"])
    assert (tuned["cells"]["NFCorpus"]["interval"]["low"], tuned["facts"]["trained_on"]) == (
        None,
        ["AmazonPolarityClassification", "MassiveIntentClassification"],
    )


# CSV


def test_csv_has_each_number_on_a_line_of_its_own() -> None:
    found = lines_of_csv(render(boards(), "csv"))
    assert tuple(found[0]) == COLUMNS
    rows, types = 20, len(TYPES)
    count = Counter((line["board"], line["kind"]) for line in found)
    assert count["Every kind of row", "mean"] == 3 * rows
    assert count["Every kind of row", "type"] == types * rows
    assert count["Every kind of row", "column"] == rows
    assert count["Every kind of row", "task"] == 7 * rows
    assert count["Every kind of row", "subset"] == 3 * rows - 1
    assert count["Reranking & more", "mean"] == 2 * 2
    (first,) = (line for line in found if line["place"] == "1" and line["name"] == "SciFact")
    cell = EVERYTHING.rows[0].cells["SciFact"]
    assert cell.interval is not None
    assert (float(first["score"]), float(first["low"]), first["subset"]) == (cell.score, cell.interval.low, "default")
    (mean, *_) = (line for line in found if line["kind"] == "mean")
    assert (mean["borda"], mean["rank_worst"], mean["parameters"], mean["present"]) == ("1", "2", "109482240", "7")
    (lost,) = (line for line in found if line["model"] == "me/partial" and line["name"] == "SciFact")
    assert (lost["score"], lost["missing"]) == ("", "not run")


def test_no_spreadsheet_computes_what_anyone_wrote() -> None:
    text = render(boards(), "csv")
    cells = [cell for line in csv.reader(StringIO(text, newline="")) for cell in line]
    assert f"'{HOSTILE[2]}" in cells
    begins = [cell for cell in cells if re.match(r"[=+\-@\t\r]", cell)]
    assert begins == []
    # negative numbers are numbers
    mean = Mean(-0.5, 1, 1)
    row = Row("m", "r", "", "", {"t": Cell(-0.25)}, {"STS": mean}, mean, mean)
    (task,) = (
        line for line in lines_of_csv(render([Board("b", "mteb", {"STS": ["t"]}, [row])], "csv")) if line["name"] == "t"
    )
    assert task["score"] == "-0.25"


# LaTeX


def test_long_tables_go_over_pages_and_short_ones_float() -> None:
    text = render([many(50, 7)], "latex")
    assert text.startswith("% needs \\usepackage{booktabs,graphicx}\n")
    # two of 50 rows, 40 and 10 of them with a head each
    assert text.count("\\begin{center}") == text.count("\\thetable: ") == 2
    assert text.count("\\begin{table}") == text.count("\\caption{") == 8
    assert text.count("\\begin{tabular}") == text.count("\\toprule") == 8 + 4
    (means, *_) = text.split("\\end{center}")
    assert [part.count(" \\\\\n") for part in means.split("\\begin{tabular}")] == [0, 1 + 40, 1 + 10]
    for name in ("center", "table", "tabular", "flushleft"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}")


def test_no_table_is_wider_than_its_page_and_none_is_made_wider() -> None:
    text = render([EVERYTHING, many(50, 7)], "latex")
    fitted = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{\\begin{tabular}"
    assert text.count(fitted) == text.count("\\begin{tabular}") == text.count("\\end{tabular}}\n")


# terminal


def test_without_a_terminal_there_are_plain_lines_of_100_cells() -> None:
    text = render(boards(), "terminal")
    assert "\x1b" not in text
    assert max(map(cell_len, text.splitlines())) <= 100
    assert "63.59* [63.19, 64.03]" in text


@pytest.mark.parametrize("width", [30, 80, 200])
def test_tables_fit_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = render(boards(), "terminal")
    assert "\x1b[1m" in text
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    # what anyone wrote moves nothing
    assert "\x1b" not in plain
    assert uncoloured(text) == plain
    assert max(map(cell_len, plain.splitlines())) <= width
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in render(boards(), "terminal")
