from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evalharness.catalog import Member, TaskList
from evalharness.errors import DataError, UsageError
from evalharness.reports import formats, render
from evalharness.reports.leaderboard import Leaderboard, make_leaderboards
from evalharness.results import StoredRun, StoredTask

SUITE = TaskList(
    name="trio",
    tasks=(Member(task="STS12"), Member(task="STSB", splits=("test",)), Member(task="Banking77Classification")),
)


def run(model: str, **scores: float) -> StoredRun:
    tasks = {
        name: StoredTask(name, {"test": {"default": score}}, Path(f"{model}/{name}.json"))
        for name, score in scores.items()
    }
    return StoredRun(model, "c" * 40, {}, tasks, {})


def only_board(runs: list[StoredRun], tasks: TaskList | None) -> Leaderboard:
    (board,) = make_leaderboards(runs, tasks)
    return board


def test_averages_over_tasks_and_over_types() -> None:
    board = only_board([run("a/x", STS12=0.6, STSB=0.8, Banking77Classification=0.5)], SUITE)
    row = board.rows[0]
    assert row.types == {"STS": pytest.approx(0.7), "Classification": 0.5}
    assert row.mean_task == pytest.approx(1.9 / 3)
    assert row.mean_type == pytest.approx(0.6)


def test_a_missing_task_makes_averages_void_and_is_named() -> None:
    partial = run("a/partial", STS12=0.99, Banking77Classification=0.99)
    whole = run("a/whole", STS12=0.6, STSB=0.8, Banking77Classification=0.5)
    board = only_board([partial, whole], SUITE)
    assert [row.model for row in board.rows] == ["a/whole", "a/partial"]
    row = board.rows[1]
    assert (row.mean_task, row.mean_type, row.types["STS"]) == (None, None, None)
    assert row.types["Classification"] == 0.99
    text = render([board], "md")
    assert "| a/partial (cccccccc) [1] | – | – | – | 99.00 |" in text
    assert "[1] no averages over missing tasks: STSB (not run)" in text


def test_missing_splits_and_subsets_make_a_task_missing() -> None:
    whole = TaskList(name="one", tasks=(Member(task="STSB"),))
    row = only_board([run("a/x", STSB=0.5)], whole).rows[0]
    assert row.tasks["STSB"] is None
    assert row.missing == ["STSB (1 of 2 subsets missing)"]


def test_an_aggregate_is_the_mean_of_its_parts() -> None:
    from evalharness.catalog import find_task

    spec = find_task("CQADupstackRetrieval")
    assert spec is not None
    suite = TaskList(name="cqa", tasks=(Member(task="CQADupstackRetrieval"),))
    scores = {name: number / 100 for number, name in enumerate(spec.parts)}
    assert only_board([run("a/x", **scores)], suite).rows[0].mean_task == pytest.approx(0.055)
    del scores[spec.parts[3]]
    row = only_board([run("a/x", **scores)], suite).rows[0]
    assert row.missing == [f"CQADupstackRetrieval (its part {spec.parts[3]} not run)"]


def test_notes_become_footnotes() -> None:
    cut = replace(run("a/x", STS12=0.5), notes={"STS12": ["7 texts cut to 256 tokens"]})
    board = only_board([cut], None)
    text = render([board], "markdown")
    assert "a/x (cccccccc) [1]" in text
    assert "[1] STS12: 7 texts cut to 256 tokens" in text


def test_without_a_list_all_stored_tasks_count() -> None:
    board = only_board([run("a/x", STS12=0.5), run("a/y", STSB=0.5)], None)
    assert board.types == {"STS": ["STS12", "STSB"]}
    assert [row.mean_task for row in board.rows] == [None, None]


def test_two_results_of_one_model_are_not_mixed() -> None:
    with pytest.raises(DataError, match="two folders hold results of a/x"):
        only_board([run("a/x", STS12=0.5), run("a/x", STS12=0.6)], None)


def test_formats() -> None:
    assert "markdown" in formats()
    with pytest.raises(UsageError, match="unknown format 'markdwn': did you mean markdown"):
        render(make_leaderboards([run("a/x", STS12=0.5)], None), "markdwn")


def test_protocols_are_never_in_one_table_and_named_in_every_title() -> None:
    published = replace(run("a/x", STS12=0.6), overrides={"protocol": "published"})
    boards = make_leaderboards([run("a/x", STS12=0.5), published], None)
    assert [(board.protocol, board.rows[0].tasks["STS12"]) for board in boards] == [("mteb", 0.5), ("published", 0.6)]
    titles = [line for line in render(boards, "md").splitlines() if line.startswith("#")]
    assert titles == [
        "# all stored tasks (protocol: mteb)", "## Tasks (protocol: mteb)",
        "# all stored tasks (protocol: published)", "## Tasks (protocol: published)",
    ]  # fmt: skip
    # the protocol is no change that needs a footnote
    assert "other settings" not in render(boards, "md")


def test_a_second_stage_stands_beside_the_name() -> None:
    overrides = {"reranker": "b/reranker@12345678", "rerank_top_k": 20}
    text = render(make_leaderboards([replace(run("a/x", STS12=0.5), overrides=overrides)], None), "md")
    assert "| a/x + b/reranker (top 20) (cccccccc) |" in text
