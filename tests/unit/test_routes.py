"""Models that send queries and documents different ways, against sentence-transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
from support.tiny import DIMENSIONS, save_bert

from evalharness import load_model
from evalharness.errors import ModelError
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.loading import ModelOptions, resolve_model
from evalharness.models.prompts import encoding
from evalharness.types import TaskContext

TEXTS = ["How do ferns grow?", "in shade. " * 4, "a"]


def save(folder: Path, *keys: str, **settings: Any) -> Path:
    torch.manual_seed(1)
    routes: Any = {key: [Dense(DIMENSIONS, 16)] for key in keys}
    modules: list[Any] = [Transformer(str(save_bert(folder.with_name("base")))), Pooling(DIMENSIONS)]
    SentenceTransformer(modules=[*modules, Router(routes, **settings)], device="cpu").save_pretrained(str(folder))
    return folder


def opened(folder: Path) -> EmbeddingModel:
    return load_model(str(folder), ModelOptions(backend="sentence-transformers", trust_remote_code=True))


@pytest.mark.parametrize("default", ["query", "document"])
def test_queries_and_documents_take_their_routes_and_other_texts_the_default_one(tmp_path: Path, default: str) -> None:
    folder = save(tmp_path / "m", "query", "document", default_route=default)
    model, library = opened(folder), SentenceTransformer(str(folder), device="cpu")
    queries, documents = model.encode_queries(TEXTS), model.encode_corpus(TEXTS)
    np.testing.assert_allclose(queries, library.encode_query(TEXTS), atol=1e-5)
    np.testing.assert_allclose(documents, library.encode_document(TEXTS), atol=1e-5)
    np.testing.assert_allclose(model.encode(TEXTS), library.encode(TEXTS), atol=1e-5)
    assert np.abs(queries - documents).max() > 0.01


def test_the_two_sides_have_keys_of_their_own(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "query", "document")
    spec = resolve_model(str(folder), ModelOptions(backend="sentence-transformers", trust_remote_code=True)).spec
    task = TaskContext(name="ArguAna", type="Retrieval")
    made = [encoding(spec, side, task) for side in ("query", "document", None)]
    assert [found.side for found in made] == ["query", "document", None]
    assert {(found.task, found.adapter) for found in made} == {("", "")}


def test_a_model_without_a_default_route_opens_and_refuses_texts_without_a_side(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "query", "document", allow_empty_key=False)
    model, library = opened(folder), SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(model.encode_corpus(TEXTS), library.encode_document(TEXTS), atol=1e-5)
    expected = "no route for texts that are no query or document; its Router module has routes for query, document"
    with pytest.raises(ModelError, match=expected):
        model.encode(TEXTS)


def test_routes_of_other_names_are_named(tmp_path: Path) -> None:
    model = opened(save(tmp_path / "m", "query", "doc"))
    assert model.encode_queries(TEXTS).shape == (len(TEXTS), 16)
    with pytest.raises(ModelError, match="has no route for document; its Router module has routes for query, doc"):
        model.encode_corpus(TEXTS)
