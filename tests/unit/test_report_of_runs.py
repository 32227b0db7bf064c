"""A report of runs with tiny models: what their items and logs say is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from support.small_runs import save_small_tasks
from support.tiny import save_sentence_model

from evalharness.reports.building.boards import make_boards
from evalharness.results.records import LOG
from evalharness.results.stored import read_runs

TASKS = ["SmallPairs", "SmallSearch", "SmallLabels"]


def test_a_report_of_runs_has_intervals_ranks_speed_and_steps(here: Cli, tmp_path: Path) -> None:
    tasks = save_small_tasks(tmp_path / "tasks")
    for step, pooling in ((10, "pooling_mode_mean_tokens"), (20, "pooling_mode_cls_token")):
        model = save_sentence_model(tmp_path / f"checkpoint-{step}", pooling={pooling: True})
        # nothing is taken from the other's vectors, so that both are timed
        done = here("run", "--model", str(model), "--tasks", *tasks, "--output", "results", "--store", f"store-{step}")
        assert done.returncode == 0, done.stderr
    runs = read_runs([tmp_path / "results"])
    (board,) = make_boards(runs)
    assert [row.step for row in sorted(board.rows, key=lambda row: row.model)] == [10, 20]
    for row in board.rows:
        assert set(row.cells) == set(TASKS)
        for name in TASKS:
            cell = row.cells[name]
            assert cell.interval is not None, name
            assert cell.score is not None
            assert cell.interval.low <= cell.score <= cell.interval.high
        assert row.mean_task.interval is not None
        assert row.on_these_tasks is not None
        assert row.on_tasks_like_these is not None
        assert row.folder is not None
        lines = [json.loads(line) for line in (row.folder / LOG).read_text().splitlines()]
        lines = [line for line in lines if line["texts_encoded"]]
        texts, seconds = (sum(found) for found in zip(*map(_encoded, lines), strict=True))
        assert row.texts_per_second == pytest.approx(texts / seconds)
        # of 8 queries
        assert row.cells["SmallSearch"].interval is not None
        assert not row.cells["SmallSearch"].interval.is_trusted


def _encoded(line: Mapping[str, Any]) -> tuple[int, float]:
    return line["texts_encoded"], line["seconds"]["encode"]
