"""A run as those see it who watch it: jobs, records, and a clock that stands."""

from __future__ import annotations

import io
import time
from typing import Any

from evalharness.catalog.selection import TaskChoice
from evalharness.catalog.tasks import find_task
from evalharness.results.records import JobId, JobRecord
from evalharness.run.events import PlannedJob

LONG = "AmazonReviewsMultilingualCounterfactualClassificationWithAVeryLongName"


def planned(name: str = "STS12") -> PlannedJob:
    spec = find_task("STS12")
    assert spec is not None
    choice = TaskChoice(spec, ("test",), ("default",))
    return PlannedJob(JobId(name, "test", "default"), choice, {}, None, None, None)


def record(name: str = "STS12", error: str | None = None, **changes: Any) -> JobRecord:
    values: dict[str, Any] = {
        "job": JobId(name, "test", "default"), "key": {}, "main_score": "cosine_spearman", "languages": [],
        "dataset_revision": "0", "seconds": 1.5, "facts": {}, "error": error, "metrics": {"cosine_spearman": 0.5},
    }  # fmt: skip
    return JobRecord(**{**values, **changes})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def wait_for(out: io.StringIO, line: str) -> None:
    deadline = time.monotonic() + 10
    while line not in out.getvalue():
        assert time.monotonic() < deadline, out.getvalue()
        time.sleep(0.01)
