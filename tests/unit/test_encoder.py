from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.lookup import LookupBackend, lookup_model, smooth, spec, stack

from evalharness import load_model
from evalharness.errors import ModelError, UsageError
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.prompts import encoding
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


def test_an_encoding_names_side_and_task_only_where_the_model_goes_by_them() -> None:
    task = TaskContext(name="ArguAna", type="Retrieval")
    made = {ways: encoding(spec(encodes_by=ways), "query", task).facts() for ways in ((), ("side",), ("side", "task"))}
    plain = made[()]
    assert "side" not in plain
    assert "task" not in plain
    assert made["side",] == plain | {"side": "query"}
    assert made["side", "task"] == plain | {"side": "query", "task": "ArguAna"}
    assert encoding(spec(encodes_by=("side", "task")), None, None).facts() == plain
    lent = encoding(spec(adapters={"Retrieval-query": "retrieval.query"}), "query", task)
    assert lent.facts() == plain | {"adapter": "retrieval.query"}


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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "encode takes a list of texts, got None"),
        (7, "got int 7"),
        ("one text", "got a single string"),
        (b"bytes", "got bytes"),
        ({"text": "a"}, "got dict"),
        ([], "encode got no texts"),
        (["a", None], "item 1 of the texts is None; expected a text"),
        (["a", "b", 3.5], r"item 2 of the texts is float 3\.5"),
        ([b"a"], "item 0 of the texts is bytes b'a'"),
        ([["a"]], "item 0 of the texts is list; expected a text"),
        (np.array([1.0]), "item 0 of the texts is float64"),
        (["a", "b \ud800"], "item 1 of the texts holds half of a pair"),
    ],
)
def test_what_is_no_list_of_texts_is_refused_by_its_position(given: Any, message: str) -> None:
    model = EmbeddingModel(BGE, LookupBackend(smooth), device="cpu")
    for encode in (model.encode, model.encode_queries):
        with pytest.raises(UsageError, match=message):
            encode(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "encode takes a list of texts, got None"),
        ({"title": "a", "text": "b"}, "got dict; put what you have into a list, as in encode_corpus"),
        (["a", {"title": "b"}], "item 1 of the corpus has no 'text', only title"),
        ([{}], "item 0 of the corpus has no 'text', only nothing"),
        ([{"text": None}], "the text of item 0 of the corpus is None"),
        ([{"text": "a"}, {"text": "b", "title": 7}], "the title of item 1 of the corpus is int 7"),
        ([5], "item 0 of the corpus is int 5; expected a text, or a mapping"),
        (["\ud800"], "item 0 of the corpus holds half of a pair"),
        ([{"text": "a", "title": "\udc00"}], "item 0 of the corpus holds half of a pair"),
    ],
)
def test_documents_without_text_are_refused_by_their_position(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EmbeddingModel(BGE, LookupBackend(smooth), device="cpu").encode_corpus(given)


def test_arrays_and_columns_of_tables_are_lists_of_texts() -> None:
    model = EmbeddingModel(BGE, LookupBackend(smooth), device="cpu")
    expected = model.encode(["b", "a"])
    lists: list[Any] = [np.array(["b", "a"]), ("b", "a"), pd.Series(["b", "a"])]
    untitled: list[Any] = [{"title": None, "text": ""}]
    for given in lists:
        np.testing.assert_array_equal(model.encode(given), expected)
    assert len(model.encode_corpus(untitled)) == 1


@pytest.mark.parametrize("given", [None, 7, b"a", "", " ", ["a"]])
def test_a_model_has_a_name(given: Any) -> None:
    with pytest.raises(UsageError, match=r"load_model got .*expected a name such as"):
        load_model(given)
    with pytest.raises(UsageError, match=r"load_model got dict .*expected a ModelOptions"):
        load_model("all-MiniLM-L6-v2", {"pooling": "cls"})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="task has to be a task's name, got int 7"):
        EmbeddingModel(BGE, LookupBackend(smooth), device="cpu").encode(["a"], task=7)  # type: ignore[arg-type]
