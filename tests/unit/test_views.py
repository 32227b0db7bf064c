"""mteb's file per task: only what could come from one run stands in it, and it says what the records say."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalharness.errors import StorageError
from evalharness.results import views as views_module
from evalharness.results.records import JobId, JobRecord, items_path, read_job, record_path, write_job
from evalharness.results.views import StoredJob, read_jobs, refresh_view, run_key, settle, task_view
from evalharness.types import ItemScores

ITEMS = ItemScores(["0", "1"], {"gold": [0.0, 1.0]})


def record(subset: str, *, written: float = 0.0, **changes: Any) -> JobRecord:
    facts: dict[str, Any] = {
        "job": JobId("T", "test", subset),
        "key": {"model": "f", "mteb": "2.0.0"},
        "main_score": "accuracy",
        "languages": ["eng-Latn"],
        "dataset_revision": "a" * 40,
        "seconds": 1.5,
        "facts": {},
        "metrics": {"accuracy": 0.5},
        "written": written,
    }
    return JobRecord(**(facts | changes))


def found(*records: JobRecord) -> list[StoredJob]:
    return [
        StoredJob(one.job.split, one.job.subset, one, "" if one.error is None else f"failed: {one.error}")
        for one in records
    ]


def shown(jobs: Sequence[StoredJob]) -> list[str]:
    view = task_view(jobs)
    return [] if view is None else [entry["hf_subset"] for entry in view["scores"]["test"]]


def refresh(folder: Path, one: JobRecord) -> None:
    refresh_view(folder, one.job.task, run_key(one.job, one.key))


def without_date(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value | {"date": None}


def test_the_newest_key_counts_and_what_failed_counts_as_newest() -> None:
    older = record("a", written=1)
    newer = record("b", written=2, key={"model": "f", "mteb": "3"})
    settled = settle(found(older, newer))
    assert shown(settled) == ["b"]
    assert settled[0].problem.startswith("stale: ")
    failed = record("b", written=2, key=newer.key, error="broken", metrics={})
    settled = settle(found(older, failed))
    assert shown(settled) == []
    assert [job.problem.partition(":")[0] for job in settled] == ["stale", "failed"]
    # in a run, its own key counts
    assert shown(settle(found(older, newer), run_key(older.job, older.key))) == ["a"]


def test_a_record_from_the_future_does_not_lead() -> None:
    wrong = record("a", written=9e9, key={"model": "f", "mteb": "1"})
    fresh = record("b", written=1000)
    assert shown(settle(found(wrong, fresh), now=1001)) == ["b"]
    assert shown(settle(found(wrong, replace(fresh, written=0)))) == ["b"]
    # clocks of two machines differ a little
    near = replace(wrong, written=1000 + 3600)
    assert shown(settle(found(near, fresh), now=1001)) == ["a"]
    # where all are, by a clock that was put back since, the newest of them leads
    later = replace(fresh, written=9.1e9)
    assert shown(settle(found(wrong, later), now=1001)) == ["b"]


def test_run_files_of_several_subsets_are_of_one_system() -> None:
    both = [record(name, key={"run": name, "mteb": "2"}) for name in ("a", "b")]
    assert shown(settle(found(*both))) == ["a", "b"]


def drawn(subset: str, before: str, written: float = 0.0) -> JobRecord:
    return record(subset, written=written, key={"model": "f", "drawn_before": [["test", name] for name in before]})


@pytest.mark.parametrize(
    ("records", "kept"),
    [
        ([drawn("a", ""), drawn("b", "a"), drawn("c", "ab")], "abc"),
        # whether all of a run's jobs are there does not matter, only their order
        ([drawn("a", ""), drawn("c", "ab")], "ac"),
        # two runs of one subset each: the newer one
        ([drawn("a", "", 2), drawn("b", "", 1)], "a"),
        ([drawn("a", "", 1), drawn("b", "", 2)], "b"),
        ([drawn("a", "", 1), drawn("b", "a", 2), drawn("c", "b", 3)], "c"),
        ([drawn("a", "", 3), drawn("b", "a", 2), drawn("c", "b", 1)], "ab"),
        # a came second in the run of c
        ([drawn("a", "", 1), drawn("c", "ba", 2)], "c"),
    ],
)
def test_draws_are_of_one_order(records: list[JobRecord], kept: str) -> None:
    assert shown(settle(found(*records))) == list(kept)
    random.Random(1).shuffle(records)
    assert sorted(shown(settle(found(*records)))) == list(kept)


def test_a_task_file_that_is_gone_or_says_something_else_comes_back(tmp_path: Path) -> None:
    one = write_job(tmp_path, record("a"), ITEMS)
    refresh(tmp_path, one)
    path = tmp_path / "T.json"
    whole = path.read_bytes()
    assert without_date(path)["scores"]["test"][0]["main_score"] == 0.5
    for content in (b"", b"{", b"[]", whole.replace(b"0.5", b"0.9"), whole + b" "):
        path.write_bytes(content)
        refresh(tmp_path, one)
        assert json.loads(path.read_bytes()) == json.loads(whole)
    path.unlink()
    refresh(tmp_path, one)
    assert path.read_bytes() == whole


def test_a_file_that_agrees_is_not_written(tmp_path: Path) -> None:
    one = write_job(tmp_path, record("a"), ITEMS)
    refresh(tmp_path, one)
    # a file that is written again is another one under the same name
    before = (tmp_path / "T.json").stat()
    refresh(tmp_path, one)
    after = (tmp_path / "T.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_whose_last_score_is_gone_goes_and_one_of_mtebs_own_stays(tmp_path: Path) -> None:
    refresh(tmp_path, write_job(tmp_path, record("a"), ITEMS))
    failed = write_job(tmp_path, record("a", error="broken", metrics={}))
    assert not items_path(tmp_path, failed.job).exists()
    refresh(tmp_path, failed)
    assert not (tmp_path / "T.json").exists()
    (tmp_path / "U.json").write_text("{}")
    refresh(tmp_path, replace(failed, job=JobId("U", "test", "a")))
    assert (tmp_path / "U.json").read_text() == "{}"


def test_what_a_record_vouches_for_must_be_whole(tmp_path: Path) -> None:
    one = write_job(tmp_path, record("a"), ITEMS)
    path = items_path(tmp_path, one.job)
    assert [job.problem for job in read_jobs(tmp_path, "T")] == [""]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "T/test.a.parquet is not what was written" in read_jobs(tmp_path, "T")[0].problem
    path.unlink()
    assert "T/test.a.parquet is missing" in read_jobs(tmp_path, "T")[0].problem
    path.mkdir()
    assert "T/test.a.parquet is missing" in read_jobs(tmp_path, "T")[0].problem


def test_a_record_under_another_name_is_damage(tmp_path: Path) -> None:
    one = write_job(tmp_path, record("a"), ITEMS)
    record_path(tmp_path, one.job).rename(record_path(tmp_path, JobId("T", "test", "b")))
    assert read_job(tmp_path, JobId("T", "test", "b")) is None
    (job,) = read_jobs(tmp_path, "T")
    assert (job.split, job.subset) == ("test", "b")
    assert "is about another job: 'T [test, a]'" in job.problem


@pytest.mark.parametrize("score", [9000, -1.5, True, "0.5", None, float("nan"), float("inf"), 10**400])
def test_no_odd_number_is_a_main_score(tmp_path: Path, score: object) -> None:
    one = write_job(tmp_path, record("a", metrics={"accuracy": score}), ITEMS)
    assert read_job(tmp_path, one.job) is None
    assert read_jobs(tmp_path, "T")[0].problem.startswith("damaged: ")


@pytest.mark.parametrize("field", ["seconds", "written"])
@pytest.mark.parametrize("value", [-1, True, "1", float("nan"), float("inf"), 10**400])
def test_no_odd_number_is_a_time(tmp_path: Path, field: str, value: object) -> None:
    one = write_job(tmp_path, record("a"), ITEMS)
    path = record_path(tmp_path, one.job)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    assert read_jobs(tmp_path, "T")[0].problem.startswith("damaged: ")


def test_a_record_of_a_later_version_is_said_to_be_one(tmp_path: Path) -> None:
    one = write_job(tmp_path, record("a"), ITEMS)
    path = record_path(tmp_path, one.job)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"energy": 3}))
    assert "has keys that this version does not know: energy" in read_jobs(tmp_path, "T")[0].problem


def test_a_disk_that_is_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write_job(tmp_path, record("a"), ITEMS)

    def full(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(views_module, "write_json", full)
    with pytest.raises(StorageError, match=r"results cannot be written to .*No space left on device"):
        refresh(tmp_path, one)
