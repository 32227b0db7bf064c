"""A job from its data to its record, with nothing stored."""

from __future__ import annotations

from evalharness.run.events import PlannedJob, Watch
from evalharness.run.job import Attempt, JobUnderWay, TaskData, encode_job, load_job, score_job
from evalharness.run.steps import Model


def attempt_job(job: PlannedJob, data: TaskData, model: Model, watch: Watch) -> Attempt:
    """All steps, one after another."""
    under_way = JobUnderWay(job)
    load_job(under_way, data)
    encode_job(under_way, model, watch)
    return score_job(under_way, model)
