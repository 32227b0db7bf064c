"""Static models: a vector per token of the vocabulary, and the mean of them for a text. Read by model2vec.

The mean is taken here, in model2vec's way, so that a text is tokenized once and cut to exactly the length asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from model2vec import StaticModel
from model2vec.version import __version__
from numpy.typing import NDArray

from evalharness.catalog.models import ModelFacts
from evalharness.errors import ModelError, shorten
from evalharness.models.forward.batches import blocks
from evalharness.models.forward.weights import library_errors
from evalharness.models.kinds.dense import finish
from evalharness.models.layout import NORMALIZE, STATIC
from evalharness.models.options import Execution
from evalharness.models.prompts import prompted
from evalharness.models.registry import ResolvedModel, beyond_texts
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Dense, Emit, Encoding, TextsEncoded


@dataclass(frozen=True, slots=True)
class _Known:
    """Known tokens of texts, whether each text was cut, and whether most of its tokens are unknown."""

    tokens: list[list[int]]
    cut: list[bool]
    unknown: list[bool]


class StaticBackend:
    """A `TextEncoder` around `model2vec.StaticModel`.

    Attributes:
        device: always the CPU.
        identity: what of the backend can change a vector, apart from the model and the encoding.
        size: how many numbers its table has, with a weight for each token if there are any.
    """

    device = "cpu"

    def __init__(self, model: ResolvedModel, execution: Execution) -> None:
        del execution
        self.identity = {
            "backend": "static",
            "version": ".".join(str(__version__).split(".")[:2]),
            # sentence-transformers keeps them, so its vectors differ where a text has some
            "unknown_tokens": "dropped",
        }
        self._name = model.spec.name
        self._similarity = model.spec.similarity
        self._model = _load(model)
        table, weights = self._model.embedding, self._model.weights
        self.size = ModelFacts(
            parameters=table.size + (0 if weights is None else weights.size), embedding_parameters=table.size
        )

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        """Encode texts; row i belongs to text i. A text without a known token has a vector of zeros.

        Raises:
            ModelError: the encoding does not fit the model.
        """
        # a shard takes a second
        del journal
        self._check(encoding)
        # a loop of its own, not `run_texts`: without padding there is nothing to sort, to halve or to keep together
        vectors = np.zeros((len(texts), self._model.dim), dtype=np.float32)
        truncated, unknown = (np.zeros(len(texts), dtype=bool) for _ in range(2))
        for places in blocks(texts):
            found = self._tokenize([texts[place] for place in places], encoding)
            tokens, truncated[places], unknown[places] = found.tokens, found.cut, found.unknown
            vectors[places] = self._means(tokens)
            emit(TextsEncoded(len(places), sum(max(1, len(ids)) for ids in tokens)))
        finished = finish(torch.from_numpy(vectors), encoding, self._name)
        return Dense(finished.numpy(), self._similarity, truncated, unknown)

    def _check(self, encoding: Encoding) -> None:
        if refused := beyond_texts(encoding, ("layer_norm",)):
            raise ModelError(f"{self._name}: the static backend cannot do {' and '.join(refused)}")

    def _tokenize(self, texts: Sequence[str], encoding: Encoding) -> _Known:
        """Known tokens of the prompted texts."""
        tokenizer: Any = self._model.tokenizer
        if encoding.max_length is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(encoding.max_length)
        whole = [prompted(text, encoding) for text in texts]
        found = tokenizer.encode_batch_fast(whole, add_special_tokens=False)
        unknown = self._model.unk_token_id
        kept = [[token for token in item.ids if token != unknown] for item in found]
        mostly = [2 * len(known) < len(item.ids) for known, item in zip(kept, found, strict=True)]
        return _Known(kept, [bool(item.overflowing) for item in found], mostly)

    def _means(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """The mean of each text's token vectors, rounded as model2vec rounds it."""
        model = self._model
        stored = np.float32 if model.embedding.dtype == np.int8 else model.embedding.dtype
        means = np.zeros((len(tokens), model.dim), dtype=stored)
        for row, ids in enumerate(tokens):
            if not ids:
                continue
            vectors = model.embedding[ids if model.token_mapping is None else model.token_mapping[ids]]
            if model.weights is not None:
                vectors = vectors * model.weights[ids][:, None]
            means[row] = vectors.mean(axis=0)
        return means.astype(np.float32)


def _load(model: ResolvedModel) -> StaticModel:
    name = model.spec.name
    folder = model.facts.folder
    if others := [kind for kind in model.facts.modules if kind not in (STATIC, NORMALIZE)]:
        raise ModelError(
            f"{name}: modules.json has {shorten(others)}, which the static backend does not run; use "
            "--backend sentence-transformers"
        )
    if not any((folder / place / "tokenizer.json").is_file() for place in ("", "0_StaticEmbedding")):
        raise ModelError(f"{name}: has no tokenizer in {folder}; expected tokenizer.json. Fetch all files of the model")
    with library_errors(model, "model2vec cannot load the model"):
        loaded = StaticModel.from_pretrained(model.facts.folder, max_length=None)
    rows = len(loaded.embedding) if loaded.token_mapping is None else len(loaded.token_mapping)
    if rows < len(loaded.tokens) or (loaded.weights is not None and len(loaded.weights) < len(loaded.tokens)):
        raise ModelError(
            f"{name}: the tokenizer has {len(loaded.tokens)} tokens, but the weight file has vectors or weights for "
            "fewer; give the folder with the files that belong together"
        )
    return loaded


open_backend = StaticBackend
