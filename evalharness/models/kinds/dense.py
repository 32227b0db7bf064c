"""Dense vectors: hidden states pooled into one per text, with what follows the pooling."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evalharness.errors import ModelError
from evalharness.models.forward.company import Trial, trial_of
from evalharness.models.forward.pipeline import Engine, Graph, GraphOutput, Rows
from evalharness.models.forward.tokens import PromptTokenizer, short_inputs
from evalharness.models.forward.vocabulary import padding_facts
from evalharness.models.forward.weights import check_order, check_settings, in_precision, load_dense, load_encoder
from evalharness.models.registry import OF_TOKENS, ResolvedModel, beyond_texts
from evalharness.types import Dense, DType, Encoding, ModelSpec, Pooling


class DenseKind:
    """A `Kind`: hidden states, or a graph's own vectors, to one vector per text.

    Attributes:
        wants, reader, layers: see `Kind`.
    """

    wants: GraphOutput = "hidden"

    def __init__(self, model: ResolvedModel, home: str) -> None:
        check_order(model)
        check_settings(model)
        self._model = model
        self.reader = PromptTokenizer(model, home)
        self._dense = load_dense(model).to(home)
        self.layers = (self._dense,)

    def load(self, dtype: DType | None = None) -> Any:  # noqa: ANN401 -- see `Kind`
        """See `Kind`."""
        return load_encoder(in_precision(self._model, dtype))

    def identity(self, engine: Engine) -> dict[str, Any]:
        """See `Kind`."""
        del engine
        return {"backend": "transformers", **padding_facts(self.reader.tokenizer), **pooling_facts(self._model.spec)}

    def try_out(self, engine: Engine) -> torch.Tensor:
        """See `Kind`."""
        found = engine.run(short_inputs(self.reader), _main(engine)).float()
        tried: torch.Tensor = self._dense(found[:, 0]) if "hidden" in engine.gives else found
        return tried

    def trial(self, engine: Engine) -> Trial:
        """See `Kind`."""
        return trial_of(self.reader, lambda inputs: engine.run(inputs, _main(engine)), is_exact=engine.is_exact)

    def check(self, encoding: Encoding) -> None:
        """See `Kind`."""
        name, backend = self._model.spec.name, self._model.spec.backend
        if refused := beyond_texts(encoding, OF_TOKENS):
            raise ModelError(
                f"{name}: the {backend} backend cannot do {' and '.join(refused)}; give --backend sentence-transformers"
            )
        if encoding.pooling == "own" and len(self._dense):
            raise ModelError(
                f"{name}: nothing tells whether the {backend} file's own vectors have been through the dense layers; "
                "give --pooling"
            )

    def rows(self, engine: Graph, tokens: dict[str, list[Any]], encoding: Encoding) -> NDArray[np.float32]:
        """See `Kind`."""
        batch, name = self.reader.padded(tokens), self._model.spec.name
        if encoding.pooling == "own":
            vectors = engine.run(batch.inputs, "vectors")
        else:
            hidden = engine.run(batch.inputs, "hidden").float()
            vectors = self._dense(pool(hidden, batch.counted, encoding.pooling, batch.attended))
        rows: NDArray[np.float32] = finish(vectors, encoding, name).cpu().numpy()
        return rows

    def gather(self, encoded: Rows, engine: Engine) -> Dense:
        """See `Kind`."""
        return Dense(encoded.matrix(engine.width), self._model.spec.similarity, encoded.truncated, encoded.unknown)


def _main(engine: Engine) -> GraphOutput:
    return "hidden" if "hidden" in engine.gives else "vectors"


def pooling_facts(spec: ModelSpec) -> dict[str, str]:
    """What a backend's identity says of the pooling: nothing, but where it has been another one before."""
    return {"weights": "by place in the input"} if spec.pooling == "weightedmean" and not spec.pool_prompt else {}


def pool(
    hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling, attended: torch.Tensor | None = None
) -> torch.Tensor:
    """One vector per text from token vectors, whichever side the padding is on.

    Args:
        hidden: float32, shape (texts, tokens, dimensions).
        mask: shape (texts, tokens), 1 for tokens that count and 0 for others.
        pooling: `cls` (first token), `mean` (of all tokens), `weightedmean` (the i-th token counts i times) or
            `lasttoken`.
        attended: as `mask`, with tokens that do not count but have a number, such as a prompt's; by default the same.

    Returns:
        Shape (texts, dimensions).
    """
    if pooling in ("mean", "weightedmean"):
        numbers = (mask if attended is None else attended).cumsum(dim=1)
        counts = numbers * mask if pooling == "weightedmean" else mask
        weights = counts.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
    positions = torch.arange(mask.shape[1], device=mask.device)
    first = mask.int().argmax(dim=1)
    at = first if pooling == "cls" else (mask * positions).argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), at]


def finish(vectors: torch.Tensor, encoding: Encoding, name: str) -> torch.Tensor:
    """What follows the pooling: layer norm, fewer dimensions, length 1; in this order.

    Args:
        vectors: float32, shape (texts, dimensions).
        encoding: which of it is wanted.
        name: the model's, for errors.

    Raises:
        ModelError: more dimensions are wanted than there are.
    """
    if encoding.layer_norm:
        vectors = torch.nn.functional.layer_norm(vectors, vectors.shape[1:])
    if encoding.dimensions is not None:
        if encoding.dimensions > vectors.shape[1]:
            raise ModelError(
                f"{name}: has vectors of {vectors.shape[1]} dimensions, {encoding.dimensions} are to be kept; "
                f"give --dimensions {vectors.shape[1]} or less"
            )
        vectors = vectors[:, : encoding.dimensions]
    return torch.nn.functional.normalize(vectors, p=2, dim=1) if encoding.normalize else vectors


open_kind = DenseKind
