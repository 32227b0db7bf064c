"""Which rows are checkpoints of one training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.boards import boards

from evalharness.reports.board import Row
from evalharness.reports.checkpoints import checkpoint_series

ROW = boards()[0].rows[0]


def row(model: str, step: int | None, folder: str = "", experiment: str = "") -> Row:
    return replace(ROW, model=model, step=step, folder=Path(folder) if folder else None, experiment=experiment)


def found(*rows: Row) -> dict[str, list[int | None]]:
    return {series.name: [one.step for one in series.rows] for series in checkpoint_series(rows)}


def test_checkpoints_of_a_training_are_a_series_by_step() -> None:
    rows = [row("run/checkpoint-1000", 1000), row("run/checkpoint-500", 500), row("run/best", None)]
    assert found(*rows) == {"run": [500, 1000]}
    assert found(row("run/best", None)) == {}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("me/run/checkpoint-{}", "me/run"),
        ("run-a-step_{}", "run-a"),
        ("run/global_step{}", "run"),
        ("run2/ckpt-000{}", "run2"),
        ("run{}", "run"),
        ("checkpoint-{}", ""),
        ("epoch-{}/model", "epoch-*/model"),
    ],
)
def test_the_name_of_a_training_is_what_its_checkpoints_share(name: str, shown: str) -> None:
    assert found(row(name.format(2), 2), row(name.format(14), 14)) == {shown: [2, 14]}


def test_a_number_in_the_name_of_a_training_is_no_step() -> None:
    assert found(row("run-2/checkpoint-2", 2), row("run-2/checkpoint-4", 4)) == {"run-2": [2, 4]}


def test_trainings_are_told_apart_by_name_and_settings() -> None:
    rows = [row("a/checkpoint-1", 1), row("b/checkpoint-1", 1), row("b/checkpoint-1", 1, experiment="int8")]
    assert found(*rows) == {"a": [1], "b": [1], "b, int8": [1]}


def test_trainings_of_one_name_are_told_apart_by_their_folders() -> None:
    rows = [
        row(f"checkpoint-{step}", step, f"results/{run}/local__checkpoint-{step}/abc")
        for step in (500, 1000)
        for run in ("lr1", "lr2")
    ]
    assert found(*rows) == {"results/lr1": [500, 1000], "results/lr2": [500, 1000]}
    # each in a folder of its own, and yet one training
    apart = [row(f"checkpoint-{step}", step, f"results/at-{step}/local__checkpoint-{step}/abc") for step in (1, 2, 3)]
    assert found(*apart) == {"": [1, 2, 3]}


def test_trainings_whose_names_only_differ_in_the_word_for_a_checkpoint_keep_it() -> None:
    assert found(row("run/step-1", 1), row("run/ckpt-1", 1)) == {"run/ckpt-*": [1], "run/step-*": [1]}
