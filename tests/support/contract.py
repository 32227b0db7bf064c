"""What every backend of embedders must keep, whatever runs underneath."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from evalharness.models.encoder import EmbeddingModel
from evalharness.models.options import Execution
from evalharness.models.rankers import Pair, PairModel
from evalharness.models.registry import BACKENDS
from evalharness.types import ignore_event

PROMPT = "find: "
TEXTS = [
    "How do ferns grow?",
    "",
    "a",
    "in shade, " * 400,
    "How do ferns grow?",
    "in SHADE, of course",
    "stone and river; 7 clouds",
    " padded ",
    *(f"{'word ' * (number % 7)}{number}" for number in range(20)),
]
PAIRS = [
    ("How do ferns grow?", "in the shade. " * 40),
    ("what is a stone " * 40, "a river " * 3),
    ("what is a stone " * 40, "a river " * 60),
    ("a", "b"),
    ("", "lemon"),
    ("a", "b"),
    ("a query", ""),
    ("the window", "a copper train; and paper"),
    *((f"question {number}", "answer " * (number % 9 + 1)) for number in range(20)),
]


def heeded(execution: Execution, backend: str) -> Execution:
    """The part of it that a backend does something with; the rest would be refused."""
    return Execution(**{name: getattr(execution, name) for name in BACKENDS[backend].runs_by})


def check_contract(
    opened: Callable[[Execution], EmbeddingModel], *, task: str | None = None, atol: float = 1e-5
) -> None:
    """Check a backend.

    Args:
        opened: opens the model with `PROMPT` as its query prompt and no other, for a batch size.
        task: for models that cannot do without one.
        atol: how far vectors of the same text may differ.
    """
    model = opened(Execution(device="cpu"))
    encode = partial(model.encode, task=task)
    vectors = encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape[0] == len(TEXTS)
    assert np.isfinite(vectors).all()
    # order: different texts have different vectors, in the places of their texts
    distinct = [0, 2, 3, 5, 6, 8, 9]
    assert len(np.unique(vectors[distinct].round(4), axis=0)) == len(distinct)
    np.testing.assert_allclose(encode(TEXTS[::-1])[::-1], vectors, atol=atol)
    for place in distinct:
        np.testing.assert_allclose(encode([TEXTS[place]])[0], vectors[place], atol=atol)
    # duplicates are equal to the last bit, and so is a second run
    np.testing.assert_array_equal(vectors[0], vectors[4])
    np.testing.assert_array_equal(encode(TEXTS), vectors)
    for batch_tokens in (1, 64, 100_000):
        other = opened(Execution(device="cpu", batch_tokens=batch_tokens))
        np.testing.assert_allclose(other.encode(TEXTS, task=task), vectors, atol=atol)
    # a prompt is put before queries, once, and before nothing else
    prompted = encode([PROMPT + text for text in TEXTS])
    np.testing.assert_allclose(model.encode_queries(TEXTS, task=task), prompted, atol=atol)
    np.testing.assert_allclose(model.encode_corpus(TEXTS, task=task), vectors, atol=atol)
    assert np.abs(prompted[0] - vectors[0]).max() > 10 * atol
    assert np.abs(prompted[0] - encode([PROMPT * 2 + TEXTS[0]])[0]).max() > 10 * atol


def check_pair_contract(opened: Callable[[Execution], PairModel], *, atol: float = 1e-5) -> None:
    """Check a backend of rerankers, as `check_contract` does those of embedders."""
    pairs = [Pair(*pair) for pair in PAIRS]

    def scores(pairs: list[Pair], **execution: int) -> NDArray[np.float32]:
        return opened(Execution(device="cpu", **execution)).score_pairs(pairs, None, ignore_event)

    found = scores(pairs)
    assert found.dtype == np.float32
    assert found.shape == (len(pairs),)
    assert np.isfinite(found).all()
    distinct = [0, 1, 3, 4, 6, 7, 8]
    assert len(np.unique(found[distinct].round(5))) == len(distinct)
    np.testing.assert_allclose(scores(pairs[::-1])[::-1], found, atol=atol)
    for place in distinct:
        np.testing.assert_allclose(scores([pairs[place]])[0], found[place], atol=atol)
    assert found[3] == found[5]
    np.testing.assert_array_equal(scores(pairs), found)
    for batch_tokens in (1, 100, 100_000):
        np.testing.assert_allclose(scores(pairs, batch_tokens=batch_tokens), found, atol=atol)
    assert scores([]).shape == (0,)
