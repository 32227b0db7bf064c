"""Poolings and what follows them, against sentence-transformers and plain transformers, on random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from support.contract import PROMPT, TEXTS, check_contract
from support.tiny import (
    DIMENSIONS,
    save_bert,
    save_decoder,
    save_dense,
    save_modules,
    save_sentence_model,
    save_t5,
    write,
)
from transformers import AutoModel, AutoTokenizer

from evalharness import load_model
from evalharness.errors import ModelError
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.kinds.dense import finish, pool
from evalharness.models.loading import ModelOptions, open_embedder, resolve_model
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution
from evalharness.models.prompts import encoding
from evalharness.types import Encoding, TaskContext, ignore_event

MEAN = {"word_embedding_dimension": DIMENSIONS, "pooling_mode_mean_tokens": True}


def opened(folder: Path, execution: Execution) -> EmbeddingModel:
    options = ModelOptions(query_prompt=PROMPT, **({} if (folder / "modules.json").is_file() else {"pooling": "mean"}))
    return open_embedder(resolve_model(str(folder), options), execution)


def test_t5_with_a_dense_layer_equals_sentence_transformers(tmp_path: Path) -> None:
    folder = save_t5(tmp_path / "t5")
    ours = load_model(str(folder)).encode(TEXTS)
    assert ours.shape == (len(TEXTS), 24)
    np.testing.assert_allclose(ours, SentenceTransformer(str(folder), device="cpu").encode(TEXTS), atol=1e-5)


def test_two_dense_layers_with_bias_and_activation_equal_sentence_transformers(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "m")
    first = save_dense(folder / "2_Dense", (DIMENSIONS, 48), bias=True)
    second = save_dense(folder / "3_Dense", (48, 16))
    save_modules(folder, {"Pooling": MEAN, "Dense": first, "Dense2": second}, {"max_seq_length": 64})
    reference = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(load_model(str(folder)).encode(TEXTS), reference, atol=1e-5)


@pytest.mark.parametrize("pooling", ["lasttoken", "mean"])
def test_a_decoder_with_padding_on_the_left_equals_sentence_transformers(tmp_path: Path, pooling: str) -> None:
    folder = save_decoder(tmp_path / "qwen", pooling)
    reference = SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(load_model(str(folder)).encode(TEXTS), reference.encode(TEXTS), atol=1e-5)
    if pooling == "lasttoken":
        like = ModelOptions(like="Qwen/Qwen3-Embedding-0.6B", max_length=64)
        prompt = "Instruct: Given a scientific claim, retrieve documents that support or refute the claim\nQuery:"
        queries = load_model(str(folder), like).encode_queries(TEXTS, task="SciFact")
        np.testing.assert_allclose(queries, reference.encode(TEXTS, prompt=prompt), atol=1e-5)


def test_the_weighted_mean_equals_sentence_transformers_and_does_not_depend_on_padding(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "m")
    save_modules(
        folder,
        {"Pooling": {"word_embedding_dimension": DIMENSIONS, "pooling_mode_weightedmean_tokens": True}},
        {"max_seq_length": 64},
    )
    reference = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(load_model(str(folder)).encode(TEXTS), reference, atol=1e-5)
    hidden = torch.arange(24, dtype=torch.float32).reshape(2, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]])
    assert pool(hidden, mask, "weightedmean").tolist() == [[2, 3, 4], [20, 21, 22]]


def test_brackets_are_token_ids_around_the_text_which_is_cut_to_leave_room(tmp_path: Path) -> None:
    folder = save_decoder(tmp_path / "sgpt", "weightedmean", end_token=False, normalize=False)
    words: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    before, after = (words(text, add_special_tokens=False)["input_ids"] for text in ("(", ")"))
    wanted = []
    for text in TEXTS:
        ids = [*before, *words(text, add_special_tokens=False)["input_ids"][: 64 - 2], *after]
        with torch.no_grad():
            hidden = model(torch.tensor([ids])).last_hidden_state[0]
        weights = torch.arange(1, len(ids) + 1).float()[:, None]
        wanted.append(((hidden * weights).sum(0) / weights.sum()).numpy())
    resolved = resolve_model(str(folder))
    brackets = {"prompt_as_tokens": True, "default_prompt": "(", "suffixes": {"": ")"}}
    spec = resolved.spec.model_copy(update=brackets)
    backend = open_backend(resolved, Execution(device="cpu"))
    found = backend.encode(TEXTS, encoding(spec, None, None), ignore_event)
    np.testing.assert_allclose(found.vectors, np.stack(wanted), atol=1e-5)
    assert found.truncated is not None
    assert np.flatnonzero(found.truncated).tolist() == [3]


@pytest.mark.parametrize("instruction", ["Represent the sentence; ", ""])
def test_a_prompt_that_is_not_pooled_equals_sentence_transformers(tmp_path: Path, instruction: str) -> None:
    folder = save_t5(tmp_path / "instructor")
    write(folder / "1_Pooling" / "config.json", {**MEAN, "include_prompt": False})
    reference = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, prompt=instruction)
    ours = load_model(str(folder), ModelOptions(query_prompt=instruction)).encode_queries(TEXTS)
    np.testing.assert_allclose(ours, reference, atol=1e-5)
    options = ModelOptions(query_prompt=instruction, like="hkunlp/instructor-xl", max_length=64, normalize=True)
    np.testing.assert_allclose(load_model(str(folder), options).encode_queries(TEXTS), reference, atol=1e-5)
    if instruction:
        write(folder / "1_Pooling" / "config.json", MEAN)
        pooled = load_model(str(folder), ModelOptions(query_prompt=instruction)).encode_queries(TEXTS)
        assert np.abs(pooled - reference).max() > 0.01


@pytest.mark.parametrize("pooled", [True, False])
def test_a_text_that_is_too_long_with_its_prompt_goes_without(tmp_path: Path, pooled: bool) -> None:
    folder = save_t5(tmp_path / "instructor")
    resolved = resolve_model(str(folder), ModelOptions(like="hkunlp/instructor-xl", max_length=64))
    backend = open_backend(resolved, Execution(device="cpu"))
    limits = {"prompt_within": {"Clustering": 30}, "prompts": {"Clustering": "topic: "}, "pool_prompt": pooled}
    spec = resolved.spec.model_copy(update=limits)
    usual = encoding(spec, None, TaskContext(name="Any", type="Clustering"))
    assert (usual.prompt, usual.prompt_within) == ("topic: ", 30)
    words: Any = AutoTokenizer.from_pretrained(folder)
    # the tokens of the prompt, of the text, and the one at the end: exactly at the limit, and one more
    most = 30 - len(words("topic: ")["input_ids"])
    texts = ["fern", "x" * most, "x" * (most + 1), "y" * 60, "topic: " + "x" * most, "x" * most]
    counts = [len(words("topic: " + text)["input_ids"]) for text in texts]
    assert counts[1] == 30
    assert [count > 30 for count in counts] == [False, False, True, True, True, False]
    kept, bare = (
        backend.encode(texts, usual.model_copy(update=changes), ignore_event).vectors
        for changes in ({"prompt_within": None}, {"prompt": "", "prompt_within": None})
    )
    found = backend.encode(texts, usual, ignore_event).vectors
    wanted = np.where(np.array([count > 30 for count in counts])[:, None], bare, kept)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert np.abs(kept - bare)[2].max() > 0.01


def test_instructor_clusters_long_texts_without_an_instruction(tmp_path: Path) -> None:
    spec = resolve_model(str(save_t5(tmp_path / "m")), ModelOptions(like="hkunlp/instructor-xl", max_length=64)).spec
    found = {kind: encoding(spec, None, TaskContext(name="A", type=kind)) for kind in ("Clustering", "STS")}
    assert {kind: item.prompt_within for kind, item in found.items()} == {"Clustering": 256, "STS": None}


def test_dimensions_are_cut_before_normalisation(tmp_path: Path) -> None:
    folder = str(save_bert(tmp_path / "m"))
    whole = load_model(folder, ModelOptions(pooling="cls", normalize=False)).encode(TEXTS)
    cut = load_model(folder, ModelOptions(pooling="cls", normalize=True, dimensions=8)).encode(TEXTS)
    np.testing.assert_allclose(cut, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True), atol=1e-6)
    spec = resolve_model(folder, ModelOptions(pooling="cls", dimensions=8)).spec
    assert spec.notes == ("vectors cut to 8 dimensions",)
    assert spec.overrides["dimensions"] == 8
    with pytest.raises(ModelError, match="has vectors of 32 dimensions, 33 are to be kept; give --dimensions 32"):
        load_model(folder, ModelOptions(pooling="cls", dimensions=33)).encode(["a"])


@pytest.mark.parametrize("backend", ["transformers", "sentence-transformers"])
def test_dimensions_of_the_files_are_kept_unless_others_are_given(tmp_path: Path, backend: str) -> None:
    folder = save_sentence_model(tmp_path / "m", normalize=False, settings={"truncate_dim": 8})
    resolved = resolve_model(str(folder), ModelOptions(backend=backend))
    assert resolved.spec.notes == ("vectors cut to 8 dimensions",)
    found = open_embedder(resolved, Execution(device="cpu")).encode(TEXTS)
    reference = SentenceTransformer(str(folder), device="cpu")
    assert found.shape == (len(TEXTS), 8)
    np.testing.assert_allclose(found, reference.encode(TEXTS), atol=1e-5)
    reference.truncate_dim = None
    whole = load_model(str(folder), ModelOptions(backend=backend, dimensions=DIMENSIONS)).encode(TEXTS)
    np.testing.assert_allclose(whole, reference.encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("value", [0, -8, "8", 8.5, True, [8], DIMENSIONS + 1])
def test_dimensions_of_the_files_that_cannot_be_are_errors(tmp_path: Path, value: Any) -> None:
    folder = save_sentence_model(tmp_path / "m", settings={"truncate_dim": value})
    with pytest.raises(ModelError, match=r"truncate_dim|has vectors of 32 dimensions, 33 are to be kept"):
        load_model(str(folder)).encode(["a"])


def test_an_unusual_order_of_modules_is_refused(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "m")
    dense = save_dense(folder / "3_Dense", (DIMENSIONS, 16))
    save_modules(folder, {"Pooling": MEAN, "Normalize": {}, "Dense": dense}, {"max_seq_length": 64})
    with pytest.raises(ModelError, match="Pooling, Normalize, Dense in this order; expected the transformer"):
        load_model(str(folder))
    modules = json.loads((folder / "modules.json").read_text())[:2]
    write(folder / "modules.json", modules[::-1])
    with pytest.raises(ModelError, match="has Pooling, Transformer in this order; expected the transformer"):
        load_model(str(folder))


@pytest.mark.parametrize("length", [0, -1, 0.0, 1.5])
def test_a_length_that_leaves_no_text_is_refused(tmp_path: Path, length: float) -> None:
    folder = save_sentence_model(tmp_path / "m", sentence={"max_seq_length": length})
    with pytest.raises(ModelError, match=r"sentence_bert_config\.json, max_seq_length: expected a whole number"):
        resolve_model(str(folder))


def test_weights_count_from_the_start_of_a_prompt_that_is_not_pooled(tmp_path: Path) -> None:
    pooling = {"pooling_mode": "weightedmean", "include_prompt": False}
    folder = save_sentence_model(tmp_path / "m", pooling=pooling)
    for backend in ("transformers", "sentence-transformers"):
        resolved = resolve_model(str(folder), ModelOptions(query_prompt="find it: ", backend=backend))
        model = open_embedder(resolved, Execution(device="cpu"))
        reference = SentenceTransformer(str(folder), device="cpu")
        np.testing.assert_allclose(model.encode_queries(TEXTS), reference.encode(TEXTS, prompt="find it: "), atol=1e-5)
        np.testing.assert_allclose(model.encode(TEXTS), reference.encode(TEXTS), atol=1e-5)
    # vectors of before, with other weights, are not found again
    counted = save_sentence_model(tmp_path / "n", pooling={"pooling_mode": "weightedmean"})
    of = [open_backend(resolve_model(str(made)), Execution(device="cpu")).identity for made in (folder, counted)]
    assert of[0] == {**of[1], "weights": "by place in the input"}


def test_layer_norm_comes_first() -> None:
    vectors = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
    how = Encoding(
        pooling="mean", normalize=True, max_length=8, dtype="float32", prompt="", layer_norm=True, dimensions=2
    )
    normed = torch.nn.functional.layer_norm(vectors, (4,))[:, :2]
    torch.testing.assert_close(finish(vectors, how, "m"), normed / normed.norm())


@pytest.mark.parametrize(
    "save", [save_bert, save_t5, partial(save_decoder, pooling="lasttoken")], ids=["bert", "t5", "decoder"]
)
def test_families_keep_the_contract(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    folder = save(tmp_path / "model")
    check_contract(lambda execution: opened(folder, execution))


def test_dense_layers_that_are_missing_or_unknown_are_errors(tmp_path: Path) -> None:
    folder = save_t5(tmp_path / "t5")
    config = {"in_features": DIMENSIONS, "out_features": 24, "bias": True, "activation_function": "a.Swish"}
    write(folder / "2_Dense" / "config.json", config)
    with pytest.raises(ModelError, match="the dense layer 2_Dense has the activation 'Swish'; known are Identity"):
        load_model(str(folder))
    write(folder / "2_Dense" / "config.json", {**config, "activation_function": "a.Tanh"})
    with pytest.raises(ModelError, match=r"2_Dense: the weight file lacks layers that take part in the result: bias"):
        load_model(str(folder))
    narrow = {"bias": False, "activation_function": "Tanh", "out_features": 7}
    write(folder / "2_Dense" / "config.json", {**config, **narrow})
    with pytest.raises(ModelError, match="the weights of the dense layer 2_Dense do not fit"):
        load_model(str(folder))
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"2_Dense has no model\.safetensors"):
        load_model(str(folder))
    bare = save_bert(tmp_path / "bare")
    with pytest.raises(ModelError, match=r"has 1 dense layers after the pooling, but its modules\.json names 0"):
        resolve_model(str(bare), ModelOptions(like="sentence-transformers/sentence-t5-xxl", max_length=64))
