"""Old result files against mteb's own reader; where that reads none, or another metric, we read the right one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import mteb
import pytest
from mteb.results import TaskResult
from support.old_files import nested, old, pairs, today, write

from evalharness.results.stored import read_task_file

RETRIEVAL = {"map_at_10": 0.3, "mrr_at_10": 0.5, "ndcg_at_1": 0.4, "ndcg_at_10": 0.31234, "recall_at_10": 0.6}
LABELS = {"accuracy": 0.68, "accuracy_stderr": 0.01, "f1": 0.49, "f1_stderr": 0.01, "main_score": 0.68}
BITEXT = {"accuracy": 0.7, "f1": 0.66, "main_score": 0.66, "precision": 0.65, "recall": 0.7}
SUMMARIES = {"cos_sim": {"pearson": 0.29, "spearman": 0.3}, "dot": {"pearson": 0.28, "spearman": 0.2}}

AGREE: dict[str, dict[str, Any]] = {
    "retrieval": old("NFCorpus", {"test": {**RETRIEVAL, "evaluation_time": 5.5}}),
    "retrieval on several splits": old("T2Retrieval", {"dev": RETRIEVAL}, "1.1.1.dev0"),
    "subsets": old("MTOPIntentClassification", {"test": {"en": LABELS, "fr": LABELS, "evaluation_time": 4.0}}),
    "several splits": old(
        "MassiveIntentClassification",
        {"test": {"da": LABELS}, "validation": {"da": LABELS, "nb": LABELS}},
        "1.0.3.dev0",
    ),
    "classification": old("Banking77Classification", {"test": LABELS}),
    "clustering": old("ThuNewsClusteringS2S", {"test": {"v_measure": 0.55, "v_measure_std": 0.01}}, "1.1.1.dev0"),
    "similarity": old("STS12", {"test": nested(0.7)}),
    "similarity with subsets": old(
        "STS22", {"test": {"en": nested(0.65), "fr": nested(0.76), "evaluation_time": 62.5}}
    ),
    "pairs": old("TwitterSemEval2015", {"test": pairs(0.7, 0.85)}),
    "pairs by accuracy": old("Ocnli", {"validation": pairs(0.616, 0.591)}, "1.1.1.dev0"),
    "bitext": old("Tatoeba", {"test": {"deu-eng": BITEXT, "fra-eng": BITEXT}}),
    "summaries": old("SummEval", {"test": SUMMARIES}),
    "renamed task": old("NorwegianParliament", {"test": LABELS}),
    "renamed subset": old("XPQARetrieval", {"test": {"fr": RETRIEVAL}}),
    "lower case": old("Nfcorpus", {"test": RETRIEVAL}),
    "French alone": old("MLSUMClusteringP2P", {"test": {"v_measure": 0.4}}, "1.1.2.dev0"),
    "no version": old("NFCorpus", {"test": RETRIEVAL}, None),
    "today's form": today("NFCorpus", {"test": [{**RETRIEVAL, "main_score": 0.31234}]}),
    "pairs of 1.12": today("TwitterSemEval2015", {"test": [{**pairs(0.7, 0.85), "main_score": 0.7}]}, "1.12.10"),
}
MISSED = {
    "map of rerankers": (
        old("AskUbuntuDupQuestions", {"test": {"map": 0.61, "mrr": 0.7}}),
        {"test": {"default": 0.61}},
    ),
    "map of Chinese rerankers": (
        old("T2Reranking", {"dev": {"map": 0.66, "mrr": 0.77}}, "1.1.0"),
        {"dev": {"default": 0.66}},
    ),
}


def by_mteb(path: Path) -> dict[str, dict[str, float | None]]:
    scores = TaskResult.from_disk(path).scores
    return {split: {entry["hf_subset"]: entry["main_score"] for entry in entries} for split, entries in scores.items()}


@pytest.mark.parametrize("name", AGREE)
def test_main_scores_are_those_that_mteb_reads(tmp_path: Path, name: str) -> None:
    value = AGREE[name]
    path = write(tmp_path, value.get("mteb_dataset_name") or value["task_name"], value)
    found, wanted = read_task_file(path), by_mteb(path)
    assert not found.damage
    assert found.scores == wanted
    assert found.task == TaskResult.from_disk(path).task_name


@pytest.mark.parametrize("name", MISSED)
def test_what_mteb_shows_as_missing_is_read(tmp_path: Path, name: str) -> None:
    value, wanted = MISSED[name]
    path = write(tmp_path, value["mteb_dataset_name"], value)
    assert all(score is None for found in by_mteb(path).values() for score in found.values())
    assert read_task_file(path).scores == wanted


def test_msmarco_is_missing_to_mteb(tmp_path: Path) -> None:
    path = write(tmp_path, "MSMARCO", old("MSMARCO", {"validation": RETRIEVAL}))
    result = TaskResult.from_disk(path).validate_and_filter_scores(mteb.get_task("MSMARCO"))
    assert all(math.isnan(entry["main_score"]) for entry in result.scores["dev"])
    assert read_task_file(path).scores == {"dev": {"default": 0.31234}}


def test_mteb_reads_average_precision_as_accuracy(tmp_path: Path) -> None:
    metrics = {"accuracy": 0.7004, "ap": 0.137901, "f1": 0.5, "main_score": 0.137901}
    path = write(
        tmp_path, "ToxicConversationsClassification", old("ToxicConversationsClassification", {"test": metrics})
    )
    assert by_mteb(path) == {"test": {"default": 0.137901}}
    assert read_task_file(path).scores == {"test": {"default": 0.7004}}


def test_files_that_mteb_writes_today_are_read_alike(tmp_path: Path) -> None:
    value = today("STS12", {"test": [{"cosine_spearman": 0.71, "spearman": 0.7, "main_score": 0.71}]}, "2.26.24")
    path = write(tmp_path, "STS12", value)
    assert json.loads(path.read_text())["scores"]["test"][0]["main_score"] == 0.71
    assert read_task_file(path).scores == by_mteb(path)
