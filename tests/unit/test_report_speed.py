"""Measured speed and steps of checkpoints in a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.stored import StoredScores, random_ndcg, spec_of, write_results

from evalharness.reports.board import Board
from evalharness.reports.building.boards import make_boards
from evalharness.reports.building.choosing import Choice
from evalharness.reports.building.speed import texts_per_second
from evalharness.results.checkpoints import checkpoint_step, step_of
from evalharness.results.records import LOG, append_log
from evalharness.results.stored import read_runs


def line(texts: Any, seconds: Any, **more: Any) -> dict[str, Any]:
    return {"texts_encoded": texts, "seconds": {"encode": seconds, "load": 9.0, "score": 9.0}, "error": None, **more}


def test_speed_is_over_the_jobs_that_encoded(tmp_path: Path) -> None:
    for found in (
        line(300, 2.0),
        line(100, 2.0),
        # from the store
        line(0, 5.0),
        # not done
        line(900, 1.0, error="out of memory"),
        # a reranker's
        {"texts_encoded": 10, "seconds": {"rank": 4.0}, "error": None},
    ):
        append_log(tmp_path, found)
    assert texts_per_second(tmp_path) == 100.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"texts_encoded": 5, "sec',
        "[1, 2]",
        "null",
        json.dumps(line("many", 1.0)),
        json.dumps(line(5, 1.0)).replace("5", "true"),
        json.dumps(line(5, -1.0)),
        json.dumps(line(5, float("nan"))),
        json.dumps(line(float("inf"), 1.0)),
        json.dumps({"texts_encoded": 5, "seconds": 3}),
        json.dumps({"texts_encoded": 5}),
        "[" * 100_000,
        "\x00\udcff",
    ],
    ids=range(13),
)
def test_lines_that_make_no_sense_do_not_count(tmp_path: Path, text: str) -> None:
    (tmp_path / LOG).write_bytes(text.encode(errors="surrogateescape"))
    assert texts_per_second(tmp_path) is None
    with (tmp_path / LOG).open("ab") as handle:
        handle.write(b"\n" + json.dumps(line(50, 2.0)).encode() + b"\n")
    assert texts_per_second(tmp_path) == 25.0


def test_without_a_log_nobody_measured(tmp_path: Path) -> None:
    assert texts_per_second(tmp_path / "nowhere") is None
    (tmp_path / LOG).mkdir()
    assert texts_per_second(tmp_path) is None


def board_of(folder: Path, **devices: str) -> Board:
    return board_of_facts(folder, **{name: {"device": device} for name, device in devices.items()})


def board_of_facts(folder: Path, **facts: dict[str, str]) -> Board:
    for name, said in facts.items():
        stored = random_ndcg(1)
        measured = StoredScores(stored.items, stored.metric, stored.type, facts=said)
        write_results(folder, {("Mine", "test", "default"): measured}, spec_of(f"me/{name}"))
    runs = read_runs([folder])
    for run in runs:
        append_log(run.folder, line(300, 3.0))
    (board,) = make_boards(runs)
    return board


def test_a_row_has_its_speed(tmp_path: Path) -> None:
    board = board_of(tmp_path, one="cpu", two="cpu")
    assert [row.texts_per_second for row in board.rows] == [100.0, 100.0]
    assert board.notes == []


def test_speeds_of_different_devices_have_a_footnote(tmp_path: Path) -> None:
    board = board_of(tmp_path, one="cpu", two="cuda", three="cpu")
    assert board.notes == [
        "speeds do not compare, for they were measured on: cpu float32 (2 rows), cuda float32 (1 row)"
    ]


def test_speeds_of_different_engines_have_a_footnote(tmp_path: Path) -> None:
    """An engine may be several times as fast as another on the same machine; its version is not what makes that."""
    engines = {"one": "openvino 2026.4.1", "two": "torch 2.13.0+cpu", "three": "openvino 2026.3.0"}
    board = board_of_facts(tmp_path, **{name: {"device": "cpu", "engine": it} for name, it in engines.items()})
    assert board.notes == [
        "speeds do not compare, for they were measured on: cpu float32 openvino (2 rows), cpu float32 torch (1 row)"
    ]


def test_a_row_without_any_of_the_tasks_was_not_measured_elsewhere(tmp_path: Path) -> None:
    board_of(tmp_path, one="cpu")
    write_results(tmp_path, {("Other", "test", "default"): random_ndcg(1)}, spec_of("me/other"))
    runs = read_runs([tmp_path])
    for run in runs:
        append_log(run.folder, line(300, 3.0))
    (board,) = make_boards(runs, Choice(tasks=["Mine"]))
    assert [row.texts_per_second for row in board.rows] == [100.0, 100.0]
    assert board.notes == []


def test_a_checkpoint_has_its_step(tmp_path: Path) -> None:
    for name in ("tuned/checkpoint-200", "tuned/checkpoint-1000", "BAAI/bge-m3"):
        write_results(tmp_path, {("Mine", "test", "default"): random_ndcg(1)}, spec_of(name))
    (board,) = make_boards(read_runs([tmp_path]))
    assert {row.model: row.step for row in board.rows} == {
        "tuned/checkpoint-200": 200,
        "tuned/checkpoint-1000": 1000,
        "BAAI/bge-m3": None,
    }


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("local/checkpoint-2000", 2000),
        ("checkpoint_7", 7),
        ("me/run1-checkpoint-30", 30),
        ("me/Checkpoint30", 30),
        ("me/global_step500", 500),
        ("me/ckpt-5", 5),
        ("sentence-transformers/all-MiniLM-L6-v2", None),
        ("intfloat/multilingual-e5-large", None),
        ("me/checkpoint", None),
        ("checkpoint-5/final", None),
        ("me/footstep2x", None),
        (f"me/checkpoint-{'9' * 5000}", None),
    ],
)
def test_names_of_checkpoints(name: str, step: int | None) -> None:
    assert checkpoint_step(name) == step


def test_any_folder_of_a_training_that_ends_in_a_number_is_one() -> None:
    assert [step_of(name) for name in ("epoch3", "100", "v1.5-40", "final", "9" * 5000)] == [3, 100, 40, None, None]
