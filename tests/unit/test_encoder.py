from __future__ import annotations

import numpy as np
import pytest
from support.lookup import LookupBackend, lookup_model, smooth, spec, stack

from evalharness.encoder import EmbeddingModel
from evalharness.errors import ModelError, UsageError
from evalharness.types import TaskContext, TextColumn, ignore_event

BGE = spec(prompts={"query": "Q: ", "ArguAna-query": "A: "})


def test_each_side_gets_its_own_prompt() -> None:
    backend = LookupBackend(smooth)
    model = EmbeddingModel(BGE, backend, device="cpu")
    model.encode_queries(["x"])
    model.encode_queries(["x"], task="ArguAna")
    model.encode_corpus([{"title": "T", "text": "x "}, "y"])
    model.encode(["x"], task="STS12")
    assert backend.seen == ["Q: x", "A: x", "T x", "y", "x"]


def test_vectors_come_back_in_input_order_and_each_text_is_encoded_once() -> None:
    backend = LookupBackend(smooth)
    texts = ["b", "a", "b", "c", "a"]
    vectors = EmbeddingModel(spec(), backend, device="cpu").encode(texts)
    np.testing.assert_array_equal(vectors, stack(smooth, texts))
    assert backend.seen == ["b", "a", "c"]


def test_columns_with_different_prompts_are_not_mixed() -> None:
    backend = LookupBackend(smooth)
    columns = [TextColumn("queries", ["x", "y"], "query"), TextColumn("corpus", ["x"], "document")]
    task = TaskContext(name="NFCorpus", type="Retrieval")
    found = EmbeddingModel(BGE, backend, device="cpu").encode_columns(columns, task, ignore_event)
    np.testing.assert_array_equal(found["queries"].vectors, stack(smooth, ["Q: x", "Q: y"]))
    np.testing.assert_array_equal(found["corpus"].vectors, stack(smooth, ["x"]))


def test_wrong_input_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="takes a list of texts, got a single string"):
        lookup_model().encode("text")
    with pytest.raises(UsageError, match="got no texts"):
        lookup_model().encode_queries([])
    with pytest.raises(UsageError, match="unknown task 'NFCorpsu': did you mean NFCorpus"):
        lookup_model().encode_queries(["x"], task="NFCorpsu")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_names_its_text(bad: float) -> None:
    def vectorize(text: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        return np.array([1.0, bad if text == "broken" else 0.0], dtype=np.float32)

    with pytest.raises(ModelError, match=r"1 of 3 texts got a vector with NaN or infinite .* text 1: 'broken'"):
        lookup_model(vectorize).encode(["fine", "broken", "fine too"])


def test_large_finite_vectors_are_fine() -> None:
    huge = np.finfo(np.float32).max
    assert lookup_model(lambda _: np.array([huge, huge], dtype=np.float32)).encode(["x"]).shape == (1, 2)
