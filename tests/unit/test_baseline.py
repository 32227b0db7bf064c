"""What goes into a baseline, and what is found out when one is read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from support.baselines import TASKS, content, put, save_all, saved, score, update_with
from support.lookup import spec
from support.odd import FILES, with_each_key_odd

from evalharness.catalog.tasks import Member, TaskList
from evalharness.compare.baseline import check_baseline, read_baseline, run_of_baseline
from evalharness.compare.saving import save
from evalharness.compare.sources import choose, members, named_runs
from evalharness.errors import DataError, EvalHarnessError, UsageError
from evalharness.results.items import read_items
from evalharness.results.records import (
    JobId,
    damage,
    items_path,
    read_record,
    record_path,
)
from evalharness.results.stored import read_runs


def test_a_baseline_is_a_folder_of_results_without_what_only_a_run_needs(tmp_path: Path) -> None:
    folder = put(tmp_path / "results", TASKS)
    save_all(tmp_path / "results", tmp_path / "base")
    files = content(tmp_path / "base")
    places = [f"jobs/{task}/test.default" for task in TASKS]
    tasks = {f"{place}{suffix}" for place in places for suffix in (".json", ".parquet")}
    assert set(files) == {".gitattributes", "baseline.json", "model_meta.json", *tasks}
    for name, found in files.items():
        if name not in (".gitattributes", "baseline.json"):
            assert found == (folder / name).read_bytes()
    (ours,), (theirs,) = read_runs([tmp_path / "base"]), read_runs([tmp_path / "results"])
    assert (ours.model, ours.revision, ours.overrides, ours.problems) == (
        theirs.model, theirs.revision, theirs.overrides, theirs.problems,
    )  # fmt: skip
    assert ours.tasks == theirs.tasks
    assert sorted(ours.tasks) == sorted(TASKS)


def test_records_that_name_a_ranking_hold_without_it(tmp_path: Path) -> None:
    base = saved(tmp_path)
    record = read_record(record_path(base, JobId("STS12", "test", "default")))
    assert record.ranking is not None
    assert damage(base, record) == ""
    assert damage(base, record, ranking=True).endswith("test.default.trec is missing")
    assert read_items(items_path(base, record.job)).columns == {"gold": [0.0, 0.5]}


def test_the_manifest_says_whose_it_is(tmp_path: Path) -> None:
    model = spec(name="me/model", overrides={"max_length": 8, "protocol": "published"})
    base = saved(tmp_path, model=model)
    manifest = check_baseline(base)
    assert read_baseline(base) == manifest
    assert (manifest.model, manifest.revision, manifest.protocol) == ("me/model", model.revision, "published")
    assert manifest.overrides == {"max_length": 8, "protocol": "published"}
    assert manifest.bytes == sum(len(found) for name, found in content(base).items() if name != "baseline.json")
    assert (base / "baseline.json").read_text().endswith("}\n")
    assert base.stat().st_mode & 0o777 == 0o777 & ~_umask()
    assert read_baseline(tmp_path / "results") is None
    with pytest.raises(DataError, match=r"is no baseline: it has no baseline.json"):
        check_baseline(tmp_path / "results")
    with pytest.raises(DataError, match="is no baseline: there is no such folder"):
        check_baseline(tmp_path / "nowhere")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def edited(path: str) -> Callable[[Path], object]:
    def change(base: Path) -> None:
        value = json.loads((base / path).read_text(encoding="utf-8"))
        (base / path).write_text(json.dumps(value | {"seconds": 2.5}))

    return change


def same_length(base: Path) -> None:
    path = base / "jobs" / "STS12" / "test.default.json"
    path.write_text(path.read_text().replace('"cosine_spearman": 0.5', '"cosine_spearman": 0.9'))


RECORD, ITEMS = "jobs/STS12/test.default.json", "jobs/STS12/test.default.parquet"


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda base: (base / ITEMS).unlink(), r"test.default.parquet' is missing.*git check-ignore"),
        (lambda base: (base / ITEMS).write_bytes(b""), r"test.default.parquet' was damaged or edited"),
        (edited(RECORD), r"test.default.json' was damaged or edited"),
        (same_length, r"test.default.json' was damaged or edited"),
        (lambda base: shutil.rmtree(base / "jobs" / "STS13"), "'jobs/STS13/test.default.json' is missing"),
        (lambda base: shutil.copytree(base / "jobs" / "STS13", base / "jobs" / "STS14"), "STS14.* is no part of it"),
        (lambda base: (base / "jobs" / "STS14").symlink_to(base / "jobs" / "STS13"), "'jobs/STS14' is no part of it"),
        (lambda base: (base / "notes.md").write_text("x"), "'notes.md' is no part of it"),
        (lambda base: (base / "model_meta.json").unlink(), "'model_meta.json' is missing"),
        (lambda base: (base / ".gitattributes").write_text(""), "'.gitattributes' was damaged or edited"),
    ],
)  # fmt: skip
def test_what_is_not_as_it_was_saved_is_named(tmp_path: Path, harm: Callable[[Path], object], told: str) -> None:
    base = saved(tmp_path)
    harm(base)
    with pytest.raises(DataError, match=f"is not what was saved: .*{told}"):
        check_baseline(base)
    # nor does it pass into another one
    with pytest.raises(DataError, match="is not what was saved"):
        named_runs([str(base)])
    put(tmp_path / "more", {"STS12": 0.1})
    with pytest.raises(EvalHarnessError, match=r"is not what was saved|no part of"):
        update_with(base, tmp_path / "more")


def test_a_pipe_instead_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    base = saved(tmp_path)
    (base / RECORD).unlink()
    os.mkfifo(base / RECORD)
    with pytest.raises(DataError, match=r"test.default.json' is no file"):
        check_baseline(base)


def test_what_systems_leave_is_no_damage(tmp_path: Path) -> None:
    base = saved(tmp_path)
    (base / ".DS_Store").write_bytes(b"\0")
    (base / "jobs" / "._STS12").write_bytes(b"\0")
    check_baseline(base)


def manifest_of(base: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((base / "baseline.json").read_text(encoding="utf-8"))
    return value


def test_another_version_says_what_to_do(tmp_path: Path) -> None:
    base = saved(tmp_path)
    (base / "baseline.json").write_text(json.dumps(manifest_of(base) | {"schema_version": 2, "evalharness": "9.1"}))
    with pytest.raises(DataError, match=r"version '2', this evalharness has version 1; use the evalharness .*'9.1'"):
        check_baseline(base)


def test_a_manifest_that_names_another_model_is_refused(tmp_path: Path) -> None:
    base = saved(tmp_path)
    for name, value in (("model", "me/other"), ("revision", "b"), ("overrides", {"max_length": 9})):
        whole = manifest_of(base)
        (base / "baseline.json").write_text(json.dumps(whole | {name: value}))
        with pytest.raises(DataError, match=f"'baseline.json' says {name} .*, and model_meta.json "):
            check_baseline(base)
        (base / "baseline.json").write_text(json.dumps(whole))
    check_baseline(base)


@pytest.mark.parametrize("harm", FILES)
def test_whatever_a_manifest_is_it_is_an_error_or_none(tmp_path: Path, harm: str) -> None:
    base = saved(tmp_path, {"STS12": 0.5})
    (base / "baseline.json").write_bytes(FILES[harm])
    with pytest.raises(DataError, match=r"baseline\.json"):
        check_baseline(base)
    # a folder whose manifest cannot be read may hold anything
    with pytest.raises(DataError, match=r"baseline\.json"):
        save_all(tmp_path / "results", base)


def test_odd_keys_of_a_manifest_are_errors(tmp_path: Path) -> None:
    base = saved(tmp_path, {"STS12": 0.5})
    whole = manifest_of(base)
    for name, odd in with_each_key_odd(whole).items():
        (base / "baseline.json").write_text(json.dumps(odd))
        key = name.partition(" ")[0]
        if json.dumps(odd) == json.dumps(whole) or (key in ("evalharness", "mteb") and isinstance(odd.get(key), str)):
            check_baseline(base)  # any text can be a version
            continue
        with pytest.raises(DataError):
            check_baseline(base)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "jobs/../x", "jobs/a/b/c", "a/b/c", "jobs//x", "a\\b", "x\0", "jobs/x", "",
             "baseline.json", "jobs/\x1b[31m/x", "jobs/\u202ea/x"]
)  # fmt: skip
def test_a_manifest_names_files_of_a_baseline_only(tmp_path: Path, name: str) -> None:
    base = saved(tmp_path, {"STS12": 0.5})
    value = manifest_of(base)
    value["files"][name] = value["files"]["model_meta.json"]
    (base / "baseline.json").write_text(json.dumps(value))
    with pytest.raises(DataError, match="such a file is in no baseline"):
        check_baseline(base)


def test_a_task_of_the_name_baseline_is_a_task(tmp_path: Path) -> None:
    folder = put(tmp_path / "results", {"baseline": 0.5})
    assert (folder / "baseline.json").is_file()
    assert read_baseline(folder) is None
    save_all(tmp_path / "results", tmp_path / "base")
    assert score(tmp_path / "base", "baseline") == 0.5
    check_baseline(tmp_path / "base")


def place_of(output: Path, where: Callable[[Path, JobId], Path]) -> Path:
    return where(put(output, {}), JobId("STS13", "test", "default"))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda out: put(out, {"STS13": 0.1}, error="OutOfMemory: no\nroom"), r"failed: OutOfMemory: no\)"),
        (lambda out: place_of(out, items_path).unlink(), "damaged: .* is missing"),
        (lambda out: place_of(out, record_path).write_text("{"), "damaged: "),
    ],
    ids=["failed", "items gone", "record damaged"],
)
def test_a_baseline_has_no_holes(tmp_path: Path, harm: Callable[[Path], object], told: str) -> None:
    put(tmp_path / "results", TASKS)
    harm(tmp_path / "results")
    with pytest.raises(UsageError, match=rf"1 of 3 tasks cannot be in it: 'STS13'.*{told}.*name the others"):
        save_all(tmp_path / "results", tmp_path / "base")
    runs = named_runs([str(tmp_path / "results")])
    save(choose(runs, members([], ["STS12"])), tmp_path / "base")
    assert list(run_of_baseline(tmp_path / "base").tasks) == ["STS12"]


def test_a_stale_job_is_named(tmp_path: Path) -> None:
    folder = put(tmp_path / "results", {"STS12": 0.5}, subset="old")
    path = record_path(folder, JobId("STS12", "test", "old"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": {"model": "another"}, "written": 1.0}))
    put(tmp_path / "results", {"STS12": 0.5})
    with pytest.raises(UsageError, match=r"\[test, old\] stale: "):
        save_all(tmp_path / "results", tmp_path / "base")


def test_a_list_needs_all_of_its_tasks(tmp_path: Path) -> None:
    put(tmp_path / "results", TASKS)
    runs = named_runs([str(tmp_path / "results")])
    listed = TaskList(name="mine", tasks=(Member(task="STS12"), Member(task="STS14"), Member(task="STS22.v2")))
    with pytest.raises(UsageError, match=r"2 of 3 tasks cannot be in it: 'STS14' \(not run\), 'STS22.v2' \(not run\)"):
        choose(runs, members([listed], []))
    part = TaskList(name="mine", tasks=(Member(task="STS12"), Member(task="STS13", splits=("dev",))))
    with pytest.raises(UsageError, match=r"'STS13' \(not run: \[dev, default\]\)"):
        choose(runs, members([part], []))
    with pytest.raises(UsageError, match="unknown task 'STS1': did you mean STS1"):
        choose(runs, members([], ["STS1"]))
    assert list(choose(runs, members([TaskList(name="a", tasks=(Member(task="STS12"),))], ["STS13"]))) == [
        "STS13",
        "STS12",
    ]


def test_mtebs_own_results_are_kept_as_scores(tmp_path: Path, here: Cli) -> None:
    folder = put(tmp_path / "results", {"STS12": 0.5})
    shutil.rmtree(folder / "jobs")
    save_all(tmp_path / "results", tmp_path / "base")
    assert set(content(tmp_path / "base")) == {".gitattributes", "baseline.json", "model_meta.json", "STS12.json"}
    assert score(tmp_path / "base", "STS12") == 0.5
    check_baseline(tmp_path / "base")
    assert "\nSTS12 [test]: 0.5000, no items\n" in here("baseline", "show", str(tmp_path / "base")).stdout
