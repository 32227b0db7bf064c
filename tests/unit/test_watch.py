"""A folder of checkpoints is watched: which are whole, in which order, what is said of them, and how it ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Cli
from support.trainings import save_checkpoint, save_own_task

from evalharness import RunOptions
from evalharness.errors import DataError, UsageError
from evalharness.run.following import How, Training
from evalharness.run.watching import Until, find_checkpoints, watch

QUICK = ("--no-store", "--settled", "0.05s", "--every", "0.05s")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is right in a task, one a little off, and one that is far off."""
    folder = tmp_path_factory.mktemp("models")
    for name, noise in (("right", 0.0), ("near", 1e-4), ("off", 0.05), ("wrong", 2.0)):
        save_checkpoint(folder / name, noise)
    save_own_task(folder / "Own.toml", folder / "right")
    return folder


@pytest.fixture
def put(models: Path, tmp_path: Path) -> Callable[[str, int], Path]:
    """A checkpoint of a training, which is one of the models."""

    def copied(name: str, step: int) -> Path:
        place = tmp_path / "out" / f"checkpoint-{step}"
        shutil.rmtree(place, ignore_errors=True)
        return Path(shutil.copytree(models / name, place))

    return copied


Put = Callable[[str, int], Path]


def test_a_series_that_regressed_ends_with_1(here: Cli, models: Path, put: Put) -> None:
    # as numbers, not as texts
    for name, step in (("off", 20), ("right", 100), ("wrong", 1000), ("right", 2000)):
        put(name, step)
    command = ("watch", "out", "--tasks", str(models / "Own.toml"), "--once", *QUICK)
    done = here(*command, "--gate")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == [f"out/checkpoint-{step}" for step in (20, 100, 1000)]
    assert "(the first)" in lines[0]
    assert "against out/checkpoint-100, the best so far: regressed" in lines[2]
    assert lines[3:] == ["the series has regressed at out/checkpoint-1000"]
    # without the gate it goes on, and the end is a good one
    again = here(*command)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[:3] == lines[:3]
    assert "out/checkpoint-2000: 100.00" in again.stdout


def test_a_watch_that_was_ended_goes_on(here: Cli, models: Path, put: Put, tmp_path: Path) -> None:
    put("right", 1)
    put("near", 2)
    command = ("watch", "out", "--tasks", str(models / "Own.toml"), "--gate", *QUICK)
    done = here(*command, "--until", "1")
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "results").rglob("jobs/Own/*.json")
    written = record.stat().st_mtime_ns
    # trainings keep only their last checkpoints
    shutil.rmtree(tmp_path / "out" / "checkpoint-1")
    put("wrong", 3)
    done = here(*command, "--once")
    assert done.returncode == 1, done.stderr
    assert "against out/checkpoint-1, the best so far: regressed" in done.stdout
    assert record.stat().st_mtime_ns == written
    regressed = done.stdout
    # what is known already is said at once, with the reason
    again = here(*command, "--once")
    assert again.returncode == 1
    assert again.stdout == regressed
    # all are gone: what is known is still said
    for step in (2, 3):
        shutil.rmtree(tmp_path / "out" / f"checkpoint-{step}")
    done = here(*command, "--once")
    assert done.returncode == 1
    why, conclusion = done.stdout.splitlines()
    assert why in regressed.splitlines()
    assert "against out/checkpoint-1, the best so far: regressed" in why
    assert conclusion == "the series has regressed at out/checkpoint-3"


def test_a_checkpoint_that_comes_late_changes_no_look_that_was_made(here: Cli, models: Path, put: Put) -> None:
    command = ("watch", "out", "--tasks", str(models / "Own.toml"), "--once", *QUICK)
    put("right", 100), put("near", 1000)
    first = here(*command).stdout.splitlines()
    put("off", 200)
    again = here(*command).stdout.splitlines()
    # in the order of the steps, but each at the level of its own look
    assert [line.split(":")[0] for line in again[:3]] == [f"out/checkpoint-{step}" for step in (100, 200, 1000)]
    assert again[0] == first[0]
    assert again[2] == first[1]


def test_a_training_that_begins_anew_has_a_series_of_its_own(here: Cli, models: Path, put: Put) -> None:
    for name, step in (("right", 1), ("near", 2), ("near", 3)):
        put(name, step)
    command = ("watch", "out", "--tasks", str(models / "Own.toml"), "--gate", "--once", *QUICK)
    assert here(*command).returncode == 0
    for path in Path("out").iterdir():
        shutil.rmtree(path)
    put("wrong", 1)
    done = here(*command)
    assert done.returncode == 0
    assert "(the first)" in done.stdout
    noted = json.loads(next(Path("results").glob("training-out-*.json")).read_text())
    assert [entry["step"] for entry in noted["checkpoints"]] == [1]


def test_a_baseline_comes_first(here: Cli, models: Path, put: Put) -> None:
    task = str(models / "Own.toml")
    ran = here("run", "--model", str(models / "right"), "--tasks", task, "--no-store", "--output", "base")
    assert ran.returncode == 0, ran.stderr
    put("wrong", 5)
    done = here("watch", "out", "--tasks", task, "--gate", "--once", "--baseline", "base", *QUICK)
    assert done.returncode == 1
    assert "against local/right, the best so far: regressed" in done.stdout


def test_what_cannot_be_loaded_is_said(here: Cli, models: Path, put: Put) -> None:
    put("right", 1)
    broken = put("near", 2) / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:1000])
    command = ("watch", "out", "--tasks", str(models / "Own.toml"), "--gate", "--once", *QUICK)
    done = here(*command)
    assert done.returncode == 3
    assert "checkpoint-2 is not evaluated: " in done.stderr
    assert "out/checkpoint-1: " in done.stdout
    for arguments, message in (
        (("watch", "nowhere", "--once"), "nowhere: cannot be read"),
        (("watch", "out", "--tasks", "Ownn", "--once"), "unknown task 'Ownn'"),
        (("watch", "out", "--precision", "int3", "--once"), "--precision must be"),
        (("watch", "out", "--no-store", "--store", "store", "--once"), "contradict each other"),
    ):
        done = here(*arguments)
        assert done.returncode == 2
        assert message in done.stderr
    Path("empty").mkdir()
    done = here("watch", "empty", "--once", *QUICK)
    assert done.returncode == 3
    assert "empty holds no checkpoint" in done.stderr


def training(models: Path, folder: Path) -> Training:
    how = How(tasks=[str(models / "Own.toml")], output=folder / "results", run=RunOptions(store=None))
    return Training(folder / "out", how)


def names(found: Iterator[object]) -> list[str]:
    return [item.checkpoint.name for item in found]  # type: ignore[attr-defined]


def test_a_checkpoint_is_whole_when_it_changes_no_more(models: Path, put: Put, tmp_path: Path) -> None:
    growing = put("right", 1) / "model.safetensors"
    content = growing.read_bytes()
    growing.write_bytes(content[:100])
    put("near", 2)
    waits: list[float] = []

    def grow(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) <= 3:
            growing.write_bytes(content[: 200 * len(waits)] if len(waits) < 3 else content)
        assert len(waits) < 9

    followed = training(models, tmp_path)
    found = [item for item in watch(followed, Until(once=True, settled=2.0, every=7.0), grow) if not item.error]
    # the second was whole all the time, and waited for the first
    assert [item.checkpoint.name for item in found] == ["checkpoint-1", "checkpoint-2"]
    assert set(waits) == {2.0}
    assert followed.names == ["checkpoint-1", "checkpoint-2"]


def test_new_checkpoints_are_waited_for(models: Path, put: Put, tmp_path: Path) -> None:
    coming = [("right", 1), None, ("near", 2), None]
    (tmp_path / "out").mkdir()
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if (new := coming.pop(0)) is not None:
            put(*new)

    found = watch(training(models, tmp_path), Until(checkpoints=2, settled=2.0, every=7.0), wait)
    assert names(iter(found)) == ["checkpoint-1", "checkpoint-2"]
    assert waits == [7.0, 2.0, 7.0, 2.0]


def test_a_checkpoint_may_be_deleted_before_its_turn(models: Path, put: Put, tmp_path: Path) -> None:
    first = put("right", 1)
    second = put("near", 2)
    left = [first, second]
    for item in watch(training(models, tmp_path), Until(once=True, settled=0.0), lambda _: None):
        assert item.checkpoint.folder == left.pop(0)
        assert item.error == ("" if left else "it was deleted before it was evaluated")
        shutil.rmtree(second, ignore_errors=True)


def test_folders_that_are_checkpoints(tmp_path: Path) -> None:
    for name in ("checkpoint-10", "step_9", "checkpoint-9", "best", ".hidden-3", "epoch-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "epoch-1" / "config.json").unlink()
    (tmp_path / "log-4").write_text("")
    found = [(checkpoint.step, checkpoint.name) for checkpoint in find_checkpoints(tmp_path)]
    assert found == [(9, "checkpoint-9"), (9, "step_9"), (10, "checkpoint-10")]


def test_notes_that_somebody_else_wrote(models: Path, put: Put, tmp_path: Path) -> None:
    put("right", 1)
    followed = training(models, tmp_path)
    followed.add(find_checkpoints(tmp_path / "out")[0])
    followed.notes.write_text('{"training": "x", "tasks": null, "checkpoints": [{"step": "many"}]}')
    with pytest.raises(DataError, match="checkpoints"):
        training(models, tmp_path).go_on()
    with pytest.raises(UsageError, match="no such folder"):
        Training(tmp_path, How(baseline="nowhere"))
