"""Rerankers and two stages: the same pair scores into mteb and into us."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import mteb
import pytest
from mteb._evaluators.retrieval_metrics import max_over_subqueries
from mteb.models.model_implementations.rerankers_custom import BGEReranker
from support.compare import differences
from support.lookup import Vectorize, coarse, lookup_model, mteb_lookup_model, smooth
from support.pairs import LookupPairs, MtebPairs, pair_model, reranker_alone
from support.synthetic import make_task, retrieval_split
from support.texts import sentence
from support.tiny import save_real_words_cross_encoder

from evalharness.errors import UsageError
from evalharness.models.loading import ModelOptions, System, open_model, resolve_model
from evalharness.models.options import Execution
from evalharness.models.rankers import PairModel, RankingModel, Reranker, two_stage_spec
from evalharness.ranking.scores import score_ranking
from evalharness.run.without_model import ranking_of
from evalharness.store.storing import StoringEncoder
from evalharness.tasks import task_type
from evalharness.types import PairInstruction, Scores, TaskContext, ignore_event

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
    return score_ranking(records, model.rank(records, ["eng-Latn"], TASK, ignore_event))


@VECTORS
@pytest.mark.parametrize("ignore", [False, True])
def test_a_reranker_on_candidates_equals_mteb(vectorize: Vectorize, ignore: bool) -> None:
    task = make_task("Reranking", data(candidates=True), ignore_identical_ids=ignore)
    found = ours(task, reranker_alone(vectorize))
    theirs = task.evaluate(MtebPairs(vectorize), "test", encode_kwargs={"batch_size": 32})["default"]
    assert differences(found.metrics, numbers(theirs)) == []


def own_scores(task: Any, scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str) -> Any:
    del scores, hf_split, hf_subset
    return max_over_subqueries(qrels, results, task.k_values)


def subqueries(*, candidates: bool) -> Any:
    """A task in which two queries are one question each."""
    split = data(candidates=candidates)["default"]["test"]
    names = {row["id"]: f"{number // 2}_{number % 2}" for number, row in enumerate(split["queries"])}
    top = split["top_ranked"]
    asked = [{**row, "id": names[row["id"]]} for row in split["queries"]]
    qrels = {names[query]: judged for query, judged in split["relevant_docs"].items()}
    renamed = {names[query]: found for query, found in top.items()} if candidates else None
    made = {"default": {"test": retrieval_split(list(split["corpus"]), asked, qrels, renamed)}}
    return make_task("Reranking", made, task_specific_scores=own_scores)


@VECTORS
def test_the_maximum_over_sub_queries_of_a_reranker_equals_mteb(vectorize: Vectorize) -> None:
    task = subqueries(candidates=True)
    found = ours(task, reranker_alone(vectorize))
    theirs = task.evaluate(MtebPairs(vectorize), "test", encode_kwargs={"batch_size": 32})["default"]
    assert differences(found.metrics, numbers(theirs)) == []


def test_the_maximum_over_sub_queries_is_that_of_the_run_file() -> None:
    task = subqueries(candidates=False)
    records = task_type("Reranking").from_mteb(copy.deepcopy(task), "test", "default")
    first = lookup_model(smooth)
    whole = score_ranking(records, RankingModel(first.spec, first).rank(records, [], TASK, ignore_event))
    again = score_ranking(records, ranking_of(records, dict(whole.retrieved or ()), "here"))
    over = [name for name in whole.metrics if name.startswith("max_over_subqueries_") and "nauc" not in name]
    assert over
    assert {name: again.metrics[name] for name in over} == {name: whole.metrics[name] for name in over}


def instructed() -> dict[str, Any]:
    rng = random.Random(8)
    split = data(candidates=True)["default"]["test"]
    plain = [dict(row) for row in split["queries"]]
    rows = [{**row, "instruction": sentence(rng)} for row in plain]
    return {
        "default": {"test": retrieval_split(list(split["corpus"]), rows, split["relevant_docs"], split["top_ranked"])}
    }


WAYS: tuple[PairInstruction, ...] = ("joined", "template", "left-out")


@pytest.mark.parametrize("how", WAYS)
def test_instructions_are_read_where_mteb_s_model_reads_them(how: PairInstruction) -> None:
    task = make_task("Reranking", instructed())
    found = ours(task, reranker_alone(smooth, how))
    theirs = task.evaluate(MtebPairs(smooth, how), "test", encode_kwargs={"batch_size": 32})["default"]
    assert differences(found.metrics, numbers(theirs)) == []
    for other in set(WAYS) - {how}:
        assert ours(task, reranker_alone(smooth, other)).metrics != found.metrics


def test_bge_reranker_v2_m3_reads_what_it_reads_in_mteb(tmp_path: Path) -> None:
    folder = str(save_real_words_cross_encoder(tmp_path / "m"))
    task = make_task("InstructionReranking", instructed(), main_score="ndcg_at_10")
    resolved = resolve_model(folder, ModelOptions(like="BAAI/bge-reranker-v2-m3", max_length=64))
    model = open_model(System(resolved), Execution(device="cpu"))
    assert isinstance(model, RankingModel)
    records = task_type("InstructionReranking").from_mteb(copy.deepcopy(task), "test", "default")
    ranked = model.rank(records, ["eng-Latn"], TASK, ignore_event)
    reference: Any = BGEReranker(folder, device="cpu")
    reference.mteb_model_meta = MtebPairs(smooth).mteb_model_meta
    reference.model.max_length = 64
    theirs = task.evaluate(reference, "test", encode_kwargs={"batch_size": 32})["default"]
    found = score_ranking(records, ranked).metrics
    assert differences(without_nauc(found), without_nauc(numbers(theirs))) == []
    assert "the reranker got the queries without their instructions, as in mteb" in ranked.notes


def without_nauc(scores: dict[str, Any]) -> dict[str, Any]:
    """mteb's wrapper gives probabilities, which rank as the raw scores do, but whose spread is another."""
    return {name: value for name, value in scores.items() if "nauc" not in name}


def test_without_instructions_nothing_is_left_out() -> None:
    task = make_task("Reranking", data(candidates=True))
    records = task_type("Reranking").from_mteb(copy.deepcopy(task), "test", "default")
    assert (records.bare_queries, records.instructions) == ([], [])
    usual = reranker_alone(smooth).rank(records, [], TASK, ignore_event)
    for how in WAYS[1:]:
        ranked = reranker_alone(smooth, how).rank(records, [], TASK, ignore_event)
        assert ranked.notes == ()
        found = score_ranking(records, ranked).metrics
        assert differences(found, score_ranking(records, usual).metrics) == []


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
    ranked = dict(found.retrieved or ())
    assert [len(documents) for documents in ranked.values()] == [5] * 25
    assert len(backend.seen) <= 5 * 25


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
