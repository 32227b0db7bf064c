"""What every backend of embedders must keep, whatever runs underneath."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from evalharness.encoder import EmbeddingModel
from evalharness.types import Execution

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


def check_contract(opened: Callable[[Execution], EmbeddingModel], *, atol: float = 1e-5) -> None:
    """Check a backend.

    Args:
        opened: opens the model with `PROMPT` as its query prompt and no other, for a batch size.
        atol: how far vectors of the same text may differ.
    """
    model = opened(Execution(device="cpu"))
    vectors = model.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape[0] == len(TEXTS)
    assert np.isfinite(vectors).all()
    # order: different texts have different vectors, in the places of their texts
    distinct = [0, 2, 3, 5, 6, 8, 9]
    assert len(np.unique(vectors[distinct].round(4), axis=0)) == len(distinct)
    np.testing.assert_allclose(model.encode(TEXTS[::-1])[::-1], vectors, atol=atol)
    for place in distinct:
        np.testing.assert_allclose(model.encode([TEXTS[place]])[0], vectors[place], atol=atol)
    # duplicates are equal to the last bit, and so is a second run
    np.testing.assert_array_equal(vectors[0], vectors[4])
    np.testing.assert_array_equal(model.encode(TEXTS), vectors)
    for batch_tokens in (1, 64, 100_000):
        other = opened(Execution(device="cpu", batch_tokens=batch_tokens))
        np.testing.assert_allclose(other.encode(TEXTS), vectors, atol=atol)
    # a prompt is put before queries, once, and before nothing else
    prompted = model.encode([PROMPT + text for text in TEXTS])
    np.testing.assert_allclose(model.encode_queries(TEXTS), prompted, atol=atol)
    np.testing.assert_allclose(model.encode_corpus(TEXTS), vectors, atol=atol)
    assert np.abs(prompted[0] - vectors[0]).max() > 10 * atol
    assert np.abs(prompted[0] - model.encode([PROMPT * 2 + TEXTS[0]])[0]).max() > 10 * atol
