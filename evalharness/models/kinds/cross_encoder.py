"""Scores of pairs: the raw logits of a classification head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

from evalharness.errors import ModelError, shorten
from evalharness.models.forward.company import Trial
from evalharness.models.forward.loading import check_complete, load_config, load_weights
from evalharness.models.forward.pipeline import Engine, GraphOutput, Rows
from evalharness.models.forward.tokens import Tokenized
from evalharness.models.forward.vocabulary import check_room, check_vocabulary, load_tokenizer, padding_facts
from evalharness.models.rankers import split_pair
from evalharness.models.registry import ResolvedModel
from evalharness.types import Dense, Encoding

_HEAD = "ForSequenceClassification"
# FlagEmbedding: what a query may take of the room, the document has the rest
_QUERY_SHARE = (3, 4)


class CrossEncoderKind:
    """A `Kind`: joined pairs to logits; a score is a vector of length 1.

    Attributes:
        wants: see `Graphed`.
    """

    wants: GraphOutput = "logits"

    def __init__(self, model: ResolvedModel, home: str) -> None:
        self._model = model
        self._home = home
        self._name = model.spec.name
        self._truncation = model.spec.pair_truncation
        self._tokenizer = load_tokenizer(model)
        special = self._tokenizer.num_special_tokens_to_add(pair=True)
        check_room(self._name, model.spec.max_length, special, len(("query", "document")))
        self._config = _checked_config(model)

    def load(self) -> Any:  # noqa: ANN401 -- see `Graphed`
        """See `Graphed`; the head must be in the weight file."""
        loaded, report = load_weights(self._model, AutoModelForSequenceClassification, self._config)
        check_complete(self._name, list(report["missing_keys"]))
        return loaded

    def plain_tokens(self, texts: Sequence[str]) -> dict[str, Any]:
        """See `Exportable`."""
        length = self._model.spec.max_length
        return dict(self._tokenizer(list(texts), list(texts), truncation=True, max_length=length))

    def inputs(self, tokens: dict[str, list[Any]]) -> Mapping[str, torch.Tensor]:
        """See `Exportable`."""
        padded: Mapping[str, torch.Tensor] = self._tokenizer.pad(tokens, padding_side="right", return_tensors="pt").to(
            self._home
        )
        return padded

    def fit(self, engine: Engine) -> None:
        """See `Kind`."""
        check_vocabulary(self._name, self._tokenizer, engine.vocabulary)

    def identity(self, engine: Engine) -> dict[str, Any]:
        """See `Kind`."""
        del engine
        return {"backend": "cross-encoder", "pair_truncation": self._truncation, **padding_facts(self._tokenizer)}

    def try_out(self, engine: Engine) -> torch.Tensor:
        """See `Kind`."""
        return torch.as_tensor(self._logits(engine, dict(self._tokenizer(["a"], ["a"]))))

    def trial(self, engine: Engine) -> Trial:
        """See `Kind`."""

        def rows(texts: Sequence[str]) -> list[NDArray[np.float32]]:
            # beside a 1, so that of a score near 0 nothing is relative to that
            scores = self._logits(engine, self.plain_tokens(texts))
            return [np.array([score, 1], dtype=np.float32) for score in scores]

        return Trial(rows, lambda text: len(self.plain_tokens([text])["input_ids"][0]), engine.is_exact)

    def check(self, encoding: Encoding) -> None:
        """See `Kind`; nothing of an encoding is of no use."""

    def tokenize(self, texts: Sequence[str], encoding: Encoding) -> Tokenized:
        """See `Kind`."""
        pairs = [split_pair(text) for text in texts]
        queries, documents = [pair.query for pair in pairs], [pair.document for pair in pairs]
        length = encoding.max_length
        if self._truncation == "only_second" and length is not None:
            return self._with_short_queries(queries, documents, length)
        found = self._tokenizer(queries, documents, truncation=self._truncation, max_length=length)
        return Tokenized(dict(found), [bool(item.overflowing) for item in found.encodings])

    def rows(self, engine: Engine, tokens: dict[str, list[Any]], encoding: Encoding) -> NDArray[np.float32]:
        """See `Kind`."""
        del encoding
        return self._logits(engine, tokens)

    def gather(self, encoded: Rows, engine: Engine) -> Dense:
        """See `Kind`."""
        del engine
        return Dense(encoded.matrix(1), truncated=encoded.truncated)

    def _with_short_queries(self, queries: Sequence[str], documents: Sequence[str], length: int) -> Tokenized:
        """FlagEmbedding's way: the query's tokens are cut first, then the document's to what room is left.

        What is cut are tokens, not text: the same text can have other tokens once its end is gone.
        """
        # with a token for the document at least, for there is nothing else to cut
        room = length - self._tokenizer.num_special_tokens_to_add(pair=True) - 1
        limit = min(length * _QUERY_SHARE[0] // _QUERY_SHARE[1], room)
        backend = self._tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        tokens: dict[str, Any] = {key: [] for key in self._tokenizer.model_input_names}
        cut = []
        firsts, seconds = (backend.encode_batch(list(part), add_special_tokens=False) for part in (queries, documents))
        for first, second in zip(firsts, seconds, strict=True):
            whole = len(first) + len(second)
            first.truncate(limit)
            second.truncate(room + 1 - len(first))
            cut.append(len(first) + len(second) < whole)
            joined = backend.post_process(first, second)
            values = {
                "input_ids": joined.ids,
                "token_type_ids": joined.type_ids,
                "attention_mask": joined.attention_mask,
            }
            for key, items in tokens.items():
                items.append(values[key])
        return Tokenized(tokens, cut)

    def _logits(self, engine: Engine, tokens: dict[str, list[Any]]) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = engine.run(self.inputs(tokens), "logits")[:, 0].float().cpu().numpy()
        return rows


def _checked_config(model: ResolvedModel) -> Any:  # noqa: ANN401 -- transformers has no common type
    """The config of a model that has a head, which gives one score."""
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
    return config


open_kind = CrossEncoderKind
