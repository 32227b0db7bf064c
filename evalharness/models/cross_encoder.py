"""Rerankers with a classification head on torch: pairs sorted by length, raw logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

from evalharness.errors import ModelError, shorten
from evalharness.journal import NO_JOURNAL, Journal
from evalharness.models.backends import ResolvedModel
from evalharness.models.batches import BatchRunner, blocks, choose_device
from evalharness.models.loading import check_complete, load_config, load_tokenizer, load_weights
from evalharness.rankers import Pair, split_pair
from evalharness.types import Dense, Emit, Encoding, Execution, TextsEncoded

_HEAD = "ForSequenceClassification"
# FlagEmbedding: what a query may take of the room, the document has the rest
_QUERY_SHARE = (3, 4)


class CrossEncoderBackend:
    """A `TextEncoder` of joined pairs around `AutoModelForSequenceClassification`; a score is a vector of length 1.

    Attributes:
        device: torch device name.
        identity: what of the backend can change a score, apart from the model and the encoding.
    """

    def __init__(self, model: ResolvedModel, execution: Execution) -> None:
        self.device = choose_device(execution.device)
        self._name = model.spec.name
        self._truncation = model.spec.pair_truncation
        self.identity = {
            "backend": "cross-encoder",
            "matmul_precision": torch.get_float32_matmul_precision(),
            "pair_truncation": self._truncation,
        }
        self._runner = BatchRunner(self._name, self.device, execution.batch_tokens)
        self._tokenizer = load_tokenizer(model)
        self._model = _load(model).to(self.device).eval()

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        """Score joined pairs; row i belongs to pair i.

        Raises:
            ModelError: a pair needs more memory than there is.
        """
        scores = np.empty((len(texts), 1), dtype=np.float32)
        truncated = np.zeros(len(texts), dtype=bool)
        for places in blocks(texts):
            pairs = [split_pair(texts[place]) for place in places]
            tokens, truncated[places] = self._tokenize(pairs, encoding)
            for batch in self._runner.run(tokens, self._logits, emit, journal):
                scores[[places[number] for number in batch.places], 0] = batch.rows
                emit(TextsEncoded(len(batch.places), batch.tokens))
        return Dense(scores, truncated=truncated)

    def _tokenize(self, pairs: Sequence[Pair], encoding: Encoding) -> tuple[dict[str, Any], list[bool]]:
        """Tokens of the pairs, and whether each was cut."""
        queries, documents = [pair.query for pair in pairs], [pair.document for pair in pairs]
        length = encoding.max_length
        cut = [False] * len(pairs)
        if self._truncation == "only_second" and length is not None:
            # with a token for the document at least, for there is nothing else to cut
            room = length - self._tokenizer.num_special_tokens_to_add(pair=True) - 1
            queries, cut = self._shortened(queries, min(length * _QUERY_SHARE[0] // _QUERY_SHARE[1], max(room, 0)))
        found = self._tokenizer(queries, documents, truncation=self._truncation, max_length=length)
        overflowing = [bool(item.overflowing) for item in found.encodings]
        return dict(found), [a or b for a, b in zip(cut, overflowing, strict=True)]

    def _shortened(self, queries: Sequence[str], limit: int) -> tuple[list[str], list[bool]]:
        """Queries of at most so many tokens, cut on the right."""
        found = self._tokenizer(list(queries), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        kept, cut = [], []
        for query, offsets in zip(queries, found["offset_mapping"], strict=True):
            too_long = len(offsets) > limit
            kept.append(query[: offsets[limit - 1][1] if limit else 0] if too_long else query)
            cut.append(too_long)
        return kept, cut

    def _logits(self, tokens: dict[str, list[Any]]) -> NDArray[np.float32]:
        padded = self._tokenizer.pad(tokens, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            logits = self._model(**padded).logits
        rows: NDArray[np.float32] = logits[:, 0].float().cpu().numpy()
        return rows


def _load(model: ResolvedModel) -> Any:  # noqa: ANN401 -- transformers has no common type
    """The reranker: with its head, which must be in the weight file and give one score."""
    config = load_config(model)
    heads = list(config.architectures or ())
    if not any(name.endswith(_HEAD) for name in heads):
        raise ModelError(
            f"{model.spec.name} is no cross-encoder (it is {shorten(heads) or 'of unknown architecture'}; expected "
            f"...{_HEAD}): it makes vectors and scores no pairs. Give it as --model without --backend cross-encoder"
        )
    if config.num_labels != 1:
        raise ModelError(
            f"{model.spec.name} gives {config.num_labels} scores per pair, so it classifies; a reranker gives one"
        )
    loaded, report = load_weights(model, AutoModelForSequenceClassification, config)
    check_complete(model.spec.name, list(report["missing_keys"]))
    return loaded


open_backend = CrossEncoderBackend
