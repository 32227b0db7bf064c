"""Scores that mteb's tasks have of their own: mteb's number, made again of what is stored of the queries."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from mteb._evaluators.retrieval_metrics import (
    calculate_pmrr,
    evaluate_p_mrr_change,
    max_over_subqueries,
    paired_accuracy,
    robustness_at_10,
)
from support.compare import compare, our_scores
from support.lookup import Vectorize, coarse, lookup_model, smooth
from support.synthetic import make_task, retrieval_split
from support.texts import sentence

from evalharness.metrics.from_items import contributions, form_of, score_of
from evalharness.results.items import read_items, write_items

CHANGED: dict[str, list[str]] = {}


def p_mrr(task: Any, scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str) -> Any:
    del scores, hf_split, hf_subset
    return evaluate_p_mrr_change(qrels, results, CHANGED, task.k_values)


def robust(task: Any, scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str) -> Any:
    del task, hf_split, hf_subset
    return {"robustness_at_10": robustness_at_10(qrels, results, scores)}


def paired(task: Any, scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str) -> Any:
    del task, hf_split, hf_subset
    return {"paired_accuracy": paired_accuracy(qrels, results, scores)}


def over(task: Any, scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str) -> Any:
    del scores, hf_split, hf_subset
    return max_over_subqueries(qrels, results, task.k_values)


HOOKS: dict[str, Callable[..., Any]] = {
    "p-MRR": p_mrr,
    "robustness_at_10": robust,
    "paired_accuracy": paired,
    "max_over_subqueries_map_at_1000": over,
    "max_over_subqueries_mrr_at_5": over,
}


def made(metric: str, seed: int) -> Any:
    """A task whose queries, and judgements, come in no order of their topics."""
    rng = random.Random(seed)
    ids = [f"d{number}" for number in range(25)]
    variants = ("-og", "-changed") if metric == "p-MRR" else ("_q1", "_q2")
    topics = [str(number) for number in range(17)]
    names = [f"{topic}{end}" for topic in topics for end in variants]
    if metric == "robustness_at_10":
        names += [f"{topic}_q3" for topic in topics[:5]]
    rng.shuffle(names)
    queries = [{"id": name, "text": sentence(rng), "instruction": sentence(rng)} for name in names]
    in_another_order = rng.sample(names, len(names))
    qrels = {name: {document: rng.choice([0, 1, 1]) for document in rng.sample(ids, 6)} for name in in_another_order}
    CHANGED.clear()
    # one topic lacks a variant, one has no changed documents, one document is never found
    # in order, and not: pandas adds up in two ways
    changed = rng.sample(topics, 14)
    CHANGED.update({topic: rng.sample(ids, rng.randint(1, 4)) for topic in (sorted(changed) if seed % 2 else changed)})
    CHANGED["99"], CHANGED["0"], CHANGED["1"] = ["d1"], [], ["nowhere", "d2"]
    top = {name: rng.sample(ids, rng.randint(1, 25)) for name in names}
    if metric.startswith("max_over"):
        # those of a question's sub-queries are the same
        qrels = {name: qrels[f"{name.partition('_')[0]}_q1"] for name in in_another_order}
    if metric == "paired_accuracy":
        top = {name: rng.sample(ids, 2) for name in names}
        qrels = {name: {top[name][0]: 1} for name in in_another_order}
    data = {
        "default": {"test": retrieval_split([{"id": name, "text": sentence(rng)} for name in ids], queries, qrels, top)}
    }
    kind = "InstructionReranking" if metric == "p-MRR" else "Reranking"
    return make_task(kind, data, task_specific_scores=HOOKS[metric], main_score=metric)


@pytest.mark.parametrize("vectorize", [smooth, coarse], ids=["smooth", "ties"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("metric", HOOKS)
def test_the_number_is_made_of_the_items(metric: str, seed: int, vectorize: Vectorize, tmp_path: Path) -> None:
    task = made(metric, seed)
    assert compare(task, "test", "default", vectorize) == []
    scores = our_scores(task, "test", "default", lookup_model(vectorize))
    write_items(tmp_path / "items.parquet", scores.items)
    items = read_items(tmp_path / "items.parquet")
    form = form_of(metric, items.columns)
    assert form is not None
    assert score_of(form) == scores.metrics[metric]
    assert 0 < abs(scores.metrics[metric]) < 1
    values, groups = contributions(form), np.array(items.columns["group"])
    assert values is not None
    counted = ~np.isnan(values)
    # one number per topic, and the topic's queries are its group
    assert len(set(groups[counted].tolist())) == counted.sum()
    assert len(set(groups.tolist())) == 17
    topics = [name.replace("-", "_").partition("_")[0] for name in items.ids]
    assert len({*zip(topics, groups.tolist(), strict=True)}) == 17


def test_each_topic_has_the_value_that_mteb_would_give_it_alone() -> None:
    task = made("p-MRR", 1)
    scores = our_scores(task, "test", "default", lookup_model(smooth))
    assert scores.retrieved is not None
    results: Any = {query: dict(found) for query, found in scores.retrieved}
    values = dict(zip(scores.items.ids, scores.items.columns["p-MRR"], strict=True))
    for topic, documents in CHANGED.items():
        found = [value for name, value in values.items() if name.partition("-")[0] == topic and not np.isnan(value)]
        counts = len(documents) > 0 and topic != "99"
        wanted = [calculate_pmrr(results, results, {topic: documents})] if counts else []
        assert found == pytest.approx(wanted, rel=1e-14)


def test_mteb_s_modules_stay_as_they_are() -> None:
    task = made("p-MRR", 2)
    our_scores(task, "test", "default", lookup_model(smooth))
    assert p_mrr.__globals__["evaluate_p_mrr_change"] is evaluate_p_mrr_change


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("Core17InstructionRetrieval", "p-MRR"),
        ("mFollowIR", "p-MRR"),
        ("mFollowIRCrossLingual", "p-MRR"),
        ("InstructIR", "robustness_at_10"),
        ("NevIR", "paired_accuracy"),
    ],
)
def test_the_hooks_of_mteb_s_own_tasks_are_known(name: str, metric: str) -> None:
    task: Any = mteb.get_task(name)
    calls = type(task).task_specific_scores.__code__.co_names
    assert {"p-MRR": "evaluate_p_mrr_change"}.get(metric, metric) in calls
