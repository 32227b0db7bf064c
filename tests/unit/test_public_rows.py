"""Published scores beside results: which rows a board shows, and what it says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from evalharness.catalog.tasks import Member, TaskList
from evalharness.reports.board import Board
from evalharness.reports.building.boards import make_boards
from evalharness.reports.building.choosing import Choice
from evalharness.results.stored import StoredRun, StoredTask

TASKS = TaskList(name="three", tasks=tuple(Member(task=name) for name in ("STS12", "STS13", "STS14")))
THREE = Choice(lists=[TASKS])
REVISIONS = {
    "STS12": "a0d554a64d88156834ff5ae9920b964011b16384",
    "STS13": "7e90230a92c190f1bf69ae9002b8cea547a64cca",
    "STS14": "6031580fec1f6af667f0bd2da0a551cf4f0b2375",
}


def run(model: str, scores: Mapping[str, float], *, is_published: bool = False, source: str = "a" * 40) -> StoredRun:
    tasks = {
        name: StoredTask(
            name,
            {"test": {"default": score}},
            REVISIONS.get(name),
            metric="cosine_spearman",
            sources={"test": {"default": source}} if is_published else {},
        )
        for name, score in scores.items()
    }
    return StoredRun(model, "a" * 40, {}, tasks, Path("folder"), absent="absent", is_published=is_published)


def public(model: str, score: float, *, source: str = "a" * 40) -> StoredRun:
    return run(model, dict.fromkeys(REVISIONS, score), is_published=True, source=source)


def board(*runs: StoredRun, choice: Choice = THREE) -> Board:
    (found,) = make_boards(runs, choice)
    return found


def names(found: Board) -> list[str]:
    return [row.model for row in found.rows]


MINE = run("mine", {"STS12": 0.5, "STS13": 0.58})
MANY = [public(f"public {number}", number / 10) for number in range(10)]
LACKING = run("lacking", {"STS12": 0.5}, is_published=True)


def test_all_complete_ones_are_shown_and_the_others_counted() -> None:
    found = board(MINE, *MANY, LACKING)
    assert names(found) == [*(f"public {number}" for number in reversed(range(10))), "mine"]
    assert (
        "1 published model lacks tasks that other published ones have, and is not shown; --models shows it"
        in found.notes
    )
    two = board(MINE, *MANY, LACKING, replace(LACKING, model="lacking too"))
    assert (
        "2 published models lack tasks that other published ones have, and are not shown; --models shows them"
        in two.notes
    )
    assert "mixed sources" in found.notes[0]


def test_a_task_that_nobody_published_keeps_no_model_away() -> None:
    tasks = TaskList(name="four", tasks=(*TASKS.tasks, Member(task="STS15")))
    found = board(MINE, *MANY, LACKING, choice=Choice(lists=[tasks]))
    assert len(found.rows) == 11
    assert all(row.mean_task.score is None for row in found.rows)
    nobody = TaskList(name="none", tasks=(Member(task="STS15"),))
    assert names(board(MINE, *MANY, choice=Choice(lists=[nobody]))) == ["mine"]


def test_named_ones_are_shown_whatever_they_lack() -> None:
    found = board(MINE, *MANY, LACKING, choice=Choice(lists=[TASKS], models=["mine", "lacking"]))
    assert names(found) == ["lacking", "mine"]


def test_the_nearest_are_so_by_the_tasks_that_mine_has() -> None:
    # 0.54 over its two tasks
    found = board(MINE, *MANY, LACKING, choice=Choice(lists=[TASKS], nearest=2))
    assert names(found) == ["public 6", "public 5", "mine"]
    assert "9 others are not shown" in found.notes[1]


def test_the_nearest_of_two_are_those_of_either() -> None:
    other = run("other", {"STS14": 0.1})
    found = board(MINE, other, *MANY, choice=Choice(lists=[TASKS], nearest=1))
    assert names(found) == ["public 5", "public 1", "mine", "other"]


def test_tasks_that_nobody_published_do_not_keep_from_finding_the_nearest() -> None:
    mine = replace(MINE, tasks={**MINE.tasks, "my own": StoredTask("my own", {"test": {"default": 0.9}})})
    found = board(mine, *MANY, choice=Choice(nearest=1, tasks=["STS12", "STS13", "my own"]))
    assert len(found.rows) == 2


def test_without_a_list_the_tasks_are_those_of_the_results() -> None:
    assert list(board(MINE, *MANY, choice=Choice()).tasks) == ["STS12", "STS13"]
    assert list(board(*MANY, choice=Choice()).tasks) == ["STS12", "STS13", "STS14"]


def test_a_row_says_once_where_its_scores_are_from() -> None:
    mixed = run("mixed", {"STS12": 0.5}, is_published=True, source="external")
    early = run("x", {"STS13": 0.5, "STS14": 0.6}, is_published=True, source="no_revision_available")
    tasks = {**mixed.tasks, **early.tasks}
    tasks["STS14"] = replace(tasks["STS14"], revision=None)
    tasks["STS13"] = replace(tasks["STS13"], revision="b" * 40)
    found = board(replace(mixed, tasks=tasks)).rows[0]
    assert found.notes[0] == (
        "of 3 published scores: 1 copied from the model's card, 2 of an early run of an unknown revision, "
        "1 on other data revisions than the catalogue's, 1 on data of an unknown revision"
    )
    assert [found.cells[name].source for name in REVISIONS] == ["external", *["no_revision_available"] * 2]
    assert found.origin == "published"


def test_another_metric_is_no_score_of_the_table() -> None:
    task = replace(MANY[5].tasks["STS12"], metric="pearson")
    found = board(
        replace(MANY[5], tasks={**MANY[5].tasks, "STS12": task}), choice=Choice(lists=[TASKS], models=["public 5"])
    )
    assert found.rows[0].cells["STS12"].score is None
    assert "pearson" in found.rows[0].cells["STS12"].missing


def sentiment(scores: Mapping[str, float]) -> StoredRun:
    task = StoredTask(
        "MultilingualSentiment",
        {split: {"default": score} for split, score in scores.items()},
        metric="accuracy",
        sources={split: {"default": "external"} for split in scores},
    )
    return StoredRun("m", "external", {}, {task.task: task}, Path("x"), is_published=True)


@pytest.mark.parametrize(
    ("scores", "splits", "score", "note"),
    [
        ({"validation+test": 0.6}, ("validation", "test"), 0.6, ()),
        ({"validation": 0.6, "test": 0.8}, ("validation", "test"), 0.7, ()),
        ({"validation": 0.6}, ("validation", "test"), 0.6, ("on validation alone, of validation and test",)),
        ({"validation": 0.6, "validation+test": 0.8}, ("validation",), 0.6, ()),
        ({"validation+test": 0.8}, ("validation",), None, ()),
    ],
)
def test_splits_of_published_scores(
    scores: Mapping[str, float], splits: tuple[str, ...], score: float | None, note: tuple[str, ...]
) -> None:
    wanted = TaskList(name="one", tasks=(Member(task="MultilingualSentiment", splits=splits),))
    (found,) = make_boards([sentiment(scores)], Choice(lists=[wanted], models=["m"]))
    cell = found.rows[0].cells["MultilingualSentiment"]
    assert cell.score == (None if score is None else pytest.approx(score))
    assert tuple(cell.notes) == note


def test_a_split_that_was_published_with_another_one_says_so() -> None:
    wanted = TaskList(name="one", tasks=(Member(task="MultilingualSentiment", splits=("validation",)),))
    found = board(sentiment({"validation+test": 0.8}), choice=Choice(lists=[wanted], models=["m"]))
    assert found.rows[0].cells["MultilingualSentiment"].missing == "published over validation+test together"


def test_results_are_never_shown_for_some_of_their_splits() -> None:
    mine = replace(sentiment({"validation": 0.6}), is_published=False)
    task = replace(mine.tasks["MultilingualSentiment"], sources={}, revision="46958b007a63fdbf239b7672c25d0bea67b5ea1a")
    wanted = TaskList(name="one", tasks=(Member(task="MultilingualSentiment", splits=("validation", "test")),))
    (found,) = make_boards([replace(mine, tasks={task.task: task})], Choice(lists=[wanted]))
    assert found.rows[0].cells[task.task].score is None
