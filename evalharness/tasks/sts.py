"""Semantic textual similarity: how well similarities of sentence pairs follow human judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sklearn.metrics.pairwise import (
    paired_cosine_distances,
    paired_euclidean_distances,
    paired_manhattan_distances,
)

from evalharness.catalog import TaskSpec
from evalharness.data import column, jsonl_file, mteb_rows, read_jsonl, require_standard_scoring, text_column
from evalharness.errors import DataError
from evalharness.metrics.correlation import correlate
from evalharness.similarity import pairwise
from evalharness.tasks import TaskType
from evalharness.types import Embeddings, ItemScores, Scores, Side, TextColumn

_MIN_PAIRS = 2


@dataclass(frozen=True, slots=True)
class PairRecords:
    """Sentence pairs with gold scores scaled to 0-1; the sides are None but for a few mteb tasks."""

    first: Sequence[str]
    second: Sequence[str]
    gold: Sequence[float]
    first_side: Side = None
    second_side: Side = None


def _from_mteb(task: Any, split: str, subset: str) -> PairRecords:  # noqa: ANN401 -- an mteb task object
    require_standard_scoring(task, ["_evaluate_subset", "_calculate_scores"])
    rows, where = mteb_rows(task, split, subset), f"{task.metadata.name} [{split}, {subset}]"
    first, second = task.column_names
    span = task.max_score - task.min_score
    return PairRecords(
        first=text_column(rows, first, where),
        second=text_column(rows, second, where),
        gold=[(score - task.min_score) / span for score in column(rows, "score", where)],
        first_side=_side(task.input1_prompt_type),
        second_side=_side(task.input2_prompt_type),
    )


def _side(prompt_type: Any) -> Side:  # noqa: ANN401 -- mteb's enum
    return None if prompt_type is None else cast("Side", prompt_type.value)


def _from_files(spec: TaskSpec, split: str) -> PairRecords:
    path = jsonl_file(spec, split)
    columns = spec.data.columns if spec.data else {}
    table = read_jsonl(path, columns, ["sentence1", "sentence2", "score"])
    low, high = float(spec.settings.get("min_score", 0)), float(spec.settings.get("max_score", 5))
    for number, score in enumerate(table["score"], start=1):
        if not isinstance(score, int | float) or not low <= score <= high:
            raise DataError(
                f"{path}, row {number}, column 'score': expected a number from {low:g} to {high:g}, got {score!r}"
            )
    if len(table["score"]) < _MIN_PAIRS:
        raise DataError(f"{path}: a correlation needs at least {_MIN_PAIRS} pairs")
    return PairRecords(
        first=text_column(table, "sentence1", str(path)),
        second=text_column(table, "sentence2", str(path)),
        gold=[(score - low) / (high - low) for score in table["score"]],
    )


def _columns(records: PairRecords) -> list[TextColumn]:
    return [
        TextColumn("first", records.first, records.first_side),
        TextColumn("second", records.second, records.second_side),
    ]


def _score(records: PairRecords, embeddings: Mapping[str, Embeddings]) -> Scores:
    """Correlations of gold and similarity, by cosine, Manhattan, Euclidean and the model's own similarity.

    The distances are sklearn's, in the vectors' own dtype, as mteb takes them. Items: gold (0-1) and cosine per pair.
    """
    first, second = embeddings["first"].vectors, embeddings["second"].vectors
    cosine = (1 - paired_cosine_distances(first, second)).tolist()
    similarities = {
        "": pairwise(embeddings["first"], embeddings["second"]),
        "cosine_": cosine,
        "manhattan_": (-paired_manhattan_distances(first, second)).tolist(),
        "euclidean_": (-paired_euclidean_distances(first, second)).tolist(),
    }
    metrics = {}
    for prefix, values in similarities.items():
        found = correlate(records.gold, values)
        metrics[f"{prefix}pearson"] = found.pearson
        metrics[f"{prefix}spearman"] = found.spearman
    ids = [str(number) for number in range(len(records.gold))]
    return Scores(metrics, ItemScores(ids, {"gold": records.gold, "cosine_similarity": cosine}))


TASK_TYPE = TaskType(score_version=1, from_mteb=_from_mteb, from_files=_from_files, columns=_columns, score=_score)
