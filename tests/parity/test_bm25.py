"""BM25 against mteb's own, on texts of several languages, with and without candidates."""

from __future__ import annotations

import copy
import random
from typing import Any

import mteb
import pytest
from support.compare import differences
from support.lookup import smooth
from support.pairs import pair_model
from support.synthetic import make_task, retrieval_split
from support.texts import sentence

from evalharness.errors import DataError, UsageError
from evalharness.models.loading import ModelOptions, System, open_model, resolve_model
from evalharness.models.rankers import RankingModel, Reranker
from evalharness.ranking.scores import score_ranking
from evalharness.tasks import task_type
from evalharness.types import Scores, TaskContext, ignore_event

LANGUAGES = ["eng-Latn", "zho-Hans", "deu-Latn", "fin-Latn", "tha-Thai", "xho-Latn"]
CHINESE = "红绿蓝石河云纸玻璃火车柠檬铜窗"
TASK = TaskContext(name="Synthetic", type="Retrieval")


def text_of(rng: random.Random, language: str) -> str:
    return "".join(rng.choices(CHINESE, k=rng.randint(2, 9))) if language == "zho-Hans" else f"the {sentence(rng)}s"


def data(language: str, *, candidates: bool) -> dict[str, Any]:
    rng = random.Random(7)
    corpus = [{"id": f"d{n}", "title": rng.choice(["", "Title"]), "text": text_of(rng, language)} for n in range(120)]
    asked = [{"id": f"q{n}", "text": text_of(rng, language)} for n in range(20)]
    ids = [row["id"] for row in corpus]
    qrels = {row["id"]: {doc: rng.choice([0, 1, 2]) for doc in rng.sample(ids, 6)} for row in asked}
    top = {row["id"]: rng.sample(ids, rng.randint(1, 30)) for row in asked}
    return {"default": {"test": retrieval_split(corpus, asked, qrels, top if candidates else None)}}


def bm25() -> RankingModel:
    model = open_model(System(resolve_model("bm25")))
    assert isinstance(model, RankingModel)
    return model


def ours(task: Any, language: str, model: RankingModel) -> Scores:
    records = task_type(task.metadata.type).from_mteb(copy.deepcopy(task), "test", "default")
    return score_ranking(records, model.rank(records, [language], TASK, ignore_event))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("candidates", [False, True])
def test_scores_equal_mteb(language: str, candidates: bool) -> None:
    task = make_task("Reranking" if candidates else "Retrieval", data(language, candidates=candidates))
    task.metadata = task.metadata.model_copy(update={"eval_langs": [language]})
    found = ours(task, language, bm25())
    theirs = task.evaluate(mteb.get_model("mteb/baseline-bm25s"), "test", encode_kwargs={"batch_size": 32})["default"]
    assert differences(found.metrics, {k: v for k, v in theirs.items() if k != "main_score"}) == []


def test_candidates_beyond_the_depth_are_dropped_and_counted() -> None:
    task = make_task("Reranking", data("eng-Latn", candidates=True), k_values=(1, 3, 5, 10))
    records = task_type("Reranking").from_mteb(task, "test", "default")
    found = bm25().rank(records, ["eng-Latn"], TASK, ignore_event)
    (note,) = found.notes
    assert note.endswith(
        "candidates that are not among the 10 best documents of the whole corpus were dropped, as in mteb"
    )


def test_it_is_a_first_stage() -> None:
    task = make_task("Retrieval", data("eng-Latn", candidates=False))
    first = bm25()
    model = RankingModel(first.spec, first._first, Reranker(pair_model(smooth), 4))
    ranked = ours(task, "eng-Latn", model).retrieved
    assert [len(documents) for _, documents in ranked or ()] == [4] * 20


def test_documents_without_any_word_are_told() -> None:
    split = retrieval_split(
        [{"id": "d0", "text": "the"}, {"id": "d1", "text": ""}], [{"id": "q", "text": "stone"}], {"q": {"d0": 1}}
    )
    task = make_task("Retrieval", {"default": {"test": split}})
    with pytest.raises(DataError, match="no word in any of 2 documents: stop words"):
        ours(task, "eng-Latn", bm25())
    # mteb's ends as well
    with pytest.raises(ValueError, match="empty sequence"):
        task.evaluate(mteb.get_model("mteb/baseline-bm25s"), "test", encode_kwargs={"batch_size": 32})


def test_texts_without_a_known_word_find_something_and_score_zero() -> None:
    split = retrieval_split(
        [{"id": "d0", "text": "a stone"}, {"id": "d1", "text": ""}], [{"id": "q", "text": "???"}], {"q": {"d0": 1}}
    )
    task = make_task("Retrieval", {"default": {"test": split}})
    ranked = ours(task, "eng-Latn", bm25()).retrieved
    assert [list(documents.values()) for _, documents in ranked or ()] == [[0, 0]]


def test_options_that_mean_nothing_here_are_refused() -> None:
    for options in (ModelOptions(pooling="cls"), ModelOptions(query_prompt="q: "), ModelOptions(dimensions=3)):
        with pytest.raises(UsageError, match="the bm25 backend has no use for --"):
            resolve_model("bm25", options)
    spec = resolve_model("mteb/baseline-bm25s").spec
    assert (spec.name, spec.revision, spec.kind, spec.overrides) == ("mteb/baseline-bm25s", "0_3_0", "lexical", {})
