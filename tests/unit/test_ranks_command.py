"""`ranks`: many models at once, from results with items and from tables of published scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli
from support.stored import StoredScores, ndcg, pairs, spec_of, write_results

from evalharness.catalog.tasks import Member, TaskList
from evalharness.compare.ranks.boards import rank
from evalharness.compare.ranks.matrix import read_matrix
from evalharness.compare.ranks.matrix import scores_of as scores_of_table
from evalharness.compare.ranks.stored import scores_of
from evalharness.compare.sides import read_all
from evalharness.errors import DataError, UsageError

JOBS = [("One", "test", "default"), ("Two", "test", "default"), ("Three", "test", "default")]


def queries(seed: int, skill: float, count: int = 80) -> StoredScores:
    """Queries whose difficulty is the same for every model."""
    hard = np.random.default_rng(seed).uniform(0.2, 0.6, count)
    own = np.random.default_rng([seed, int(1000 * skill)]).normal(0, 0.02, count)
    return ndcg(np.clip(hard + skill + own, 0, 1).round(6).tolist())


def model(folder: Path, name: str, skill: float, jobs: Sequence[tuple[str, str, str]] = JOBS) -> Path:
    scores = {job: queries(number, skill) for number, job in enumerate(jobs)}
    return write_results(folder / name, scores, spec_of(f"me/{name}"))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name, skill in (("weak", 0.0), ("strong", 0.3), ("middling", 0.15)):
        model(tmp_path, name, skill)
    return tmp_path


def test_models_that_are_far_from_each_other_are_told_apart(results: Path) -> None:
    board = rank(scores_of(read_all([str(results)]), None), 500)
    names = [board.scores.models[found.model] for found in board.ranking.standings]
    assert [name.partition(" ")[0] for name in names] == ["me/strong", "me/middling", "me/weak"]
    assert set(board.scores.items) == {"One", "Two", "Three"}
    for place, found in enumerate(board.ranking.standings, start=1):
        assert found.on_these_tasks is not None
        assert (found.rank, found.on_these_tasks.best, found.on_these_tasks.worst) == (place, place, place)
    assert board.told_apart_by_items == 2


def test_scores_are_those_of_the_results(results: Path) -> None:
    scores = scores_of(read_all([str(results)]), None)
    for place, task in enumerate(scores.tasks):
        assert np.allclose(scores.items[task].mean(axis=1), scores.scores[:, place])
    stored = {str(one.side): one for one in read_all([str(results)])}
    for row, name in zip(scores.scores, scores.models, strict=True):
        assert row.tolist() == [stored[name].tasks[task].scores["test"]["default"] for task in scores.tasks]


def test_a_score_that_is_no_mean_has_items_by_its_influence(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    gold = random.uniform(0, 5, 60).tolist()
    for number, noise in enumerate((0.5, 1.0)):
        found = pairs(gold, (gold + random.normal(0, noise, 60)).tolist())
        write_results(tmp_path / str(number), {("Mine", "test", "default"): found}, spec_of(f"me/{number}"))
    scores = scores_of(read_all([str(tmp_path)]), None)
    assert np.allclose(scores.items["Mine"].mean(axis=1), scores.scores[:, 0])
    board = rank(scores, 500)
    assert board.told_apart_by_tasks is None
    assert board.told_apart_by_items is not None


def test_who_lacks_a_task_or_has_other_data_is_left_out(results: Path) -> None:
    model(results, "partial", 0.1, JOBS[:2])
    other = {job: replace(queries(1, 0.1), key={"dataset_revision": "2"}) for job in JOBS}
    write_results(results / "zzz", other, spec_of("me/zzz"))
    tasks = TaskList(name="mine", tasks=tuple(Member(task=job[0]) for job in JOBS))
    scores = scores_of(read_all([str(results)]), tasks)
    assert len(scores.models) == 3
    (partial, why), (revised, reason) = sorted(scores.left_out.items())
    assert partial.startswith("me/partial")
    assert "first Three" in why
    assert revised.startswith("me/zzz")
    assert "revision" in reason


def test_without_items_of_all_models_only_tasks_are_resampled(results: Path) -> None:
    scores_only = {job: StoredScores(None, "ndcg_at_10", "Retrieval", score=0.9) for job in JOBS}
    write_results(results / "alone", scores_only, spec_of("me/alone"))
    board = rank(scores_of(read_all([str(results)]), None), 500)
    assert board.scores.items == {}
    assert board.told_apart_by_items is None
    assert all(found.on_these_tasks is None for found in board.ranking.standings)
    assert all(found.on_tasks_like_these is not None for found in board.ranking.standings)


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["model,A,B,C", *lines]) + "\n", encoding="utf-8")
    return path


def test_a_table_of_published_scores(tmp_path: Path) -> None:
    path = table(tmp_path / "scores.csv", "me/a,50,60,70", "me/b,40.5,,1", "me/c,10,20,30.25", "me/d,9235,1,2")
    scores = scores_of_table(read_matrix(path), None)
    assert scores.models == ["me/a", "me/c"]
    assert scores.scores.tolist() == [[0.5, 0.6, 0.7], [0.1, 0.2, 0.3025]]
    assert scores.left_out == {"me/b": "without B", "me/d": "no scores from -100 to 100: A 9235"}
    some = TaskList(name="some", tasks=(Member(task="C"), Member(task="A")))
    assert scores_of_table(read_matrix(path), some).scores.tolist()[-1] == [0.3025, 0.1]
    with pytest.raises(UsageError, match="no column for 1 of 1 tasks: Z"):
        scores_of_table(read_matrix(path), TaskList(name="none", tasks=(Member(task="Z"),)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "expected a first line of column names"),
        ("model\nme/a\n", "expected a first line of column names"),
        ("model,A,A\nme/a,1,2\n", "columns are there twice: A"),
        ("model,A,B\nme/a,1\n", "row 2: has 2 cells; expected 3"),
        ("model,A\nme/a,1\nme/a,2\n", "row 3: the model 'me/a' is there twice"),
        ("model,A\nme/a,good\n", "row 2, 'A': expected points, or nothing; found 'good'"),
        ("model,A\nme/a,nan\n", "row 2, 'A': expected points, or nothing; found 'nan'"),
        ('model,A\n"me/a,1\n', "cannot be read as CSV"),
        ("model,A\nme/\xff,1\n", "cannot be read as CSV"),
    ],
)
def test_a_table_that_is_none(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError) as raised:
        read_matrix(path)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)


def test_the_command_on_results(here: Cli, results: Path) -> None:
    done = here("ranks", "weak", "strong", "middling")
    assert done.returncode == 0, done.stderr
    assert "0 of 2 neighbours are not told apart on these tasks" in done.stdout
    (board,) = json.loads(here("ranks", str(results), "--format", "json", "--draws", "200").stdout)
    assert [found["rank"] for found in board["standings"]] == [1, 2, 3]
    assert board["standings"][0]["on_these_tasks"] == [1, 1]
    assert board["tasks_with_items"] == ["One", "Three", "Two"]
    # the same input has the same ranks
    again = here("ranks", str(results), "--format", "json", "--draws", "200").stdout
    assert json.loads(again) == [board]


def test_the_command_on_a_table(here: Cli, tmp_path: Path) -> None:
    rows = [f"me/{number},{50 + number},{40 + 2 * number},{30 + (7 * number) % 5}" for number in range(12)]
    table(tmp_path / "scores.csv", *rows, "me/<i>|x,1,2,")
    done = here("ranks", "scores.csv", "--format", "md")
    assert done.returncode == 0, done.stderr
    assert "# Ranks on all columns" in done.stdout
    assert "1 model is left out: me/\\<i\\>\\|x" in done.stdout
    assert "| 1 | me/11 |" in done.stdout
    done = here("ranks", "scores.csv", "--tasks", "A,B")
    assert "12 models, 2 tasks" not in done.stdout
    assert "13 models, 2 tasks" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scores.csv", "--benchmark", "MTEB(eng, v2)"], "has no column for 41 of 41 tasks"),
        (["scores.csv", "--tasks", "Q"], "unknown task 'Q'"),
        (["scores.csv", "other"], "which is ranked alone"),
        (["scores.csv"], "ranks need two models that have all 3 tasks, and there is one"),
        (["scores.csv", "--format", "xml"], "unknown format 'xml'"),
        (["nowhere"], "no such folder"),
        (["nowhere.csv"], "nowhere.csv: is missing or no file"),
        ([], "Missing argument"),
    ],
)
def test_what_is_wrong_is_said(here: Cli, tmp_path: Path, arguments: list[str], said: str) -> None:
    table(tmp_path / "scores.csv", "me/a,1,2,3", "me/b,1,2,")
    done = here("ranks", *arguments)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
