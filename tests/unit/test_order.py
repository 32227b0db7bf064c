"""The one order of documents, against Python's comparison of (score, id)."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evalharness.ranking.order import best_order, id_ranks, keys, ranks_of, scores_of

# the smallest of float32, as float32 has it
SMALLEST = float(np.float32(1e-45))
scores = st.sampled_from([0.0, -0.0, 0.5, -0.5, SMALLEST, float("inf"), float("-inf")]) | st.floats(
    width=32, allow_nan=False
)
documents = st.dictionaries(st.text(max_size=3), scores, max_size=20)


@given(found=documents)
def test_documents_are_ordered_by_score_then_by_id_descending(found: dict[str, float]) -> None:
    ids = list(found)
    order = best_order(np.array(list(found.values()), dtype=np.float32), id_ranks(ids))
    assert [ids[place] for place in order] == sorted(ids, key=lambda name: (found[name], name), reverse=True)


@given(found=documents, data=st.data())
def test_ranks_among_more_documents_give_the_same_order(found: dict[str, float], data: Any) -> None:
    chosen = np.array(data.draw(st.permutations(range(len(found)))), dtype=np.int64)[: len(found) // 2]
    ids, values = list(found), np.array(list(found.values()), dtype=np.float32)[chosen]
    own = best_order(values, id_ranks([ids[place] for place in chosen]))
    assert best_order(values, id_ranks(ids)[chosen]).tolist() == own.tolist()


@given(found=documents)
def test_a_key_holds_its_score_and_its_rank(found: dict[str, float]) -> None:
    values, ranks = np.array(list(found.values()), dtype=np.float32), id_ranks(list(found))
    made = keys(values, ranks)
    assert scores_of(made).tolist() == values.tolist()
    assert ranks_of(made).tolist() == ranks.tolist()
