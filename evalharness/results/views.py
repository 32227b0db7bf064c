"""mteb's JSON per task as a view of the records of the task's jobs: a pure function of them.

Only what could come from one run stands in a view. The newest record says which key counts, failed ones included: what
was computed under another one (older data, other settings, another version of the scoring) is stale. In a run, the
run's own key counts. Where random draws depend on the jobs before (`drawn_before`), the jobs must be of one order.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from evalharness.errors import DataError
from evalharness.files import lock, write_json
from evalharness.reading import checked, read_object
from evalharness.results.records import (
    JOBS,
    JobId,
    JobRecord,
    damage,
    read_record,
    record_path,
    result_errors,
    task_folder,
)
from evalharness.types import content_digest

# how a problem begins that only says that a newer run did not need the job
STALE = "stale: "
# mteb's TaskResult.to_disk
_DECIMALS = 6
_DRAWN_BEFORE = "drawn_before"
# in seconds: no clock that is right is further ahead of another
_AHEAD = 86_400
# parts of a key that differ between the jobs of one run: the draws before it, the run file that was scored
_OF_ONE_JOB = (_DRAWN_BEFORE, "run")


@dataclass(frozen=True, slots=True)
class RunKey:
    """What the jobs of one task share if they are of one run.

    Attributes:
        shared: digest of the part of their keys that is the same in all of them.
        order: splits and subsets in the order of their draws, up to this job; empty where draws are independent.
    """

    shared: str
    order: Sequence[Any]


def run_key(job: JobId, key: Mapping[str, Any]) -> RunKey:
    """The run that a job with this key belongs to."""
    before = key.get(_DRAWN_BEFORE)
    order = [*before, [job.split, job.subset]] if isinstance(before, list) else []
    return RunKey(content_digest({name: value for name, value in key.items() if name not in _OF_ONE_JOB}), order)


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A record's file as it was found.

    Attributes:
        split, subset: as its name says.
        record: None if it cannot be read.
        problem: why it gives no score; empty if it gives one.
        copy: its path below the folder of results, if it is of a job that has a record of its own: what programs that
            copy or synchronise folders leave. Else empty.
    """

    split: str
    subset: str
    record: JobRecord | None
    problem: str = ""
    copy: str = ""


def read_jobs(folder: Path, task: str) -> list[StoredJob]:
    """All records of a task, in the order of their names, with the damage that shows in each alone.

    Raises:
        OSError: the folder of records is there and cannot be listed.
    """
    place = task_folder(folder, task)
    try:
        paths = sorted(path for path in place.iterdir() if path.suffix == ".json" and not path.name.startswith("."))
    except FileNotFoundError:
        return []
    return [_read(folder, path) for path in paths]


def _read(folder: Path, path: Path) -> StoredJob:
    split, _, subset = (unquote(part) for part in path.stem.partition("."))
    try:
        record = read_record(path)
    except DataError as error:
        copy = str(path.relative_to(folder)) if _is_beside_its_record(folder, path) else ""
        return StoredJob(split, subset, None, f"damaged: {error}; run the task again", copy)
    found = StoredJob(record.job.split, record.job.subset, record)
    if record.error is not None:
        return replace(found, problem=f"failed: {record.error}")
    if what := damage(folder, record):
        return replace(found, problem=f"damaged: {what}; run the task again")
    return found


def _is_beside_its_record(folder: Path, path: Path) -> bool:
    """Whether a file is about a job that has another file, which is named by it."""
    try:
        named = checked(read_object(path).get("job"), dict, str(path))
        job = JobId(*(checked(named.get(name), str, str(path)) for name in ("task", "split", "subset")))
        own = record_path(folder, job)
        return own != path and own.is_file()
    except (DataError, OSError, ValueError):
        return False


def newest_first(jobs: Iterable[StoredJob], now: float | None = None) -> list[StoredJob]:
    """Jobs with a record, the newest first; what is from the future was written by a wrong clock and comes last.

    Args:
        jobs: any.
        now: seconds since 1970; None for the clock's.
    """
    latest = (time.time() if now is None else now) + _AHEAD

    def age(job: StoredJob) -> tuple[bool, float, str, str]:
        written = job.record.written if job.record is not None else 0.0
        return (written > latest, -written, job.split, job.subset)

    return sorted((job for job in jobs if job.record is not None), key=age)


def settle(jobs: Sequence[StoredJob], leader: RunKey | None = None, *, now: float | None = None) -> list[StoredJob]:
    """The same jobs, where those that cannot be of one run with the leading one have a problem, too.

    Args:
        jobs: of one task.
        leader: the run that counts; None for the run of the newest record.
        now: see `newest_first`.
    """
    newest = newest_first(jobs, now)
    if not newest:
        return list(jobs)
    stale = set()
    keys = {id(job): run_key(job.record.job, job.record.key) for job in newest if job.record is not None}
    leader = leader or keys[id(newest[0])]
    longest = leader.order
    for job in newest:
        key = keys[id(job)]
        common = min(len(longest), len(key.order))
        if key.shared != leader.shared or list(longest[:common]) != list(key.order[:common]):
            stale.add(id(job))
        elif not job.problem:
            longest = max(longest, key.order, key=len)
    why = f"{STALE}computed on other data, with other settings or by another version than the newest; run it again"
    return [replace(job, problem=why) if id(job) in stale and not job.problem else job for job in jobs]


def task_view(jobs: Iterable[StoredJob]) -> dict[str, Any] | None:
    """mteb's TaskResult of settled jobs of one task; None if none of them gives a score."""
    records = [job.record for job in jobs if job.record is not None and not job.problem]
    if not records:
        return None
    newest = max(records, key=lambda record: record.written)
    scores: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        entry = {
            **record.metrics,
            "main_score": record.metrics[record.main_score],
            "hf_subset": record.job.subset,
            "languages": list(record.languages),
            "mteb_version": _mteb_version(record),
        }
        scores.setdefault(record.job.split, []).append(_rounded(entry))
    return {
        "dataset_revision": newest.dataset_revision,
        "task_name": newest.job.task,
        "mteb_version": _mteb_version(newest),
        "scores": scores,
        "evaluation_time": sum(record.seconds for record in records),
        "kg_co2_emissions": None,
        "date": newest.written,
    }


def _mteb_version(record: JobRecord) -> str | None:
    found = record.key.get("mteb")
    return found if isinstance(found, str) else None


def _rounded(value: Any) -> Any:  # noqa: ANN401 -- JSON
    if isinstance(value, float):
        return round(value, _DECIMALS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def refresh_view(folder: Path, task: str, leader: RunKey) -> None:
    """See that the task's file is the view of its records; without any record it is not ours and stays as it is.

    Args:
        folder: see `records.run_folder`.
        task: its name.
        leader: the run that counts.

    Raises:
        StorageError: it is not, and cannot be written.
    """
    path = folder / f"{task}.json"
    with result_errors(folder):
        if _agrees(path, read_jobs(folder, task), leader):
            return
        # of two processes that make it from the records, the later one must see both
        with (folder / JOBS / ".lock").open("a") as handle:
            lock(handle)
            view = task_view(settle(read_jobs(folder, task), leader))
            if view is None:
                path.unlink(missing_ok=True)
            else:
                write_json(path, view)


def _agrees(path: Path, jobs: Sequence[StoredJob], leader: RunKey) -> bool:
    """Whether the file says what the records say, but for the time of writing."""
    view = task_view(settle(jobs, leader))
    if not jobs or view is None:
        return not jobs or not path.exists()
    try:
        found = read_object(path)
    except DataError:
        return False
    return content_digest(found | {"date": None}) == content_digest(view | {"date": None})
