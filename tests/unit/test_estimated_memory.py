"""How much memory a batch takes, against what torch holds at most on a model's way through it."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from evalharness.run.estimating.memory import Shape, batch_bytes, read_shape, usual_shape, weight_bytes


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Counts the bytes of all tensors that are alive, parameters aside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.alive: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(found)[0]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                place = storage._cdata
                if place not in self.alive:
                    self.alive[place] = storage.nbytes()
                    weakref.finalize(storage, self.alive.pop, place, None)
                    self.most = max(self.most, sum(self.alive.values()))
        return found


@pytest.mark.parametrize("kind", ["Bert", "XLMRoberta", "Qwen3"])
@pytest.mark.parametrize(
    ("shape", "texts", "tokens"),
    [(Shape(128, 512, 4), 32, 64), (Shape(128, 512, 4), 8, 256), (Shape(256, 256, 8), 16, 128)],
)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_batch_holds_as_much_as_is_said(kind: str, shape: Shape, texts: int, tokens: int, attention: str) -> None:
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward,
        num_attention_heads=shape.heads,
        num_hidden_layers=2,
        vocab_size=100,
        max_position_embeddings=512,
        **({"num_key_value_heads": 2, "head_dim": shape.width // shape.heads} if kind == "Qwen3" else {}),
    )
    model = getattr(transformers, f"{kind}Model")(config).eval()
    model.set_attn_implementation(attention)
    given = torch.randint(5, 99, (texts, tokens))
    with torch.inference_mode(), Peak() as peak:
        model(input_ids=given, attention_mask=torch.ones_like(given))
    gated = Shape(shape.width, shape.feed_forward, shape.heads, gated=kind == "Qwen3")
    scores_of = tokens if attention == "eager" else 0
    said = batch_bytes(gated, texts * tokens, "float32", scores_of=scores_of)
    assert said == pytest.approx(peak.most, rel=0.15)


def test_half_the_precision_is_half_the_memory() -> None:
    shape = usual_shape(384)
    assert batch_bytes(shape, 1000, "float16") * 2 == batch_bytes(shape, 1000, "float32")
    # what is quantised are the weights
    assert batch_bytes(shape, 1000, "int8") == batch_bytes(shape, 1000, "float32")
    assert [weight_bytes(1000, dtype) for dtype in ("float32", "bfloat16", "int8")] == [4000, 2000, 1000]


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (
            {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12, "model_type": "bert"},
            Shape(384, 1536, 12),
        ),
        ({"d_model": 512, "d_ff": 1024, "num_heads": 6, "model_type": "t5"}, Shape(512, 1024, 6)),
        ({"hidden_size": 256, "model_type": "qwen3"}, Shape(256, 1024, 4, gated=True)),
        ({"hidden_size": "wide"}, None),
        ({}, None),
    ],
)
def test_the_shape_is_read_from_the_config(config: dict[str, Any], shape: Shape | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert read_shape(tmp_path) == shape


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_config_that_cannot_be_read_has_no_shape(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
    assert read_shape(tmp_path) is None
