"""Tiny models with random weights, saved the way real ones are."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

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
