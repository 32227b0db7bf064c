"""Rerankers and two stages: the same pair scores into mteb and into us."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import mteb
import pytest
from support.compare import differences
from support.lookup import Vectorize, coarse, lookup_model, mteb_lookup_model, smooth
from support.pairs import LookupPairs, MtebPairs, pair_model, reranker_alone
from support.synthetic import make_task, retrieval_split
from support.texts import sentence

from evalharness.embeddings import StoringEncoder
from evalharness.errors import UsageError
from evalharness.rankers import PairModel, RankingModel, Reranker, two_stage_spec
from evalharness.rankings import score_ranking
from evalharness.tasks import task_type
from evalharness.types import Scores, TaskContext, ignore_event

VECTORS = pytest.mark.parametrize("vectorize", [smooth, coarse], ids=["smooth", "ties"])
TASK = TaskContext(name="Synthetic", type="Retrieval")


def data(*, candidates: bool, queries: int = 25) -> dict[str, Any]:
    rng = random.Random(3)
    corpus = [{"id": f"d{number}", "title": rng.choice(["", "A title"]), "text": sentence(rng)} for number in range(90)]
    corpus += [{"id": f"q{number}", "title": "", "text": sentence(rng)} for number in range(5)]
    asked = [{"id": f"q{number}", "text": sentence(rng)} for number in range(queries)]
    ids = [row["id"] for row in corpus]
    qrels = {row["id"]: {doc: rng.choice([0, 1, 2]) for doc in rng.sample(ids, 6)} for row in asked}
    top = {row["id"]: rng.sample(ids, rng.randint(1, 30)) for row in asked}
    top["q1"] *= 2
    del top["q2"]
    return {"default": {"test": retrieval_split(corpus, asked, qrels, top if candidates else None)}}


def numbers(scores: dict[str, Any]) -> dict[str, Any]:
    """Without what is no metric, and the main score, which is one of the others."""
    return {name: value for name, value in scores.items() if name not in ("main_score", "previous_results_model_meta")}


def ours(task: Any, model: RankingModel) -> Scores:
    records = task_type(task.metadata.type).from_mteb(copy.deepcopy(task), "test", "default")
    return score_ranking(records, model.rank(records, ["eng-Latn"], TASK, ignore_event).ranking)


@VECTORS
@pytest.mark.parametrize("ignore", [False, True])
def test_a_reranker_on_candidates_equals_mteb(vectorize: Vectorize, ignore: bool) -> None:
    task = make_task("Reranking", data(candidates=True), ignore_identical_ids=ignore)
    found = ours(task, reranker_alone(vectorize))
    theirs = task.evaluate(MtebPairs(vectorize), "test", encode_kwargs={"batch_size": 32})["default"]
    assert differences(found.metrics, numbers(theirs)) == []


@pytest.mark.parametrize("top_k", [1, 7, 40])
@pytest.mark.parametrize("ignore", [False, True])
def test_two_stages_equal_mteb(tmp_path: Path, top_k: int, ignore: bool) -> None:
    task = make_task("Retrieval", data(candidates=False), ignore_identical_ids=ignore)
    first = lookup_model(smooth)
    model = RankingModel(first.spec, first, Reranker(pair_model(coarse), top_k))
    found = ours(task, model)
    first_stage = copy.deepcopy(task)
    mteb.evaluate(
        mteb_lookup_model(smooth), first_stage, cache=None, prediction_folder=tmp_path, overwrite_strategy="always"
    )
    task.convert_to_reranking(tmp_path, top_k=top_k)
    theirs = task.evaluate(MtebPairs(coarse), "test", encode_kwargs={"batch_size": 32})["default"]
    assert differences(found.metrics, numbers(theirs)) == []


def test_only_the_best_of_the_first_stage_reach_the_second() -> None:
    task = make_task("Retrieval", data(candidates=False))
    backend = LookupPairs(smooth)
    first = lookup_model(smooth)
    second = PairModel(first.spec, backend, device="cpu")
    found = ours(task, RankingModel(first.spec, first, Reranker(second, 5)))
    assert found.ranked is not None
    ranked = list(found.ranked())
    assert len(ranked) == 5 * 25
    assert len(backend.seen) <= len(ranked)


def test_a_reranker_without_candidates_needs_a_first_stage() -> None:
    task = make_task("Retrieval", data(candidates=False))
    with pytest.raises(UsageError, match=r"is a reranker, and Synthetic gives no candidates.*--model FIRST --reranker"):
        ours(task, reranker_alone(smooth))


def test_scores_of_pairs_are_stored_and_found_again(tmp_path: Path) -> None:
    task = make_task("Reranking", data(candidates=True))
    runs = []
    for _ in range(2):
        backend = LookupPairs(smooth)
        store = StoringEncoder(backend, tmp_path, {"model": "test/pairs", "fingerprint": "f"}, "cosine")
        model = PairModel(pair_model(smooth).spec, store, device="cpu")
        found = ours(task, RankingModel(model.spec, None, Reranker(model, 0)))
        runs.append((len(backend.seen), found.metrics))
    assert runs[0][0] > 200
    assert runs[1][0] == 0
    assert differences(runs[0][1], runs[1][1]) == []


def test_results_of_two_stages_are_not_those_of_one() -> None:
    first, second = lookup_model(smooth).spec, pair_model(smooth).spec
    one, other = (two_stage_spec(first, second, top_k) for top_k in (10, 20))
    assert one.overrides == {"reranker": "test/lookup@00000000", "rerank_top_k": 10}
    assert len({first.fingerprint, one.fingerprint, other.fingerprint}) == 3
    shorter = two_stage_spec(first, second.model_copy(update={"max_length": 64}), 10)
    assert shorter.fingerprint != one.fingerprint
    assert any("the 10 best documents of each query were ranked again" in note for note in one.notes)
