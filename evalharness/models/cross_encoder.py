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
from evalharness.models.batches import BatchRunner, blocks, choose_device, precision
from evalharness.models.company import Trial, company_facts, computes_exactly, find_company
from evalharness.models.loading import check_complete, check_runs, embedding_rows, load_config, load_weights
from evalharness.models.vocabulary import check_room, check_vocabulary, load_tokenizer, padding_facts
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
        self._tokenizer = load_tokenizer(model)
        self.identity = {
            "backend": "cross-encoder",
            **precision(model.spec.dtype, self.device),
            "pair_truncation": self._truncation,
            **padding_facts(self._tokenizer),
        }
        special = self._tokenizer.num_special_tokens_to_add(pair=True)
        check_room(self._name, model.spec.max_length, special, len(("query", "document")))
        self._model = _load(model).to(self.device).eval()
        check_vocabulary(self._name, self._tokenizer, embedding_rows(self._model))
        check_runs(model, lambda: self._logits(dict(self._tokenizer(["a"], ["a"]))))
        company = find_company(model, self._trial(model))
        self.identity |= company_facts(company)
        self._runner = BatchRunner(self._name, self.device, execution.batch_tokens, company)

    def _trial(self, model: ResolvedModel) -> Trial:
        def tokens(texts: Sequence[str]) -> dict[str, Any]:
            return dict(self._tokenizer(list(texts), list(texts), truncation=True, max_length=model.spec.max_length))

        def rows(texts: Sequence[str]) -> list[NDArray[np.float32]]:
            # beside a 1, so that of a score near 0 nothing is relative to that
            return [np.array([score, 1], dtype=np.float32) for score in self._logits(tokens(texts))]

        return Trial(rows, lambda text: len(tokens([text])["input_ids"][0]), computes_exactly(model))

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
        if self._truncation == "only_second" and length is not None:
            return self._with_short_queries(queries, documents, length)
        found = self._tokenizer(queries, documents, truncation=self._truncation, max_length=length)
        return dict(found), [bool(item.overflowing) for item in found.encodings]

    def _with_short_queries(
        self, queries: Sequence[str], documents: Sequence[str], length: int
    ) -> tuple[dict[str, Any], list[bool]]:
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
        return tokens, cut

    def _logits(self, tokens: dict[str, list[Any]]) -> NDArray[np.float32]:
        padded = self._tokenizer.pad(tokens, padding_side="right", return_tensors="pt").to(self.device)
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
