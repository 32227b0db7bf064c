"""A reranker whose scores are a pure function of the pair, in our interface and in mteb's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.models.rankers import Pair, PairModel, RankingModel, Reranker, split_pair
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Dense, Emit, Encoding, PairInstruction, TextsEncoded
from support.lookup import Vectorize, spec


def pair_score(vectorize: Vectorize, query: str, document: str) -> np.float32:
    """Not symmetric, and different from any similarity of the two."""
    return np.float32(vectorize(f"{query} | {document}")[0])


class LookupPairs:
    """A `TextEncoder` of joined pairs."""

    def __init__(self, vectorize: Vectorize) -> None:
        self.vectorize = vectorize
        self.seen: list[Pair] = []

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        del encoding
        pairs = [split_pair(text) for text in texts]
        self.seen += pairs
        emit(TextsEncoded(len(texts), len(texts)))
        read = [(f"{pair.instruction}: " if pair.instruction else "") + pair.query for pair in pairs]
        scores = [[pair_score(self.vectorize, q, pair.document)] for q, pair in zip(read, pairs, strict=True)]
        return Dense(np.array(scores, dtype=np.float32).reshape(-1, 1))


def pair_model(vectorize: Vectorize, how: PairInstruction = "joined") -> PairModel:
    return PairModel(spec(kind="reranker", pooling="own", pair_instruction=how), LookupPairs(vectorize), device="cpu")


def reranker_alone(vectorize: Vectorize, how: PairInstruction = "joined") -> RankingModel:
    model = pair_model(vectorize, how)
    return RankingModel(model.spec, None, Reranker(model, 0))


class MtebPairs:
    """The same scores behind mteb's CrossEncoderProtocol, which leaves it to the model what it reads of a query."""

    def __init__(self, vectorize: Vectorize, how: PairInstruction = "joined") -> None:
        from mteb.models.model_meta import ModelMeta

        self.vectorize = vectorize
        self.how = how
        facts = {"name": "test/pairs", "revision": "0" * 40, "model_type": ["cross-encoder"]}
        self.mteb_model_meta = ModelMeta.create_empty(overwrites=facts)

    def predict(
        self,
        inputs1: Any,
        inputs2: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        del task_metadata, hf_split, hf_subset, prompt_type, batch_size
        queries = [text for batch in inputs1 for text in batch["query" if self.how == "left-out" else "text"]]
        if self.how == "template":
            apart = [text for batch in inputs1 for text in batch["instruction"]]
            queries = [f"{text}: {query}" for text, query in zip(apart, queries, strict=True)]
        documents = [text for batch in inputs2 for text in batch["text"]]
        return np.array([pair_score(self.vectorize, q, d) for q, d in zip(queries, documents, strict=True)])
