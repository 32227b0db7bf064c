"""Vectors that say nothing: the result says so, and no library speaks for us."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.local_tasks import ROWS, lines, write
from support.lookup import constant, lookup_model, smooth
from support.pairs import reranker_alone

from evalharness.catalog.selection import Selection, select
from evalharness.models.degenerate import degenerate_notes, same_score_notes
from evalharness.results.records import JobRecord
from evalharness.run.plan import make_plan, run_plan
from evalharness.types import Dense


def zero(text: str) -> NDArray[np.float32]:
    del text
    return np.zeros(4, dtype=np.float32)


def huge(text: str) -> NDArray[np.float32]:
    return (smooth(text) * 1e30).astype(np.float32)


def largest(text: str) -> NDArray[np.float32]:
    return np.sign(smooth(text)) * np.finfo(np.float32).max


def run(folder: Path, kind: str, vectorize: Any) -> JobRecord:
    choices = select(Selection(tasks=[str(write(folder, kind, lines(ROWS[kind])))]))
    model = lookup_model(vectorize)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return next(iter(run_plan(make_plan(choices, model.spec, folder / "out"), model, lambda _: None)))


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize(
    ("vectorize", "said"),
    [
        (constant, "texts got one and the same vector, so that nothing tells them apart: the scores say nothing"),
        (zero, "texts got a vector of zeros"),
        (huge, "texts got vectors so large that products of them may leave float32"),
        (largest, "texts got vectors so large that products of them may leave float32"),
    ],
)
def test_the_result_says_that_it_says_nothing(tmp_path: Path, kind: str, vectorize: Any, said: str) -> None:
    record = run(tmp_path, kind, vectorize)
    if record.error is None:
        assert any(said in note for note in record.notes), record.notes
        assert np.isfinite(record.metrics[record.main_score])
    else:
        assert said in record.error
        assert "Error:" not in record.error
        assert "Warning:" not in record.error


@pytest.mark.parametrize("kind", ROWS)
def test_usual_vectors_get_no_note(tmp_path: Path, kind: str) -> None:
    assert run(tmp_path, kind, smooth).notes == []


def test_how_many() -> None:
    vectors = np.ones((20_000, 3), dtype=np.float32)
    texts = [str(n) for n in range(len(vectors))]
    assert [note.count for note in degenerate_notes(Dense(vectors), texts)] == [20_000]
    assert list(degenerate_notes(Dense(vectors), ["a"] * len(vectors))) == []
    vectors[19_999] = 2
    assert list(degenerate_notes(Dense(vectors), texts)) == []
    vectors[[3, 17_000]] = 0
    vectors[5] = 1e20
    assert [note.count for note in degenerate_notes(Dense(vectors), texts)] == [2, 1]


def pair_note(pairs: list[tuple[str, str, float]]) -> list[str]:
    queries, documents, scores = zip(*pairs, strict=True)
    found = same_score_notes(queries, documents, np.array(scores, dtype=np.float32))
    return [f"{note.count} {note.message}" for note in found]


SAME = "pairs got the same score as all others of their query, so that nothing tells them apart: the scores say nothing"


def test_pairs_that_nothing_tells_apart() -> None:
    assert pair_note([("a", "x", 1), ("a", "y", 1), ("b", "x", 1)]) == [f"3 {SAME}"]
    # a score that the query alone decides on
    assert pair_note([("a", "x", 1), ("a", "y", 1), ("b", "x", 2), ("b", "y", 2)]) == [f"4 {SAME}"]
    assert pair_note([("a", "x", 1), ("a", "y", 1), ("b", "x", 2), ("b", "y", 3)]) == []
    assert pair_note([("a", "x", 1), ("b", "x", 1)]) == []
    assert pair_note([("a", "x", 1), ("a", "x", 1)]) == []


@pytest.mark.parametrize(("vectorize", "expected"), [(constant, [f"72 {SAME}"]), (smooth, [])])
def test_a_reranker_with_one_score_for_all_is_noted(tmp_path: Path, vectorize: Any, expected: list[str]) -> None:
    choices = select(Selection(tasks=[str(write(tmp_path, "Reranking", lines(ROWS["Reranking"])))]))
    model = reranker_alone(vectorize)
    record = run_plan(make_plan(choices, model.spec, tmp_path / "out"), model, lambda _: None)[0]
    assert [note for note in record.notes if "pairs" in note] == expected
