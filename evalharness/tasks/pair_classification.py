"""Pair classification: tell pairs that belong together from others by their similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.metrics.pairwise import paired_cosine_distances, paired_euclidean_distances, paired_manhattan_distances

from evalharness.catalog.tasks import TaskSpec
from evalharness.data.mteb import column, mteb_rows, text_column
from evalharness.data.tables import listed, split_table, tell_all
from evalharness.errors import DataError
from evalharness.metrics.pairs import pair_scores
from evalharness.ranking.similarity import pairwise
from evalharness.tasks import TaskType, side_of
from evalharness.types import Embeddings, ItemScores, Metrics, Scores, Side, TextColumn

_LABELS = {0, 1}


@dataclass(frozen=True, slots=True)
class LabelledPairs:
    """Pairs of texts with labels 0 and 1; the sides are None but for a few mteb tasks."""

    first: Sequence[str]
    second: Sequence[str]
    labels: Sequence[int]
    first_side: Side = None
    second_side: Side = None


def _from_mteb(task: Any, split: str, subset: str) -> LabelledPairs:  # noqa: ANN401 -- an mteb task object
    rows, where = mteb_rows(task, split, subset), f"{task.metadata.name} [{split}, {subset}]"
    if len(rows) == 1:
        rows = rows[0]  # older data sets hold whole columns in a single row
    return LabelledPairs(
        first=text_column(rows, task.input1_column_name, where),
        second=text_column(rows, task.input2_column_name, where),
        labels=[int(label) for label in column(rows, task.label_column_name, where)],
        first_side=side_of(task.input1_prompt_type),
        second_side=side_of(task.input2_prompt_type),
    )


def _from_files(spec: TaskSpec, split: str) -> LabelledPairs:
    table = split_table(spec, split, ["sentence1", "sentence2", "label"])
    tell_all(
        lambda: table.texts("sentence1"),
        lambda: table.texts("sentence2"),
        lambda: table.whole_numbers("label"),
    )
    labels = table.whole_numbers("label")
    if wrong := [row for row, label in enumerate(labels) if label not in _LABELS]:
        problems = [f"{table.at(row, 'label')}: expected 0 or 1, got {labels[row]}" for row in wrong]
        raise DataError(listed(problems))
    if set(labels) != _LABELS:
        where = f"{table.where}, column {table.names['label']!r}"
        raise DataError(f"{where}: all rows have the label {labels[0]}; expected both 0 and 1")
    return LabelledPairs(table.texts("sentence1"), table.texts("sentence2"), labels)


def _columns(records: LabelledPairs) -> list[TextColumn]:
    return [
        TextColumn("first", records.first, records.first_side),
        TextColumn("second", records.second, records.second_side),
    ]


def _score(records: LabelledPairs, embeddings: Mapping[str, Embeddings]) -> Scores:
    """Accuracy, F1 and AP at the best threshold, for five similarities and the best of them. Items: label, cosine."""
    first, second = embeddings["first"].vectors, embeddings["second"].vectors
    cosine = 1 - paired_cosine_distances(first, second)
    similarities = {
        "similarity": pairwise(embeddings["first"], embeddings["second"]),
        "cosine": cosine.tolist(),
        "manhattan": (-paired_manhattan_distances(first, second)).tolist(),
        "euclidean": (-paired_euclidean_distances(first, second)).tolist(),
        # row by row, as mteb: a product of whole matrices differs in the last bit
        "dot": [float(np.dot(left, right)) for left, right in zip(first, second, strict=True)],
    }
    metrics: Metrics = {}
    for name, values in similarities.items():
        for metric, value in asdict(pair_scores(records.labels, values)).items():
            metrics[f"{name}_{metric}"] = value
            metrics[f"max_{metric}"] = max(value, metrics.get(f"max_{metric}", value))
    ids = [str(number) for number in range(len(records.labels))]
    items = {"label": [float(label) for label in records.labels], "cosine_similarity": similarities["cosine"]}
    return Scores(metrics, ItemScores(ids, items))


def _counts(records: LabelledPairs) -> dict[str, int]:
    return {"pairs": len(records.labels), "positive": sum(records.labels)}


TASK_TYPE = TaskType(
    score_version=1,
    from_mteb=_from_mteb,
    from_files=_from_files,
    columns=_columns,
    score=_score,
    counts=_counts,
    metric_names=[
        f"{similarity}_{name}"
        for similarity in ("max", "similarity", "cosine", "manhattan", "euclidean", "dot")
        for name in ("accuracy", "f1", "precision", "recall", "ap")
    ],
)
