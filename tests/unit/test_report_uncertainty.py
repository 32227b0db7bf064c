"""Intervals on boards: of scores, subsets, means and ranks, where items are at hand, and what is said where not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from support.stored import StoredScores, ndcg, random_ndcg, spec_of, write_results

from evalharness.catalog.tasks import Member, TaskList, find_task
from evalharness.compare.comparison import Settings
from evalharness.compare.matching import alone as read_alone
from evalharness.compare.ranks.boards import rank
from evalharness.compare.ranks.stored import scores_of
from evalharness.compare.sides import read_all
from evalharness.compare.single import mean_estimate, score_estimate
from evalharness.metrics.statistics.intervals import welch_mean
from evalharness.reports.board import Board, Cell, Mean, Part, RankSpan, Row, Span
from evalharness.reports.building.boards import Choice, make_boards
from evalharness.reports.building.uncertainty import known_from_items
from evalharness.results.items import write_items
from evalharness.results.records import items_path
from evalharness.results.stored import StoredRun, StoredTask, read_runs
from evalharness.types import ItemScores

Jobs = Mapping[tuple[str, str, str], StoredScores]


def queries(seed: int, skill: float = 0.0, count: int = 60) -> StoredScores:
    """Queries whose difficulty is the same for every model."""
    hard = np.random.default_rng(seed).uniform(0.1, 0.6, count)
    own = np.random.default_rng([seed, int(1000 * skill)]).normal(0, 0.05, count)
    return ndcg(np.clip(hard + skill + own, 0, 1).round(6).tolist())


def of_types(skill: float = 0.0) -> Jobs:
    """Two tasks of one type, one of another, one of which has two subsets."""
    return {
        ("A", "test", "default"): queries(1, skill),
        ("B", "test", "x"): queries(2, skill),
        ("B", "test", "y"): queries(3, skill, 90),
        ("C", "test", "default"): replace(queries(4, skill), type="Reranking"),
    }


def board_of(folder: Path, choice: Choice = Choice(), more: Sequence[StoredRun] = ()) -> Board:  # noqa: B008 -- frozen
    (board,) = make_boards([*read_runs([folder]), *more], choice)
    return board


def three(folder: Path, jobs: Sequence[Jobs | None] = (None, None, None)) -> Path:
    for name, skill, changed in zip(("weak", "middling", "strong"), (0.0, 0.15, 0.3), jobs, strict=True):
        write_results(folder, changed or of_types(skill), spec_of(f"me/{name}"))
    return folder


def spans(row: Row) -> list[tuple[float | None, Span | None]]:
    scored: list[Cell | Mean | Part] = [*row.cells.values(), *row.types.values(), row.mean_task, row.mean_type]
    scored += [part for cell in row.cells.values() for part in cell.parts]
    return [(one.score, one.interval) for one in [*scored, *([row.common] if row.common else [])]]


def test_every_score_and_mean_has_an_interval_that_it_is_in(tmp_path: Path) -> None:
    board = board_of(three(tmp_path), Choice(common=True))
    for row in board.rows:
        found = spans(row)
        assert len(found) == 3 + 2 + 2 + 4 + 1
        for score, span in found:
            assert score is not None
            assert span is not None
            assert span.low < score < span.high
            assert span.is_trusted
        assert row.notes == []
    assert board.notes == []


def test_a_score_that_was_rounded_is_in_its_interval(tmp_path: Path) -> None:
    thirds = StoredScores(ndcg([1 / 3] * 40).items, "ndcg_at_10", "Retrieval", score=0.33333)
    (row,) = board_of(write_results(tmp_path, {("A", "test", "default"): thirds})).rows
    found = row.cells["A"].interval
    assert row.cells["A"].score == 0.33333
    assert found is not None
    assert found.low <= 0.33333 <= found.high == pytest.approx(1 / 3)
    assert found.high > 0.33333


def test_they_are_those_of_the_items(tmp_path: Path) -> None:
    board = board_of(write_results(tmp_path, of_types()))
    (row,) = board.rows
    runs = read_runs([tmp_path])
    (known,) = known_from_items(board, runs)
    assert set(known.tasks) == {"A", "B", "C"}
    assert set(known.parts) == {("B", "test", "x"), ("B", "test", "y")}
    assert row.cells["A"].parts[0].interval == row.cells["A"].interval
    values = np.array(queries(1).items.columns["ndcg_at_10"])  # type: ignore[union-attr]
    a = row.cells["A"].interval
    assert a is not None
    assert (a.low + a.high) / 2 == pytest.approx(values.mean())
    # of two subsets, each weighs a half
    both = [np.array(queries(seed, 0, count).items.columns["ndcg_at_10"]) for seed, count in ((2, 60), (3, 90))]  # type: ignore[union-attr]
    b = row.cells["B"].interval
    assert b is not None
    assert (b.low + b.high) / 2 == pytest.approx(np.mean([one.mean() for one in both]), abs=5e-6)
    retrieval = welch_mean([known.tasks["A"].estimate, known.tasks["B"].estimate])
    found = row.types["Retrieval"].interval
    assert found == Span(retrieval.interval.low, retrieval.interval.high, "Welch")
    # of the one task of its type
    assert row.types["Reranking"].interval == row.cells["C"].interval
    over_types = mean_estimate([mean_estimate([known.tasks["A"], known.tasks["B"]]), known.tasks["C"]]).interval
    assert over_types is not None
    assert row.mean_type.interval == Span(over_types.low, over_types.high, "Welch")


def test_no_intervals_where_nobody_wants_them(tmp_path: Path) -> None:
    board = board_of(three(tmp_path), Choice(intervals=False))
    assert {span for row in board.rows for _, span in spans(row)} == {None}
    assert all(row.on_these_tasks is None and row.on_tasks_like_these is not None for row in board.rows)
    board = board_of(tmp_path, Choice(ranks=False))
    assert all(row.mean_task.interval is not None and row.on_tasks_like_these is None for row in board.rows)


def test_a_missing_subset_leaves_the_others_theirs(tmp_path: Path) -> None:
    jobs = {**of_types(), ("B", "test", "y"): replace(queries(3), error="fell over")}
    (row,) = board_of(write_results(tmp_path, jobs)).rows
    cell = row.cells["B"]
    assert (cell.score, cell.interval, [part.subset for part in cell.parts]) == (None, None, ["x"])
    assert cell.parts[0].interval is not None
    assert (row.types["Retrieval"].interval, row.mean_task.interval, row.mean_type.interval) == (None, None, None)
    assert row.types["Reranking"].interval is not None


def test_an_aggregate_is_as_sure_as_its_parts_together(tmp_path: Path) -> None:
    spec = find_task("CQADupstackRetrieval")
    assert spec is not None
    jobs = {}
    for number, part in enumerate(spec.parts):
        found = find_task(part)
        assert found is not None
        jobs[part, "test", "default"] = replace(queries(number), key={"dataset_revision": found.revision})
    write_results(tmp_path, jobs)
    chosen = Choice([TaskList(name="cqa", tasks=(Member(task=spec.name),))])
    (row,) = board_of(tmp_path, chosen).rows
    span = row.cells[spec.name].interval
    assert span is not None
    means, errors = [], []
    for number in range(len(spec.parts)):
        values = np.array(queries(number).items.columns["ndcg_at_10"])  # type: ignore[union-attr]
        means.append(values.mean())
        errors.append(values.std(ddof=1) / np.sqrt(len(values)))
    error = np.sqrt(np.square(errors).sum()) / len(errors)
    assert (span.low + span.high) / 2 == pytest.approx(np.mean(means), abs=1e-5)
    assert (span.high - span.low) / 2 == pytest.approx(1.963 * error, rel=0.03)


def test_scores_without_items_have_none_and_nothing_is_said(tmp_path: Path) -> None:
    (run,) = read_runs([write_results(tmp_path, of_types())])
    for path in run.folder.glob("jobs/*/*"):
        path.unlink()
    for path in run.folder.glob("jobs/*"):
        path.rmdir()
    for task, stored in run.tasks.items():
        entries = [{"hf_subset": name, "main_score": score} for name, score in stored.scores["test"].items()]
        value = {"task_name": task, "dataset_revision": "1", "scores": {"test": entries}}
        (run.folder / f"{task}.json").write_text(json.dumps(value))
    (row,) = board_of(tmp_path).rows
    assert row.mean_task.score is not None
    assert {span for _, span in spans(row)} == {None}
    assert row.notes == []


def rewrite(folder: Path, name: str, items: ItemScores, split: str = "test") -> None:
    """Items of a task as another version wrote them, with a record that vouches for them."""
    (run,) = read_runs([folder])
    record = run.tasks[name].jobs[0].record
    assert record is not None
    path = items_path(run.folder, record.job)
    write_items(path, items)
    stored = path.with_suffix(".json")
    value = json.loads(stored.read_text())
    stored.write_text(json.dumps({**value, "items": sha256(path.read_bytes()).hexdigest()}))


def test_a_folder_whose_name_is_no_utf8_has_its_intervals_and_is_told_apart(tmp_path: Path) -> None:
    odd = tmp_path / "r\udcff"
    try:
        odd.mkdir()
    except OSError:
        pytest.skip("names of this file system are UTF-8")
    (run,) = read_runs([write_results(odd, of_types())])
    assert run.folder.is_dir()
    (row,) = board_of(odd).rows
    assert all(span is not None for _, span in spans(row))
    write_results(tmp_path / "other", of_types())
    rewrite(odd, "A", ItemScores([], {"ndcg_at_10": []}))
    (damaged,) = run.folder.glob("jobs/C/*.parquet")
    damaged.write_bytes(b"no Parquet")
    said = [note for row in board_of(tmp_path).rows for note in [*row.notes, *row.cells["C"].notes]]
    assert any("one of 2 folders of this model" in note and "r\\udcff" in note for note in said)
    for note in said:
        note.encode()


def test_a_file_of_no_items_leaves_a_footnote(tmp_path: Path) -> None:
    rewrite(write_results(tmp_path, of_types()), "A", ItemScores([], {"ndcg_at_10": []}))
    (row,) = board_of(tmp_path).rows
    assert row.cells["A"].interval is None
    assert row.cells["A"].notes == ["no interval: the file of items of A [test, default] holds none"]


@pytest.mark.parametrize(
    ("items", "why"),
    [
        (ItemScores(["q0", "q1"], {"recall_at_5": [0.5, 1.0]}), "do not have what ndcg_at_10 is made of, for an older"),
        (ItemScores(["q0", "q1"], {"ndcg_at_10": [0.5, 1.0]}), "give 0.750000, and its record says"),
    ],
    ids=["of an older version", "of other scores"],
)
def test_items_that_do_not_tell_leave_a_footnote(tmp_path: Path, items: ItemScores, why: str) -> None:
    rewrite(write_results(tmp_path, of_types()), "A", items)
    (row,) = board_of(tmp_path).rows
    assert row.cells["A"].score is not None
    assert row.cells["A"].interval is None
    assert row.cells["A"].parts[0].interval is None
    (note,) = row.cells["A"].notes
    assert note.startswith("no interval: items of A [test, default]")
    assert why in note
    (said,) = row.notes
    assert said.startswith("no interval of 1 task whose items do not tell: A (items of A [test, default]")
    assert row.cells["B"].interval is not None
    assert (row.types["Retrieval"].interval, row.mean_task.interval) == (None, None)
    assert row.types["Reranking"].interval is not None


def test_clusterings_say_of_what_they_are(tmp_path: Path) -> None:
    drawn = ItemScores([str(n) for n in range(10)], {"v_measure": [0.4 + 0.01 * n for n in range(10)]})
    (row,) = board_of(write_results(tmp_path, {("K", "t", "d"): StoredScores(drawn, "v_measure", "Clustering")})).rows
    span = row.cells["K"].interval
    assert span is not None
    assert span.method.endswith(", of draws of the same texts")
    assert not span.is_trusted


def test_ranks_are_those_of_the_command(tmp_path: Path) -> None:
    board = board_of(three(tmp_path))
    assert [row.model for row in board.rows] == ["me/strong", "me/middling", "me/weak"]
    for place, row in enumerate(board.rows, start=1):
        assert row.on_these_tasks == RankSpan(place, place)
        assert row.on_tasks_like_these == RankSpan(place, place)
    # and of models that are near each other
    near = three(tmp_path / "near", [of_types(skill) for skill in (0.0, 0.004, 0.008)])
    found = {row.model: row for row in board_of(near).rows}
    tasks = TaskList(name="all stored tasks", tasks=tuple(Member(task=name) for name in "ABC"))
    told = rank(scores_of(read_all([str(near)]), tasks), 1_000)
    for standing in told.ranking.standings:
        row = found[told.scores.models[standing.model].partition(" ")[0]]
        assert standing.on_these_tasks is not None
        assert row.on_these_tasks == RankSpan(standing.on_these_tasks.best, standing.on_these_tasks.worst)
        assert row.on_these_tasks.best < row.on_these_tasks.worst
        assert standing.on_tasks_like_these is not None
        assert row.on_tasks_like_these is not None
        assert row.on_tasks_like_these.best <= standing.rank <= row.on_tasks_like_these.worst


def published(**scores: float) -> StoredRun:
    tasks = {name: StoredTask(name, {"test": {"default": score}}) for name, score in scores.items()}
    return StoredRun("a/public", "unknown", {}, tasks, Path("nowhere"), is_published=True)


def test_one_row_without_items_leaves_ranks_on_these_tasks_out(tmp_path: Path) -> None:
    board = board_of(three(tmp_path), more=[published(A=0.5, B=0.5, C=0.5)])
    assert all(row.on_these_tasks is None and row.on_tasks_like_these is not None for row in board.rows)
    assert "no intervals of ranks on these tasks: 1 of the 4 rows that have a mean lack items of a task" in board.notes
    (public,) = [row for row in board.rows if row.origin == "published"]
    assert {span for _, span in spans(public)} == {None}


def test_rows_without_a_mean_have_no_rank_and_leave_the_others_theirs(tmp_path: Path) -> None:
    write_results(three(tmp_path), {("A", "test", "default"): queries(1, 0.1)}, spec_of("me/partial"))
    board = board_of(tmp_path)
    assert board.notes == []
    *whole, partial = board.rows
    assert (partial.on_these_tasks, partial.on_tasks_like_these) == (None, None)
    assert all(row.on_these_tasks is not None and row.on_tasks_like_these is not None for row in whole)


def test_rows_of_other_items_are_not_ranked_on_these_tasks(tmp_path: Path) -> None:
    other = {**of_types(0.3), ("A", "test", "default"): random_ndcg(5, 61)}
    board = board_of(three(tmp_path, [None, None, other]))
    assert all(row.on_these_tasks is None for row in board.rows)
    assert board.notes == ["no intervals of ranks on these tasks: rows do not have the same items of A"]


def test_a_single_row_and_a_single_task_have_no_such_ranks(tmp_path: Path) -> None:
    (row,) = board_of(write_results(tmp_path / "one", of_types())).rows
    assert (row.on_these_tasks, row.on_tasks_like_these) == (None, None)
    three(tmp_path / "task", [{("A", "test", "default"): queries(1, skill)} for skill in (0.0, 0.15, 0.3)])
    board = board_of(tmp_path / "task")
    assert all(row.on_tasks_like_these is None and row.on_these_tasks is not None for row in board.rows)


def test_draws_are_those_of_the_task_whatever_else_is_there(tmp_path: Path) -> None:
    (alone,) = board_of(write_results(tmp_path / "one", {("A", "test", "default"): queries(1)})).rows
    among = board_of(write_results(tmp_path / "more", of_types()))
    assert among.rows[0].cells["A"].interval == alone.cells["A"].interval
    (run,) = read_runs([tmp_path / "one"])
    (known,) = known_from_items(board_of(tmp_path / "one"), [run])
    record = run.tasks["A"].jobs[0].record
    assert record is not None
    again = score_estimate("A", [read_alone(run.folder, record, 1.0)], Settings(draws=2_000))
    assert again.interval == known.tasks["A"].interval
