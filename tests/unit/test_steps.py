"""The steps of a job chained by hand give what a run gives, and their values may go to another process."""

from __future__ import annotations

import inspect
import json
import multiprocessing
import pickle
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.attempts import attempt_job
from support.local_tasks import MAIN_SCORES, ROWS, lines, write
from support.lookup import LookupBackend, lookup_model, smooth, spec
from support.pairs import reranker_alone
from support.synthetic import make_task, retrieval_split, table_splits
from support.texts import sentence
from support.tiny import save_m3

from evalharness.catalog.selection import Selection, TaskChoice, select
from evalharness.catalog.tasks import TaskSpec
from evalharness.data.mteb import load_mteb_task
from evalharness.errors import UsageError
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.loading import ModelOptions, open_embedder, resolve_model
from evalharness.models.options import Execution, ParsedOptions
from evalharness.results.records import JobId
from evalharness.run import job as job_module
from evalharness.run.events import PlannedJob
from evalharness.run.job import data_of
from evalharness.run.plan import make_plan
from evalharness.run.request import RunRequest
from evalharness.run.steps import Encoded, Loaded, Model, encode, encode_and_score_in_mteb, load, score
from evalharness.store import shards as plan_module
from evalharness.store.filing import Filing
from evalharness.store.index import StoredParts, StoredRows
from evalharness.store.shards import plan_shards
from evalharness.store.storing import StoringEncoder
from evalharness.types import Encoding, ItemScores, ModelSpec, Scores, ignore_event

IDENTITY = {"model": "a/b", "fingerprint": "f" * 64}


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Executor]:
    """Another process, which has only what it is sent; it was started in another folder than the tests stand in."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(int).result()
        yield pool


@pytest.fixture(autouse=True)
def in_small_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "SHARD_TEXTS", 7)
    monkeypatch.chdir(tmp_path)


def ignore(event: object) -> None:
    del event


def planned(folder: Path, kind: str, model_spec: ModelSpec) -> PlannedJob:
    """The job of a small local task."""
    folder.mkdir(exist_ok=True)
    path = write(folder, kind, lines(ROWS[kind]))
    (job,) = make_plan(select(Selection(tasks=[str(path)])), model_spec, folder / "out").jobs
    return job


def load_here(job: PlannedJob) -> Loaded:
    """As a run loads it."""
    return data_of([job], ignore).load(job.id)


def content(scores: Scores) -> dict[str, Any]:
    """All of some scores, to the last bit."""
    found = None if scores.retrieved is None else [[query, dict(documents)] for query, documents in scores.retrieved]
    items = {name: list(values) for name, values in scores.items.columns.items()}
    return {
        "text": json.dumps([scores.metrics, list(scores.items.ids), items, list(scores.notes)]),
        "found": found,
    }


def stored_model(root: Path) -> EmbeddingModel:
    """A model whose store is named relative to the folder that the process stands in."""
    return EmbeddingModel(spec(), StoringEncoder(LookupBackend(smooth), root, IDENTITY, "cosine"), device="cpu")


def by_hand(loaded: Loaded, model: Model, elsewhere: Executor) -> Scores:
    """Steps one after another, the last in another process; checks that it gives the same here."""
    encoded = encode(loaded, model, ignore_event)
    scores = elsewhere.submit(score, loaded, encoded).result()
    assert content(scores) == content(score(loaded, encoded))
    return scores


def check_same_as_a_run(scores: Scores, job: PlannedJob, model: Model) -> None:
    attempt = attempt_job(job, data_of([job], ignore), model, ignore)
    assert attempt.record.error is None
    assert attempt.scores is not None
    assert json.dumps(scores.metrics) == json.dumps(attempt.record.metrics)
    assert content(scores) == content(attempt.scores)


@pytest.mark.parametrize("kind", MAIN_SCORES)
def test_steps_by_hand_and_elsewhere_give_what_a_run_gives(tmp_path: Path, kind: str, elsewhere: Executor) -> None:
    model = stored_model(Path("store"))
    job = planned(tmp_path / "task", kind, model.spec)
    loaded = load_here(job)
    scores = by_hand(loaded, model, elsewhere)
    check_same_as_a_run(scores, job, model)
    # and vectors of memory give the same
    check_same_as_a_run(by_hand(loaded, lookup_model(), elsewhere), job, model)


def test_a_rerankers_ranking_is_what_is_scored(tmp_path: Path, elsewhere: Executor) -> None:
    model = reranker_alone(smooth)
    job = planned(tmp_path / "task", "Reranking", model.spec)
    loaded = load_here(job)
    assert encode(loaded, model, ignore_event).embeddings == {}
    check_same_as_a_run(by_hand(loaded, model, elsewhere), job, model)


def test_several_kinds_of_stored_vectors(tmp_path: Path, elsewhere: Executor) -> None:
    resolved = resolve_model(
        str(save_m3(tmp_path / "m3")), ModelOptions(like="BAAI/bge-m3", max_length=64, mode="dense+sparse+multi-vector")
    )
    model = open_embedder(resolved, Execution(device="cpu"), store=Path("store"))
    job = planned(tmp_path / "task", "Retrieval", model.spec)
    loaded = load_here(job)
    source = encode(loaded, model, ignore_event).embeddings["corpus"].source
    assert isinstance(source, StoredParts)
    # the model's own notes are a run's matter
    attempt = attempt_job(job, data_of([job], ignore), model, ignore)
    assert json.dumps(by_hand(loaded, model, elsewhere).metrics) == json.dumps(attempt.record.metrics)


def vectors_of(encoded: Encoded) -> list[np.ndarray]:
    return [embeddings.vectors for embeddings in encoded.embeddings.values()]


def test_stored_rows_are_sent_as_places_of_the_files_that_they_need(tmp_path: Path, elsewhere: Executor) -> None:
    model = stored_model(Path("store"))
    job = planned(tmp_path / "task", "STS", model.spec)
    encoded = encode(load_here(job), model, ignore_event)
    for here, there in zip(vectors_of(encoded), elsewhere.submit(vectors_of, encoded).result(), strict=True):
        np.testing.assert_array_equal(here, there)
    rows = next(iter(encoded.embeddings.values())).rows([3, 1, 3]).source
    assert isinstance(rows, StoredRows)
    sent = pickle.loads(pickle.dumps(rows))  # noqa: S301 -- made here
    assert len(sent.paths) < len(rows.paths)
    assert all(path.is_absolute() for path in sent.paths)
    np.testing.assert_array_equal(np.asarray(sent), np.asarray(rows))
    empty = pickle.loads(pickle.dumps(rows[:0]))  # noqa: S301 -- made here
    assert np.asarray(empty).shape == (0, 16)


def same(value: object) -> object:
    """What arrives."""
    return value


def test_jobs_and_requests_arrive_as_they_are(tmp_path: Path, elsewhere: Executor) -> None:
    job = planned(tmp_path / "task", "STS", spec())
    encoding = Encoding(pooling="cls", normalize=True, max_length=64, dtype="float32", prompt="Q: ")
    filing = Filing(tmp_path, encoding, patient=True)
    shards = plan_shards([f"text {number}" for number in range(20)], "key")
    sent: Any = elsewhere.submit(same, (job, filing, shards)).result()
    assert sent[:2] == (job, filing)
    assert [shard.name for shard in sent[2]] == [shard.name for shard in shards]


@pytest.mark.parametrize("kind", MAIN_SCORES)
def test_a_local_task_is_loaded_elsewhere(tmp_path: Path, kind: str, elsewhere: Executor) -> None:
    job, model = planned(tmp_path / "task", kind, spec()), lookup_model()
    loaded: Loaded = elsewhere.submit(load, job.id, job.choice).result()
    check_same_as_a_run(score(loaded, encode(loaded, model, ignore_event)), job, model)


def test_a_request_arrives_as_it_is(elsewhere: Executor) -> None:
    request = RunRequest("a/b", ParsedOptions(ModelOptions(pooling="cls")), Selection(tasks=["STS12"]), Path("results"))
    assert elsewhere.submit(same, request).result() == request


ENOUGH = 60


def rows(kind: str) -> list[dict[str, Any]]:
    rng = random.Random(7)
    text, label = ("sentences", "labels") if kind == "Clustering" else ("text", "label")
    many = kind == "MultilabelClassification"
    if kind == "STS":
        return [{"sentence1": sentence(rng), "sentence2": sentence(rng), "score": n % 6} for n in range(ENOUGH)]
    if kind == "Regression":
        return [{"text": sentence(rng), "value": rng.uniform(0, 10)} for _ in range(ENOUGH)]
    return [
        {text: sentence(rng), label: rng.sample(range(4), rng.randint(1, 2)) if many else rng.randrange(3)}
        for _ in range(ENOUGH)
    ]


def mteb_task(kind: str) -> Any:
    splits = ("test",) if kind in ("Clustering", "STS") else ("train", "test")
    others: dict[str, Any] = {} if kind == "STS" else {"n_experiments": 2}
    limits = {"max_documents_per_cluster": 50, "n_clusters": 2}
    return make_task(
        kind, table_splits(dict.fromkeys(splits, rows(kind))), **(limits if kind == "Clustering" else others)
    )


def job_on(task: Any) -> PlannedJob:
    """The job of a task of mteb's."""
    task_spec = TaskSpec(
        name=task.metadata.name,
        type=task.metadata.type,
        main_score=task.metadata.main_score,
        revision="1" * 40,
        splits=("test",),
        languages={"default": ("eng-Latn",)},
    )
    choice = TaskChoice(task_spec, ("test",), ("default",))
    return PlannedJob(JobId(task_spec.name, "test", "default"), choice, {}, None, None, None)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Has a fresh task of mteb's loaded."""

    def give(made: Callable[[], Any]) -> None:
        monkeypatch.setattr(job_module, "load_mteb_task", lambda *_: made())

    return give


@pytest.mark.parametrize("kind", ["STS", "Classification", "MultilabelClassification", "Clustering"])
def test_steps_of_tasks_of_mteb(kind: str, given: Callable[..., None], elsewhere: Executor) -> None:
    given(lambda: mteb_task(kind))
    job = job_on(mteb_task(kind))
    loaded, model = load_here(job), stored_model(Path("store"))
    check_same_as_a_run(by_hand(loaded, model, elsewhere), job, model)


def read_synthetic(choice: TaskChoice) -> Any:
    """mteb's task, as `load_mteb_task` gives it."""
    return mteb_task(choice.spec.type)


@pytest.mark.parametrize("kind", ["STS", "Classification", "MultilabelClassification", "Clustering"])
def test_a_task_of_mteb_is_loaded_elsewhere(kind: str, given: Callable[..., None], elsewhere: Executor) -> None:
    given(lambda: mteb_task(kind))
    job, model = job_on(mteb_task(kind)), lookup_model()
    loaded: Loaded = elsewhere.submit(load, job.id, job.choice, read_synthetic).result()
    check_same_as_a_run(score(loaded, encode(loaded, model, ignore_event)), job, model)


def test_what_reads_tasks_of_mteb_may_be_sent() -> None:
    assert pickle.loads(pickle.dumps(inspect.signature(load).parameters["read"].default)) is load_mteb_task  # noqa: S301


def nev_ir() -> Any:
    """A task with a metric of its own: pairs of queries of which each has its document."""
    import mteb

    rng = random.Random(3)
    corpus = [{"id": f"doc{number}", "text": sentence(rng)} for number in range(12)]
    queries = [{"id": f"{number}_q{side}", "text": sentence(rng)} for number in range(6) for side in (1, 2)]
    qrels = {row["id"]: {f"doc{place}": 1} for place, row in enumerate(queries)}
    top = {row["id"]: [document["id"] for document in corpus] for row in queries}
    task = mteb.get_task("NevIR")
    task.dataset = {"default": {"test": retrieval_split(corpus, queries, qrels, top)}}
    return task


def test_a_tasks_own_metrics_are_computed_elsewhere(given: Callable[..., None], elsewhere: Executor) -> None:
    given(nev_ir)
    job = job_on(nev_ir())
    loaded = load_here(job)
    scores = by_hand(loaded, lookup_model(), elsewhere)
    assert "paired_accuracy" in scores.metrics


def test_what_mteb_scores_is_one_step_after_loading(given: Callable[..., None]) -> None:
    given(lambda: mteb_task("Regression"))
    job, model = job_on(mteb_task("Regression")), lookup_model()
    loaded = load_here(job)
    assert loaded.columns == ()
    scores = encode_and_score_in_mteb(loaded, model, ignore_event)
    assert scores.items == ItemScores([], {})
    check_same_as_a_run(scores, job, model)


def test_a_model_without_vectors_is_not_asked_for_some(tmp_path: Path, given: Callable[..., None]) -> None:
    job = planned(tmp_path / "task", "STS", spec())
    with pytest.raises(UsageError, match="ranks documents and has no vectors"):
        encode(load_here(job), reranker_alone(smooth), ignore_event)
    given(lambda: mteb_task("Regression"))
    job = job_on(mteb_task("Regression"))
    with pytest.raises(UsageError, match="ranks documents and has no vectors"):
        encode_and_score_in_mteb(load_here(job), reranker_alone(smooth), ignore_event)
