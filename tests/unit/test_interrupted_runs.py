"""What a run leaves wherever it ends: the next one makes of it what an undisturbed run would have left."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
from conftest import Cli
from support.local_tasks import jsonl_task
from support.lookup import lookup_model, spec
from support.small_runs import state
from support.synthetic import make_task, table_splits

from evalharness.catalog.selection import Selection, TaskChoice, select
from evalharness.catalog.tasks import TaskSpec
from evalharness.errors import DataError, StoppedError, StorageError
from evalharness.files import write_json
from evalharness.models.encoder import EmbeddingModel
from evalharness.results import views as views_module
from evalharness.results.records import JobRecord, items_path, ranking_path, read_record, record_path
from evalharness.run import done as done_module
from evalharness.run import job as job_module
from evalharness.run import plan as run_module
from evalharness.run import storing as storing_module
from evalharness.run.limits import Limits
from evalharness.run.plan import Plan, make_plan, run_plan
from evalharness.types import ItemScores, Scores

TEXTS = [f"{left} {right}" for left in ("red", "green", "blue") for right in ("stone", "river", "cloud", "lemon")]
ROWS: dict[str, list[dict[str, Any]]] = {
    "STS": [{"sentence1": text, "sentence2": TEXTS[-1 - n], "score": n % 6} for n, text in enumerate(TEXTS[:6])],
    "Reranking": [{"query": text, "positive": [TEXTS[-1]], "negative": TEXTS[:3]} for text in TEXTS[4:8]],
}


def write_task(folder: Path, kind: str) -> Path:
    return jsonl_task(folder / f"My{kind}.toml", kind, ROWS[kind])


@pytest.fixture
def choices(tmp_path: Path) -> list[TaskChoice]:
    return select(Selection(tasks=[str(write_task(tmp_path / "data", kind)) for kind in ROWS]))


def run(choices: Sequence[TaskChoice], output: Path, **options: Any) -> tuple[Plan, list[JobRecord]]:
    model = lookup_model()
    plan = make_plan(choices, model.spec, output, **{"save_rankings": True, **options})
    return plan, run_plan(plan, model, lambda _: None)


@pytest.fixture
def whole(tmp_path: Path, choices: list[TaskChoice]) -> dict[str, object]:
    run(choices, tmp_path / "whole")
    found = state(tmp_path / "whole")
    assert sorted(Path(name).suffix for name in found) == [".json"] * 5 + [".parquet"] * 2 + [".trec"]
    return found


class KilledError(BaseException):
    pass


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, number: int, *, after: bool) -> Iterator[None]:
    """From the change of a file with this number on, nothing reaches the disk: before it, or after it."""
    left = [number]

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0 or (left[0] == 0 and not after):
                raise KilledError
            result = change(*arguments, **options)
            if left[0] == 0:
                raise KilledError
            return result

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", counted(Path.replace))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        yield


@pytest.mark.parametrize("after", [False, True], ids=("before", "after"))
def test_a_run_that_is_killed_at_any_change_of_a_file(
    tmp_path: Path, choices: list[TaskChoice], whole: dict[str, object], monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    number, ended = 0, False
    while not ended:
        number += 1
        output = tmp_path / f"out{number}"
        with killed_at(monkeypatch, number, after=after), suppress(KilledError):
            run(choices, output)
            ended = True
        _, records = run(choices, output)
        assert [record.error for record in records] == [None, None]
        # temporary files of a killed writer go when they are two seconds old
        assert {name: value for name, value in state(output).items() if not name.endswith(".tmp")} == whole, number
    # model_meta, and of two tasks each Parquet, record and view, and a ranking
    assert number > 8


@contextmanager
def full_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[None]:
    """From the file with this number on, the disk is full."""
    left, replace = [number], Path.replace

    def full(path: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] <= 0:
            raise OSError(28, "No space left on device")
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        yield


def test_a_disk_that_is_full_at_any_write(
    tmp_path: Path, choices: list[TaskChoice], whole: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, len(whole) + 1):
        output = tmp_path / f"out{number}"
        expected = pytest.raises(StorageError, match=r"results cannot be written to .*No space left on device")
        with full_at(monkeypatch, number), expected:
            run(choices, output)
        run(choices, output)
        assert state(output) == whole, number


@pytest.mark.parametrize("harm", ["gone", "flipped", "empty", "a folder", "a link in a circle"])
def test_whatever_is_lost_or_damaged_comes_back(
    tmp_path: Path, choices: list[TaskChoice], whole: dict[str, object], harm: str
) -> None:
    output = tmp_path / "whole"
    for name in whole:
        path = output / name
        content = path.read_bytes()
        path.unlink()
        if harm == "flipped":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        elif harm == "empty":
            path.write_bytes(b"")
        elif harm == "a folder":
            path.mkdir()
        elif harm == "a link in a circle":
            path.symlink_to(path)
        if harm == "a folder":
            with pytest.raises(StorageError, match="Is a directory"):
                run(choices, output)
            path.rmdir()
        run(choices, output)
        assert state(output) == whole, name


def test_a_run_with_nothing_to_do_mends_the_files_too(here: Cli, tmp_path: Path) -> None:
    command = ["run", "--model", "all-MiniLM-L6-v2", "--tasks", "StarterSTSEng", "--no-store"]
    assert here(*command).returncode == 0
    view = next((tmp_path / "results").rglob("StarterSTSEng.json"))
    before = view.read_bytes()
    meta = view.with_name("model_meta.json").read_bytes()
    view.unlink()
    view.with_name("model_meta.json").write_text("{")
    done = here(*command)
    assert done.returncode == 0
    assert "1 of 1 jobs are done already" in done.stderr
    assert "loading" not in done.stderr
    assert (view.read_bytes(), view.with_name("model_meta.json").read_bytes()) == (before, meta)


def test_a_redo_that_fails_takes_the_score_with_it(
    tmp_path: Path, choices: list[TaskChoice], here: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _ = run(choices, tmp_path / "out")
    first = plan.jobs[0].id
    assert "failed" not in here("report", "out").stdout

    def broken(*arguments: object, task: object, emit: object) -> NoReturn:
        raise ValueError("no luck\nat all")

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingModel, "encode_columns", broken)
        run(choices[:1], tmp_path / "out", overwrite=True)
    assert not items_path(plan.folder, first).exists()
    assert sorted(path.name for path in plan.folder.glob("*.json")) == ["MyReranking.json", "model_meta.json"]
    shown = here("report", "out").stdout
    assert "MySTS (failed: ValueError: no luck)" in shown
    run(choices, tmp_path / "out")
    assert "failed" not in here("report", "out").stdout


def test_a_ranking_that_is_asked_for_later_is_made(tmp_path: Path, choices: list[TaskChoice]) -> None:
    plan, _ = run(choices, tmp_path / "out", save_rankings=False)
    path = ranking_path(plan.folder, plan.jobs[1].id)
    assert not path.exists()
    assert [job.id.task for job in make_plan(choices, spec(), tmp_path / "out", save_rankings=True).todo] == [
        "MyReranking"
    ]
    run(choices, tmp_path / "out")
    assert path.read_text().count("\n") == 16
    assert make_plan(choices, spec(), tmp_path / "out", save_rankings=True).todo == []
    path.unlink()
    assert len(make_plan(choices, spec(), tmp_path / "out", save_rankings=True).todo) == 1
    assert make_plan(choices, spec(), tmp_path / "out").todo == []
    # what a run without rankings does again has none any more
    run(choices, tmp_path / "out")
    run(choices, tmp_path / "out", save_rankings=False, overwrite=True)
    assert not path.exists()


def test_ids_that_a_trec_run_cannot_hold_fail_their_job_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, retrieved: object, tag: str) -> NoReturn:
        raise DataError("the id 'a b' has white space in it")

    monkeypatch.setattr(storing_module, "write_run", refuse)
    tasks = select(Selection(tasks=[str(write_task(tmp_path / "data", kind)) for kind in ("Reranking", "STS")]))
    plan, records = run(tasks, tmp_path / "out")
    assert [record.error for record in records] == ["the id 'a b' has white space in it", None]
    assert not items_path(plan.folder, plan.jobs[0].id).exists()


def test_a_model_with_several_kinds_of_vectors_is_done_on_the_second_run(
    tmp_path: Path, choices: list[TaskChoice]
) -> None:
    several = spec(outputs=("dense", "sparse"), output_weights={"dense": 0.5, "sparse": 0.5})
    model = lookup_model(model_spec=several)
    first = make_plan(choices[:1], several, tmp_path / "out")
    assert isinstance(first.jobs[0].key["encodings"]["none"]["outputs"], tuple)
    encode = job_module.encode_job

    def unranked(job: Any, _: Any, watch: Any, stop: Any) -> None:
        encode(job, lookup_model(), watch, stop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "encode_job", unranked)
        assert [record.error for record in run_plan(first, model, lambda _: None)] == [None]
    assert make_plan(choices[:1], several, tmp_path / "out").todo == []


def test_another_mteb_makes_jobs_undone(
    tmp_path: Path, choices: list[TaskChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(choices, tmp_path / "out")
    monkeypatch.setattr(done_module, "installed_version", lambda package: f"another {package}")
    assert len(make_plan(choices, spec(), tmp_path / "out").todo) == 2


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# subsets of a task: so many that a square of them shows
MANY = 200


def multilingual(count: int) -> TaskChoice:
    names = [f"s{number}" for number in range(count)]
    return TaskChoice(
        TaskSpec(
            name="Many",
            type="STS",
            main_score="cosine_spearman",
            revision="1" * 40,
            splits=("test",),
            languages=dict.fromkeys(names, ("eng-Latn",)),
        ),
        ("test",),
        tuple(names),
    )


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], TaskChoice]:
    data = table_splits({"test": ROWS["STS"]})

    def load(choice: TaskChoice, say: object) -> Any:
        return make_task("STS", dict.fromkeys(choice.subsets, data), subsets=choice.subsets)

    monkeypatch.setattr(job_module, "load_mteb_task", load)
    return multilingual


def test_many_subsets_are_one_write_of_the_task_file(
    tmp_path: Path, many: Callable[[int], TaskChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    reads = 0

    def counted(path: Path, value: object) -> None:
        written.append(path.name)
        write_json(path, value)

    def read_counted(path: Path) -> JobRecord:
        nonlocal reads
        reads += 1
        return read_record(path)

    monkeypatch.setattr(views_module, "write_json", counted)
    monkeypatch.setattr(views_module, "read_record", read_counted)
    # what is stored counts here, not how it is scored
    scores = Scores({"cosine_spearman": 0.5}, ItemScores(["0"], {"gold": [0.5]}))
    monkeypatch.setattr(job_module, "score", lambda *_: scores)
    plan, records = run([many(MANY)], tmp_path / "out")
    assert written == ["Many.json"]
    # what a task's file costs grows with its subsets, not with their square
    assert reads <= 3 * MANY
    assert len(json.loads((plan.folder / "Many.json").read_bytes())["scores"]["test"]) == MANY
    assert len(records) == MANY


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("ends", ["budget", "interrupt", "fail fast"])
def test_however_a_run_ends_its_jobs_stand_in_the_task_file(
    tmp_path: Path, many: Callable[[int], TaskChoice], monkeypatch: pytest.MonkeyPatch, ends: str, overlap: bool
) -> None:
    model = lookup_model()
    plan = make_plan([many(5)], model.spec, tmp_path / "out")
    encode, left = job_module.encode_job, [3]

    def ending(*arguments: Any) -> None:
        left[0] -= 1
        if left[0] < 0 and ends == "budget":
            raise StoppedError("the time is up")
        if left[0] < 0 and ends == "interrupt":
            # it interrupts what is scored beside it, too
            wait_until(record_path(plan.folder, plan.jobs[2].id).exists)
            raise KeyboardInterrupt
        with pytest.MonkeyPatch.context() as patch:
            if left[0] < 0:
                patch.setattr(job_module, "encode", lambda *_: 1 / 0)
            encode(*arguments)

    monkeypatch.setattr(run_module, "encode_job", ending)
    with suppress(KeyboardInterrupt):
        run_plan(plan, model, lambda _: None, Limits(fail_fast=True), overlap=overlap)
    entries = json.loads((plan.folder / "Many.json").read_bytes())["scores"]["test"]
    assert [entry["hf_subset"] for entry in entries] == ["s0", "s1", "s2"]


def test_a_subset_on_older_data_leaves_the_task_file(tmp_path: Path, many: Callable[[int], TaskChoice]) -> None:
    plan, _ = run([many(3)], tmp_path / "out")
    newer = many(3).spec.model_copy(update={"revision": "2" * 40})
    run([TaskChoice(newer, ("test",), ("s1",))], tmp_path / "out")
    view = json.loads((plan.folder / "Many.json").read_bytes())
    assert [entry["hf_subset"] for entry in view["scores"]["test"]] == ["s1"]
    assert view["dataset_revision"] == "2" * 40
    # the run of the older data, with nothing to do but this, brings the others back
    again, _ = run([TaskChoice(many(3).spec, ("test",), ("s0", "s2"))], tmp_path / "out")
    assert again.todo == []
    assert len(json.loads((plan.folder / "Many.json").read_bytes())["scores"]["test"]) == 2
    assert record_path(plan.folder, plan.jobs[1].id).is_file()
