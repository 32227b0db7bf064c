"""Results of a model on tasks of mteb's, as a run would have stored them, without data or a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from evalharness.catalog.tasks import mteb_task
from evalharness.reports.building.boards import make_boards
from evalharness.reports.publishing.own import OwnResults, own_results
from evalharness.results.stored import read_runs
from evalharness.types import ItemScores, ModelSpec
from support.stored import StoredScores, pairs, random_ndcg, spec_of, write_results

# one that mteb implements, at the commit that it runs
NAME, REVISION = "BAAI/bge-base-en-v1.5", "a5beb1e3e68b9ab74eb54cfd186867f64f240e1a"
FACTS = {"evalharness": "0.1.0", "packages": {"mteb": "2.26.24", "torch": "2.9.1", "transformers": "5.1.0"}}


def of_mteb(task: str, scores: StoredScores) -> StoredScores:
    """These scores as those of one of mteb's tasks."""
    spec = mteb_task(task)
    assert spec is not None
    return replace(
        scores,
        metric=spec.main_score,
        type=spec.type,
        key={"dataset_revision": spec.revision, **scores.key},
        facts={**FACTS, **scores.facts},
    )


def labels(experiments: int = 2) -> StoredScores:
    """Texts of three classes, each experiment testing not all of them."""
    ids = [str(number) for number in range(12)]
    columns = {"label": [float(number % 3) for number in range(12)]}
    for experiment in range(experiments):
        found = [float((number + number // (4 + experiment)) % 3) for number in range(12)]
        columns[f"predicted_{experiment}"] = [
            float("nan") if number % 5 == experiment else label for number, label in enumerate(found)
        ]
    return StoredScores(ItemScores(ids, columns, ("a", "b", "<i>c")), "accuracy")


def similar() -> StoredScores:
    """Pairs with similarities."""
    random = np.random.default_rng(7)
    return pairs(random.random(20).round(3).tolist(), random.random(20).round(3).tolist())


def public_model(name: str = NAME, revision: str = REVISION, **facts: object) -> ModelSpec:
    """A model of the Hub, at a commit."""
    return spec_of(name).changed({"revision": revision, **facts})


def three_tasks() -> dict[tuple[str, str, str], StoredScores]:
    """A task of each of three types, and one that is the user's own."""
    return {
        ("NFCorpus", "test", "default"): of_mteb("NFCorpus", random_ndcg(1, 20)),
        ("STSBenchmark", "test", "default"): of_mteb("STSBenchmark", similar()),
        ("Banking77Classification", "test", "default"): of_mteb("Banking77Classification", labels()),
        ("Mine", "test", "default"): random_ndcg(3, 20),
    }


def stored(
    folder: Path, jobs: Mapping[tuple[str, str, str], StoredScores] | None = None, model: ModelSpec | None = None
) -> Path:
    """Write them; gives the folder that `report` takes."""
    return write_results(folder, three_tasks() if jobs is None else jobs, model or public_model())


def own(folder: Path) -> list[OwnResults]:
    """What of a folder may be published."""
    runs = read_runs([folder])
    return own_results(runs, make_boards(runs))
