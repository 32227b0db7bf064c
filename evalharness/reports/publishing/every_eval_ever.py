"""A record of Every Eval Ever, schema 0.3: the scores of a model with their uncertainty, and a line for each item.

    data/evalharness/<organisation>/<model>/<uuid>.json, <uuid>_samples.jsonl

https://github.com/evaleval/every_eval_ever. What it asks for and nobody told us is "unknown" there; texts are not
stored, and not made up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Any
from uuid import UUID

from evalharness.errors import DataError, UsageError
from evalharness.files import storage_errors
from evalharness.metrics.measures import parse
from evalharness.reading import NoJsonError, parse_json, read_object
from evalharness.reports.board import Part, Span
from evalharness.reports.publishing.instances import VERSION, Origin, Samples, result_id, write_samples
from evalharness.reports.publishing.own import LOCAL, OwnResults, OwnTask, harness_of, newest, said
from evalharness.reports.publishing.writing import NewFile, Publication, check_any, refuse_foreign, write_files
from evalharness.results.records import MODEL_META, JobRecord
from evalharness.types import content_digest

FLAG = "--every-eval-ever"
_LIBRARY = "evalharness"
_UNKNOWN = "unknown"
# beginnings of backends whose models may be anywhere
_ANYWHERE = (_UNKNOWN, "python", "http")
_TEXTS = "not stored: input.raw is empty, and sample_id names the item in the data set, or a draw that was clustered"
# lowest and highest value of measures that are not from 0 to 1
_BOUNDS: Mapping[str, tuple[float | str, float | str]] = {
    **dict.fromkeys(("pearson", "spearman", "kendalltau", "p-MRR", "ami"), (-1.0, 1.0)),
    **dict.fromkeys(("mae", "mse", "rmse"), (0.0, "Infinity")),
    "r2": ("-Infinity", 1.0),
}
_ERRORS = ("mae", "mse", "rmse")


@dataclass(frozen=True, slots=True)
class _Log:
    """Where a record is, and what it is called.

    Attributes:
        place: its folder in the data store.
        uuid: names its files; made of what is in it, so that the same results have the same.
        evaluation_id: of the run.
    """

    place: Path
    uuid: str
    evaluation_id: str

    @property
    def samples(self) -> str:
        """Path of the lines per item in the data store."""
        return f"{self.place.as_posix()}/{self.uuid}_samples.jsonl"


def write_records(results: Sequence[OwnResults], folder: Path, source_url: str | None = None) -> Publication:
    """Write a record of each run.

    Args:
        results: see `own_results`.
        folder: `data/` is put there.
        source_url: where more can be read; None for nowhere.

    Raises:
        UsageError: there is nothing to publish, or files of others are in the way.
        StorageError: they cannot be written.
    """
    results = [_with_records(one) for one in results]
    check_any(results, FLAG)
    files: list[Path] = []
    for one in (one for one in results if one.tasks):
        log = _log(one)
        path, samples = folder / log.place / f"{log.uuid}.json", folder / log.samples
        refuse_foreign([NewFile(path, b"", _is_ours)], FLAG)
        with storage_errors(folder, f"nothing can be published in {folder}", f"choose another place with {FLAG}"):
            origins = [
                Origin(log.evaluation_id, one.run.model, task.part_name(part), record)
                for task in one.tasks
                for part, record in _recorded(task)
            ]
            written = write_samples(samples, origins, one.run.folder)
        text = json.dumps(
            _record(log, one, written, source_url), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False
        )
        files += write_files([NewFile(path, f"{text}\n".encode(), _is_ours)], folder, FLAG)
        files += [samples] if written.rows else []
    notes = ['source_metadata says "unknown" and "other": put in who you are, and what you are to the model']
    return Publication(FLAG, files, results, notes)


def _is_ours(content: bytes) -> bool:
    try:
        record = parse_json(content)
    except NoJsonError:
        return False
    library = record.get("eval_library") if isinstance(record, dict) else None
    return isinstance(library, dict) and library.get("name") == _LIBRARY


def _with_records(results: OwnResults) -> OwnResults:
    """The same without tasks of which only mteb's file is there, which does not say how they were made."""
    return results.without(
        {
            task.name: "there is only mteb's file of it, and no record of its jobs"
            for task in results.tasks
            if len(_recorded(task)) < max(len(task.cell.parts), 1)
        }
    )


def _recorded(task: OwnTask) -> list[tuple[Part, JobRecord]]:
    return [(part, part.job.record) for part in task.cell.parts if part.job is not None and part.job.record is not None]


def _log(results: OwnResults) -> _Log:
    run = results.run
    organisation, _, model = run.model.partition("/")
    when = _seconds(max(newest(task.stored.jobs) for task in results.tasks))
    content = [
        [task.part_name(part), record.items, record.written, record.metrics[record.main_score]]
        for task in results.tasks
        for part, record in _recorded(task)
    ]
    digest = sha256(content_digest([run.model, run.revision, content]).encode()).digest()
    return _Log(
        Path("data", _LIBRARY, organisation, model),
        str(UUID(bytes=digest[:16], version=4)),
        f"{_LIBRARY}/{run.model}@{run.revision}/{when}",
    )


def _seconds(time: float) -> str:
    """Seconds since 1970 as the schema has them: a text."""
    return repr(round(time, 6))


def _record(log: _Log, results: OwnResults, samples: Samples, source_url: str | None) -> dict[str, Any]:
    jobs = [job for task in results.tasks for job in task.stored.jobs]
    record: dict[str, Any] = {
        "schema_version": VERSION,
        "evaluation_id": log.evaluation_id,
        "evaluation_timestamp": _seconds(newest(jobs)),
        # the results say when; a clock would make another file of the same results each time
        "retrieved_timestamp": _seconds(newest(jobs)),
        "source_metadata": {
            "source_name": _LIBRARY,
            "source_type": "evaluation_run",
            "source_organization_name": _UNKNOWN,
            "evaluator_relationship": "other",
            # the form has a link to the organisation and one to the data, and none to the results
            **({"additional_details": {"source_url": source_url}} if source_url else {}),
        },
        "eval_library": {
            "name": _LIBRARY,
            "version": harness_of(jobs) or _UNKNOWN,
            "additional_details": {"protocol": "mteb"},
        },
        "model_info": _model_info(results),
        "evaluation_results": [
            _result(task, part, job, samples) for task in results.tasks for part, job in _recorded(task)
        ],
    }
    if samples.rows:
        record["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": log.samples,
            "hash_algorithm": "sha256",
            "checksum": samples.checksum,
            "total_rows": samples.rows,
            "additional_details": {"texts": _TEXTS},
        }
    return record


def _model_info(results: OwnResults) -> dict[str, Any]:
    run = results.run
    facts = next(record.facts for task in results.tasks for _, record in _recorded(task))
    spec = facts["model"] if isinstance(facts.get("model"), dict) else {}
    packages = facts["packages"] if isinstance(facts.get("packages"), dict) else {}
    backend = str(spec.get("backend", _UNKNOWN))
    try:
        is_open = read_object(run.folder / MODEL_META).get("open_weights")
    except DataError:
        is_open = None
    availability = {True: "open_weights", False: "closed_weights"}
    return {
        "name": run.model,
        "id": run.model,
        # of a folder of one's own, nobody says who made it
        **({} if run.model.startswith(LOCAL) else {"developer": run.model.partition("/")[0]}),
        "inference_engine": {"name": backend, "version": str(packages.get(backend, _UNKNOWN))},
        "additional_details": {
            # of a server, nobody says whose it is
            "deployment_type": _UNKNOWN if backend.startswith(_ANYWHERE) else "self_deployed",
            "model_availability": availability[is_open] if isinstance(is_open, bool) else _UNKNOWN,
            "revision": run.revision,
            "device": str(facts.get("device", _UNKNOWN)),
        },
    }


def _result(task: OwnTask, part: Part, record: JobRecord, samples: Samples) -> dict[str, Any]:
    name = task.part_name(part)
    details = {
        "notes": said(record.notes),
        "instances": samples.without.get(name, ""),
        "interval": "" if part.interval is None or part.interval.is_trusted else "of too few items to rely on it",
    }
    uncertainty = _uncertainty(part.interval, samples.items.get(name))
    return {
        "evaluation_name": name,
        "evaluation_result_id": result_id(name, record),
        "evaluation_timestamp": _seconds(record.written),
        "source_data": _source(task, part),
        "metric_config": _metric(record),
        "score_details": {
            "score": record.metrics[record.main_score],
            **({"uncertainty": uncertainty} if uncertainty else {}),
            **({"details": shown} if (shown := {key: text for key, text in details.items() if text}) else {}),
        },
    }


def _source(task: OwnTask, part: Part) -> dict[str, Any]:
    said_too = {"subset": part.subset, "split": part.split, "revision": task.revision or _UNKNOWN}
    if task.hub_id:
        source = {"source_type": "hf_dataset", "hf_repo": task.hub_id, "hf_split": part.split}
    else:
        source = {"source_type": "other"}
    return {"dataset_name": task.name, **source, "additional_details": said_too}


def _metric(record: JobRecord) -> dict[str, Any]:
    name = record.main_score
    try:
        metric = parse(name)
    except UsageError:  # trec_eval's own, whose bounds are its business
        return {"metric_id": name, "metric_name": name, "lower_is_better": False}
    low, high = _BOUNDS.get(metric.measure, (0.0, 1.0))
    return {
        "metric_id": name,
        "metric_name": name,
        "metric_kind": metric.measure,
        "metric_parameters": {} if metric.k is None else {"k": metric.k},
        "lower_is_better": metric.measure in _ERRORS,
        "score_type": "continuous",
        "min_score": low,
        "max_score": high,
    }


def _uncertainty(interval: Span | None, items: int | None) -> dict[str, Any]:
    if interval is None or not (isfinite(interval.low) and isfinite(interval.high)):
        return {}
    ends: dict[str, float | str] = {"lower": interval.low, "upper": interval.high, "confidence_level": 0.95}
    if interval.method:
        ends["method"] = interval.method
    return {"confidence_interval": ends} | ({} if items is None else {"num_samples": items})
