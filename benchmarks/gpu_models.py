"""What `benchmarks/gpu.py` measures: shapes of known models with random weights, texts, and work that is counted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast, Qwen3Config, XLMRobertaConfig

# of the tokenizer made here; models know more tokens
WORDS = 20000
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
# log-normal, as sentences and passages of MTEB's tasks are
_TYPICAL, _SPREAD = 75, 0.7


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's shape.

    Attributes:
        config: of transformers.
        pooling: `cls` or `lasttoken`.
        longest: tokens that it takes.
    """

    config: Any
    pooling: Any
    longest: int

    @property
    def is_causal(self) -> bool:
        """Whether a token attends only to those before it."""
        return bool(self.pooling == "lasttoken")


def shapes(*, tiny: bool) -> dict[str, Shape]:
    """By the name of the model whose shape it is.

    Args:
        tiny: two narrow layers in place of all, to try the benchmark itself.
    """
    narrow: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    narrow |= {"intermediate_size": 128, "vocab_size": WORDS + len(SPECIAL)}

    def sized(**sizes: Any) -> dict[str, Any]:  # noqa: ANN401
        return {**sizes, **(narrow if tiny else {}), "pad_token_id": sizes.get("pad_token_id", 0)}

    large: dict[str, Any] = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    }
    qwen: dict[str, Any] = {
        "hidden_size": 1024,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "intermediate_size": 3072,
    }
    qwen |= {"vocab_size": 151669, "num_key_value_heads": 2 if tiny else 8, "head_dim": 16 if tiny else 128}
    qwen |= {"max_position_embeddings": 32768, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}}
    m3 = {**large, "vocab_size": 250002, "max_position_embeddings": 8194, "type_vocab_size": 1}
    return {
        "bge-base": Shape(BertConfig(**sized(vocab_size=30522)), "cls", 512),
        "Qwen3-Embedding-0.6B": Shape(Qwen3Config(**sized(**qwen)), "lasttoken", 8192),
        "bge-m3": Shape(XLMRobertaConfig(**sized(**m3)), "cls", 8192),
        "bge-large": Shape(BertConfig(**sized(vocab_size=30522, **large)), "cls", 512),
    }


def made(shape: Shape, device: str) -> Any:  # noqa: ANN401 -- transformers has no common type
    """A model with random weights in float32, made where it is to run."""
    torch.manual_seed(0)
    kind: Any = AutoModel
    with torch.device(device):
        # a model writes how it attends into its config
        return kind.from_config(deepcopy(shape.config), dtype=torch.float32).eval()


def flops(shape: Shape, lengths: NDArray[np.int64]) -> float:
    """Floating point operations of all matrix products, a product and its sum counted as two; none for padding."""
    config = shape.config
    width, layers, inner = config.hidden_size, config.num_hidden_layers, config.intermediate_size
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or width // heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    gated = 3 if shape.is_causal else 2
    weights = layers * (width * size * (heads + 2 * shared) + heads * size * width + gated * width * inner)
    # queries by keys and weights by values; half of both where only what came before is seen
    attention = layers * 4 * heads * size * (0.5 if shape.is_causal else 1.0)
    return float(2 * weights * lengths.sum() + attention * (lengths.astype(np.float64) ** 2).sum())


def mixed_lengths(tokens: int, longest: int) -> NDArray[np.int64]:
    """Lengths of texts of all sorts, so many tokens together."""
    random = np.random.default_rng(0)
    count = max(tokens // _TYPICAL, 8)
    found = np.exp(np.log(_TYPICAL) + _SPREAD * random.standard_normal(count))
    return np.asarray(np.clip(found, 4, longest), dtype=np.int64)


def batches(lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Lengths that go together, longest first, so many padded tokens each."""
    found, ordered = [], np.sort(lengths)[::-1]
    while len(ordered):
        count = max(budget // int(ordered[0]), 1)
        found.append(ordered[:count])
        ordered = ordered[count:]
    return found


def inputs(lengths: Sequence[int] | NDArray[np.int64], padding: int) -> Mapping[str, torch.Tensor]:
    """A padded batch of random tokens on the CPU."""
    random = np.random.default_rng(len(lengths))
    mask = np.arange(max(lengths))[None, :] < np.asarray(lengths)[:, None]
    ids = np.where(mask, random.integers(len(SPECIAL), WORDS, mask.shape), padding)
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def texts(lengths: NDArray[np.int64]) -> list[str]:
    """Texts of so many tokens, in no order; words are tokens, and special ones go around."""
    random = np.random.default_rng(1)
    return [
        " ".join(f"w{word}" for word in random.integers(0, WORDS, max(int(length) - 2, 1)))
        for length in random.permutation(lengths)
    ]


def save(shape: Shape, loaded: Any, folder: Path) -> None:  # noqa: ANN401 -- as above
    """A model as sentence-transformers and this project load it, with a tokenizer whose tokens are words.

    Args:
        shape: its own.
        loaded: a model, in the precision that it is saved in.
        folder: gets the files.
    """
    loaded.save_pretrained(folder)
    core = Tokenizer(
        models.WordLevel(
            # as many as the model has vectors for, or it is taken for another model's
            {
                word: n
                for n, word in enumerate([*SPECIAL, *(f"w{n}" for n in range(shape.config.vocab_size - len(SPECIAL)))])
            },
            unk_token=SPECIAL[1],
        )
    )
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    named = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=True))
    kind: Any = PreTrainedTokenizerFast
    kind(tokenizer_object=core, model_max_length=shape.longest, **named).save_pretrained(folder)
    kinds = ("Transformer", "Pooling", "Normalize")
    places = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (kind, path) in enumerate(zip(kinds, places, strict=True))
    ]
    pooling = {"word_embedding_dimension": shape.config.hidden_size, "pooling_mode": shape.pooling}
    files = {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": shape.longest},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
