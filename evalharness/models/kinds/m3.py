"""bge-m3's vectors: dense, sparse and multi-vectors of a text from the same hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evalharness.errors import ModelError
from evalharness.models.forward.company import Trial, trial_of
from evalharness.models.forward.pipeline import Engine, Graph, GraphOutput, Rows
from evalharness.models.forward.tokens import PromptTokenizer, short_inputs
from evalharness.models.forward.vocabulary import padding_facts
from evalharness.models.forward.weights import check_settings, in_precision, load_encoder, load_pickle
from evalharness.models.kinds.dense import pool
from evalharness.models.registry import M3_HEADS, ResolvedModel
from evalharness.ranking.multipart import Parts, pack
from evalharness.store.unstored import PackedArrays
from evalharness.types import DType, Encoding, MultiPart, Output

# their weights say nothing of the text
_SPECIAL = ("cls_token", "eos_token", "pad_token", "unk_token")


class M3Kind:
    """A `Kind`: hidden states through bge-m3's two heads to several vectors of a text.

    Attributes:
        wants, reader, layers: see `Kind`.
    """

    wants: GraphOutput = "hidden"

    def __init__(self, model: ResolvedModel, home: str) -> None:
        check_settings(model)
        self._model = model
        self.reader = PromptTokenizer(model, home)
        tokenizer = self.reader.tokenizer
        named = (getattr(tokenizer, name, None) for name in _SPECIAL)
        self._special = {tokenizer.convert_tokens_to_ids(token) for token in named if token is not None}
        wanted = [output for output in model.spec.outputs if output in M3_HEADS]
        self._heads = {output: _load_head(model, output).to(home) for output in wanted}
        self.layers = tuple(self._heads.values())

    def load(self, dtype: DType | None = None) -> Any:  # noqa: ANN401 -- see `Kind`
        """See `Kind`."""
        return load_encoder(in_precision(self._model, dtype))

    def identity(self, engine: Engine) -> dict[str, Any]:
        """See `Kind`."""
        del engine
        return {"backend": "m3", **padding_facts(self.reader.tokenizer)}

    def try_out(self, engine: Engine) -> torch.Tensor:
        """See `Kind`."""
        if "hidden" not in engine.gives:
            raise ModelError(
                f"{self._model.spec.name}: the file gives no token vectors (last_hidden_state), which the sparse and "
                "multi-vector modes are made of; use another file, or --mode dense"
            )
        hidden = engine.run(short_inputs(self.reader), "hidden").float()
        return torch.cat([hidden, *(head(hidden) for head in self._heads.values())], dim=2)

    def trial(self, engine: Engine) -> Trial:
        """See `Kind`."""
        return trial_of(self.reader, lambda inputs: engine.run(inputs, "hidden"), is_exact=engine.is_exact)

    def check(self, encoding: Encoding) -> None:
        """See `Kind`."""
        if encoding.pooling != "cls" or encoding.dimensions is not None or encoding.layer_norm:
            raise ModelError(
                f"{self._model.spec.name}: the sparse and multi-vector modes are made for pooling cls and all "
                "dimensions; leave --pooling and --dimensions out, or use --mode dense"
            )

    def rows(self, engine: Graph, tokens: dict[str, list[Any]], encoding: Encoding) -> list[NDArray[np.float32]]:
        """See `Kind`."""
        padded = self.reader.padded(tokens)
        mask = padded.attended
        hidden = engine.run(padded.inputs, "hidden").float()
        dense = _scaled(pool(hidden, mask, "cls"), encoding) if "dense" in encoding.outputs else None
        weights = torch.relu(self._heads["sparse"](hidden))[:, :, 0] if "sparse" in encoding.outputs else None
        # the first token has no vector
        vectors = None
        if "multi-vector" in encoding.outputs:
            vectors = _scaled(self._heads["multi-vector"](hidden[:, 1:]), encoding)
        rows = []
        for number, length in enumerate(mask.sum(dim=1).tolist()):
            words = _weights(tokens["input_ids"][number], _array(weights, number), self._special)
            rows.append(
                pack(
                    Parts(
                        dense=_array(dense, number),
                        tokens=np.array(list(words), dtype=np.int64),
                        weights=np.array(list(words.values()), dtype=np.float32),
                        vectors=_array(vectors, number)[: length - 1],
                    )
                )
            )
        return rows

    def gather(self, encoded: Rows, engine: Engine) -> MultiPart:
        """See `Kind`."""
        del engine
        return MultiPart(PackedArrays(list(encoded.rows or ())), truncated=encoded.truncated, unknown=encoded.unknown)


def _array(values: torch.Tensor | None, number: int) -> NDArray[np.float32]:
    return np.empty(0, dtype=np.float32) if values is None else values[number].cpu().numpy()


def _scaled(vectors: torch.Tensor, encoding: Encoding) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, p=2, dim=-1) if encoding.normalize else vectors


def _weights(ids: Sequence[int], weights: NDArray[np.float32], special: set[int]) -> dict[int, float]:
    """Token -> its largest weight, without special tokens and weights of 0."""
    found: dict[int, float] = {}
    for token, weight in zip(ids, weights.tolist(), strict=False):
        if weight > 0 and token not in special:
            found[token] = max(weight, found.get(token, 0.0))
    return found


def _load_head(model: ResolvedModel, output: Output) -> torch.nn.Linear:
    path = Path(model.facts.folder) / M3_HEADS[output]
    if not path.is_file():
        raise ModelError(
            f"{model.spec.name} has no {path.name}, which makes its {output} vectors; --mode dense works without it"
        )
    weights = load_pickle(model.spec.name, path)
    if set(weights) != {"weight", "bias"}:
        raise ModelError(f"{model.spec.name}: {path.name} holds {', '.join(weights)}; expected weight and bias")
    if weights["weight"].ndim != len("oi") or weights["bias"].shape != weights["weight"].shape[:1]:
        shapes = ", ".join(f"{key} {tuple(value.shape)}" for key, value in weights.items())
        raise ModelError(f"{model.spec.name}: {path.name} holds {shapes}; expected a matrix and a bias for its rows")
    size_out, size_in = weights["weight"].shape
    head = torch.nn.Linear(size_in, size_out)
    head.load_state_dict({key: value.float() for key, value in weights.items()})
    return head.eval()


open_kind = M3Kind
