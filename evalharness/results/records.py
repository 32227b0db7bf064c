"""Results on disk: a record and per-item scores per job, and mteb's JSON per task, which is a view of the records.

    <output>/<org>__<model>/<revision>/            experiments/<name>/ below it if the model was changed by options
        model_meta.json                             as mteb writes it
        <Task>.json                                 mteb's TaskResult, a view of the task's records: see `views`
        jobs/<Task>/<split>.<subset>.json           the record: scores unrounded, key, versions, notes, or the error,
                                                    and the digests of the files beside it
        jobs/<Task>/<split>.<subset>.parquet        per-item scores, see `items`
        jobs/<Task>/<split>.<subset>.trec           what was retrieved, if it was asked for
        run.log                                     a line of JSON per job: seconds by phase, texts, tokens, memory

Every file is written under a temporary name and renamed, so a reader sees all of it or nothing. The record is written
last: it is what says that a job is done, as long as the files that it names are whole.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from hashlib import file_digest
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evalharness.errors import DataError, UsageError, clip, shorten
from evalharness.files import file_name, storage_errors, write_json
from evalharness.reading import checked, read_object
from evalharness.results.items import write_items
from evalharness.types import Frozen, ItemScores, Metrics, ModelSpec, content_digest

MODEL_META = "model_meta.json"
# of a record's facts: what is known of the model itself, by the names of `catalog.models.ModelFacts`
ABOUT = "about"
# what of it says whose results they are
_WHOSE = ("name", "revision", "experiment_kwargs")
# of a folder of results that is a baseline: says what is in it, see `compare.baseline`
BASELINE = "baseline.json"
EXPERIMENTS = "experiments"
JOBS = "jobs"
LOG = "run.log"
_LOWEST_SCORE, _HIGHEST_SCORE = -1, 1
# in seconds: 30,000 years
_LONGEST_TIME = 1e12
_LONGEST_EXPERIMENT = 120
_MTEB_TYPES = {"embedder": "dense", "reranker": "cross-encoder", "lexical": "sparse"}
_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
# in bytes: it is the name of a folder
_LONGEST_NAME = 200
_UNSAFE = str.maketrans(dict.fromkeys('<>:"|?*\\/\0', "_"))


@cache
def installed_version(package: str) -> str:
    """Version of an installed package, without importing it; looked up once, for it costs milliseconds."""
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
        items: sha256 of the file of its per-item scores; None if there is none.
        ranking: sha256 of its TREC run file; None if there is none.
        written: when, in seconds since 1970.
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
    items: str | None = None
    ranking: str | None = None
    written: float = 0.0


# what JSON may hold for each field but the job
_RECORD: Mapping[str, Any] = {
    "key": dict, "main_score": str, "languages": list, "dataset_revision": str, "seconds": (int, float), "facts": dict,
    "metrics": dict, "notes": list, "error": (str, type(None)), "items": (str, type(None)),
    "ranking": (str, type(None)), "written": (int, float),
}  # fmt: skip


class ResultsOf(Frozen):
    """What results belong to, if it is no model that ran here; the revision is what mteb writes where there is none."""

    name: str
    revision: str = "no_revision_available"


def check_name(name: str) -> None:
    """See that a name in results can be one: it makes the name of a folder.

    Raises:
        UsageError: it cannot.
    """
    if not _NAME.fullmatch(name) or len(name.encode()) > _LONGEST_NAME:
        raise UsageError(
            f"the name {clip(name)} is not of the form organisation/name: each a letter, digit or underscore, then "
            f"letters, digits, `_`, `.` and `-`, together at most {_LONGEST_NAME} bytes"
        )


def run_folder(output: Path, system: ModelSpec | ResultsOf) -> Path:
    """Folder of a model's (or another system's) results."""
    folder = output / system.name.replace("/", "__").replace(" ", "_") / system.revision
    experiment = experiment_name(system.overrides) if isinstance(system, ModelSpec) else None
    return folder / EXPERIMENTS / experiment if experiment else folder


def task_folder(folder: Path, task: str) -> Path:
    """Where the records of a task's jobs are."""
    return folder / JOBS / file_name(task)


def record_path(folder: Path, job: JobId) -> Path:
    """Where a job's record is."""
    split, subset = (file_name(part) for part in (job.split, job.subset))
    return task_folder(folder, job.task) / f"{split}.{subset}.json"


def items_path(folder: Path, job: JobId) -> Path:
    """Where a job's per-item scores are."""
    return record_path(folder, job).with_suffix(".parquet")


def ranking_path(folder: Path, job: JobId) -> Path:
    """Where a job's TREC run file is, if it was asked for."""
    return record_path(folder, job).with_suffix(".trec")


def append_log(folder: Path, line: Mapping[str, Any]) -> None:
    """Add a line to the run's log, whole even where several processes write.

    Raises:
        StorageError: the disk is full, say.
    """
    with result_errors(folder), (folder / LOG).open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(line, sort_keys=True) + "\n")


def result_errors(folder: Path) -> AbstractContextManager[None]:
    """Turn what the operating system says of a results folder into a StorageError."""
    return storage_errors(folder, f"results cannot be written to {folder}", "name another with --output")


def write_job(
    folder: Path, record: JobRecord, items: ItemScores | None = None, ranking: Callable[[Path], None] | None = None
) -> JobRecord:
    """Store a job: its files first, then the record that vouches for them, and what it does not vouch for goes.

    Args:
        folder: see `run_folder`.
        record: done or failed.
        items: None for a failed job; without any item there is no file of them.
        ranking: writes what was retrieved to a path, as a TREC run; None if nobody asked for it.

    Returns:
        The record as it is stored: with the digests of its files and the time.

    Raises:
        StorageError: the disk is full, say.
        DataError: `ranking` raised it; nothing is stored.
    """
    files: dict[str, str | None] = {"items": None, "ranking": None}
    with result_errors(folder):
        if ranking is not None:
            ranking(ranking_path(folder, record.job))
            files["ranking"] = _digest_of(ranking_path(folder, record.job))
        if items is not None and items.ids:
            write_items(items_path(folder, record.job), items)
            files["items"] = _digest_of(items_path(folder, record.job))
        stored = replace(record, written=time.time(), items=files["items"], ranking=files["ranking"])
        write_json(record_path(folder, record.job), asdict(stored))
        for digest, path in ((stored.items, items_path), (stored.ranking, ranking_path)):
            if digest is None:
                path(folder, record.job).unlink(missing_ok=True)
    return stored


def _digest_of(path: Path) -> str:
    with path.open("rb") as handle:
        return file_digest(handle, "sha256").hexdigest()


def read_record(path: Path) -> JobRecord:
    """A stored record, whoever wrote it; whether its files are whole, see `missing_file`.

    Raises:
        DataError: it is no record of this version, or is about another job than its path says.
    """
    # records of before have no digests, nor a time
    value = {"items": None, "ranking": None, "written": 0.0, **read_object(path)}
    where = str(path)
    fields = {name: checked(value.get(name), types, f"{where}: {name}") for name, types in _RECORD.items()}
    if unknown := sorted(set(value) - {"job", *_RECORD}):
        raise DataError(f"{where}: has keys that this version does not know: {shorten(unknown)}")
    named = checked(value.get("job"), dict, f"{where}: job")
    job = JobId(*(checked(named.get(name), str, f"{where}: job.{name}") for name in ("task", "split", "subset")))
    if record_path(Path(), job).parts[-2:] != path.parts[-2:]:
        raise DataError(f"{where}: is about another job: {clip(str(job))}")
    for name in ("languages", "notes"):
        for text in fields[name]:
            checked(text, str, f"{where}: {name}")
    record = JobRecord(job=job, **fields)
    if not 0 <= record.seconds <= _LONGEST_TIME or not 0 <= record.written <= _LONGEST_TIME:
        raise DataError(f"{where}: seconds and written: expected numbers from 0 to {_LONGEST_TIME:g}")
    if record.error is None:
        check_score(record.metrics.get(record.main_score), f"{where}: metrics.{clip(record.main_score)}")
    return record


def check_score(value: object, where: str) -> float:
    """A main score that can be one.

    Raises:
        DataError: it is no number from -1 to 1.
    """
    score: float = checked(value, (int, float), where)
    # also refuses what is not a number, and whole numbers too large for a float
    if not _LOWEST_SCORE <= score <= _HIGHEST_SCORE:
        raise DataError(f"{where}: main scores are from -1 to 1, found {clip(str(score))}")
    return float(score)


def damage(folder: Path, record: JobRecord, *, ranking: bool = False) -> str:
    """What is wrong with the files that a record vouches for; empty if all are whole.

    Args:
        folder: see `run_folder`.
        record: as stored.
        ranking: whether what was retrieved has to be there, too.
    """
    wanted: list[tuple[str | None, Path]] = []
    wanted += [(record.items, items_path(folder, record.job))] if record.items is not None else []
    wanted += [(record.ranking, ranking_path(folder, record.job))] if ranking else []
    return next((what for digest, path in wanted if (what := _damage_of(path, digest))), "")


def _damage_of(path: Path, digest: str | None) -> str:
    try:
        if not path.is_file():  # a pipe would be waited for
            return f"{path} is missing"
        return "" if _digest_of(path) == digest else f"{path} is not what was written"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"


def read_job(folder: Path, job: JobId) -> JobRecord | None:
    """The stored record of a job; None if there is none that can be read."""
    try:
        return read_record(record_path(folder, job))
    except DataError:
        return None


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


def check_folder(folder: Path, meta: Mapping[str, Any]) -> None:
    """See that a results folder is not another system's: two names or prompts may make one name of a folder.

    Args:
        folder: see `run_folder`; need not be there.
        meta: what `model_meta` says of the system.

    Raises:
        UsageError: it is.
    """
    try:
        stored = read_object(folder / MODEL_META)
    except DataError:
        return  # there is none, or it is damaged and is made again
    if not isinstance(stored.get("name"), str):
        return
    here, wanted = (content_digest([facts.get(name) or None for name in _WHOSE]) for facts in (stored, meta))
    if here != wanted:
        shown = ", ".join(f"{name} {clip(str(stored.get(name)))}" for name in _WHOSE)
        raise UsageError(
            f"{folder} holds results of another system ({shown}), whose name or settings make the same name of a "
            "folder. Choose another folder with --output, or another name with --name"
        )


def check_task_files(folder: Path, tasks: Iterable[str], advice: str) -> None:
    """See that no task's file is mteb's own: what is written from records would replace it.

    Args:
        folder: see `run_folder`; need not be there.
        tasks: names of those whose files may be written.
        advice: what to do.

    Raises:
        UsageError: there are such files.
    """
    paths = (folder / f"{task}.json" for task in tasks if not task_folder(folder, task).is_dir())
    if foreign := [path.name for path in paths if os.path.lexists(path)]:
        raise UsageError(
            f"{folder} holds results that were not made here, for nothing of theirs is in {JOBS}: "
            f"{shorten(foreign)}. {advice}"
        )


def write_model_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    """Write `model_meta` where it is missing or damaged; mteb's own stays. Raises StorageError, UsageError."""
    check_folder(folder, meta)
    path = folder / MODEL_META
    with suppress(DataError):
        if isinstance(read_object(path).get("name"), str):
            return
    with result_errors(folder):
        write_json(path, meta)
