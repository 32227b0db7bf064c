"""Where rows stand: by Borda count as by counting pairs, and whatever the order of rows and tasks is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.catalog.models import ModelFacts
from evalharness.catalog.tasks import Member, TaskList, find_task
from evalharness.reports.board import Cell, Mean, Part, Row
from evalharness.reports.building.boards import make_boards
from evalharness.reports.building.choosing import SORTS, Choice
from evalharness.reports.building.standing import common_tasks, incomplete, ordered, with_borda
from evalharness.results.stored import StoredRun, StoredTask

TASKS = ("STS12", "NFCorpus", "SciFact", "Banking77Classification")
# few values, so that many are equal
SCORES = st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.25, 0.5]))
TABLES = st.lists(st.tuples(*[SCORES] * len(TASKS)), min_size=1, max_size=7)


def row(name: str, scores: Sequence[float | None]) -> Row:
    cells = {task: Cell(score) for task, score in zip(TASKS, scores, strict=True)}
    void = Mean(None, 0, 0)
    return Row(name, "1", "", "", cells, {}, void, void)


def ranks(table: Sequence[Sequence[float | None]]) -> list[int | None]:
    return [found.borda for found in with_borda([row(str(n), scores) for n, scores in enumerate(table)], TASKS)]


def by_pairs(table: Sequence[Sequence[float | None]]) -> list[int | None]:
    """A win over another row counts one, an equal score a half, and a row that lacks the task is won against."""
    counted = [scores for scores in table if any(score is not None for score in scores)]
    points = []
    for scores in counted:
        total = 0.0
        for task, score in enumerate(scores):
            for other in (found[task] for found in counted if found is not scores):
                if score is not None:
                    total += 1.0 if other is None or score > other else 0.5 if score == other else 0.0
        points.append(total)
    found = iter(1 + sum(other > total for other in points) for total in points)
    return [next(found) if any(score is not None for score in scores) else None for scores in table]


@settings(deadline=None)
@given(TABLES)
def test_borda_ranks_are_those_of_won_pairs(table: list[tuple[float | None, ...]]) -> None:
    # equal rows stay told apart
    assert ranks([list(scores) for scores in table]) == by_pairs([list(scores) for scores in table])


@settings(deadline=None)
@given(TABLES, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter_for_ranks(
    table: list[tuple[float | None, ...]], draw: random.Random
) -> None:
    places = list(range(len(table)))
    draw.shuffle(places)
    assert ranks([table[place] for place in places]) == [ranks(table)[place] for place in places]


def test_an_incomplete_task_counts_by_what_is_there() -> None:
    half = row("half", [None, 0.5, None, None])
    parts = [Part("test", "a", (), 0.4), Part("test", "b", (), 0.3)]
    half = replace(half, cells={**half.cells, "STS12": Cell(None, "1 of 3 subsets missing", parts=parts)})
    rows = [half, row("low", [0.2, 0.5, None, None]), row("none", [None] * 4)]
    assert [found.borda for found in with_borda(rows, TASKS)] == [1, 2, None]
    (told,) = incomplete(rows)
    assert told.endswith("as in mteb: STS12")
    assert common_tasks(rows, TASKS) == ["NFCorpus"]


@settings(deadline=None)
@given(TABLES)
def test_common_tasks_are_those_without_a_gap(table: list[tuple[float | None, ...]]) -> None:
    rows = [row(str(n), scores) for n, scores in enumerate(table)]
    some = [scores for scores in table if any(score is not None for score in scores)]
    expected = [task for place, task in enumerate(TASKS) if some and all(scores[place] is not None for scores in some)]
    assert common_tasks(rows, TASKS) == expected


def test_small_models_and_fast_ones_come_first_and_those_of_which_nobody_knows_last() -> None:
    rows = [
        replace(row("a", [0.5] * 4), facts=ModelFacts(parameters=9), texts_per_second=1.0),
        replace(row("b", [0.5] * 4)),
        replace(row("c", [0.5] * 4), facts=ModelFacts(parameters=3), texts_per_second=0.5),
        replace(row("d", [0.5] * 4), facts=ModelFacts(parameters=3), texts_per_second=7.0),
    ]
    assert [found.model for found in ordered(rows, "parameters")] == ["c", "d", "a", "b"]
    assert [found.model for found in ordered(rows, "speed")] == ["d", "a", "c", "b"]


def stored(name: str, scores: Sequence[float | None]) -> StoredRun:
    tasks = {}
    for task, score in zip(TASKS, scores, strict=True):
        spec = find_task(task)
        assert spec is not None
        if score is not None:
            tasks[task] = StoredTask(task, {"test": {"default": score}}, spec.revision)
    return StoredRun(name, "1" * 40, {}, tasks, Path("results") / name)


@settings(deadline=None)
@given(TABLES, st.randoms(use_true_random=False), st.sampled_from([*SORTS, "STS", "SciFact"]))
def test_a_board_is_the_same_whatever_the_order_of_runs_and_tasks(
    table: list[tuple[float | None, ...]], draw: random.Random, sort: str
) -> None:
    runs = [stored(f"m/{number}", scores) for number, scores in enumerate(table)]
    listed = list(TASKS)
    (first,) = make_boards(runs, Choice(lists=[_list(listed)], sort=sort, common=True))
    draw.shuffle(runs)
    draw.shuffle(listed)
    (second,) = make_boards(runs, Choice(lists=[_list(listed)], sort=sort, common=True))
    assert [found.model for found in first.rows] == [found.model for found in second.rows]
    for mine, other in zip(first.rows, second.rows, strict=True):
        assert (mine.mean_task, mine.borda, mine.common) == (other.mean_task, other.borda, other.common)
        assert dict(mine.types) == dict(other.types)
        assert mine.cells == {task: other.cells[task] for task in mine.cells}
    values = [found.mean_task.score for found in first.rows]
    if sort == "mean":
        assert values == sorted(values, key=lambda value: (value is None, -(value or 0)))


def _list(names: Sequence[str]) -> TaskList:
    return TaskList(name="four", tasks=tuple(Member(task=name) for name in names))
