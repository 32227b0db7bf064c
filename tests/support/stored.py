"""Results folders without a model: records and items as given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evalharness.metrics.from_items import form_of, score_of
from evalharness.results.records import (
    JobId,
    JobRecord,
    model_meta,
    run_folder,
    write_job,
    write_model_meta,
)
from evalharness.types import ItemScores, ModelSpec


@dataclass(frozen=True, slots=True)
class StoredScores:
    """What a job is to have.

    Attributes:
        items: its items; with `score`, they may be none.
        metric: its main score.
        type: its task type.
        score: the score; None for what the items give.
        key: what is different in its key.
        facts: what is different in its facts.
        error: why it failed.
    """

    items: ItemScores | None
    metric: str
    type: str = "STS"
    score: float | None = None
    key: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


def spec_of(name: str, **facts: Any) -> ModelSpec:
    """A model of this name that nobody has."""
    return ModelSpec(name=name, revision="1" * 40, fingerprint=name, **facts)


def write_results(
    folder: Path, jobs: Mapping[tuple[str, str, str], StoredScores], model: ModelSpec | None = None
) -> Path:
    """Write results of jobs, named by task, split and subset; gives the folder that `compare` takes."""
    model = model or spec_of("me/model")
    place = run_folder(folder, model)
    place.mkdir(parents=True, exist_ok=True)
    write_model_meta(place, model_meta(model))
    for name, stored in jobs.items():
        write_job(place, _record(JobId(*name), stored, model), None if stored.error else stored.items)
    return folder


def _record(job: JobId, stored: StoredScores, model: ModelSpec) -> JobRecord:
    key = {
        "model": model.fingerprint,
        "protocol": "mteb",
        "dataset_revision": "1",
        "score_version": 1,
        "mteb": "2.26.24",
    }
    score = stored.score
    if score is None and stored.items is not None:
        form = form_of(stored.metric, stored.items.columns, stored.items.names)
        assert form is not None
        score = score_of(form)
    return JobRecord(
        job=job,
        key={**key, **stored.key},
        main_score=stored.metric,
        languages=["eng-Latn"],
        dataset_revision=str(stored.key.get("dataset_revision", "1")),
        seconds=1.0,
        facts={"task_type": stored.type, "device": "cpu", "model": model.model_dump(mode="json"), **stored.facts},
        metrics={} if stored.error else {stored.metric: score},
        error=stored.error,
    )


def ndcg(values: Sequence[float]) -> StoredScores:
    """Queries with these scores."""
    ids = [f"q{number}" for number in range(len(values))]
    return StoredScores(ItemScores(ids, {"ndcg_at_10": list(values)}), "ndcg_at_10", "Retrieval")


def pairs(gold: Sequence[float], similarities: Sequence[float]) -> StoredScores:
    """Pairs with these similarities."""
    ids = [str(number) for number in range(len(gold))]
    return StoredScores(
        ItemScores(ids, {"gold": list(gold), "cosine_similarity": list(similarities)}), "cosine_spearman"
    )


def random_ndcg(seed: int, count: int = 60, lower: float = 0.0) -> StoredScores:
    """Queries of which some find nothing."""
    random = np.random.default_rng(seed)
    values = np.where(random.random(count) < 0.3, 0.0, random.random(count))
    return ndcg(np.clip(values - lower, 0, 1).round(3).tolist())
