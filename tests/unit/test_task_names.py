"""A name means one task, and makes files that every file system takes."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from conftest import Cli

from evalharness.catalog.selection import Selection, select
from evalharness.catalog.tasks import local_task, tasks_folder
from evalharness.errors import DataError, UsageError
from evalharness.files import file_name

PAIRS = [{"sentence1": f"one {n}", "sentence2": f"two {n * n}", "score": n % 6} for n in range(12)]


def write_sts(folder: Path, name: str, *, file: str = "task.toml", splits: str = '["test"]') -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    path = folder / file
    path.write_text(
        f'name = {json.dumps(name, ensure_ascii=False)}\ntype = "STS"\nmain_score = "cosine_spearman"\n'
        f'languages = ["eng-Latn"]\nsplits = {splits}\n[data]\nformat = "jsonl"\n'
        'files = { test = "rows.jsonl", dev = "rows.jsonl" }\n',
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(
    "name",
    ["STSBenchmark", "stsbenchmark", "NFCorpus", "StarterSTSEng", "starterstseng", "CQADupstackRetrieval"],
)
def test_the_name_of_a_catalogue_task_is_taken(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"task.toml: \w+ is the name of a task of (mteb|evalharness)"):
        local_task(write_sts(tmp_path, name))


def test_the_bundled_files_keep_theirs() -> None:
    path = tasks_folder() / "starter" / "sts_eng.toml"
    assert local_task(path).name == "StarterSTSEng"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model_meta", "is the name of a file"),
        ("Model_Meta", "is the name of a file"),
        ("jobs", "is the name of a file"),
        ("experiments", "is the name of a file"),
        ("run.log", "is the name of a file"),
        ("NUL", "is the name of a file"),
        ("com1.txt", "is the name of a file"),
        ("a" * 201, "has 201 bytes in UTF-8; expected at most 200"),
        ("检" * 67, "has 201 bytes in UTF-8; expected at most 200"),
        ("", "is no name here"),
        (" a", "is no name here"),
        ("a.", "is no name here"),
        (".hidden", "is no name here"),
        ("../up", "is no name here"),
        ("a/b", "is no name here"),
        ("a\\b", "is no name here"),
        ("a|b", "is no name here"),
        ("a\nb", "is no name here"),
        ("a\tb", "is no name here"),
        ("a\x1b[31m", "is no name here"),
        ("a\u202eb", "is no name here"),
        ("<b>", "is no name here"),
        ("😀", "is no name here"),
    ],
)
def test_names_that_make_no_file(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=f"task.toml: name: .*{message}"):
        local_task(write_sts(tmp_path, name))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ("[]", "splits: Tuple should have at least 1 item"),
        (f'["{"s" * 101}"]', "splits.0: .* has 101 bytes in UTF-8; expected at most 100"),
        ('["a/b"]', "splits.0: .* is no name here"),
        ('["test", "Test"]', "splits must differ in more than letter case, got test, Test"),
    ],
)
def test_splits_that_make_no_file(tmp_path: Path, splits: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        local_task(write_sts(tmp_path, "Mine", splits=splits))


@pytest.mark.parametrize("name", ["中文检索", "Ärger 2 (v1)", "हिन्दी", "日本語.v2", "テスト", "한국어", "العربية"])
def test_names_of_any_script(tmp_path: Path, name: str) -> None:
    for form in ("NFC", "NFD"):
        found = local_task(write_sts(tmp_path, unicodedata.normalize(form, name))).name
        assert found == unicodedata.normalize("NFC", name)
        assert file_name(found) == found


def test_two_tasks_of_one_name_are_no_run(tmp_path: Path) -> None:
    first, second = write_sts(tmp_path / "a", "Mine"), write_sts(tmp_path / "b", "mine")
    with pytest.raises(UsageError, match=r"b/task.toml: the name mine is also that of another task of this run, Mine"):
        select(Selection(tasks=[str(first), str(second)]))
    assert len(select(Selection(tasks=[str(first), str(tmp_path / "a" / ".." / "a" / "task.toml")]))) == 1


def test_a_run_of_tasks_with_long_chinese_names(here: Cli, tmp_path: Path) -> None:
    names = ["检" * 66, "中文 检索"]
    files = [str(write_sts(tmp_path / f"t{n}", name)) for n, name in enumerate(names)]
    done = here("run", "--model", "all-MiniLM-L6-v2", "--tasks", *files)
    assert done.returncode == 0, done.stderr
    for name in names:
        assert len(list((tmp_path / "results").rglob(f"{name}.json"))) == 1
    assert "2 of 2 jobs" in here("run", "--model", "all-MiniLM-L6-v2", "--tasks", *files).stderr
