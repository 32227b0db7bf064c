"""Tiny models with random weights of every architecture that runs without padding, and batches for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    CamembertConfig,
    DistilBertConfig,
    ElectraConfig,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    XLMRobertaConfig,
)

WORDS = 99
LENGTHS = (1, 9, 30, 4, 17)
_WIDTH: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
# weights larger than usual, so that a wrong neighbour or position shows
_COMMON: dict[str, Any] = {"vocab_size": WORDS, "max_position_embeddings": 400, "initializer_range": 0.3}
_SIZES: dict[str, Any] = {**_COMMON, **_WIDTH, "pad_token_id": 0}
_SHARED: dict[str, Any] = {**_SIZES, "num_key_value_heads": 2}
_LATE: dict[str, Any] = {**_SIZES, "pad_token_id": 1}
_MODERN: dict[str, Any] = {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
# of three layers, two attend to neighbours only
_MODERN |= {"global_attn_every_n_layers": 3, "local_attention": 8}


def configs() -> dict[str, Any]:
    """A config of each architecture; windows are shorter than the texts."""
    return {
        "bert": BertConfig(**_SIZES),
        "electra": ElectraConfig(**_SIZES, embedding_size=16),
        "distilbert": DistilBertConfig(**_COMMON, dim=32, n_layers=2, n_heads=4, hidden_dim=64),
        "modernbert": ModernBertConfig(**_SIZES, **_MODERN),
        "qwen2": Qwen2Config(**_SHARED, use_sliding_window=True, sliding_window=5, max_window_layers=1),
        "qwen3": Qwen3Config(**_SHARED, head_dim=8),
        "mistral": MistralConfig(**_SHARED, sliding_window=7),
        "llama": LlamaConfig(**_SHARED),
        "roberta": RobertaConfig(**_LATE),
        "xlm-roberta": XLMRobertaConfig(**_LATE),
        "camembert": CamembertConfig(**_LATE),
    }


def made(config: Any, *, head: bool = False) -> Any:
    """A model with random weights; with a head, one that scores."""
    torch.manual_seed(0)
    if head:
        config.num_labels = 1
    kind: Any = AutoModelForSequenceClassification if head else AutoModel
    return kind.from_config(config).eval()


def batch(padding: int, lengths: tuple[int, ...] = LENGTHS, words: int = WORDS) -> Mapping[str, torch.Tensor]:
    """Texts of random tokens, padded on the right."""
    ids = torch.randint(5, words, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": torch.where(mask == 1, ids, padding), "attention_mask": mask}
