"""Bitext mining: find each sentence's translation as its nearest neighbour in the other language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalharness.catalog.tasks import TaskSpec
from evalharness.data.mteb import mteb_rows, text_column
from evalharness.data.tables import split_table, tell_all
from evalharness.errors import DataError
from evalharness.metrics.classification import coded_scores
from evalharness.metrics.groups import group_column
from evalharness.tasks.definition import TaskType
from evalharness.types import Embeddings, ItemScores, Metrics, Scores, TextColumn

_PARALLEL = "parallel"


@dataclass(frozen=True, slots=True)
class BitextRecords:
    """Sentences of two languages; `gold[i]` is the number of the second sentence that translates `first[i]`."""

    first: Sequence[str]
    second: Sequence[str]
    gold: Sequence[int]


def _from_mteb(task: Any, split: str, subset: str) -> BitextRecords:  # noqa: ANN401 -- an mteb task object
    # parallel data hold a column per language, and a subset names two of them
    rows = mteb_rows(task, split, _PARALLEL if task.parallel_subsets else subset)
    first, second = subset.split("-") if task.parallel_subsets else ("sentence1", "sentence2")
    where = f"{task.metadata.name} [{split}, {subset}]"
    texts = text_column(rows, first, where)
    pairs = rows["gold"] if isinstance(rows, dict) and "gold" in rows else None
    gold = list(range(len(rows))) if pairs is None else [int(pair[1]) for pair in pairs]
    return BitextRecords(texts, text_column(rows, second, where), gold)


def _from_files(spec: TaskSpec, split: str) -> BitextRecords:
    table = split_table(spec, split, ["sentence1", "sentence2"])
    tell_all(lambda: table.texts("sentence1"), lambda: table.texts("sentence2"))
    first, second = table.texts("sentence1"), table.texts("sentence2")
    if len(set(second)) == 1:
        raise DataError(f"{table.where}: there is only one translation to choose from; expected different ones")
    return BitextRecords(first, second, list(range(len(first))))


def _columns(records: BitextRecords) -> list[TextColumn]:
    return [TextColumn("first", records.first, None), TextColumn("second", records.second, None)]


def _score(records: BitextRecords, embeddings: Mapping[str, Embeddings]) -> Scores:
    """Weighted F1, precision and recall of the translations found.

    Items: the numbers of the right translation and of the one found, and whether they are the same.
    """
    from evalharness.ranking.similarity import nearest

    found = nearest(embeddings["first"], embeddings["second"])
    gold = list(records.gold)
    scores = coded_scores(np.asarray(gold), np.asarray(found), None)
    metrics: Metrics = {name: scores[f"{name}_weighted"] for name in ("precision", "recall", "f1")}
    metrics["accuracy"] = scores["accuracy"]
    items = {
        "correct": [float(number == wanted) for number, wanted in zip(found, gold, strict=True)],
        "gold": list(map(float, gold)),
        "found": list(map(float, found)),
        **group_column(records.first),
    }
    return Scores(metrics, ItemScores([str(number) for number in range(len(gold))], items))


def _counts(records: BitextRecords) -> dict[str, int]:
    return {"sentences": len(records.first), "candidates": len(records.second)}


def _texts(records: BitextRecords, number: int, item: Mapping[str, float]) -> dict[str, str]:
    return {
        "sentence": records.first[number],
        "translation": records.second[records.gold[number]],
        "found": records.second[int(item["found"])],
    }


TASK_TYPE = TaskType(
    score_version=1,
    from_mteb=_from_mteb,
    from_files=_from_files,
    columns=_columns,
    score=_score,
    counts=_counts,
    metric_names=("precision", "recall", "f1", "accuracy"),
    texts=_texts,
    items_version=2,
)
