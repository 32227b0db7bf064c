"""How much device memory a model takes: its weights, and what a batch makes on its way through a layer.

Weights: parameters x bytes of a number. Of a batch, h wide, with feed-forward layers of width f, a layer holds at most,
for each padded token, 3h + 2f numbers (what comes in, what goes on beside the activation, and its two sides) or 7h
(what comes in; queries, keys and values; what attention makes of them, put in order, and projected); with gated
activations 6h + 3f or 9h. Attention that is not done in blocks holds its scores as well: so many as a text has tokens,
for each head and token, twice at the worst moment. Source: counted in transformers' classes, and held against what they
hold at most (tests/unit/test_estimated_memory.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalharness.errors import DataError
from evalharness.reading import read_object
from evalharness.types import DType

_BYTES: Mapping[DType, int] = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}
# as architectures call the same things
_WIDTH = ("hidden_size", "d_model", "dim", "n_embd")
_FEED_FORWARD = ("intermediate_size", "d_ff", "hidden_dim", "ffn_dim", "n_inner")
_HEADS = ("num_attention_heads", "num_heads", "n_heads", "n_head")
# of those that do not say it
_USUAL_FACTOR, _USUAL_HEAD = 4, 64
# activations of this kind multiply two products
_GATED = ("qwen", "llama", "mistral", "gemma", "modernbert", "gte", "new", "nomic", "phi")


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a transformer decides how large a batch is on its way.

    Attributes:
        width: of a hidden state.
        feed_forward: width between the two products of a feed-forward layer.
        heads: of attention.
        gated: whether the activation multiplies two products.
    """

    width: int
    feed_forward: int
    heads: int
    gated: bool = False


def read_shape(transformer: Path) -> Shape | None:
    """The shape that a model's config.json says; None where it says none.

    Args:
        transformer: folder of the transformer's files.
    """
    try:
        config = read_object(transformer / "config.json")
    except DataError:
        return None
    if (width := _number(config, _WIDTH)) is None:
        return None
    usual = usual_shape(width)
    kind = str(config.get("model_type", "")).lower()
    return Shape(
        width,
        _number(config, _FEED_FORWARD) or usual.feed_forward,
        _number(config, _HEADS) or usual.heads,
        gated=kind.startswith(_GATED),
    )


def usual_shape(width: int) -> Shape:
    """The shape of most models of a width."""
    return Shape(width, _USUAL_FACTOR * width, max(1, width // _USUAL_HEAD))


def _number(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((value for name in names if type(value := config.get(name)) is int and value > 0), None)


def weight_bytes(parameters: int, dtype: DType) -> int:
    """Bytes of a model's weights."""
    return parameters * _BYTES[dtype]


def batch_bytes(shape: Shape, tokens: int, dtype: DType, *, scores_of: int = 0) -> int:
    """Bytes that a batch makes at most at a time.

    Args:
        shape: of the model.
        tokens: padded tokens of the batch.
        dtype: of activations; those of int8 models are float32.
        scores_of: tokens of a text, where attention holds its scores; 0 where it works in blocks.
    """
    size = _BYTES["float32" if dtype == "int8" else dtype]
    width, wide, scores = shape.width, shape.feed_forward, shape.heads * scores_of
    if shape.gated:
        numbers = max(6 * width + 3 * wide + scores, 9 * width + 2 * scores)
    else:
        numbers = max(3 * width + 2 * wide + scores, 7 * width, 5 * width + 2 * scores)
    return tokens * size * numbers
