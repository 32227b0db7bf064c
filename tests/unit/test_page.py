from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from support.boards import HOSTILE, REVISION, boards, many
from support.stored import ndcg, pairs, random_ndcg, spec_of, write_results

from evalharness.reports.board import Board, Cell, Mean, Span
from evalharness.reports.building.boards import make_boards
from evalharness.reports.formats import render
from evalharness.reports.page import assemble, data
from evalharness.reports.page.data import STEPS, as_json, in_script
from evalharness.reports.page.items import BINS, MOST_BYTES, item_views
from evalharness.results.items import write_items
from evalharness.results.stored import read_runs
from evalharness.types import ItemScores

FOLDER = Path(assemble.__file__).parent
SOURCES = sorted(path for ending in ("*.js", "*.css", "*.html") for path in FOLDER.glob(ending))


def data_of(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_it_is_small_without_data() -> None:
    assert len(render([], "html").encode()) < 150_000


def test_its_files_are_all_in_it_and_readable() -> None:
    scripts = {path.name for path in SOURCES if path.suffix == ".js"}
    assert scripts == set(assemble.SCRIPTS)
    assert {path.name for path in SOURCES if path.suffix == ".css"} == set(assemble.STYLES)
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400
        assert path.suffix != ".js" or text.startswith("'use strict';\n")


def test_nothing_of_it_makes_html_or_code_of_data_or_asks_anyone() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|"
        r"createContextualFragment|srcdoc|\bfetch\b|XMLHttpRequest|WebSocket|sendBeacon|\bimport\b|@import|url\("
    )
    for path in SOURCES:
        assert not forbidden.search(path.read_text(encoding="utf-8")), path.name
    # addresses are those of a link that somebody follows, and the name of SVG
    said = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    assert set(re.findall(r"https?://[^\s'\"`/\\]+", said)) == {"http://www.w3.org"}


def test_its_policy_allows_its_own_script_and_style_alone() -> None:
    text = render(boards(), "html")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}


def test_its_data_are_what_the_boards_have() -> None:
    (board, *_) = boards()
    found = data_of(render([board], "html"))["boards"][0]
    assert (found["title"], found["protocol"], found["sorted"]) == (board.title, board.protocol, board.sorted_by)
    assert [task["name"] for task in found["tasks"]] == board.tasks
    for place, row in enumerate(board.rows):
        columns: list[tuple[Mean | Cell | None, Any]] = [
            (row.mean_task, found["mean"]),
            (row.mean_type, found["byType"]),
            (row.common, found["commonMean"]),
        ]
        columns += [(row.types[kind["name"]], kind) for kind in found["types"]]
        columns += [(row.cells[task["name"]], task) for task in found["tasks"]]
        for wanted, column in columns:
            assert wanted is not None
            score = column["s"][place]
            assert (score is None) == (wanted.score is None)
            assert score is None or abs(score / STEPS - (wanted.score or 0)) < 1e-5
            below = column.get("l", [None] * len(board.rows))[place]
            span = wanted.interval
            is_told = span is not None and score is not None and span.low == span.low
            assert (below is not None) == is_told
            if span is not None and below is not None:
                assert (score - below) / STEPS == pytest.approx(span.low, abs=2e-5)
                assert (score + column["h"][place]) / STEPS == pytest.approx(span.high, abs=2e-5)
                assert span.is_trusted == (place not in column.get("u", []))
        assert found["rows"]["borda"][place] == row.borda
        assert found["rows"]["parameters"][place] == row.facts.parameters


def shown(steps: int) -> str:
    """As `points` of boards.js has it."""
    return f"{(steps + 5) // 10 / 100:.2f}"


def test_a_score_is_rounded_once() -> None:
    (board, *_) = boards()
    # where rounding to 0.00001 first would show another number
    scores = [0.6348499, 0.63485, 0.6348501, 0.004995, 0.0049949999, 1.0, 0.0, 0.12345, 0.1234549]
    scores += [random.Random(seed).random() for seed in range(3000)]
    rows = [replace(board.rows[0], mean_task=replace(board.rows[0].mean_task, score=score)) for score in scores]
    found = json.loads(as_json([replace(board, rows=rows, columns=[])]))["boards"][0]["mean"]["s"]
    assert [shown(steps) for steps in found] == [f"{100 * score:.2f}" for score in scores]
    assert max(abs(steps / STEPS - score) for steps, score in zip(found, scores, strict=True)) < 1.01 / STEPS


def test_no_text_ends_the_script_that_holds_it_or_turns_the_page() -> None:
    worst = "</script><!--\u2028\u2029\u202e\x00\ud800 a\nb"
    text = in_script({"a": [worst], worst: 1})
    assert not set("<>&\u2028\u2029\u202e\x00\ud800\n") & set(text)
    assert json.loads(text)["a"] == ["</script><!-- \ufffd\ufffd\ufffd a b"]
    page = render([replace(one, notes=[worst]) for one in boards()], "html")
    assert page.count("</script>") == 2
    assert page.encode()


def test_the_table_without_javascript() -> None:
    text = render(boards(), "html")
    (plain,) = re.findall(r"<noscript>(.*?)</noscript>", text, re.DOTALL)
    for name in HOSTILE:
        assert name not in plain
    assert HOSTILE[0] in unescape(plain)
    assert plain.count("<tr>") == 3 + 20 + 2
    assert "63.59" in plain
    assert "\u2013 6/7" in plain


def test_hundreds_of_models_fit_into_a_page() -> None:
    assert len(render([many()], "html").encode()) < 800_000


def test_subsets_that_there_is_no_room_for_are_left_out_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    (board, *_) = boards()
    whole = data_of(render([board], "html"))
    assert [len(task["parts"]) for task in whole["boards"][0]["tasks"]] == [1, 3, 1, 1, 1, 1, 1]
    monkeypatch.setattr(data, "MOST_SUBSETS", 3 * len(board.rows) - 1)
    small = data_of(render([board], "html"))
    assert [len(task["parts"]) for task in small["boards"][0]["tasks"]] == [1, 0, 1, 1, 1, 1, 1]
    (said,) = {*small["texts"]} - {*whole["texts"]}
    assert said == "Subsets of 1 tasks are left out of this page, for there are too many."


def items_board(folder: Path, **jobs: Any) -> Board:
    for name, stored in jobs.items():
        write_results(folder / name, stored, spec_of(f"me/{name}"))
    (board,) = make_boards(read_runs([folder]))
    return board


def job(task: str) -> tuple[str, str, str]:
    return (task, "test", "default")


def test_items_of_two_models(tmp_path: Path) -> None:
    values = ([n / 100 for n in range(100)], [0.5] * 99 + [1.0])
    board = items_board(tmp_path, one={job("T"): ndcg(values[0])}, two={job("T"): ndcg(values[1])})
    (view,) = item_views([board])
    assert view is not None
    (found,) = view["tasks"][0]
    place = {row.model: number for number, row in enumerate(board.rows)}
    one, two = found["rows"][place["me/one"]], found["rows"][place["me/two"]]
    assert (one["n"], sum(one["spread"]), one["spread"]) == (100, 100, [5] * BINS)
    assert two["spread"] == [0] * 10 + [99] + [0] * 8 + [1]
    by_id = dict(zip(found["ids"], zip(one["s"], two["s"], strict=True), strict=True))
    assert by_id["q0"] == (0, 500)
    assert by_id["q99"] == (990, 1000)
    # the lowest and highest of one; what the two differ in most is among them
    assert {"q0", "q1", "q2", "q98", "q99"} <= set(by_id)
    assert view["left"] == []


def test_items_of_a_score_that_is_no_mean(tmp_path: Path) -> None:
    board = items_board(tmp_path, one={job("S"): pairs([0.0, 0.5, 1.0, 0.2], [0.1, 0.2, 0.9, 0.8])})
    (view,) = item_views([board])
    assert view is not None
    assert "agreement of ranks" in view["tasks"][0][0]["what"]


def test_items_are_bounded_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    tasks = {job(f"T{number}"): random_ndcg(number) for number in range(12)}
    board = items_board(tmp_path, one=tasks)
    whole = item_views([board])
    assert len(json.dumps(whole)) < MOST_BYTES
    (small,) = item_views([board], most_bytes=3000)
    assert small is not None
    assert 0 < len(small["tasks"]) < 12
    assert len(json.dumps(small["tasks"])) < 3500
    assert small["left"] == [
        f"Items of {12 - len(small['tasks'])} subsets are left out, for a page may not grow without end."
    ]
    # of two boards, each has its half, and what the first does not need
    shares = [view for view in item_views([board, board], most_bytes=6000) if view is not None]
    assert all(view["tasks"] for view in shares)
    assert len(shares[1]["tasks"]) >= len(shares[0]["tasks"])


def test_items_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    board = items_board(tmp_path, one={job("A"): random_ndcg(1), job("B"): random_ndcg(2)})
    (damaged,) = tmp_path.rglob("jobs/A/*.parquet")
    damaged.write_bytes(b"no Parquet")
    (view,) = item_views([board])
    assert view is not None
    assert list(view["tasks"]) == [1]
    assert view["left"] == ["Items of 1 score are left out, for they cannot be read or do not give it."]


def test_items_that_contradict_their_score_are_not_shown_as_what_it_is_made_of(tmp_path: Path) -> None:
    board = items_board(tmp_path, one={job("A"): random_ndcg(1), job("B"): random_ndcg(2)})
    (changed,) = tmp_path.rglob("jobs/A/*.parquet")
    write_items(changed, ItemScores(["q0", "q1"], {"ndcg_at_10": [0.25, 0.5]}))
    (empty,) = tmp_path.rglob("jobs/B/*.parquet")
    write_items(empty, ItemScores([], {"ndcg_at_10": []}))
    (view,) = item_views([board])
    assert view is not None
    assert view["tasks"] == {}
    assert view["left"] == ["Items of 2 scores are left out, for they cannot be read or do not give them."]


def test_boards_without_items_have_no_view() -> None:
    assert item_views(boards()) == [None, None, None]


def test_intervals_that_say_nothing_are_left_out() -> None:
    (board, *_) = boards()
    nothing = Span(float("nan"), float("nan"))
    rows = [replace(row, mean_task=replace(row.mean_task, interval=nothing)) for row in board.rows]
    found = json.loads(as_json([replace(board, rows=rows)]))["boards"][0]
    assert "l" not in found["mean"]
    assert found["rows"]["revision"][10:11] != [None]
    assert REVISION in found["rows"]["revision"]
