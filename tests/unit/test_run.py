"""Planning, skipping, failing and storing, with a lookup model and local tasks."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.local_tasks import jsonl_task
from support.lookup import JournaledLookup, LookupBackend, lookup_model, smooth, spec
from support.tiny import save_bert

from evalharness.catalog.selection import Selection, TaskChoice, select
from evalharness.errors import PrerequisiteError, UsageError
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.loading import ModelOptions, System, open_embedder, open_model, resolve_model
from evalharness.models.options import Execution
from evalharness.results.records import model_meta, read_job, run_folder
from evalharness.run import done as done_module
from evalharness.run import job as job_module
from evalharness.run.done import job_key
from evalharness.run.events import JobEnded, RunEvent
from evalharness.run.limits import Limits
from evalharness.run.plan import Plan, make_plan, run_plan
from evalharness.store import shards as plan_module
from evalharness.store.keeping import describe_store
from evalharness.store.storing import StoringEncoder
from evalharness.tasks import task_type
from evalharness.types import ModelSpec, Notice, ShardsUsed, TextsEncoded

WORDS = ["red stone", "green river", "blue cloud", "paper glass", "train lemon", "copper window"]


def write_sts(folder: Path, name: str = "Pairs", rows: int = 6) -> Path:
    lines = [{"sentence1": WORDS[n % 6], "sentence2": WORDS[(n * 2 + 1) % 6], "score": n % 6} for n in range(rows)]
    return jsonl_task(folder / f"{name}.toml", "STS", lines)


@pytest.fixture
def choices(tmp_path: Path) -> list[TaskChoice]:
    return select(Selection(tasks=[str(write_sts(tmp_path / "data", name)) for name in ("Pairs", "More")]))


def run(choices: list[TaskChoice], output: Path, model: EmbeddingModel, **options: Any) -> tuple[Plan, list[Any]]:
    plan = make_plan(choices, model.spec, output, **options)
    return plan, list(run_plan(plan, model, lambda _: None))


def scores(folder: Path) -> dict[str, Any]:
    return {
        path.name: json.loads(path.read_text())["scores"] for path in folder.glob("*.json") if "meta" not in path.name
    }


def test_done_jobs_are_not_done_again(tmp_path: Path, choices: list[TaskChoice]) -> None:
    plan, records = run(choices, tmp_path / "out", lookup_model())
    assert [record.error for record in records] == [None, None]
    before = scores(plan.folder)
    backend = LookupBackend(smooth)
    plan, again = run(choices, tmp_path / "out", EmbeddingModel(spec(), backend, device="cpu"))
    assert plan.todo == []
    assert backend.seen == []
    assert [record.metrics for record in again] == [record.metrics for record in records]
    run(choices, tmp_path / "out", EmbeddingModel(spec(), backend, device="cpu"), overwrite=True)
    assert backend.seen != []
    assert scores(plan.folder) == before


def test_task_files_that_were_not_made_here_are_not_replaced(tmp_path: Path, choices: list[TaskChoice]) -> None:
    folder = run_folder(tmp_path / "out", spec())
    folder.mkdir(parents=True)
    own = {"model_meta.json": json.dumps(model_meta(spec()) | {"loader": "mteb's"}), "More.json": '{"scores": {}}'}
    for name, content in own.items():
        (folder / name).write_text(content)
    with pytest.raises(UsageError, match=r"not made here.*: More.json. .*--output, or replace them with --overwrite"):
        make_plan(choices, spec(), tmp_path / "out")
    assert {path.name: path.read_text() for path in folder.iterdir()} == own
    run(choices[:1], tmp_path / "out", lookup_model())
    assert {name: (folder / name).read_text() for name in own} == own
    run(choices, tmp_path / "out", lookup_model(), overwrite=True)
    assert (folder / "More.json").read_text() != own["More.json"]
    assert (folder / "model_meta.json").read_text() == own["model_meta.json"]
    assert make_plan(choices, spec(), tmp_path / "out").todo == []
    # what was made here is made again, records or not
    for path in (folder / "jobs" / "More").iterdir():
        path.unlink()
    assert len(make_plan(choices, spec(), tmp_path / "out").todo) == 1


def changed(**change: Any) -> ModelSpec:
    return spec(**change)


@pytest.mark.parametrize(
    "model",
    [
        changed(fingerprint="0" * 64),
        changed(pooling="mean"),
        changed(normalize=True),
        changed(max_length=128),
        changed(dtype="bfloat16"),
        changed(similarity="dot"),
        changed(default_prompt="P: "),
        changed(prompts={"STS": "P: "}),
    ],
    ids=("fingerprint", "pooling", "normalize", "max_length", "dtype", "similarity", "default_prompt", "prompts"),
)
def test_whatever_can_change_a_score_makes_a_job_undone(
    tmp_path: Path, choices: list[TaskChoice], model: ModelSpec
) -> None:
    run(choices, tmp_path / "out", lookup_model())
    assert len(make_plan(choices, model, tmp_path / "out").todo) == 2


def test_scores_over_subqueries_are_voided_where_they_were_wrong_and_nowhere_else() -> None:
    (mind,) = select(Selection(tasks=["MindSmallReranking"]))
    (other,) = select(Selection(tasks=["AskUbuntuDupQuestions"]))
    for change in ({"kind": "reranker"}, {"kind": "lexical"}, {"overrides": {"reranker": "a/b"}}):
        assert "over_subqueries" in job_key(spec().changed(change), mind.spec, "mteb")
        assert "over_subqueries" not in job_key(spec().changed(change), other.spec, "mteb")
    assert "over_subqueries" not in job_key(spec(), mind.spec, "mteb")


def test_new_data_and_new_scoring_code_make_a_job_undone(
    tmp_path: Path, choices: list[TaskChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(choices, tmp_path / "out", lookup_model())
    write_sts(tmp_path / "data", "Pairs", rows=7)
    again = select(Selection(tasks=[str(tmp_path / "data" / f"{name}.toml") for name in ("Pairs", "More")]))
    assert [job.id.task for job in make_plan(again, spec(), tmp_path / "out").todo] == ["Pairs"]
    kind = task_type("STS")
    for version in ("score_version", "items_version"):
        newer = replace(kind, **{version: getattr(kind, version) + 1})
        monkeypatch.setattr(done_module, "task_type", lambda _, newer=newer: newer)
        assert len(make_plan(again, spec(), tmp_path / "out").todo) == 2, version


def test_the_first_version_of_items_is_not_in_the_key() -> None:
    first, second = (job_key(spec(), select(Selection(tasks=[name]))[0].spec, "mteb") for name in FIRST_AND_SECOND)
    assert ("items_version" in first, second["items_version"]) == (False, 2)


FIRST_AND_SECOND = ("StarterClusteringEng", "StarterSTSEng")
SPEED: dict[str, Any] = {
    "device": "cpu", "batch_tokens": 16, "ends": 1e12, "overlap": False, "engine": "openvino", "threads": 1,
}  # fmt: skip
# in a process of its own: tests/e2e/test_ray.py
ELSEWHERE = {"ray"}


def test_what_only_changes_speed_does_not(tmp_path: Path, choices: list[TaskChoice]) -> None:
    assert set(SPEED) | ELSEWHERE == set(Execution.model_fields)
    resolved = resolve_model(str(save_bert(tmp_path / "model")), ModelOptions(pooling="cls"))
    plan, records = run(choices, tmp_path / "out", open_embedder(resolved))
    assert [record.error for record in records] == [None, None]
    for name, value in SPEED.items():
        model = open_embedder(resolved, Execution(**{name: value}))
        assert make_plan(choices, model.spec, tmp_path / "out").todo == [], name
        again, others = run(choices, tmp_path / name, model)
        assert [job.key for job in again.jobs] == [job.key for job in plan.jobs], name
        for one, other in zip(records, others, strict=True):
            assert one.metrics == pytest.approx(other.metrics, abs=1e-5), name


def test_a_failing_job_is_stored_and_does_not_stop_the_others(tmp_path: Path, choices: list[TaskChoice]) -> None:
    (tmp_path / "data" / "Pairs.jsonl").write_text('{"sentence1": "a", "sentence2": "b", "score": 9}\n')
    choices = select(Selection(tasks=[str(tmp_path / "data" / f"{name}.toml") for name in ("Pairs", "More")]))
    plan, records = run(choices, tmp_path / "out", lookup_model())
    assert "column 'score': expected a number from 0 to 5, got 9 (a number)" in records[0].error
    assert records[1].error is None
    stored = read_job(plan.folder, plan.jobs[0].id)
    assert stored is not None
    assert stored.error == records[0].error
    assert sorted(scores(plan.folder)) == ["More.json"]
    assert [job.id.task for job in make_plan(choices, spec(), tmp_path / "out").todo] == ["Pairs"]


def test_an_unexpected_error_is_a_failure_with_its_name(
    tmp_path: Path, choices: list[TaskChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, task: object, emit: object) -> object:
        raise KeyError("gone")

    monkeypatch.setattr(EmbeddingModel, "encode_columns", broken)
    _, records = run(choices, tmp_path / "out", lookup_model())
    assert records[0].error == "KeyError: 'gone'"


def test_vectors_without_difference_are_no_score(tmp_path: Path, choices: list[TaskChoice]) -> None:
    model = lookup_model(lambda _: np.ones(3, dtype=np.float32))
    _, records = run(choices, tmp_path / "out", model)
    assert "cosine_spearman is not a number, so this is no score" in records[0].error


def test_a_job_that_needs_vectors_fails_where_the_model_makes_none(tmp_path: Path, choices: list[TaskChoice]) -> None:
    model = open_model(System(resolve_model("bm25")))
    plan = make_plan(choices, model.spec, tmp_path / "out")
    for record in run_plan(plan, model, lambda _: None):
        assert "mteb/baseline-bm25s ranks documents and has no vectors" in (record.error or "")


def test_data_out_of_reach_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(choice: TaskChoice, say: object) -> Any:
        raise PrerequisiteError(f"{choice.spec.name} cannot be loaded from the Hub")

    monkeypatch.setattr(job_module, "load_mteb_task", unreachable)
    far = select(Selection(tasks=["STSB", "STS12"]))
    with pytest.raises(PrerequisiteError, match=r"STSB cannot be loaded.*\nSTS12 cannot be loaded"):
        run(far, tmp_path / "out", lookup_model())
    assert not (tmp_path / "out").exists()
    near = select(Selection(tasks=["STS12", str(write_sts(tmp_path / "data"))]))
    plan, records = run(near, tmp_path / "out", lookup_model())
    assert [record.error is None for record in records] == [False, True]
    assert read_job(plan.folder, plan.jobs[0].id) is not None


def test_progress_adds_up(tmp_path: Path, choices: list[TaskChoice]) -> None:
    events: list[RunEvent] = []
    watch: Callable[[RunEvent], None] = events.append
    model = lookup_model()
    run_plan(make_plan(choices, model.spec, tmp_path / "out"), model, watch)
    assert sum(event.count for event in events if isinstance(event, TextsEncoded)) == 2 * 12
    assert len([event for event in events if isinstance(event, JobEnded)]) == 2


def test_lower_precision_is_noted(tmp_path: Path, choices: list[TaskChoice]) -> None:
    _, records = run(choices, tmp_path / "out", lookup_model(model_spec=spec(dtype="bfloat16")))
    assert records[0].notes == ["weights and activations in bfloat16"]


def test_two_runs_write_the_same_scores(tmp_path: Path, choices: list[TaskChoice]) -> None:
    first, _ = run(choices, tmp_path / "a", lookup_model())
    second, _ = run(choices[::-1], tmp_path / "b", lookup_model())
    assert scores(first.folder) == scores(second.folder)


def test_what_another_process_did_meanwhile_is_not_done_again(tmp_path: Path, choices: list[TaskChoice]) -> None:
    plan = make_plan(choices, spec(), tmp_path / "out")
    run(choices, tmp_path / "out", lookup_model())
    backend = LookupBackend(smooth)
    records = run_plan(plan, EmbeddingModel(spec(), backend, device="cpu"), lambda _: None)
    assert [record.error for record in records] == [None, None]
    assert backend.seen == []
    plan = make_plan(choices, spec(), tmp_path / "out", overwrite=True)
    run_plan(plan, EmbeddingModel(spec(), backend, device="cpu"), lambda _: None)
    assert backend.seen != []


def test_two_writers_of_one_task_lose_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from evalharness.results.records import JobId, JobRecord, write_job; "
        "from evalharness.types import ItemScores; from evalharness.results.views import refresh_view, run_key\n"
        "for n in range(20):\n"
        "    job = JobId('T', 'test', f'{sys.argv[2]}{n}')\n"
        "    one = JobRecord(job=job, key={'model': 'f', 'mteb': '2.0.0'}, main_score='ap', languages=['eng-Latn'],\n"
        "                    dataset_revision='a' * 40, seconds=1.5, facts={}, metrics={'ap': 0.5})\n"
        "    write_job(Path(sys.argv[1]), one, ItemScores(['0'], {}))\n"
        "    refresh_view(Path(sys.argv[1]), 'T', run_key(one.job, one.key))"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "out"), name]) for name in ("a", "b")]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    entries = json.loads((tmp_path / "out" / "T.json").read_text())["scores"]["test"]
    assert len(entries) == 40


def test_a_time_budget_ends_within_a_shard_and_the_next_run_goes_on_there(
    tmp_path: Path, choices: list[TaskChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "SHARD_TEXTS", 5)
    identity = {"model": "a/b", "fingerprint": "f" * 64}
    backends = [JournaledLookup(smooth, lambda: time.sleep(0.05)), JournaledLookup(smooth)]
    first, second = (
        EmbeddingModel(spec(), StoringEncoder(backend, tmp_path / "store", identity, "cosine"), device="cpu")
        for backend in backends
    )
    events: list[RunEvent] = []
    plan = make_plan(choices, spec(), tmp_path / "out")
    assert run_plan(plan, first, events.append, Limits(seconds=0.15)) == []
    assert Notice("the time budget of 0.15 s is used up") in events
    assert 0 < len(backends[0].seen) < 5
    # the budget was the run's, not the model's
    first.encode(["and another"])
    records = run_plan(make_plan(choices, spec(), tmp_path / "out"), second, lambda _: None)
    assert [record.error for record in records] == [None, None]
    assert set(backends[0].seen).isdisjoint(backends[1].seen)
    _, plain = run(choices, tmp_path / "plain", lookup_model())
    assert [record.metrics for record in records] == [record.metrics for record in plain]


def test_a_run_notes_in_the_store_what_each_task_read(
    tmp_path: Path, choices: list[TaskChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "SHARD_TEXTS", 5)
    identity = {"model": "a/b", "fingerprint": "f" * 64}
    model = EmbeddingModel(
        spec(), StoringEncoder(LookupBackend(smooth), tmp_path / "store", identity, "cosine"), device="cpu"
    )
    events: list[RunEvent] = []
    run_plan(make_plan(choices, spec(), tmp_path / "out"), model, events.append)
    (use,) = describe_store(tmp_path / "store")
    # both hold the same texts
    assert use.shards == 2
    assert use.tasks == {choice.spec.name: use.bytes for choice in choices}
    # that is for the store, not for those who watch
    assert not any(isinstance(event, ShardsUsed) for event in events)


@pytest.mark.parametrize("overlap", [True, False])
def test_a_run_that_is_broken_off_notes_what_it_read(tmp_path: Path, choices: list[TaskChoice], overlap: bool) -> None:
    identity = {"model": "a/b", "fingerprint": "f" * 64}
    model = EmbeddingModel(
        spec(), StoringEncoder(LookupBackend(smooth), tmp_path / "store", identity, "cosine"), device="cpu"
    )

    def interrupt(event: RunEvent) -> None:
        if isinstance(event, JobEnded):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_plan(make_plan(choices, spec(), tmp_path / "out"), model, interrupt, overlap=overlap)
    noted = {name for use in describe_store(tmp_path / "store") for name in use.tasks}
    first, second = (choice.spec.name for choice in choices)
    # which may have been encoded beside the first one's scoring
    assert noted in ([{first}, {first, second}] if overlap else [{first}])
