"""Scores of pairs: the raw logits of a classification head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evalharness.errors import ModelError, shorten
from evalharness.models.forward.arrays import Limits, padding_of, read
from evalharness.models.forward.company import Trial, trial_of
from evalharness.models.forward.pipeline import Engine, Graph, GraphOutput, Rows
from evalharness.models.forward.tokens import Tokenized, short_inputs
from evalharness.models.forward.vocabulary import check_room, load_tokenizer, padding_facts
from evalharness.models.forward.weights import check_complete, in_precision, load_config, load_weights
from evalharness.models.rankers import split_pair
from evalharness.models.registry import ResolvedModel
from evalharness.types import Dense, DType, Encoding

_HEAD = "ForSequenceClassification"
# FlagEmbedding: what a query may take of the room, the document has the rest
_QUERY_SHARE = (3, 4)
# stored scores were made so: other neighbours in a batch would change last bits under the same key
_APART = True


class PairTokenizer:
    """A `BatchReader` of joined pairs.

    Attributes:
        tokenizer: see `Reader`.
    """

    def __init__(self, model: ResolvedModel) -> None:
        self._max_length = model.spec.max_length
        self._truncation = model.spec.pair_truncation
        self.tokenizer = load_tokenizer(model)
        self._padding = padding_of(self.tokenizer)
        special = self.tokenizer.num_special_tokens_to_add(pair=True)
        check_room(model.spec.name, self._max_length, special, len(("query", "document")))

    def plain_tokens(self, texts: Sequence[str]) -> dict[str, Any]:
        """See `BatchReader`."""
        return dict(self.tokenizer(list(texts), list(texts), truncation=True, max_length=self._max_length))

    def inputs(self, tokens: dict[str, list[Any]]) -> Mapping[str, torch.Tensor]:
        """See `BatchReader`."""
        return self._padding.inputs(tokens)

    def tokenize(self, texts: Sequence[str], encoding: Encoding) -> Tokenized:
        """See `Reader`."""
        pairs = [split_pair(text) for text in texts]
        queries, documents = [pair.query for pair in pairs], [pair.document for pair in pairs]
        length = encoding.max_length
        if self._truncation == "only_second" and length is not None:
            return self._with_short_queries(queries, documents, length)
        found = read(self.tokenizer, queries, Limits(self._truncation, length), documents)
        return Tokenized(dict(found.columns), found.cut, apart=_APART)

    def _with_short_queries(self, queries: Sequence[str], documents: Sequence[str], length: int) -> Tokenized:
        """FlagEmbedding's way: the query's tokens are cut first, then the document's to what room is left.

        What is cut are tokens, not text: the same text can have other tokens once its end is gone.
        """
        # with a token for the document at least, for there is nothing else to cut
        room = length - self.tokenizer.num_special_tokens_to_add(pair=True) - 1
        limit = min(length * _QUERY_SHARE[0] // _QUERY_SHARE[1], room)
        backend = self.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        tokens: dict[str, Any] = {key: [] for key in self.tokenizer.model_input_names}
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
        return Tokenized(tokens, cut, apart=_APART)


class CrossEncoderKind:
    """A `Kind`: joined pairs to logits; a score is a vector of length 1.

    Attributes:
        wants, reader, layers: see `Kind`.
    """

    wants: GraphOutput = "logits"
    layers = ()

    def __init__(self, model: ResolvedModel, home: str) -> None:
        del home
        self._model = model
        self.reader = PairTokenizer(model)
        self._config = _checked_config(model)

    def load(self, dtype: DType | None = None) -> Any:  # noqa: ANN401 -- see `Kind`
        """See `Kind`; the head must be in the weight file."""
        # its import takes seconds, which an engine that has its graph need not wait for
        from transformers import AutoModelForSequenceClassification

        head = AutoModelForSequenceClassification
        loaded, report = load_weights(in_precision(self._model, dtype), head, self._config)
        check_complete(self._model.spec.name, list(report["missing_keys"]))
        return loaded

    def identity(self, engine: Engine) -> dict[str, Any]:
        """See `Kind`."""
        del engine
        cut = self._model.spec.pair_truncation
        return {"backend": "cross-encoder", "pair_truncation": cut, **padding_facts(self.reader.tokenizer)}

    def try_out(self, engine: Engine) -> torch.Tensor:
        """See `Kind`."""
        return _scores(engine, short_inputs(self.reader))

    def trial(self, engine: Engine) -> Trial:
        """See `Kind`."""

        def forward(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
            # beside a 1, so that of a score near 0 nothing is relative to that
            scores = _scores(engine, inputs)
            return torch.stack([scores, torch.ones_like(scores)], dim=1)

        return trial_of(self.reader, forward, is_exact=engine.is_exact)

    def check(self, encoding: Encoding) -> None:
        """See `Kind`; nothing of an encoding is of no use."""

    def rows(self, engine: Graph, tokens: dict[str, list[Any]], encoding: Encoding) -> NDArray[np.float32]:
        """See `Kind`."""
        del encoding
        rows: NDArray[np.float32] = _scores(engine, self.reader.inputs(tokens)).cpu().numpy()
        return rows

    def gather(self, encoded: Rows, engine: Engine) -> Dense:
        """See `Kind`."""
        del engine
        return Dense(encoded.matrix(1), truncated=encoded.truncated)


def _scores(engine: Graph, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return engine.run(inputs, "logits")[:, 0].float()


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
