"""Which metrics follow from the items that are stored, and that they do: scores of small data of every native type."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from support.local_tasks import ROWS, lines, write
from support.lookup import coarse, lookup_model

from evalharness.catalog.tasks import all_task_names, find_task, local_task
from evalharness.metrics.correlation import correlate
from evalharness.metrics.measures import ITEM_METRICS, ItemStatistic, item_statistic
from evalharness.metrics.pairs import pair_scores
from evalharness.tasks import is_native, native_types, task_type
from evalharness.types import ItemScores, Scores, TaskContext, ignore_event

BY_ITEMS = {
    "STS": {"cosine_pearson", "cosine_spearman"},
    "PairClassification": {"cosine_accuracy", "cosine_f1", "cosine_precision", "cosine_recall", "cosine_ap"},
    "Classification": {"accuracy"},
    "MultilabelClassification": {"accuracy", "hamming"},
    "Clustering": {"v_measure", "ami"},
    "Reranking": {"ndcg_at_10", "map_at_1000", "mrr_at_10", "recall_at_100"},
    "Summarization": {"cosine_pearson", "cosine_spearman"},
    "BitextMining": {"accuracy"},
    "Retrieval": {"ndcg_at_10", "map_at_1000", "mrr_at_10", "recall_at_100"},
}
DEPTHS = (1, 3, 5, 10, 20, 100, 1000)
OF_RANKINGS = {"accuracy"} | {
    f"{measure}_at_{k}" for measure in ("ndcg", "map", "recall", "precision", "hit_rate", "mrr") for k in DEPTHS
}
NOT_YET = {
    "STS": {
        "pearson", "spearman", "manhattan_pearson", "manhattan_spearman", "euclidean_pearson", "euclidean_spearman",
    },
    "PairClassification": {
        f"{similarity}_{name}"
        for similarity in ("max", "similarity", "manhattan", "euclidean", "dot")
        for name in ("accuracy", "f1", "precision", "recall", "ap")
    },
    "Classification": {
        "f1", "f1_weighted", "precision", "precision_weighted", "recall", "recall_weighted", "ap", "ap_weighted",
    },
    "MultilabelClassification": {"lrap", "f1"},
    "Clustering": {"v_measure_std", "ami_std"},
    "Reranking": OF_RANKINGS - BY_ITEMS["Reranking"],
    "Summarization": {"pearson", "spearman", "dot_pearson", "dot_spearman"},
    "BitextMining": {"precision", "recall", "f1"},
    "Retrieval": OF_RANKINGS - BY_ITEMS["Retrieval"],
}  # fmt: skip
# native tasks of mteb whose main score the items do not give
MAIN_NOT_YET = {
    "BitextMining": {"f1"},
    "Classification": {"f1"},
    "InstructionReranking": {"p-MRR"},
    "InstructionRetrieval": {"ndcg_at_20", "robustness_at_10"},
    "MultilabelClassification": {"f1"},
    "PairClassification": {"max_accuracy", "max_ap"},
    "Reranking": {
        "accuracy", "map_at_10", "max_over_subqueries_map_at_1000", "ndcg_at_5", "paired_accuracy", "recall_at_10",
    },
    "Retrieval": {
        "hit_rate_at_5", "mrr_at_5", "ndcg_at_1", "ndcg_at_100", "ndcg_at_20", "ndcg_at_5", "precision_at_1",
        "recall_at_1", "recall_at_10", "recall_at_2",
    },
}  # fmt: skip


def scored(folder: Path, kind: str) -> Scores:
    path = write(folder, kind, lines(ROWS[kind]))
    if kind == "Retrieval":
        queries = [{"_id": f"q{number}", "text": f"question {number}"} for number in range(7)]
        judged = [{"query-id": f"q{n % 7}", "corpus-id": f"d{n}", "score": 1 + n % 3} for n in range(21)]
        for name, rows in (("queries.jsonl", queries), ("qrels.jsonl", judged)):
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    spec, made = local_task(path), task_type(kind)
    records = made.from_files(spec, "test")
    context = TaskContext(name=spec.name, type=spec.type)
    return made.score(records, lookup_model(coarse).encode_columns(made.columns(records), context, ignore_event))


def made_of(items: ItemScores, statistic: ItemStatistic) -> float:
    columns = [items.columns[name] for name in statistic.columns]
    if statistic.aggregate == "mean":
        (values,) = columns
        return float(np.mean([value for value in values if not math.isnan(value)]))
    gold, similarities = columns
    if statistic.aggregate in ("pearson", "spearman"):
        return float(asdict(correlate(gold, similarities))[statistic.aggregate])
    return float(asdict(pair_scores([int(label) for label in gold], similarities))[statistic.aggregate])


@pytest.mark.parametrize("kind", ROWS)
def test_what_follows_from_the_items_is_the_metric(tmp_path: Path, kind: str) -> None:
    scores = scored(tmp_path, kind)
    found = {name: item_statistic(name, scores.items.columns) for name in task_type(kind).metric_names}
    assert {name for name, statistic in found.items() if statistic is not None} == BY_ITEMS[kind]
    assert {name for name, statistic in found.items() if statistic is None} == NOT_YET[kind]
    values = {name: made_of(scores.items, statistic) for name, statistic in found.items() if statistic is not None}
    # at the extremes a wrong statistic could be right by chance
    assert any(value not in (0.0, 1.0) for value in values.values())
    for name, value in values.items():
        # mteb rounds the mean over queries, but for mrr; shares of rows and of experiments are summed in another order
        rounds = task_type(kind).ranks and not name.startswith("mrr")
        assert scores.metrics[name] == (round(value, 5) if rounds else pytest.approx(value, rel=1e-14, abs=1e-15)), name


def test_every_native_type_is_tried() -> None:
    by_another_name = {"InstructionRetrieval", "InstructionReranking"}
    assert set(native_types()) - by_another_name == set(BY_ITEMS) == set(ROWS)
    for name in by_another_name:
        assert task_type(name) is task_type("Retrieval")


def test_main_scores_of_tasks_that_do_not_follow_from_the_items() -> None:
    columns = {
        "STS": ["gold", "cosine_similarity"],
        "PairClassification": ["label", "cosine_similarity"],
        "Classification": ["correct"],
        "MultilabelClassification": ["exact_match", "hamming"],
        "Clustering": ["v_measure", "ami"],
        "Summarization": ["cosine_spearman", "cosine_pearson"],
        "BitextMining": ["correct"],
    }
    found = defaultdict(set)
    for name in all_task_names():
        spec = find_task(name)
        assert spec is not None
        given = columns.get(spec.scoring, [str(metric) for metric in ITEM_METRICS])
        if is_native(spec) and item_statistic(spec.main_score, given) is None:
            found[spec.scoring].add(spec.main_score)
    assert found == MAIN_NOT_YET
