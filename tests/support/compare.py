"""Run the same synthetic task through mteb and through us."""

from __future__ import annotations

import copy
import math
from typing import Any

from evalharness.models.encoder import EmbeddingModel
from evalharness.tasks import task_type
from evalharness.types import Scores, TaskContext, ignore_event
from support.lookup import Vectorize, lookup_model, mteb_lookup_model

DECIMALS = 6
# measures that mteb does not have
OURS_ALONE: tuple[str, ...] = ()
SCORED_AS = {"Any2AnyRetrieval": "Retrieval"}


def our_scores(task: Any, split: str, subset: str, model: EmbeddingModel) -> Scores:
    kind = task_type(SCORED_AS.get(task.metadata.type, task.metadata.type))
    records = kind.from_mteb(task, split, subset)
    context = TaskContext(name=task.metadata.name, type=task.metadata.type)
    return kind.score(records, model.encode_columns(kind.columns(records), context, ignore_event))


def mteb_scores(task: Any, split: str, subset: str, vectorize: Vectorize) -> dict[str, Any]:
    scores = task.evaluate(
        mteb_lookup_model(vectorize), split, subsets_to_run=[subset], encode_kwargs={"batch_size": 32}
    )
    found: dict[str, Any] = scores[subset]
    return found


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Where two score trees differ when rounded as mteb rounds on disk."""
    if isinstance(theirs, dict):
        return [line for key in theirs for line in differences(ours.get(key), theirs[key], f"{path}/{key}")]
    if isinstance(theirs, list):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [line for number, (a, b) in pairs for line in differences(a, b, f"{path}[{number}]")]
    if isinstance(theirs, float):
        same = math.isnan(ours) if math.isnan(theirs) else round(float(ours), DECIMALS) == round(theirs, DECIMALS)
        return [] if same else [f"{path}: ours {ours!r}, mteb {theirs!r}"]
    return [] if ours == theirs else [f"{path}: ours {ours!r}, mteb {theirs!r}"]


def compare(task: Any, split: str, subset: str, vectorize: Vectorize) -> list[str]:
    """Differences between mteb's scores of a task and ours; the main score included."""
    ours = our_scores(copy.deepcopy(task), split, subset, lookup_model(vectorize))
    theirs = mteb_scores(task, split, subset, vectorize)
    metrics = {**ours.metrics, "main_score": ours.metrics[task.metadata.main_score]}
    known = [name for name in metrics if not any(f"{measure}_at_" in name for measure in OURS_ALONE)]
    extra = set(known) - set(theirs)
    return differences(metrics, theirs) + [f"only ours: {name}" for name in sorted(extra)]
