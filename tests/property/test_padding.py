"""A vector belongs to its text: neighbours in a batch, their order and the side of padding do not matter."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from support.tiny import DIMENSIONS, save_modules, tokenizer, write

from evalharness.models.encoder import EmbeddingModel
from evalharness.models.loading import ModelOptions, resolve_model
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution
from evalharness.models.rankers import Pair, PairModel
from evalharness.types import ignore_event

TEXTS = ["fern", "How do ferns grow in the shade?", "a", "", "stone and river; seven clouds. " * 2, "in SHADE"]
WORDS = tokenizer().vocab_size
SIZES: dict[str, Any] = {"vocab_size": WORDS, "num_hidden_layers": 2, "num_attention_heads": 4}
ENCODER: dict[str, Any] = {**SIZES, "hidden_size": DIMENSIONS, "intermediate_size": 64, "initializer_range": 0.3}
DECODER: dict[str, Any] = {**ENCODER, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128}
GPT: dict[str, Any] = {"vocab_size": WORDS, "n_embd": DIMENSIONS, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}
T5: dict[str, Any] = {
    "vocab_size": WORDS,
    "d_model": DIMENSIONS,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
}
BACKBONES: dict[str, Any] = {
    "bert": lambda: hf.BertModel(hf.BertConfig(**ENCODER)),
    "xlm-roberta": lambda: hf.XLMRobertaModel(
        hf.XLMRobertaConfig(**ENCODER, pad_token_id=0, max_position_embeddings=130)
    ),
    "mpnet": lambda: hf.MPNetModel(hf.MPNetConfig(**ENCODER, pad_token_id=0, max_position_embeddings=130)),
    "modernbert": lambda: hf.ModernBertModel(
        hf.ModernBertConfig(
            **ENCODER, pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3, local_attention=8
        )
    ),
    "distilbert": lambda: hf.DistilBertModel(
        hf.DistilBertConfig(
            vocab_size=WORDS, dim=DIMENSIONS, hidden_dim=64, n_layers=2, n_heads=4, initializer_range=0.3
        )
    ),
    "t5": lambda: hf.T5EncoderModel(hf.T5Config(**T5)),
    "gpt2": lambda: hf.GPT2Model(hf.GPT2Config(**GPT, n_positions=128)),
    "gptj": lambda: hf.GPTJModel(hf.GPTJConfig(**GPT, n_positions=128, rotary_dim=4)),
    "opt": lambda: hf.OPTModel(
        hf.OPTConfig(
            **SIZES, hidden_size=DIMENSIONS, ffn_dim=64, word_embed_proj_dim=DIMENSIONS, init_std=0.3, pad_token_id=0
        )
    ),
    "bloom": lambda: hf.BloomModel(
        hf.BloomConfig(vocab_size=WORDS, hidden_size=DIMENSIONS, n_layer=2, n_head=4, initializer_range=0.3)
    ),
    "qwen3": lambda: hf.Qwen3Model(hf.Qwen3Config(**DECODER)),
    "llama": lambda: hf.LlamaModel(hf.LlamaConfig(**DECODER)),
    "mistral-window": lambda: hf.MistralModel(hf.MistralConfig(**DECODER, sliding_window=6)),
    "gemma2": lambda: hf.Gemma2Model(hf.Gemma2Config(**DECODER, sliding_window=6)),
}

# padding changes what they make of a text
MIXING: dict[str, Any] = {
    "convbert": lambda: hf.ConvBertModel(hf.ConvBertConfig(**ENCODER, embedding_size=DIMENSIONS)),
    "nystromformer": lambda: hf.NystromformerModel(hf.NystromformerConfig(**ENCODER, max_position_embeddings=130)),
    "yoso": lambda: hf.YosoModel(hf.YosoConfig(**ENCODER, max_position_embeddings=130)),
    "fnet": lambda: hf.FNetModel(
        hf.FNetConfig(
            vocab_size=WORDS,
            hidden_size=DIMENSIONS,
            intermediate_size=64,
            num_hidden_layers=2,
            initializer_range=0.3,
            max_position_embeddings=130,
        )
    ),
}

CAUSAL = ("gpt2", "gptj", "opt", "bloom", "qwen3", "llama", "mistral-window", "gemma2")


def save(folder: Path, backbone: str, side: str, pooling: str) -> Path:
    torch.manual_seed(0)
    words = tokenizer()
    if backbone not in ("bert", "mpnet", "modernbert"):
        words.model_input_names = ["input_ids", "attention_mask"]
    (BACKBONES | MIXING)[backbone]().save_pretrained(folder)
    words.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    write(folder / "tokenizer_config.json", {**settings, "padding_side": side})
    return save_modules(
        folder, {"Pooling": {"word_embedding_dimension": DIMENSIONS, "pooling_mode": pooling}}, {"max_seq_length": 64}
    )


def check(folder: Path, backend: str, distinct: int = len(TEXTS)) -> Any:
    """See that the vectors are the same in any company; returns what the open model says that it is."""
    resolved = resolve_model(str(folder), ModelOptions(backend=backend))
    opened = open_backend(resolved, Execution(device="cpu", batch_tokens=100_000))
    model = EmbeddingModel(resolved.spec, opened, device="cpu")
    alone = np.concatenate([model.encode([text]) for text in TEXTS])
    assert len(np.unique(alone.round(4), axis=0)) == distinct
    np.testing.assert_allclose(model.encode(TEXTS), alone, atol=1e-5)
    for text, other in ((0, 4), (2, 3), (5, 1)):
        np.testing.assert_allclose(model.encode([TEXTS[text], TEXTS[other]]), alone[[text, other]], atol=1e-5)
    order = random.Random(5).sample(range(len(TEXTS)), len(TEXTS))
    np.testing.assert_allclose(model.encode([TEXTS[place] for place in order]), alone[order], atol=1e-5)
    return opened.identity


@pytest.mark.parametrize("pooling", ["cls", "mean", "weightedmean", "lasttoken"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_texts_alone_in_pairs_and_shuffled(tmp_path: Path, backbone: str, side: str, pooling: str) -> None:
    # the first token of a causal model has seen nothing but itself
    alike = pooling == "cls" and backbone in CAUSAL
    folder = save(tmp_path / "m", backbone, side, pooling)
    assert "batches" not in check(folder, "transformers", 1 if alike else len(TEXTS))


@pytest.mark.parametrize("backend", ["transformers", "sentence-transformers", "m3"])
@pytest.mark.parametrize("backbone", sorted(MIXING))
def test_texts_share_a_batch_with_equally_long_ones_where_padding_counts(
    tmp_path: Path, backbone: str, backend: str
) -> None:
    folder = save(tmp_path / "m", backbone, "right", "mean")
    assert check(folder, backend)["batches"] == "equal lengths"


@pytest.mark.parametrize("backend", ["transformers", "sentence-transformers"])
def test_vectors_of_padding_on_the_other_side_are_not_found_again(tmp_path: Path, backend: str) -> None:
    def identity(side: str) -> dict[str, Any]:
        resolved = resolve_model(str(save(tmp_path / side, "gpt2", side, "mean")), ModelOptions(backend=backend))
        return dict(open_backend(resolved, Execution(device="cpu")).identity)

    assert identity("left") == {**identity("right"), "padding": "right"}


@pytest.mark.parametrize("backbone", ["bert", "gpt2", "qwen3"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_so_it_is_by_sentence_transformers(tmp_path: Path, backbone: str, side: str) -> None:
    check(save(tmp_path / "m", backbone, side, "mean"), "sentence-transformers")


@pytest.mark.parametrize("backbone", ["OPT", "Bloom", "Qwen3"])
def test_so_it_is_of_rerankers_that_are_language_models(tmp_path: Path, backbone: str) -> None:
    torch.manual_seed(0)
    words: Any = tokenizer()
    words.add_tokens(["Yes"])
    kinds: dict[str, Any] = {
        "OPT": lambda: hf.OPTConfig(
            **SIZES | {"vocab_size": WORDS + 1},
            hidden_size=DIMENSIONS,
            ffn_dim=64,
            word_embed_proj_dim=DIMENSIONS,
            init_std=0.3,
        ),
        "Bloom": lambda: hf.BloomConfig(
            vocab_size=WORDS + 1, hidden_size=DIMENSIONS, n_layer=2, n_head=4, initializer_range=0.3
        ),
        "Qwen3": lambda: hf.Qwen3Config(**DECODER | {"vocab_size": WORDS + 1, "max_position_embeddings": 512}),
    }
    folder = tmp_path / "m"
    causal: Any = hf.AutoModelForCausalLM
    causal.from_config(kinds[backbone]()).save_pretrained(folder)
    words.save_pretrained(folder)
    resolved = resolve_model(str(folder), ModelOptions(like="BAAI/bge-reranker-v2-gemma", max_length=100))
    backend = open_backend(resolved, Execution(device="cpu", batch_tokens=100_000))
    model = PairModel(resolved.spec, backend, device="cpu")
    pairs = [Pair("a", "b"), Pair("How do ferns grow?", "in shade. " * 4), Pair("stone", "a river"), Pair("a b c", "d")]
    alone = np.concatenate([model.score_pairs([pair], None, ignore_event) for pair in pairs])
    assert len(np.unique(alone.round(4))) == len(pairs)
    np.testing.assert_allclose(model.score_pairs(pairs, None, ignore_event), alone, atol=1e-5)
    np.testing.assert_allclose(model.score_pairs(pairs[::-1], None, ignore_event), alone[::-1], atol=1e-5)
