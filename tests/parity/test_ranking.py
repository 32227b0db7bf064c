"""Rank metrics against trec_eval itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.metrics import ranking
from evalharness.ranking.similarity import top_k
from evalharness.types import Dense

DEPTHS = (1, 3, 10, 1000)
NAMES = {
    "ndcg_cut": ranking.ndcg,
    "map_cut": ranking.average_precision,
    "recall": ranking.recall,
    "P": ranking.precision,
    "success": ranking.hit_rate,
}

ids = st.text(alphabet="ab0é中", min_size=1, max_size=4)
# few distinct scores, so that ties are common; grades below 0 occur in real judgements (TRECCOVID)
scores = st.dictionaries(ids, st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=40)
grades = st.dictionaries(ids, st.integers(min_value=-1, max_value=3), min_size=1, max_size=12)


def rank(found: Mapping[str, float], names: list[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Order one query's documents with the project's own tie rule."""
    corpus = Dense(np.array([[found[name], 1.0] for name in found], dtype=np.float32), similarity="dot")
    query = Dense(np.array([[1.0, 0.0]], dtype=np.float32), similarity="dot")
    order = top_k(query, corpus, list(found), len(found)).documents[0]
    return np.array([names.index(list(found)[place]) for place in order])


@settings(max_examples=300, deadline=None)
@given(found=scores, judged=grades)
def test_equals_trec_eval(found: dict[str, float], judged: dict[str, int]) -> None:
    measures = {f"{name}.{','.join(map(str, DEPTHS))}" for name in NAMES}
    wanted = pytrec_eval.RelevanceEvaluator({"q": judged}, measures).evaluate({"q": found})["q"]
    names = sorted({*found, *judged})
    qrels = {names.index(name): grade for name, grade in judged.items()}
    ours = ranking.judge([rank(found, names)], ranking.Grades.of([qrels]))
    for name, metric in NAMES.items():
        for k in DEPTHS:
            assert abs(float(metric(ours, k)[0]) - wanted[f"{name}_{k}"]) < 1e-12, (name, k)
