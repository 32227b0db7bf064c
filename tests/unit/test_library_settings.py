"""What sentence_bert_config.json hands to transformers on loading: for sentence-transformers, refused elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from support.tiny import save_sentence_model

from evalharness import load_model
from evalharness.errors import ModelError
from evalharness.models.loading import ModelOptions, resolve_model

# exports are kept in it
pytestmark = pytest.mark.usefixtures("own_cache")

TEXTS = ["How do ferns grow?", "how do FERNS grow?", "in shade. " * 4, "a"]
SETTINGS: dict[str, dict[str, Any]] = {
    "config_args": {"num_hidden_layers": 1},
    "config_kwargs": {"hidden_act": "relu"},
    "tokenizer_args": {"cls_token": "[MASK]"},
    "processor_kwargs": {"cls_token": "[MASK]"},
}
HARMLESS: dict[str, Any] = {
    "model_args": {"torch_dtype": "float16", "attn_implementation": "eager", "add_pooling_layer": False, "token": None},
    "config_args": {"trust_remote_code": True, "revision": "abc", "output_hidden_states": False},
    "tokenizer_args": {"model_max_length": 9, "padding_side": "left", "trust_remote_code": True},
}


def vectors(folder: Path, backend: str) -> NDArray[np.float32]:
    return load_model(str(folder), ModelOptions(backend=backend)).encode(TEXTS)


@pytest.mark.parametrize("key", sorted(SETTINGS))
def test_settings_that_change_numbers_are_for_the_library(tmp_path: Path, key: str) -> None:
    folder = save_sentence_model(tmp_path / "m", sentence={"max_seq_length": 40, key: SETTINGS[key]})
    (entry,) = SETTINGS[key]
    for backend in ("transformers", "onnx"):
        expected = rf"sentence_bert_config\.json, {key}: '{entry}'.*--backend sentence-transformers"
        with pytest.raises(ModelError, match=expected):
            load_model(str(folder), ModelOptions(backend=backend, onnx_file="export" if backend == "onnx" else None))
    found = vectors(folder, "sentence-transformers")
    np.testing.assert_allclose(found, SentenceTransformer(str(folder), device="cpu").encode(TEXTS), atol=1e-5)
    plain = save_sentence_model(tmp_path / "plain", sentence={"max_seq_length": 40, key: {}})
    np.testing.assert_allclose(vectors(plain, "transformers"), vectors(plain, "sentence-transformers"), atol=1e-5)


def test_texts_that_only_the_librarys_tokenizer_tells_apart_have_vectors_of_their_own(tmp_path: Path) -> None:
    settings = {"max_seq_length": 40, "processor_kwargs": {"do_lower_case": False, "cls_token": "[MASK]"}}
    folder = save_sentence_model(tmp_path / "m", sentence=settings)
    found = vectors(folder, "sentence-transformers")
    np.testing.assert_allclose(found, SentenceTransformer(str(folder), device="cpu").encode(TEXTS), atol=1e-5)


def test_settings_that_change_no_number_are_no_obstacle(tmp_path: Path) -> None:
    folder = save_sentence_model(tmp_path / "m", sentence={"max_seq_length": 40, **HARMLESS})
    assert resolve_model(str(folder)).spec.max_length == 9
    reference = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
    for backend in ("transformers", "sentence-transformers"):
        # one at a time: with the padding on the left, the library moves the positions of short texts
        wanted = np.concatenate([reference.encode([text]) for text in TEXTS])
        np.testing.assert_allclose(vectors(folder, backend), wanted, atol=1e-5)


@pytest.mark.parametrize("key", ["model_args", "model_kwargs"])
def test_settings_of_the_weights_are_refused(tmp_path: Path, key: str) -> None:
    folder = save_sentence_model(tmp_path / "m", sentence={key: {"key_mapping": {"a": "b"}, "dtype": "float16"}})
    with pytest.raises(ModelError, match=rf"sentence_bert_config\.json, {key}: 'key_mapping': changes the model"):
        load_model(str(folder))


@pytest.mark.parametrize("value", [7, "x", ["a"]])
def test_settings_of_another_form_are_errors(tmp_path: Path, value: object) -> None:
    folder = save_sentence_model(tmp_path / "m", sentence={"model_args": value})
    with pytest.raises(ModelError, match=r"sentence_bert_config\.json, model_args: expected"):
        load_model(str(folder))
