"""Pair classification: tell pairs that belong together from others by their similarity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from evalharness.catalog.tasks import TaskSpec
from evalharness.data.mteb import mteb_rows
from evalharness.data.tables import listed, split_table
from evalharness.errors import DataError
from evalharness.metrics.measures import LABEL
from evalharness.metrics.pairs import pair_scores
from evalharness.tasks.definition import TaskType
from evalharness.tasks.pairs import (
    SENTENCES,
    JudgedPairs,
    dots_within,
    item_columns,
    local_pairs,
    mteb_pairs,
    pair_columns,
    pair_texts,
    similarities_within,
)
from evalharness.types import Embeddings, ItemScores, Metrics, Scores

_LABELS = {0, 1}


def _from_mteb(task: Any, split: str, subset: str) -> JudgedPairs[int]:  # noqa: ANN401 -- an mteb task object
    rows, where = mteb_rows(task, split, subset), f"{task.metadata.name} [{split}, {subset}]"
    if len(rows) == 1:
        rows = rows[0]  # older data sets hold whole columns in a single row
    names = (task.input1_column_name, task.input2_column_name, task.label_column_name)
    return mteb_pairs(task, rows, names=names, gold=int, where=where)


def _from_files(spec: TaskSpec, split: str) -> JudgedPairs[int]:
    table = split_table(spec, split, [*SENTENCES, "label"])
    pairs = local_pairs(table, lambda: table.whole_numbers("label"))
    labels = pairs.gold
    if wrong := [row for row, label in enumerate(labels) if label not in _LABELS]:
        problems = [f"{table.at(row, 'label')}: expected 0 or 1, got {labels[row]}" for row in wrong]
        raise DataError(listed(problems))
    if set(labels) != _LABELS:
        where = f"{table.where}, column {table.names['label']!r}"
        raise DataError(f"{where}: all rows have the label {labels[0]}; expected both 0 and 1")
    return pairs


def _score(records: JudgedPairs[int], embeddings: Mapping[str, Embeddings]) -> Scores:
    """Accuracy, F1 and AP at the best threshold, for five similarities and the best of them.

    Items: label and the five similarities per pair.
    """
    similarities = {**similarities_within(embeddings), "dot": dots_within(embeddings)}
    metrics: Metrics = {}
    for name, values in similarities.items():
        for metric, value in asdict(pair_scores(records.gold, values)).items():
            metrics[f"{name}_{metric}"] = value
            metrics[f"max_{metric}"] = max(value, metrics.get(f"max_{metric}", value))
    ids = [str(number) for number in range(len(records.gold))]
    labels = [float(label) for label in records.gold]
    return Scores(metrics, ItemScores(ids, {LABEL: labels, **item_columns(records, similarities)}))


def _counts(records: JudgedPairs[int]) -> dict[str, int]:
    return {"pairs": len(records.gold), "positive": sum(records.gold)}


TASK_TYPE = TaskType(
    score_version=1,
    from_mteb=_from_mteb,
    from_files=_from_files,
    columns=pair_columns,
    score=_score,
    counts=_counts,
    metric_names=[
        f"{similarity}_{name}"
        for similarity in ("max", "similarity", "cosine", "manhattan", "euclidean", "dot")
        for name in ("accuracy", "f1", "precision", "recall", "ap")
    ],
    texts=pair_texts,
    items_version=2,
)
