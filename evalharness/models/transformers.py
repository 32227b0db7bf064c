"""The default backend: plain transformers on torch, texts sorted by length, batches by a token budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evalharness.errors import ModelError
from evalharness.journal import NO_JOURNAL, Journal
from evalharness.models.backends import OF_TOKENS, ResolvedModel, beyond_texts
from evalharness.models.batches import BatchRunner, choose_device, precision
from evalharness.models.company import company_facts, computes_exactly, find_company
from evalharness.models.loading import check_order, check_runs, check_settings, embedding_rows, load_dense, load_encoder
from evalharness.models.tokens import PromptTokenizer, TokenPipeline
from evalharness.types import Dense, Emit, Encoding, Execution, ModelSpec, Pooling


class TransformersBackend:
    """A `TextEncoder` around `transformers.AutoModel`.

    Attributes:
        device: torch device name.
        identity: what of the backend can change a vector, apart from the model and the encoding.
    """

    def __init__(self, model: ResolvedModel, execution: Execution) -> None:
        self.device = choose_device(execution.device)
        self._name = model.spec.name
        check_order(model)
        check_settings(model)
        self._tokens = PromptTokenizer(model)
        self.identity = {
            "backend": "transformers",
            **precision(model.spec.dtype, self.device),
            **self._tokens.identity,
            **pooling_facts(model.spec),
        }
        self._model = load_encoder(model).to(self.device).eval()
        self._tokens.check_vocabulary(embedding_rows(self._model))
        self._dense = load_dense(model).to(self.device)
        check_runs(model, lambda: self._dense(self._tokens.run(self._model, self.device)[:, 0]))
        trial = self._tokens.trial(
            lambda inputs: self._model(**inputs).last_hidden_state, self.device, is_exact=computes_exactly(model)
        )
        company = find_company(model, trial)
        self.identity |= company_facts(company)
        runner = BatchRunner(self._name, self.device, execution.batch_tokens, company)
        self._pipeline = TokenPipeline(runner, model.spec.similarity)

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        """Encode texts; row i belongs to text i.

        Raises:
            ModelError: a text needs more memory than there is, or the encoding does not fit the model.
        """
        self._check(encoding)
        return self._pipeline.run(
            texts,
            emit,
            tokenize=lambda part: self._tokens.tokenize(part, encoding),
            forward=lambda tokens: self._pooled(tokens, encoding),
            width=int(self._model.config.hidden_size),
            journal=journal,
        )

    def _check(self, encoding: Encoding) -> None:
        if encoding.pooling == "own":
            raise ModelError(f"{self._name}: the transformers backend has to be told the pooling; give --pooling")
        if refused := beyond_texts(encoding, OF_TOKENS):
            raise ModelError(
                f"{self._name}: the transformers backend cannot do {' and '.join(refused)}; "
                "give --backend sentence-transformers"
            )

    def _pooled(self, tokens: dict[str, list[Any]], encoding: Encoding) -> NDArray[np.float32]:
        batch = self._tokens.padded(tokens, self.device)
        with torch.inference_mode():
            hidden = self._model(**batch.inputs).last_hidden_state.float()
            pooled = pool(hidden, batch.counted, encoding.pooling, batch.attended)
            vectors = finish(self._dense(pooled), encoding, self._name)
        rows: NDArray[np.float32] = vectors.cpu().numpy()
        return rows


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


open_backend = TransformersBackend
