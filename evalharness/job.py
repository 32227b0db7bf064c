"""One job: load, encode, score; whatever happens to it becomes a record."""

from __future__ import annotations

import logging
import platform
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, TypeAlias

from evalharness import __version__
from evalharness.catalog import TaskSpec
from evalharness.data import load_mteb_task
from evalharness.degenerate import DEGENERATE
from evalharness.encoder import EmbeddingModel
from evalharness.errors import (
    DataError,
    EvalHarnessError,
    ModelError,
    PrerequisiteError,
    StoppedError,
    StorageError,
    UsageError,
    shorten,
)
from evalharness.masking import without_secrets
from evalharness.rankers import RankingModel
from evalharness.results import JobId, JobRecord, installed_version
from evalharness.selection import TaskChoice
from evalharness.tasks import is_native, task_type
from evalharness.tasks.mteb_bridge import score_with_mteb
from evalharness.types import (
    Embeddings,
    EncodeEvent,
    EncodeNote,
    Notice,
    Scores,
    ShardsUsed,
    TextColumn,
    TextsEncoded,
    Waiting,
)

_log = logging.getLogger(__name__)
PACKAGES = ("mteb", "torch", "transformers", "datasets", "numpy", "scikit-learn", "scipy")


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job to do or done.

    Attributes:
        id: which.
        choice: its task, with all splits and subsets that the run wants of it.
        key: all that can change its scores.
        texts, characters: size, where known.
        record: the stored record if it is valid, so that there is nothing to do.
    """

    id: JobId
    choice: TaskChoice
    key: Mapping[str, Any]
    texts: int | None
    characters: int | None
    record: JobRecord | None

    @property
    def spec(self) -> TaskSpec:
        """Its task."""
        return self.choice.spec


@dataclass(frozen=True, slots=True)
class JobStarted:
    """Progress: a job begins; `number` counts from 1 among `total` jobs to do."""

    job: PlannedJob
    number: int
    total: int


@dataclass(frozen=True, slots=True)
class TextsCounted:
    """Progress: the data are loaded, so many texts are to be encoded."""

    texts: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """Progress: a job is done or has failed."""

    record: JobRecord


RunEvent: TypeAlias = JobStarted | TextsCounted | TextsEncoded | ShardsUsed | Notice | JobEnded
Watch: TypeAlias = Callable[[RunEvent], None]
Model: TypeAlias = EmbeddingModel | RankingModel


class TaskData:
    """The data of a task's jobs, loaded on first use and only once, also where loading fails."""

    def __init__(self, jobs: Sequence[PlannedJob], say: Callable[[str], None]) -> None:
        whole, ids = jobs[0].choice, [job.id for job in jobs]
        needed = replace(
            whole,
            splits=tuple(dict.fromkeys(i.split for i in ids)),
            subsets=tuple(dict.fromkeys(i.subset for i in ids)),
        )
        self._choice = whole if draws_in_order(whole.spec) else needed
        self._say = say
        self._task: Any = None
        self._error: EvalHarnessError | None = None

    def task(self) -> Any:  # noqa: ANN401 -- mteb's own class
        """The mteb task object with its data."""
        if self._error is not None:
            raise self._error
        if self._task is None:
            try:
                self._task = load_mteb_task(self._choice, self._say)
            except EvalHarnessError as error:
                self._error = error
                raise
        return self._task


def draws_in_order(spec: TaskSpec) -> bool:
    """Whether random draws for one subset depend on those before it."""
    return is_native(spec) and task_type(spec.scoring).draws_in_order


@dataclass(slots=True)
class Work:
    """What a job costs, counted while it runs; `encoded` are the texts that went through the model."""

    seconds: dict[str, float] = field(default_factory=dict)
    texts: int = 0
    encoded: int = 0
    tokens: int = 0
    bytes: int = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a part of the job."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = time.monotonic() - started

    def count(self, event: TextsEncoded) -> None:
        """Add what an event tells."""
        self.texts += event.count
        self.tokens += event.tokens
        self.encoded += event.count if event.tokens else 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A job's record, with its scores if it did not fail.

    Attributes:
        out_of_reach: whether it failed because its data could not be had.
    """

    record: JobRecord
    scores: Scores | None
    work: Work
    out_of_reach: bool


def never_stop() -> None:
    """For runs without an end of their own."""


def attempt_job(
    job: PlannedJob, data: TaskData, model: Model, watch: Watch, stop: Callable[[], None] = never_stop
) -> Attempt:
    """Run one job, whatever happens to it; what ends the whole run goes on.

    Args:
        job: which.
        data: of its task.
        model: encodes or ranks.
        watch: is told of progress.
        stop: is called at each event; it may raise StoppedError, which loses no work.
    """
    started, work = time.monotonic(), Work()
    try:
        scores = _run_job(job, data, model, _Listener(watch, stop, work))
    except (StorageError, StoppedError):
        raise
    # the one place that keeps a job's failure from stopping the others; a model's own code may call sys.exit
    except (Exception, SystemExit) as error:  # noqa: BLE001
        _log.debug("%s failed", job.id, exc_info=True)
        known = isinstance(error, EvalHarnessError)
        message = str(error) if known else without_secrets(f"{type(error).__name__}: {error}")
        record = replace(_blank_record(job, model, started), error=message)
        return Attempt(record, None, work, isinstance(error, PrerequisiteError))
    record = replace(
        _blank_record(job, model, started), metrics=scores.metrics, notes=[*map(without_secrets, scores.notes)]
    )
    return Attempt(record, scores, work, out_of_reach=False)


@dataclass(frozen=True, slots=True)
class _Listener:
    """Hears a job's events: sees whether time is up, counts work and notes, and passes progress on."""

    watch: Watch
    stop: Callable[[], None]
    work: Work
    notes: Counter[str] = field(default_factory=Counter)
    degenerate: list[str] = field(default_factory=list)

    def __call__(self, event: EncodeEvent) -> None:
        self.stop()
        if isinstance(event, EncodeNote):
            self.notes[event.message] += event.count
            if event.kind == DEGENERATE:
                self.degenerate.append(f"{event.count} {event.message}")
            return
        if isinstance(event, TextsEncoded):
            self.work.count(event)
        if not isinstance(event, Waiting):
            self.watch(event)


def _run_job(job: PlannedJob, data: TaskData, model: Model, listener: _Listener) -> Scores:
    if is_native(job.spec):
        scores = _scored_here(job, data, model, listener)
    else:
        with listener.work.phase("load"):
            task = data.task()
        with listener.work.phase("encode and score"), _explained(job, listener):
            scores = _bridged(job, task, _embedder(model), listener)
    _check_main_score(job.spec, scores, listener.degenerate)
    precision = [f"weights and activations in {model.spec.dtype}"] if model.spec.dtype != "float32" else []
    counted = [f"{count} {message}" for message, count in sorted(listener.notes.items())]
    return replace(scores, notes=(*scores.notes, *model.spec.notes, *precision, *counted))


def _scored_here(job: PlannedJob, data: TaskData, model: Model, listener: _Listener) -> Scores:
    kind, work = task_type(job.spec.scoring), listener.work
    is_local, split, subset = job.spec.data is not None, job.id.split, job.id.subset
    with work.phase("load"):
        records = kind.from_files(job.spec, split) if is_local else kind.from_mteb(data.task(), split, subset)
        columns = kind.columns(records)
    work.bytes = sum(len(text.encode("utf-8", "surrogatepass")) for column in columns for text in column.texts)
    listener.watch(TextsCounted(sum(len(column.texts) for column in columns)))
    if isinstance(model, RankingModel) and kind.ranks:
        with work.phase("rank"), _explained(job, listener):
            found = model.rank(records, job.spec.languages[subset], job.spec.context(), listener)
        with work.phase("score"), _explained(job, listener):
            from evalharness.scores import score_ranking

            scores: Scores = score_ranking(records, found)
            return replace(scores, notes=(*kind.notes(records), *scores.notes))
    with work.phase("encode"):
        embeddings = _embedder(model).encode_columns(columns, task=job.spec.context(), emit=listener)
    with work.phase("score"), _explained(job, listener):
        scores = kind.score(records, embeddings)
    return replace(scores, notes=(*kind.notes(records), *scores.notes))


@contextmanager
def _explained(job: PlannedJob, listener: _Listener) -> Iterator[None]:
    """Scoring, where libraries keep their warnings to themselves and what they cannot compute is said in our words.

    Raises:
        ModelError: the vectors are such that no score can be computed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ValueError, ArithmeticError) as error:
        if not listener.degenerate:
            raise
        raise ModelError(
            f"{job.spec.name}: no score can be computed ({error}): {'; '.join(listener.degenerate)}. Check the "
            "weights, or scale the vectors with --normalize"
        ) from error


def _embedder(model: Model) -> EmbeddingModel:
    if isinstance(model, RankingModel):
        raise UsageError(f"{model.spec.name} ranks documents and has no vectors; choose retrieval and reranking tasks")
    return model


def _bridged(job: PlannedJob, task: Any, model: EmbeddingModel, listener: _Listener) -> Scores:  # noqa: ANN401
    def encode_one(column: TextColumn) -> Embeddings:
        return model.encode_columns([column], task=job.spec.context(), emit=listener)[column.name]

    return score_with_mteb(task, job.id.split, job.id.subset, model.spec, encode_one)


def _check_main_score(spec: TaskSpec, scores: Scores, known: Sequence[str]) -> None:
    if spec.main_score not in scores.metrics:
        numbers = [name for name, value in scores.metrics.items() if isinstance(value, float)]
        raise DataError(f"{spec.name}: has no metric {spec.main_score!r} to rank by; there are {shorten(numbers, 20)}")
    if not isfinite(scores.metrics[spec.main_score]):
        raise DataError(
            f"{spec.name}: {spec.main_score} is not a number, so this is no score: all similarities or all gold values "
            f"are equal. Check that the model gives different texts different vectors{''.join(f'; {s}' for s in known)}"
        )


def _blank_record(job: PlannedJob, model: Model, started: float) -> JobRecord:
    facts = {
        "evalharness": __version__,
        "python": platform.python_version(),
        "device": model.device,
        "model": model.spec.model_dump(mode="json"),
        "task_type": job.spec.type,
        "packages": {name: installed_version(name) for name in PACKAGES},
    }
    return JobRecord(
        job=job.id,
        key=job.key,
        main_score=job.spec.main_score,
        languages=list(job.spec.languages[job.id.subset]),
        dataset_revision=job.spec.revision,
        seconds=time.monotonic() - started,
        facts=facts,
    )
