"""Results on disk: mteb's JSON per task, and beside it a record and per-item scores per job.

    <output>/<org>__<model>/<revision>/            experiments/<name>/ below it if the model was changed by options
        model_meta.json                             as mteb writes it
        <Task>.json                                 mteb's TaskResult, made from the records of the task's jobs
        jobs/<Task>/<split>.<subset>.json           the record: scores unrounded, key, versions, notes, or the error
        jobs/<Task>/<split>.<subset>.parquet        per-item scores: item_id, then one float column per metric
        jobs/<Task>/<split>.<subset>.trec           what was retrieved, if it was asked for
        run.log                                     a line of JSON per job: seconds by phase, texts, tokens, memory

Every file is written under a temporary name and renamed, so a reader sees all of it or nothing.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evalharness.errors import DataError
from evalharness.storage import atomic_path, file_name, lock, storage_errors, write_json
from evalharness.types import Frozen, ItemScores, Metrics, ModelSpec, content_digest

MODEL_META = "model_meta.json"
EXPERIMENTS = "experiments"
JOBS = "jobs"
LOG = "run.log"
# mteb's TaskResult.to_disk
_DECIMALS = 6
_LONGEST_EXPERIMENT = 120
_MTEB_TYPES = {"embedder": "dense", "reranker": "cross-encoder", "lexical": "sparse"}
_UNSAFE = str.maketrans(dict.fromkeys('<>:"|?*\\/\0', "_"))


def installed_version(package: str) -> str:
    """Version of an installed package, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def experiment_name(overrides: Mapping[str, Any]) -> str | None:
    """Folder name of a model changed by options, spelled as mteb spells its experiment_kwargs; None if unchanged.

    >>> experiment_name({"pooling": "mean", "max_length": 128})
    'max_length_128__pooling_mean'
    """
    if not overrides:
        return None
    name = "__".join(f"{key}_{str(value).translate(_UNSAFE)}" for key, value in sorted(overrides.items()))
    return name if len(name.encode()) <= _LONGEST_EXPERIMENT else content_digest(dict(overrides))[:16]


@dataclass(frozen=True, slots=True)
class JobId:
    """Task x split x subset; together with a model and a protocol, the unit of failure and of resume."""

    task: str
    split: str
    subset: str

    def __str__(self) -> str:
        return f"{self.task} [{self.split}, {self.subset}]"


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What is stored of one job.

    Attributes:
        job: which.
        key: all that can change the scores; a later run with an equal key need not redo the job.
        main_score: name of the metric that ranks the task.
        languages: mteb language codes of the subset.
        dataset_revision: commit of the data, or a content hash of local files.
        seconds: wall time.
        facts: versions, device and the like; do not change the scores.
        metrics: empty if the job failed.
        notes: footnotes of the number.
        error: None if the job is done.
    """

    job: JobId
    key: Mapping[str, Any]
    main_score: str
    languages: Sequence[str]
    dataset_revision: str
    seconds: float
    facts: Mapping[str, Any]
    metrics: Metrics = field(default_factory=dict)
    notes: Sequence[str] = ()
    error: str | None = None


class ResultsOf(Frozen):
    """What results belong to, if it is no model that ran here; the revision is what mteb writes where there is none."""

    name: str
    revision: str = "no_revision_available"


def run_folder(output: Path, system: ModelSpec | ResultsOf) -> Path:
    """Folder of a model's (or another system's) results."""
    folder = output / system.name.replace("/", "__").replace(" ", "_") / system.revision
    experiment = experiment_name(system.overrides) if isinstance(system, ModelSpec) else None
    return folder / EXPERIMENTS / experiment if experiment else folder


def _record_path(folder: Path, job: JobId) -> Path:
    split, subset = (file_name(part) for part in (job.split, job.subset))
    return folder / JOBS / file_name(job.task) / f"{split}.{subset}.json"


def items_path(folder: Path, job: JobId) -> Path:
    """Where a job's per-item scores are."""
    return _record_path(folder, job).with_suffix(".parquet")


def append_log(folder: Path, line: Mapping[str, Any]) -> None:
    """Add a line to the run's log, whole even where several processes write.

    Raises:
        StorageError: the disk is full, say.
    """
    with _result_errors(folder), (folder / LOG).open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(line, sort_keys=True) + "\n")


def _result_errors(folder: Path) -> AbstractContextManager[None]:
    return storage_errors(
        f"results cannot be written to {folder}", "Free space or mend the folder, or name another with --output"
    )


def write_job(folder: Path, record: JobRecord, items: ItemScores | None) -> None:
    """Store a job and bring the task's mteb file up to date.

    The record is written last of the job's own files: it is what says that the job is done.

    Args:
        folder: see `run_folder`.
        record: done or failed.
        items: None for a failed job.

    Raises:
        StorageError: the disk is full, say.
    """
    with _result_errors(folder):
        if items is not None:
            _write_items(items_path(folder, record.job), items)
        write_json(_record_path(folder, record.job), asdict(record))
        if record.error is None:
            # of two processes that make it from the records, the later one must see both
            with (folder / JOBS / ".lock").open("a") as handle:
                lock(handle)
                _write_task_result(folder, record)


def _write_items(path: Path, items: ItemScores) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {name: pa.array(values, type=pa.float64()) for name, values in items.columns.items()}
    with atomic_path(path) as temporary:
        parquet.write_table(pa.table({"item_id": pa.array(items.ids, type=pa.string()), **columns}), temporary)


def ranking_path(folder: Path, job: JobId) -> Path:
    """Where a job's TREC run file is, if it was asked for."""
    return _record_path(folder, job).with_suffix(".trec")


def read_job(folder: Path, job: JobId) -> JobRecord | None:
    """The stored record of a job; None if there is none that can be read."""
    return _read_record(_record_path(folder, job))


def _read_record(path: Path) -> JobRecord | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return JobRecord(**{**value, "job": JobId(**value["job"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _done_jobs(folder: Path, task: str) -> list[JobRecord]:
    paths = sorted((folder / JOBS / file_name(task)).glob("*.json"))
    return [record for path in paths if (record := _read_record(path)) is not None and record.error is None]


def _write_task_result(folder: Path, newest: JobRecord) -> None:
    # jobs done on an older revision of the data do not belong into the same file
    done = _done_jobs(folder, newest.job.task)
    records = [record for record in done if record.dataset_revision == newest.dataset_revision]
    mteb = installed_version("mteb")
    scores: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        entry = {
            **record.metrics,
            "main_score": record.metrics[record.main_score],
            "hf_subset": record.job.subset,
            "languages": list(record.languages),
            "mteb_version": mteb,
        }
        scores.setdefault(record.job.split, []).append(_rounded(entry))
    result = {
        "dataset_revision": newest.dataset_revision,
        "task_name": newest.job.task,
        "mteb_version": mteb,
        "scores": scores,
        "evaluation_time": sum(record.seconds for record in records),
        "kg_co2_emissions": None,
        "date": time.time(),
    }
    write_json(folder / f"{newest.job.task}.json", result)


def _rounded(value: Any) -> Any:  # noqa: ANN401 -- JSON
    if isinstance(value, float):
        return round(value, _DECIMALS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def model_meta(system: ModelSpec | ResultsOf) -> dict[str, Any]:
    """What mteb wants to know of a model; None where it is unknown."""
    unknown = (
        "languages", "max_tokens", "similarity_fn_name", "use_instructions", "experiment_kwargs",
        "loader", "release_date", "n_parameters", "n_active_parameters_override", "n_embedding_parameters",
        "memory_usage_mb", "embed_dim", "license", "open_weights", "public_training_code", "public_training_data",
        "reference", "training_datasets", "adapted_from", "superseded_by", "citation", "contacts", "output_dtypes",
        "extra_requirements_groups",
    )  # fmt: skip
    known: dict[str, Any] = {
        **dict.fromkeys(unknown),
        "name": system.name,
        "revision": system.revision,
        "framework": [],
        "loader_kwargs": {},
        "modalities": ["text"],
        "model_type": ["dense"],
    }
    return known | _model_facts(system) if isinstance(system, ModelSpec) else known


def _model_facts(spec: ModelSpec) -> dict[str, Any]:
    return {
        "languages": list(spec.languages) or None,
        "model_type": [_MTEB_TYPES[spec.kind]],
        "max_tokens": spec.max_length,
        "framework": ["PyTorch", "Transformers"] if spec.backend == "transformers" else [],
        "similarity_fn_name": spec.similarity if spec.kind == "embedder" else None,
        "use_instructions": any(spec.prompts.values()),
        "loader_kwargs": {"model_prompts": spec.prompts} if spec.prompts else {},
        "experiment_kwargs": spec.overrides or None,
    }


def write_model_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    """Write `model_meta`, if it is not there yet. Raises StorageError."""
    if not (folder / MODEL_META).is_file():
        with _result_errors(folder):
            write_json(folder / MODEL_META, meta)


@dataclass(frozen=True, slots=True)
class StoredTask:
    """Main scores of one task: split -> subset -> score."""

    task: str
    scores: Mapping[str, Mapping[str, float]]
    path: Path


@dataclass(frozen=True, slots=True)
class StoredRun:
    """All results of one model under one set of options.

    Attributes:
        model, revision: see `ModelSpec`.
        overrides: what was changed against the model's card or files.
        tasks: by name.
        notes: task -> footnotes of its numbers.
    """

    model: str
    revision: str
    overrides: Mapping[str, Any]
    tasks: Mapping[str, StoredTask]
    notes: Mapping[str, Sequence[str]]


def read_runs(folders: Sequence[Path]) -> list[StoredRun]:
    """All runs below these folders, ours or mteb's own.

    Raises:
        DataError: a file is damaged, or there is nothing.
    """
    found = sorted({path.parent for folder in folders for path in folder.rglob(MODEL_META)})
    if not found:
        raise DataError(f"no results below {', '.join(map(str, folders))}: expected folders with a {MODEL_META}")
    return [_read_run(folder) for folder in found]


def _read_run(folder: Path) -> StoredRun:
    meta = _load(folder / MODEL_META)
    paths = [path for path in sorted(folder.glob("*.json")) if path.name != MODEL_META]
    tasks = {task.task: task for task in map(_read_task, paths)}
    notes = {name: sorted({note for record in _done_jobs(folder, name) for note in record.notes}) for name in tasks}
    return StoredRun(meta["name"], meta["revision"], meta.get("experiment_kwargs") or {}, tasks, notes)


def _load(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a result ({error}); remove it and run the task again") from None
    return value


def _read_task(path: Path) -> StoredTask:
    value = _load(path)
    try:
        scores = {
            split: {entry["hf_subset"]: float(entry["main_score"]) for entry in entries}
            for split, entries in value["scores"].items()
        }
        name = value["task_name"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: is no mteb result ({type(error).__name__}: {error})") from None
    if not all(math.isfinite(score) for subsets in scores.values() for score in subsets.values()):
        raise DataError(f"{path}: holds a main score that is not a finite number; remove it and run the task again")
    return StoredTask(name, scores, path)
