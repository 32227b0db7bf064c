"""What decides that a job is done: a stored record, of all that its scores depend on, whose files are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evalharness.catalog.task_file import LocalData
from evalharness.catalog.tasks import TaskSpec
from evalharness.metrics.measures import OVER_SUBQUERIES
from evalharness.models.prompts import encoding
from evalharness.models.rankers import pair_facts
from evalharness.results.records import JobRecord, damage, installed_version, read_job
from evalharness.run.events import PlannedJob
from evalharness.tasks import is_native, task_type
from evalharness.types import ModelSpec, Protocol, Side, content_digest


def done_record(folder: Path, job: PlannedJob, *, save_rankings: bool) -> JobRecord | None:
    """The stored record of a job, if it is still valid and all its files are whole."""
    stored = read_job(folder, job.id)
    # by digest: JSON has no tuples
    if stored is None or stored.error is not None or content_digest(stored.key) != content_digest(dict(job.key)):
        return None
    with_ranking = save_rankings and is_native(job.spec) and task_type(job.spec.scoring).ranks
    return None if damage(folder, stored, ranking=with_ranking) else stored


def job_key(spec: ModelSpec, task: TaskSpec, protocol: Protocol) -> dict[str, Any]:
    """All that can change a job's scores, apart from its split and subset."""
    context = task.context()
    by_vectors = spec.kind == "embedder" and "reranker" not in spec.overrides
    sides: tuple[Side, ...] = (None, "query", "document")
    return {
        "model": spec.fingerprint,
        "encodings": {side or "none": encoding(spec, side, context).facts() for side in sides},
        "similarity": spec.similarity,
        "protocol": protocol,
        "dataset_revision": task.revision,
        **({"output_weights": spec.output_weights} if spec.output_weights else {}),
        **(pair_facts(spec) if spec.kind == "reranker" else {}),
        **_scored_by(task),
        **({} if by_vectors else over_subqueries(task)),
        **({} if task.data is None else _local_facts(task, task.data)),
    }


def _local_facts(task: TaskSpec, data: LocalData) -> dict[str, Any]:
    """What a task file says of the scores, apart from its data, whose digest is the revision."""
    # until they counted, a Retrieval task with candidates searched the whole corpus
    candidates = {"candidates": True} if task.type == "Retrieval" and "candidates" in data.files else {}
    return {"settings": task.settings, "columns": dict(data.columns), **candidates}


def over_subqueries(task: TaskSpec) -> dict[str, Any]:
    """Voids scores over sub-queries from when what was ranked by other than vectors gave scores to other documents."""
    return {"over_subqueries": "by document"} if task.main_score.startswith(OVER_SUBQUERIES) else {}


def _scored_by(task: TaskSpec) -> dict[str, Any]:
    """What computes a task's scores: one of our types in its version, or mteb, which also transforms the data."""
    if not is_native(task):
        return {"runner": "mteb", "mteb": installed_version("mteb")}
    kind = task_type(task.scoring)
    # the first version has none in its key
    items = {"items_version": kind.items_version} if kind.items_version > 1 else {}
    return {"score_version": kind.score_version, **items, "mteb": installed_version("mteb")}
