"""The same run again, in another order, in two halves: the same scores. mteb's task objects keep random state."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.compare import differences, mteb_scores
from support.lookup import LookupBackend, smooth, spec
from support.synthetic import make_task, table_splits
from support.texts import sentence

from evalharness.catalog.selection import TaskChoice
from evalharness.catalog.tasks import TaskSpec
from evalharness.models.encoder import EmbeddingModel
from evalharness.run import job as job_module
from evalharness.run import plan as run_module
from evalharness.run.plan import make_plan, run_plan
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Dense, Emit, Encoding

SUBSETS = ("en", "de", "fr", "es")
SPLITS = ("dev", "test")
KINDS = {"Clustering": "v_measure", "MultilabelClassification": "accuracy", "Classification": "accuracy"}


def rows(kind: str, seed: int, count: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    text, label = ("sentences", "labels") if kind == "Clustering" else ("text", "label")
    many = kind == "MultilabelClassification"
    return [
        {text: sentence(rng), label: rng.sample(range(4), rng.randint(1, 2)) if many else rng.randrange(3)}
        for _ in range(count)
    ]


def task(kind: str) -> Any:
    data = {
        subset: table_splits(
            {name: rows(kind, 10 * n + m, 60 + 5 * n) for m, name in enumerate(("train", *SPLITS))}
            if kind != "Clustering"
            else {name: rows(kind, 10 * n + m, 90 + 5 * n) for m, name in enumerate(SPLITS)}
        )
        for n, subset in enumerate(SUBSETS)
    }
    limits = {"max_documents_per_cluster": 80, "n_clusters": 2, "max_fraction_of_documents_to_embed": 0.7}
    return make_task(kind, data, subsets=SUBSETS, **(limits if kind == "Clustering" else {"n_experiments": 3}))


def choice(kind: str, subsets: Sequence[str] = SUBSETS) -> TaskChoice:
    task_spec = TaskSpec(
        name=f"Synthetic{kind}",
        type=kind,
        main_score=KINDS[kind],
        revision="1" * 40,
        splits=SPLITS,
        languages=dict.fromkeys(SUBSETS, ("eng-Latn",)),
    )
    return TaskChoice(task_spec, SPLITS, tuple(subsets))


class InChunks(LookupBackend):
    """A backend that encodes so many texts at a time."""

    def __init__(self, size: int) -> None:
        super().__init__(smooth)
        self.size = size

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        parts = [super(InChunks, self).encode(texts[n : n + self.size], encoding, emit)
                 for n in range(0, len(texts), self.size)]  # fmt: skip
        return Dense(np.concatenate([part.vectors for part in parts]))


@pytest.fixture(autouse=True)
def fresh_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(wanted: TaskChoice, say: object) -> Any:
        loaded = task(wanted.spec.type)
        loaded.hf_subsets = [name for name in SUBSETS if name in wanted.subsets]
        return loaded

    monkeypatch.setattr(job_module, "load_mteb_task", load)


def run(choices: Sequence[TaskChoice], output: Path, size: int = 1000, *, overlap: bool = True) -> dict[str, Any]:
    model = EmbeddingModel(spec(), InChunks(size), device="cpu")
    plan = make_plan(choices, model.spec, output)
    records = run_plan(plan, model, lambda _: None, overlap=overlap)
    assert [record.error for record in records] == [None] * len(records)
    return {str(record.job): json.dumps(record.metrics, sort_keys=True) for record in records}


def test_three_runs_in_one_process_and_any_order(tmp_path: Path) -> None:
    choices = [choice(kind) for kind in KINDS]
    first = run(choices, tmp_path / "1")
    assert len(first) == len(KINDS) * len(SUBSETS) * len(SPLITS)
    assert run(choices, tmp_path / "2", size=7) == first
    random.Random(3).shuffle(choices)
    assert run(choices[::-1], tmp_path / "3", size=1, overlap=False) == first


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_broken_off_in_the_middle(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run([choice(kind)], tmp_path / "whole")
    score, left = job_module.score_job, [3]

    def stopping(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return score(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "score_job", stopping)
        with pytest.raises(KeyboardInterrupt):
            run([choice(kind)], tmp_path / "halves")
    plan = make_plan([choice(kind)], spec(), tmp_path / "halves")
    assert len(plan.todo) == len(plan.jobs) - 3
    assert run([choice(kind)], tmp_path / "halves") == whole


def test_other_subsets_are_other_draws_and_no_stored_score_is_taken_for_them(tmp_path: Path) -> None:
    run([choice("Clustering")], tmp_path)
    alone = choice("Clustering", subsets=["fr"])
    # as in mteb, the draws for a subset depend on those before it, so these jobs are not the stored ones
    assert [job.id.split for job in make_plan([alone], spec(), tmp_path).todo] == ["dev", "test"]
    found = run([alone], tmp_path)
    single = task("Clustering")
    single.hf_subsets = ["fr"]
    theirs = mteb_scores(single, "dev", "fr", smooth)
    theirs.pop("main_score")
    assert differences(json.loads(found["SyntheticClustering [dev, fr]"]), theirs) == []
