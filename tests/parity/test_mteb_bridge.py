"""Tasks that mteb scores itself: we store what mteb alone computes, with our prompts and dedupe underneath."""

from __future__ import annotations

import copy
import random
from functools import partial
from typing import Any

import numpy as np
import pytest
from support.compare import differences, mteb_scores
from support.lookup import LookupBackend, smooth, spec
from support.synthetic import make_task, table_splits
from support.texts import sentence

from evalharness.errors import UsageError
from evalharness.models.encoder import EmbeddingModel
from evalharness.tasks.mteb_bridge import score_with_mteb
from evalharness.types import Embeddings, TaskContext, TextColumn, ignore_event


def regression_rows(seed: int, count: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [{"text": sentence(rng), "value": rng.uniform(0, 10)} for _ in range(count)]


def bridged(task: Any, backend: LookupBackend, **facts: Any) -> Any:
    model = EmbeddingModel(spec(**facts), backend, device="cpu")
    context = TaskContext(name=task.metadata.name, type=task.metadata.type)

    def encode(column: TextColumn) -> Embeddings:
        return model.encode_columns([column], context, ignore_event)[column.name]

    return score_with_mteb(task, "test", "default", model.spec, encode)


@pytest.fixture
def regression() -> Any:
    data = table_splits({"train": regression_rows(1, 120), "test": regression_rows(2, 60)})
    return partial(make_task, "Regression", data, n_experiments=3)


def test_a_bridged_task_has_mtebs_scores(regression: Any) -> None:
    theirs = mteb_scores(regression(), "test", "default", smooth)
    scores = bridged(regression(), LookupBackend(smooth))
    assert differences(scores.metrics | {"main_score": scores.metrics["kendalltau"]}, theirs) == []
    assert scores.notes == ("scored by mteb's own code; no per-item scores (AbsTaskRegression)",)


def test_prompts_and_dedupe_are_underneath(regression: Any) -> None:
    backend = LookupBackend(smooth)
    bridged(regression(), backend, prompts={"Regression": "R: "})
    assert backend.seen
    assert all(text.startswith("R: ") for text in backend.seen)
    assert len(backend.seen) < 60 + 3 * 120


def test_numbers_are_plain(regression: Any) -> None:
    scores = bridged(copy.deepcopy(regression()), LookupBackend(smooth))
    assert not any(isinstance(value, np.generic) for value in scores.metrics.values())
    assert isinstance(scores.metrics["scores_per_experiment"], list)


def test_what_is_not_about_texts_is_refused(regression: Any) -> None:
    task = regression()
    type(task).metadata = task.metadata.model_copy(update={"modalities": ["text", "image"]})
    with pytest.raises(UsageError, match="is not about texts alone"):
        bridged(task, LookupBackend(smooth))
