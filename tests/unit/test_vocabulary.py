"""Tokenizers that are missing, cut or of another model; lengths without room; precisions of storing and computing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model2vec import StaticModel
from safetensors.torch import load_file
from support.contract import heeded
from support.tiny import (
    DIMENSIONS,
    config,
    save_bert,
    save_cross_encoder,
    save_m3,
    save_sentence_model,
    save_t5,
    tokenizer,
    write,
)
from tokenizers import AddedToken
from transformers import BertModel, Qwen3Config, Qwen3ForCausalLM

from evalharness import load_model
from evalharness.errors import ModelError
from evalharness.models.loading import ModelOptions, System, open_model, resolve_model
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution

# exports are kept in it
pytestmark = pytest.mark.usefixtures("own_cache")

CPU = Execution(device="cpu")
CLS = ModelOptions(pooling="cls")


def save_static(folder: Path) -> Path:
    words = tokenizer().backend_tokenizer
    vectors = np.ones((words.get_vocab_size(), 8), dtype=np.float32)
    StaticModel(vectors, words, config={"model_type": "model2vec"}).save_pretrained(folder)
    return folder


def save_causal(folder: Path, rows: int | None = None) -> Path:
    torch.manual_seed(0)
    words = tokenizer()
    words.add_tokens(["Yes"])
    sizes: dict[str, Any] = {"hidden_size": DIMENSIONS, "num_hidden_layers": 1, "num_attention_heads": 4, "head_dim": 8}
    sizes |= {"num_key_value_heads": 2, "vocab_size": rows or len(words)}
    Qwen3ForCausalLM(Qwen3Config(**sizes)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


ALL: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "transformers": (save_bert, {"pooling": "cls"}),
    "sentence-transformers": (save_sentence_model, {"backend": "sentence-transformers"}),
    "onnx": (save_sentence_model, {"backend": "onnx", "onnx_file": "export"}),
    "m3": (save_m3, {"like": "BAAI/bge-m3", "max_length": 64, "mode": "sparse"}),
    "cross-encoder": (save_cross_encoder, {}),
    "llm-reranker": (save_causal, {"like": "BAAI/bge-reranker-v2-gemma", "max_length": 64}),
    "static": (save_static, {}),
}


def opened(folder: Path, **options: Any) -> Any:
    resolved = resolve_model(str(folder), ModelOptions(**options))
    return open_model(System(resolved), heeded(CPU, resolved.spec.backend))


@pytest.mark.parametrize("backend", ALL)
def test_a_tokenizer_has_to_be_there(tmp_path: Path, backend: str) -> None:
    save, options = ALL[backend]
    folder = save(tmp_path / "m")
    opened(folder, **options)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer in .*; expected tokenizer\.json(, or the files|\.)"):
        opened(folder, **options)
    # these two alone are no tokenizer either
    write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    write(folder / "vocab.json", {})
    with pytest.raises(ModelError, match="has no tokenizer in"):
        opened(folder, **options)


def test_a_vocabulary_alone_makes_a_tokenizer(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "m")
    wanted = load_model(str(folder), CLS).encode(["How do ferns grow?"])
    words = sorted(tokenizer().get_vocab().items(), key=lambda item: item[1])
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word, _ in words), encoding="utf-8")
    write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "model_max_length": 64})
    np.testing.assert_array_equal(load_model(str(folder), CLS).encode(["How do ferns grow?"]), wanted)


@pytest.mark.parametrize("backend", ALL)
def test_a_tokenizer_has_to_fit_the_weights(tmp_path: Path, backend: str) -> None:
    save, options = ALL[backend]
    folder = save(tmp_path / "m")
    path = folder / "tokenizer.json"
    settings = json.loads(path.read_text())
    size = len(settings["model"]["vocab"])
    settings["model"]["vocab"]["another"] = size + 5
    write(path, settings)
    with pytest.raises(
        ModelError, match=rf"token with the number {size + 5}, but the weights|Number of tokens \(\d+\) does not"
    ):
        opened(folder, **options)


def test_a_cut_tokenizer_is_refused_and_padding_is_not(tmp_path: Path) -> None:
    words = tokenizer()
    for rows, is_fit in ((words.vocab_size + 900, True), (words.vocab_size + 1025, False)):
        folder = tmp_path / str(rows)
        BertModel(config(vocab_size=rows)).save_pretrained(folder)
        words.save_pretrained(folder)
        if is_fit:
            load_model(str(folder), CLS)
            continue
        with pytest.raises(ModelError, match=r"knows 137 tokens, but the weights have vectors for 1162; most words"):
            load_model(str(folder), CLS)
    with pytest.raises(ModelError, match="most words would be unknown"):
        opened(save_causal(tmp_path / "causal", rows=9000), **ALL["llm-reranker"][1])


def test_a_mark_without_a_vector_is_an_error_where_a_text_holds_it(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "m")
    words = tokenizer()
    words.add_tokens([AddedToken("<image>", special=True)], special_tokens=True)
    words.save_pretrained(folder)
    model = load_model(str(folder), CLS)
    model.encode(["fern"])
    with pytest.raises(ModelError, match="a text holds a token that the model has no vector for"):
        model.encode(["fern", "a <image> of it"])


@pytest.mark.parametrize(
    ("backend", "special", "texts"),
    [("transformers", 2, 1), ("sentence-transformers", 2, 1), ("onnx", 2, 1), ("m3", 2, 1), ("cross-encoder", 3, 2)],
)
def test_a_length_without_room_for_text_is_refused(tmp_path: Path, backend: str, special: int, texts: int) -> None:
    save, options = ALL[backend]
    folder = save(tmp_path / "m")
    least = special + texts
    for length in range(1, least):
        with pytest.raises(
            ModelError,
            match=f"length of {length} tokens leaves no room for text, for {special} go around it; .*{least} or more",
        ):
            opened(folder, **options | {"max_length": length})
    opened(folder, **options | {"max_length": least})


def test_a_length_without_room_is_refused_on_the_command_line(here: Any, tmp_path: Path) -> None:
    save_sentence_model(tmp_path / "m")
    done = here("run", "--model", "m", "--max-length", "2", "--tasks", "StarterSTSEng")
    assert done.returncode != 0
    assert "a maximum length of 2 tokens leaves no room for text" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def halved(folder: Path, dtype: torch.dtype) -> Path:
    model: Any = BertModel.from_pretrained(folder, dtype=dtype)
    model.save_pretrained(folder)
    return folder


def test_weights_in_half_precision_are_noted(tmp_path: Path) -> None:
    folder = halved(save_bert(tmp_path / "m"), torch.float16)
    note = "weights stored in float16, computed in float32; mteb computes them as stored"
    assert resolve_model(str(folder), CLS).spec.notes == (note,)
    low = ModelOptions(pooling="cls", dtype="float16")
    assert resolve_model(str(folder), low).spec.notes == ()
    assert resolve_model(str(save_bert(tmp_path / "full")), CLS).spec.notes == ()
    model: Any = BertModel.from_pretrained(folder)
    model.to(torch.bfloat16).save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    tokenizer().save_pretrained(tmp_path / "shards")
    (found,) = resolve_model(str(tmp_path / "shards"), CLS).spec.notes
    assert found.startswith("weights stored in bfloat16,")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert resolve_model(str(folder), CLS).spec.notes[1] == note
    # a dense layer's precision counts as well
    t5 = save_t5(tmp_path / "t5")
    halves = {key: value.half() for key, value in load_file(t5 / "2_Dense" / "model.safetensors").items()}
    from safetensors.torch import save_file

    save_file(halves, t5 / "2_Dense" / "model.safetensors")
    assert resolve_model(str(t5)).spec.notes == (note,)


@pytest.mark.parametrize("backend", sorted({*ALL} - {"onnx", "static"}))
def test_the_kind_of_device_names_vectors_below_float32_only(tmp_path: Path, backend: str) -> None:
    save, options = ALL[backend]
    folder = save(tmp_path / "m")
    full, low = (
        open_backend(resolve_model(str(folder), ModelOptions(**options | {"dtype": dtype})), CPU).identity
        for dtype in ("float32", "bfloat16")
    )
    assert "device" not in full
    assert low == {**full, "device": "cpu"}
