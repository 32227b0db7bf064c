"""Semantic textual similarity: how well similarities of sentence pairs follow human judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import FiniteFloat
from sklearn.metrics.pairwise import (
    paired_cosine_distances,
    paired_euclidean_distances,
    paired_manhattan_distances,
)

from evalharness.catalog.tasks import TaskSpec
from evalharness.data.mteb import column, mteb_rows, text_column
from evalharness.data.tables import split_table, tell_all
from evalharness.errors import DataError
from evalharness.metrics.correlation import correlate
from evalharness.ranking.similarity import pairwise
from evalharness.tasks import TaskType, settings_of, side_of
from evalharness.types import Embeddings, Frozen, ItemScores, Scores, Side, TextColumn


@dataclass(frozen=True, slots=True)
class PairRecords:
    """Sentence pairs with gold scores scaled to 0-1; the sides are None but for a few mteb tasks."""

    first: Sequence[str]
    second: Sequence[str]
    gold: Sequence[float]
    first_side: Side = None
    second_side: Side = None


def _from_mteb(task: Any, split: str, subset: str) -> PairRecords:  # noqa: ANN401 -- an mteb task object
    rows, where = mteb_rows(task, split, subset), f"{task.metadata.name} [{split}, {subset}]"
    first, second = task.column_names
    span = task.max_score - task.min_score
    return PairRecords(
        first=text_column(rows, first, where),
        second=text_column(rows, second, where),
        gold=[(score - task.min_score) / span for score in column(rows, "score", where)],
        first_side=side_of(task.input1_prompt_type),
        second_side=side_of(task.input2_prompt_type),
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


def _from_files(spec: TaskSpec, split: str) -> PairRecords:
    scale = scale_of(spec)
    low, high = scale.min_score, scale.max_score
    table = split_table(spec, split, ["sentence1", "sentence2", "score"])
    tell_all(
        lambda: table.texts("sentence1"),
        lambda: table.texts("sentence2"),
        lambda: table.numbers("score", low, high),
    )
    first, second = table.texts("sentence1"), table.texts("sentence2")
    gold = table.numbers("score", low, high)
    if len(set(gold)) == 1:
        raise DataError(
            f"{table.where}, column {table.names['score']!r}: all {len(gold)} pairs have the score {gold[0]:g}; "
            "a correlation needs at least two different ones"
        )
    return PairRecords(
        first=first,
        second=second,
        gold=[(score - low) / (high - low) for score in gold],
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


def _counts(records: PairRecords) -> dict[str, int]:
    return {"pairs": len(records.gold), "different scores": len(set(records.gold))}


TASK_TYPE = TaskType(
    score_version=1,
    from_mteb=_from_mteb,
    from_files=_from_files,
    columns=_columns,
    score=_score,
    counts=_counts,
    metric_names=[
        f"{similarity}{name}"
        for similarity in ("cosine_", "manhattan_", "euclidean_", "")
        for name in ("pearson", "spearman")
    ],
    settings=StsSettings,
)
