"""Data of the Hub are the Hub's: not the working directory's, not damaged, not of another revision."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pandas as pd
import pytest
from conftest import Cli, StartHub
from support.faulty_hub import PAGE, Faults, faulty_hub, flip_in_the_middle, point_clients_at
from support.tiny import save_sentence_model

from evalharness import hub as hub_module
from evalharness.catalog.selection import Selection, TaskChoice, select
from evalharness.data.mteb import load_mteb_task, mteb_rows
from evalharness.downloads import HubData, damaged_files, load_data
from evalharness.errors import PrerequisiteError
from evalharness.hub import ignore_message
from evalharness.models.source import Lookup, find_model

pytestmark = pytest.mark.hub

POEM = "PoemSentimentClassification"
POEM_DATA = f"mteb/{POEM}"


@pytest.fixture
def faults(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The stand-in Hub behind a proxy; this process's clients use it, with an empty cache, from an empty folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(hub_module, "_PAUSES", (0, 0, 0, 0))
    with faulty_hub(hub) as (address, found):
        point_clients_at(address, tmp_path / "hf", monkeypatch)
        yield found


def chosen(name: str, subset: str = "default") -> TaskChoice:
    return select(Selection(tasks=[name], subsets=[subset]))[0]


def rows(name: str, said: list[str] | None = None) -> list[str]:
    task = load_mteb_task(chosen(name), ignore_message if said is None else said.append)
    return list(mteb_rows(task, "test", "default")["text"])


def local_twin(folder: Path, kind: str) -> None:
    """A folder with the name of a data set of the Hub, in which every answer is the same."""
    folder.mkdir(parents=True)
    frame = pd.DataFrame(
        {"id": range(40), "text": [f"mine {n}" for n in range(40)], "label": [n % 2 for n in range(40)]}
    )
    for split in ("train", "validation", "test"):
        if kind == "parquet":
            frame.to_parquet(folder / f"{split}.parquet")
        elif kind == "jsonl":
            frame.to_json(folder / f"{split}.jsonl", orient="records", lines=True)
    if kind == "script":
        (folder / f"{folder.name}.py").write_text("raise SystemExit(0)")


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "script"])
def test_a_folder_in_the_working_directory_changes_nothing(faults: Faults, kind: str) -> None:
    local_twin(Path(POEM_DATA), kind)
    found = rows(POEM)
    assert len(found) == 104
    assert not any(text.startswith("mine") for text in found)


def test_nor_for_tasks_that_load_by_code_of_their_own(faults: Faults) -> None:
    local_twin(Path("mteb/XQuADRetrieval"), "parquet")
    task = load_mteb_task(chosen("XQuADRetrieval", "en"), ignore_message)
    assert len(mteb_rows(task, "validation", "en")["queries"]) == 1185


def write_hub_task(path: Path, **data: str) -> Path:
    lines = [f'{name} = "{value}"' for name, value in {"format": "hub", "dataset": POEM_DATA, **data}.items()]
    path.write_text(
        'name = "My poems"\ntype = "Classification"\nmain_score = "accuracy"\nlanguages = ["eng-Latn"]\n'
        "[data]\n" + "\n".join(lines) + "\n"
    )
    return path


def test_nor_for_a_local_task_with_data_of_the_hub(faults: Faults, here: Cli, tmp_path: Path) -> None:
    local_twin(tmp_path / POEM_DATA, "parquet")
    done = here("check-data", str(write_hub_task(tmp_path / "task.toml", revision="main")))
    assert done.returncode == 0, done.stderr
    assert "104 test" in done.stdout


def test_nor_where_mteb_scores_by_its_own_code(faults: Faults) -> None:
    from support.lookup import smooth, spec, stack

    from evalharness.tasks.mteb_bridge import score_with_mteb
    from evalharness.types import Dense, ModelSpec, TextColumn

    home, places = Path.cwd(), set()

    def encode(column: TextColumn) -> Dense:
        places.add(Path.cwd())
        return Dense(stack(smooth, column.texts))

    task = load_mteb_task(chosen(POEM), ignore_message)
    evaluate, inside = task.evaluate, []

    def watched(*arguments: Any, **options: Any) -> Any:
        inside.append((Path.cwd(), list(Path.cwd().iterdir())))
        return evaluate(*arguments, **options)

    task.evaluate = watched
    known: ModelSpec = spec()
    assert score_with_mteb(task, "test", "default", known, encode).metrics["accuracy"] < 0.9
    assert places == {home}
    assert inside[0][0] != home
    assert inside[0][1] == []
    assert Path.cwd() == home


@pytest.mark.parametrize("spoil", ["last bit", "middle", "page"])
def test_a_spoilt_download_is_fetched_once_more(faults: Faults, tmp_path: Path, spoil: str) -> None:
    wanted, said = rows_of_a_sound_hub(faults), list[str]()
    if spoil == "middle":
        faults.spoil = flip_in_the_middle
    elif spoil == "page":
        faults.spoil = lambda body: PAGE.ljust(len(body))
    faults.flips = 1
    assert rows(POEM, said) == wanted
    assert faults.flips == 0
    assert len(said) == 1
    assert "has not the hash that the Hub gives" in said[0]
    assert ("a page of HTML" in said[0]) == (spoil == "page")
    assert damaged_files((tmp_path / "hf" / "hub").rglob("*")) == []


def rows_of_a_sound_hub(faults: Faults) -> list[str]:
    import shutil

    import datasets.config
    from huggingface_hub import constants

    found = rows(POEM)
    for folder in (constants.HF_HUB_CACHE, datasets.config.HF_DATASETS_CACHE):
        shutil.rmtree(folder)
    return found


@pytest.mark.parametrize("fault", ["always spoilt", "wrong hash"])
def test_what_is_spoilt_again_is_named(faults: Faults, fault: str) -> None:
    faults.flips, faults.wrong_hash = (99, False) if fault == "always spoilt" else (0, True)
    with pytest.raises(
        PrerequisiteError, match=r"has not the hash that the Hub gives .* cannot be replaced: /.*blobs/"
    ):
        rows(POEM)


def test_a_cache_that_was_left_broken_heals(faults: Faults, tmp_path: Path) -> None:
    wanted = rows(POEM)
    built = list((tmp_path / "hf" / "datasets").glob("mteb___*/*/*/*/*-test.arrow"))
    blob = next(path for path in (tmp_path / "hf/hub").rglob("test-*.parquet")).resolve()
    # as a program leaves it that built from a damaged file, and as one leaves it that could not build
    for remove_built in (False, True):
        blob.write_bytes(flip_in_the_middle(blob.read_bytes()))
        if remove_built:
            for path in built:
                path.unlink(missing_ok=True)
        said: list[str] = []
        assert rows(POEM, said) == wanted
        assert len(said) == 1


def test_a_spoilt_file_without_a_hub_is_named(faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config
    from huggingface_hub import constants

    rows(POEM)
    blob = next(path for path in (tmp_path / "hf/hub").rglob("test-*.parquet")).resolve()
    blob.write_bytes(flip_in_the_middle(blob.read_bytes()))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(PrerequisiteError, match=f"cannot be replaced: {blob}. Delete it"):
        rows(POEM)
    assert blob.exists()


def test_data_of_another_revision_are_no_substitute(faults: Faults, tmp_path: Path) -> None:
    def load(revision: str) -> Any:
        from datasets import load_dataset

        where = HubData(POEM_DATA, revision, f"the data set {POEM_DATA} at revision {revision}")
        return load_data(where, lambda: load_dataset(POEM_DATA, revision=revision))

    assert len(load("a" * 40)["test"]) == 104
    faults.pages_for = "b" * 40
    # the library takes what it made last, whatever revision that was
    with pytest.raises(PrerequisiteError, match=f"the cache holds revision {'a' * 40}; expected {'b' * 40}"):
        load("b" * 40)
    faults.pages_for = None
    assert len(load("b" * 40)["test"]) == 104
    faults.pages_for = ""  # the newest is b now, and a is there as well
    assert f"/{'a' * 40}/" in str(load("a" * 40)["test"].cache_files)


def test_an_mteb_that_loads_other_data_is_told(faults: Faults) -> None:
    from dataclasses import replace

    choice = chosen(POEM)
    other = replace(choice, spec=choice.spec.model_copy(update={"revision": "c" * 40}))
    with pytest.raises(PrerequisiteError, match=r"the installed mteb 2\..* loads revision .*; expected c{40}"):
        load_mteb_task(other, ignore_message)


@pytest.mark.parametrize("pages", ["", "/resolve/", "/api/"])
def test_a_login_page_is_no_hub(faults: Faults, pages: str) -> None:
    faults.pages_for = pages
    with pytest.raises(PrerequisiteError) as raised:
        rows(POEM)
    message = str(raised.value)
    if pages != "/resolve/":
        assert "answers, but it is no Hub" in message
    assert "HF_ENDPOINT" in message
    assert "DatasetGenerationError" not in message


def test_a_login_page_is_no_hub_for_models_either(faults: Faults, here: Cli) -> None:
    faults.pages_for = ""
    done = here("run", "--model", "some/model", "--suite", "starter")
    assert done.returncode == 2
    assert "answers, but it is no Hub" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_spoilt_model_is_fetched_once_more(
    start_hub: StartHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, said = save_sentence_model(tmp_path / "model"), list[str]()
    with start_hub("--model", f"some/model={folder}") as behind, faulty_hub(behind) as (address, faults):
        point_clients_at(address, tmp_path / "hf", monkeypatch)
        faults.files, faults.flips = ".safetensors", 1
        found = find_model("some/model", Lookup(say=said.append))
        assert (found.folder / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
        assert len(said) == 1
        assert "the model some/model: a downloaded file has not the hash that the Hub gives" in said[0]
        blob = (found.folder / "model.safetensors").resolve()
        blob.write_bytes(flip_in_the_middle(blob.read_bytes()))
        with pytest.raises(PrerequisiteError, match=f"cannot be replaced: {blob}. Delete it"):
            find_model("some/model", Lookup(download=False))
        find_model("some/model", Lookup(say=said.append))
        assert len(said) == 2


def test_a_hub_that_fails_between_two_files_is_asked_again(
    start_hub: StartHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, said = save_sentence_model(tmp_path / "model"), list[str]()
    monkeypatch.setattr(hub_module, "_PAUSES", (0, 0, 0, 0))
    whole, failures = huggingface_hub.snapshot_download, iter((True, False))

    def fails_once(*arguments: Any, **options: Any) -> str:
        # what the library does where the Hub does not tell it the files: a warning, and what is on disk
        return str(whole(*arguments, **options | ({"local_files_only": True} if next(failures) else {})))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails_once)
    with start_hub("--model", f"some/model={folder}") as address:
        point_clients_at(address, tmp_path / "hf", monkeypatch)
        found = find_model("some/model", Lookup(say=said.append))
    assert (found.folder / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert len(said) == 1
    assert "trying again" in said[0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named(faults: Faults, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(number, "no room")

    monkeypatch.setattr("datasets.arrow_writer.ArrowWriter.write_table", full)
    with pytest.raises(PrerequisiteError, match=r"the disk is full .*Free space where the caches are \(.*HF_HOME"):
        rows(POEM)


def test_relative_cache_folders_stay_where_they_were(fresh_cli: Cli, tmp_path: Path, hub: str) -> None:
    environment = {"HF_ENDPOINT": hub, "HF_HOME": "my cache", "HF_DATASETS_CACHE": "sets"}
    task = write_hub_task(tmp_path / "task.toml", revision="main")
    done = fresh_cli("check-data", str(task), environment=environment)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "my cache").rglob("*.parquet"))
    assert list((tmp_path / "sets").rglob("*.arrow"))
