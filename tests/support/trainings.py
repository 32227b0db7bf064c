"""Trainings of a second: tiny random models in the trainers of transformers and of sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
from transformers import (
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from support.local_tasks import jsonl_task
from support.tiny import config, save_sentence_model, tokenizer

_TEXTS = [f"text {number} of {number % 7} words about {word}" for number, word in enumerate(["ferns", "tides"] * 16)]


def save_own_task(path: Path, model: Path, rows: int = 60) -> str:
    """A task of similarity in which a model is right, so that any other one is worse; its task file."""
    encode = SentenceTransformer(str(model), device="cpu").encode
    texts = [
        f"{number * number} {['fern', 'tide', 'glue', 'snow'][number % 4]} {number % 13}" for number in range(rows + 1)
    ]
    vectors = encode(texts, normalize_embeddings=True)
    scores = (vectors[:-1] * vectors[1:]).sum(axis=1).tolist()
    pairs = [
        {"sentence1": one, "sentence2": other, "score": score}
        for (one, other), score in zip(pairwise(texts), scores, strict=True)
    ]
    return str(jsonl_task(path, "STS", pairs))


def save_checkpoint(folder: Path, noise: float) -> Path:
    """A tiny sentence model, and it with so much noise in its weights."""
    save_sentence_model(folder)
    weights = load_file(folder / "model.safetensors")
    torch.manual_seed(7)
    noisy = {name: value + noise * torch.randn_like(value) for name, value in weights.items()}
    save_file(noisy, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


class Damage(TrainerCallback):
    """Draws the weights anew before a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step == self._step - 1:
            with torch.no_grad():
                for value in given["model"].parameters():
                    value.copy_(torch.randn_like(value))


class Reporter(TrainerCallback):
    """What W&B and TensorBoard are to a trainer: it hears what is logged until the training ends."""

    def __init__(self) -> None:
        self.logs: list[dict[str, float]] = []
        self._is_open = True

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        assert self._is_open
        self.logs.append({**given["logs"], "step": state.global_step})

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._is_open = False

    def named(self, name: str) -> list[float]:
        """What was logged under a name, in order."""
        return [logs[name] for logs in self.logs if name in logs]


def arguments(folder: Path, **changes: Any) -> dict[str, Any]:
    usual = {
        "output_dir": str(folder),
        "max_steps": 4,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 3,
    }
    return usual | changes


def plain_trainer(folder: Path, callbacks: Sequence[TrainerCallback] = (), **changes: Any) -> Trainer:
    """Masked words in a tiny BERT, with dropout and random masks, which draw random numbers at every step."""
    set_seed(1)
    words = tokenizer()
    rows = Dataset.from_list([dict(words(text)) for text in _TEXTS])
    return Trainer(
        model=BertForMaskedLM(config()),
        args=TrainingArguments(**arguments(folder, **changes)),
        train_dataset=rows,
        eval_dataset=rows.select(range(4)),
        data_collator=DataCollatorForLanguageModeling(words),
        processing_class=words,
        callbacks=list(callbacks),
    )


def sentence_trainer(
    folder: Path, callbacks: Sequence[TrainerCallback] = (), **changes: Any
) -> SentenceTransformerTrainer:
    """Pairs of sentences and how similar they are, in a tiny sentence model."""
    model = SentenceTransformer(str(save_sentence_model(folder.parent / "model")), device="cpu")
    rows = [{"sentence1": text, "sentence2": other, "score": 0.5} for text, other in pairwise(_TEXTS)]
    return SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**arguments(folder, **changes)),
        train_dataset=Dataset.from_list(rows),
        loss=CosineSimilarityLoss(model),
        callbacks=list(callbacks),
    )


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    assert trainer.model is not None
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}
