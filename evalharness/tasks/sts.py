"""Semantic textual similarity: how well similarities of sentence pairs follow human judgements, scaled to 0-1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import FiniteFloat

from evalharness.catalog.tasks import TaskSpec
from evalharness.data.mteb import mteb_rows
from evalharness.data.tables import split_table
from evalharness.errors import DataError
from evalharness.metrics.correlation import correlations
from evalharness.tasks.definition import TaskType, settings_of
from evalharness.tasks.pairs import (
    SENTENCES,
    JudgedPairs,
    item_columns,
    local_pairs,
    mteb_pairs,
    pair_columns,
    pair_texts,
    similarities_within,
)
from evalharness.types import Embeddings, Frozen, ItemScores, Scores


def _from_mteb(task: Any, split: str, subset: str) -> JudgedPairs[float]:  # noqa: ANN401 -- an mteb task object
    rows, where = mteb_rows(task, split, subset), f"{task.metadata.name} [{split}, {subset}]"
    span = task.max_score - task.min_score
    return mteb_pairs(
        task,
        rows,
        names=[*task.column_names, "score"],
        gold=lambda score: (score - task.min_score) / span,
        where=where,
    )


class StsSettings(Frozen):
    """The scale of the gold scores."""

    min_score: FiniteFloat = 0
    max_score: FiniteFloat = 5


def scale_of(spec: TaskSpec) -> StsSettings:
    """The scale of a local task's gold scores.

    Raises:
        DataError: it has no length.
    """
    scale = settings_of(spec, StsSettings)
    if scale.min_score >= scale.max_score:
        raise DataError(
            f"{spec.origin} [settings]: min_score {scale.min_score:g} must be less than max_score {scale.max_score:g}"
        )
    return scale


def _from_files(spec: TaskSpec, split: str) -> JudgedPairs[float]:
    scale = scale_of(spec)
    low, high = scale.min_score, scale.max_score
    table = split_table(spec, split, [*SENTENCES, "score"])
    pairs = local_pairs(table, lambda: table.numbers("score", low, high))
    gold = pairs.gold
    if len(set(gold)) == 1:
        raise DataError(
            f"{table.where}, column {table.names['score']!r}: all {len(gold)} pairs have the score {gold[0]:g}; "
            "a correlation needs at least two different ones"
        )
    return replace(pairs, gold=[(score - low) / (high - low) for score in gold])


def _score(records: JudgedPairs[float], embeddings: Mapping[str, Embeddings]) -> Scores:
    """Correlations of gold and similarity, by cosine, Manhattan, Euclidean and the model's own similarity.

    Items: gold (0-1) and the four similarities per pair.
    """
    similarities = similarities_within(embeddings)
    metrics = {}
    for name, found in zip(similarities, correlations(records.gold, list(similarities.values())), strict=True):
        prefix = "" if name == "similarity" else f"{name}_"
        metrics[f"{prefix}pearson"] = found.pearson
        metrics[f"{prefix}spearman"] = found.spearman
    ids = [str(number) for number in range(len(records.gold))]
    return Scores(metrics, ItemScores(ids, {"gold": records.gold, **item_columns(records, similarities)}))


def _counts(records: JudgedPairs[float]) -> dict[str, int]:
    return {"pairs": len(records.gold), "different scores": len(set(records.gold))}


TASK_TYPE = TaskType(
    score_version=1,
    from_mteb=_from_mteb,
    from_files=_from_files,
    columns=pair_columns,
    score=_score,
    counts=_counts,
    metric_names=[
        f"{similarity}{name}"
        for similarity in ("cosine_", "manhattan_", "euclidean_", "")
        for name in ("pearson", "spearman")
    ],
    settings=StsSettings,
    texts=pair_texts,
    items_version=2,
)
