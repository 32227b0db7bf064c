"""An encoder whose vectors are a pure function of the text, in our interface and in mteb's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.models.encoder import EmbeddingModel
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Dense, Emit, Encoding, ModelSpec, TextsEncoded

Vectorize = Callable[[str], NDArray[np.float32]]


def smooth(text: str) -> NDArray[np.float32]:
    """A normal vector from the text's hash."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).normal(size=16).astype(np.float32)


def coarse(text: str) -> NDArray[np.float32]:
    """One of very few vectors, so that scores are full of ties."""
    values = np.round(smooth(text)[:3] / 2).astype(np.float32)
    return values if values.any() else np.ones(3, dtype=np.float32)


def constant(text: str) -> NDArray[np.float32]:
    """The same vector for all texts."""
    del text
    return np.ones(4, dtype=np.float32)


def stack(vectorize: Vectorize, texts: Sequence[str]) -> NDArray[np.float32]:
    return np.stack([vectorize(text) for text in texts])


class LookupBackend:
    """A `TextEncoder` that also counts what it was asked for."""

    def __init__(self, vectorize: Vectorize) -> None:
        self.vectorize = vectorize
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        self.seen += [encoding.prompt + text for text in texts]
        emit(TextsEncoded(len(texts)))
        return Dense(stack(self.vectorize, [encoding.prompt + text for text in texts]))


class JournaledLookup(LookupBackend):
    """The same, text by text, with a journal; `wait` is called before each text that is not in the journal."""

    def __init__(self, vectorize: Vectorize, wait: Callable[[], object] = lambda: None) -> None:
        super().__init__(vectorize)
        self.wait = wait

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        found = []
        for text in texts:
            batch = {"texts": [encoding.prompt + text]}
            kept = journal.find(batch)
            if kept is None:
                self.wait()
                self.seen += batch["texts"]
                kept = {"rows": stack(self.vectorize, batch["texts"])}
                journal.add(batch, kept)
            found.append(kept["rows"])
            emit(TextsEncoded(1))
        return Dense(np.concatenate(found))


def spec(**changes: Any) -> ModelSpec:
    facts: dict[str, Any] = {
        "name": "test/lookup",
        "revision": "0" * 40,
        "fingerprint": "f" * 64,
        "pooling": "cls",
        "normalize": False,
        "max_length": 512,
    }
    return ModelSpec(**(facts | changes))


def lookup_model(vectorize: Vectorize = smooth, model_spec: ModelSpec | None = None) -> EmbeddingModel:
    return EmbeddingModel(model_spec or spec(), LookupBackend(vectorize), device="cpu")


def mteb_lookup_model(vectorize: Vectorize = smooth) -> Any:
    """The same vectors behind mteb's EncoderProtocol."""
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ModelMeta

    class MtebLookup(AbsEncoder):
        def __init__(self) -> None:
            self.mteb_model_meta = ModelMeta.create_empty(overwrites={"name": "test/lookup", "revision": "0" * 40})

        def encode(self, inputs: Any, **options: Any) -> NDArray[np.float32]:
            del options
            return stack(vectorize, [text for batch in inputs for text in batch["text"]])

    return MtebLookup()
