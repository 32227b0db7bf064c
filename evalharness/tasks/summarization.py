"""Summarization: whether machine summaries nearer to human ones are those that people rate higher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from evalharness.catalog.tasks import TaskSpec
from evalharness.data.mteb import column, mteb_rows
from evalharness.data.tables import split_table, tell_all
from evalharness.errors import DataError
from evalharness.metrics.correlation import Correlation, TestedCorrelation, correlate_tested, correlations
from evalharness.tasks.definition import TaskType
from evalharness.tasks.sts import StsSettings, scale_of
from evalharness.types import Embeddings, ItemScores, Metrics, Scores, TextColumn

_Correlated: TypeAlias = Correlation | TestedCorrelation
_DEPRECATED = "DeprecatedSummarizationEvaluator"
_DEPRECATED_NOTE = (
    "mteb's deprecated evaluator, kept for old benchmarks: each figure is the mean of a correlation and its p-value"
)


@dataclass(frozen=True, slots=True)
class SummaryRecords:
    """Texts with human summaries, machine summaries, and people's ratings of the latter, scaled to 0-1.

    Attributes:
        averages_p_values: whether to score as mteb's deprecated evaluator does.
    """

    human: Sequence[Sequence[str]]
    machine: Sequence[Sequence[str]]
    gold: Sequence[Sequence[float]]
    averages_p_values: bool = False


def _scaled(ratings: Sequence[float], low: float, high: float) -> list[float]:
    scaled: list[float] = ((np.array(ratings) - low) / (high - low)).tolist()
    return scaled


def _from_mteb(task: Any, split: str, subset: str) -> SummaryRecords:  # noqa: ANN401 -- an mteb task object
    rows, where = mteb_rows(task, split, subset), f"{task.metadata.name} [{split}, {subset}]"
    ratings = column(rows, task.relevancy_column_name, where)
    return SummaryRecords(
        human=column(rows, task.human_summaries_column_name, where),
        machine=column(rows, task.machine_summaries_column_name, where),
        gold=[_scaled(values, task.min_score, task.max_score) for values in ratings],
        averages_p_values=task.evaluator.__name__ == _DEPRECATED,
    )


def _from_files(spec: TaskSpec, split: str) -> SummaryRecords:
    scale = scale_of(spec)
    table = split_table(spec, split, ["human_summaries", "machine_summaries", "relevance"])
    tell_all(
        lambda: table.text_lists("human_summaries"),
        lambda: table.text_lists("machine_summaries"),
        lambda: table.lists("relevance"),
    )
    human, machine = table.text_lists("human_summaries"), table.text_lists("machine_summaries")
    gold = []
    for row, (ratings, rated) in enumerate(zip(table.lists("relevance"), machine, strict=True)):
        where = table.at(row, "relevance")
        if len(ratings) != len(rated):
            raise DataError(f"{where}: expected a rating for each of the {len(rated)} machine summaries")
        values = [table.number(value, where, scale.min_score, scale.max_score) for value in ratings]
        gold.append(_scaled(values, scale.min_score, scale.max_score))
    if all(len(set(values)) == 1 for values in gold):
        raise DataError(f"{table.where}: no row has two different ratings, so there is nothing to correlate")
    return SummaryRecords(human, machine, gold)


def _columns(records: SummaryRecords) -> list[TextColumn]:
    return [
        TextColumn("human", [text for texts in records.human for text in texts], None),
        TextColumn("machine", [text for texts in records.machine for text in texts], None),
    ]


@dataclass(frozen=True, slots=True)
class _Judged:
    """Scores of one text's machine summaries: the nearest human summary by cosine, by dot, by the model."""

    cosine: list[float]
    dot: list[float]
    own: list[float]


def _judge(human: Embeddings, machine: Embeddings) -> _Judged:
    from evalharness.ranking.similarity import nearest_scores

    return _Judged(
        cosine=nearest_scores(machine, human, "cosine"),
        dot=nearest_scores(machine, human, "dot"),
        own=nearest_scores(machine, human, machine.similarity, one_by_one=True),
    )


def _score(records: SummaryRecords, embeddings: Mapping[str, Embeddings]) -> Scores:
    """Mean over texts of the correlation between ratings and similarity to the nearest human summary.

    A text whose ratings, cosines or dot products are all equal is left out, as in mteb. Items: the correlations of each
    text (NaN if it is left out), with their p-values where mteb takes the mean of both.
    """
    found: dict[str, list[_Correlated]] = {"": [], "cosine_": [], "dot_": []}
    kept: list[bool] = []
    human_end = machine_end = 0
    for human, machine, gold in zip(records.human, records.machine, records.gold, strict=True):
        human_rows = slice(human_end, human_end + len(human))
        machine_rows = slice(machine_end, machine_end + len(machine))
        human_end, machine_end = human_rows.stop, machine_rows.stop
        judged = _judge(embeddings["human"].rows(human_rows), embeddings["machine"].rows(machine_rows))
        kept.append(min(len(set(gold)), len(set(judged.dot)), len(set(judged.cosine))) > 1)
        if not kept[-1]:
            continue
        sides = (judged.own, judged.cosine, judged.dot)
        if records.averages_p_values:
            correlated: Sequence[_Correlated] = [correlate_tested(gold, values) for values in sides]
        else:
            correlated = correlations(gold, sides)
        for prefix, correlation in zip(found, correlated, strict=True):
            found[prefix].append(correlation)
    metrics: Metrics = {}
    for prefix, each in found.items():
        for kind in ("pearson", "spearman"):
            metrics[f"{prefix}{kind}"] = _mean(each, kind, with_p_values=records.averages_p_values)
    ids = [str(number) for number in range(len(records.gold))]
    notes = (_DEPRECATED_NOTE,) if records.averages_p_values else ()
    items = _item_columns(found, kept, with_p_values=records.averages_p_values)
    return Scores(metrics, ItemScores(ids, items), notes)


def _item_columns(
    found: Mapping[str, Sequence[_Correlated]], kept: Sequence[bool], *, with_p_values: bool
) -> dict[str, list[float]]:
    """The correlations of each text; NaN for those that are not kept."""
    columns: dict[str, list[float]] = {}
    for prefix, correlated in found.items():
        for kind in ("spearman", "pearson"):
            for name in (kind, f"{kind}_p") if with_p_values else (kind,):
                values = iter([getattr(each, name) for each in correlated])
                columns[f"{prefix}{name}"] = [next(values) if is_kept else float("nan") for is_kept in kept]
    return columns


def _mean(correlated: Sequence[_Correlated], kind: str, *, with_p_values: bool) -> float:
    if not correlated:
        return float("nan")
    names = [kind, f"{kind}_p"] if with_p_values else [kind]
    return float(np.mean([[getattr(each, name) for name in names] for each in correlated]))


def _counts(records: SummaryRecords) -> dict[str, int]:
    return {"texts": len(records.gold), "ratings": sum(map(len, records.gold))}


def _texts(records: SummaryRecords, number: int, item: Mapping[str, float]) -> dict[str, str]:
    del item
    summaries = zip(records.machine[number], records.gold[number], strict=True)
    return {
        **{f"human summary {place}": text for place, text in enumerate(records.human[number], start=1)},
        **{
            f"machine summary {place}, rated {100 * gold:.0f}": text
            for place, (text, gold) in enumerate(summaries, start=1)
        },
    }


TASK_TYPE = TaskType(
    score_version=1,
    from_mteb=_from_mteb,
    from_files=_from_files,
    columns=_columns,
    score=_score,
    counts=_counts,
    metric_names=[f"{similarity}{name}" for similarity in ("cosine_", "dot_", "") for name in ("pearson", "spearman")],
    settings=StsSettings,
    texts=_texts,
    items_version=2,
)
