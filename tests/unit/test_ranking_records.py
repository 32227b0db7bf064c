"""A ranking is in one order, whoever made it, and remembers the order in which its documents came."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.ranking.records import Ranking, RetrievalRecords
from evalharness.ranking.scores import score_ranking
from evalharness.ranking.search import ranked, text_columns
from evalharness.run.without_model import ranking_of
from evalharness.types import TextColumn

IDS = ["b", "a", "é", "中", "B", "10", "9"]
FOUND = st.dictionaries(st.integers(0, len(IDS) - 1), st.sampled_from([-1.0, -0.0, 0.0, 0.1, 2.5]), max_size=len(IDS))


@settings(deadline=None)
@given(found=st.lists(FOUND, min_size=1, max_size=4))
def test_documents_come_in_any_order_and_stand_in_one(found: list[dict[int, float]]) -> None:
    documents = [np.array(list(row), dtype=np.int64) for row in found]
    scores = [np.array(list(row.values()), dtype=np.float32) for row in found]
    made = ranked(documents, scores, IDS)
    for row, numbers, values in zip(found, made.documents, made.scores, strict=True):
        single = {number: float(np.float32(score)) for number, score in row.items()}
        assert numbers.tolist() == sorted(row, key=lambda number: (single[number], IDS[number]), reverse=True)
        assert values.tolist() == [single[number] for number in numbers.tolist()]
    assert [row.tolist() for row in made.as_they_came()] == [list(row) for row in found]
    named = {str(query): {IDS[number]: score for number, score in row.items()} for query, row in enumerate(found)}
    records = RetrievalRecords(IDS, IDS, list(named), list(named), [{"a": 1}] * len(named))
    read = ranking_of(records, named, "here")
    assert [row.tolist() for row in read.documents] == [row.tolist() for row in made.documents]


def test_without_an_arrival_documents_came_best_first() -> None:
    found = Ranking([np.array([2, 0])], [np.array([0.5, 0.25], dtype=np.float32)])
    assert [row.tolist() for row in found.as_they_came()] == [[2, 0]]


def test_what_was_found_goes_with_the_scores_to_another_process() -> None:
    records = RetrievalRecords(["d", "q"], ["", ""], ["q"], [""], [{"d": 1}], ignore_identical_ids=True)
    found = Ranking([np.array([1, 0])], [np.array([0.5, 0.25], dtype=np.float32)], notes=("a note",))
    scores = pickle.loads(pickle.dumps(score_ranking(records, found)))  # noqa: S301 -- our own
    # the query's own document was found and does not count
    assert list(scores.retrieved) == [("q", {"d": 0.25})]
    assert list(scores.retrieved) == [("q", {"d": 0.25})]
    assert scores.metrics["ndcg_at_1"] == 1
    assert scores.items.ids == ["q"]
    assert scores.notes == ("a note",)


def test_queries_and_documents_are_texts_of_two_sides() -> None:
    records = RetrievalRecords(["d"], ["a document"], ["q"], ["a query"], [{"d": 1}])
    assert text_columns(records) == [
        TextColumn("queries", ["a query"], "query"), TextColumn("corpus", ["a document"], "document")
    ]  # fmt: skip
