"""Texts in a script that a model does not read: the result says so, from the store as well as from the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny import save_bert, save_decoder, save_m3

from evalharness.models.encoder import EmbeddingModel
from evalharness.models.forward.tokens import PromptTokenizer
from evalharness.models.loading import ModelOptions, open_embedder, resolve_model
from evalharness.models.options import Execution
from evalharness.store.shard_files import open_shard
from evalharness.types import EncodeEvent, EncodeNote, Encoding, TextColumn

THAI, MIXED, HALF, ENGLISH = "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "a \u0e2a \u0e27", "a \u0e2a", "how do ferns grow?"
MESSAGE = "texts consist mostly of tokens that the model does not know"


def notes(model: EmbeddingModel, texts: list[str]) -> list[EncodeNote]:
    events: list[EncodeEvent] = []
    model.encode_columns([TextColumn("a", texts, None)], None, events.append)
    return [event for event in events if isinstance(event, EncodeNote) and event.kind == "unknown"]


@pytest.mark.parametrize("with_prompt", [False, True])
def test_texts_of_mostly_unknown_tokens_are_noted(tmp_path: Path, with_prompt: bool) -> None:
    prompt: dict[str, Any] = {"query_prompt": "q: "} if with_prompt else {}
    resolved = resolve_model(str(save_bert(tmp_path / "model")), ModelOptions(pooling="cls", **prompt))
    for _ in range(2):  # the second time from the store
        model = open_embedder(resolved, Execution(device="cpu"), store=tmp_path / "store")
        assert notes(model, [THAI, ENGLISH, MIXED, HALF, "", THAI]) == [EncodeNote("unknown", MESSAGE, 2)]
        assert notes(model, [ENGLISH, HALF]) == []


def test_shards_without_such_texts_are_as_before(tmp_path: Path) -> None:
    resolved = resolve_model(str(save_bert(tmp_path / "model")), ModelOptions(pooling="cls"))
    notes(open_embedder(resolved, Execution(device="cpu"), store=tmp_path / "store"), [ENGLISH, "and"])
    (path,) = (tmp_path / "store").rglob("*.shard")
    assert set(open_shard(path).arrays) == {"digests", "truncated", "vectors"}


def test_prompts_do_not_count(tmp_path: Path) -> None:
    resolved = resolve_model(str(save_bert(tmp_path / "model")), ModelOptions(pooling="cls"))
    tokens = PromptTokenizer(resolved, "cpu")
    for prompt_as_tokens in (False, True):
        how = Encoding(pooling="cls", normalize=True, max_length=64, dtype="float32", prompt="a long english prompt: ",
                       prompt_as_tokens=prompt_as_tokens)  # fmt: skip
        found = tokens.tokenize([THAI, ENGLISH, f"{ENGLISH} {THAI}"], how).unknown
        assert np.asarray(found).tolist() == [True, False, False]


def test_other_kinds_of_models(tmp_path: Path) -> None:
    m3 = ModelOptions(backend="m3", mode="sparse", like="BAAI/bge-m3", max_length=64)
    model = open_embedder(resolve_model(str(save_m3(tmp_path / "m3")), m3), Execution(device="cpu"))
    assert notes(model, [THAI, ENGLISH]) == [EncodeNote("unknown", MESSAGE, 1)]
    # its tokenizer names no unknown token
    decoder = resolve_model(str(save_decoder(tmp_path / "decoder", "lasttoken")), ModelOptions())
    assert notes(open_embedder(decoder, Execution(device="cpu")), [ENGLISH]) == []
