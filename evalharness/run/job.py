"""One job of a run: its steps one after another; whatever happens to it becomes a record."""

from __future__ import annotations

import logging
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from typing import Any, cast

from evalharness import __version__
from evalharness.catalog.models import ModelFacts
from evalharness.catalog.selection import TaskChoice
from evalharness.catalog.tasks import TaskSpec
from evalharness.data.mteb import load_mteb_task
from evalharness.errors import (
    DataError,
    EvalHarnessError,
    ModelError,
    PrerequisiteError,
    StoppedError,
    StorageError,
    shorten,
    without_secrets,
)
from evalharness.models.degenerate import DEGENERATE
from evalharness.models.rankers import RankingModel
from evalharness.results.records import ABOUT, JobId, JobRecord, installed_version
from evalharness.run.events import PlannedJob, TextsCounted, Watch
from evalharness.run.quiet import without_warnings
from evalharness.run.steps import Encoded, Loaded, Model, Scoring, encode, encode_and_score_in_mteb, load, score
from evalharness.tasks import is_native, task_type
from evalharness.types import (
    EncodeEvent,
    EncodeNote,
    Scores,
    TextsEncoded,
    Waiting,
)

_log = logging.getLogger(__name__)
PACKAGES = ("mteb", "torch", "transformers", "datasets", "numpy", "scikit-learn", "scipy")


class TaskData:
    """What jobs of one task share: mteb's task object, read on first use and only once, also where reading fails."""

    def __init__(self, choice: TaskChoice, say: Callable[[str], None]) -> None:
        """See the class.

        Args:
            choice: the task, with the splits and subsets that are to be loaded.
            say: is told if the Hub has to be asked again.
        """
        self._choice = choice
        self._say = say
        self._task: Any = None
        self._error: EvalHarnessError | None = None

    def load(self, job: JobId) -> Loaded:
        """As `steps.load`."""
        return load(job, self._choice, self._read)

    def _read(self, choice: TaskChoice) -> Any:  # noqa: ANN401 -- mteb's own class
        if self._error is not None:
            raise self._error
        if self._task is None:
            try:
                self._task = load_mteb_task(choice, self._say)
            except EvalHarnessError as error:
                self._error = error
                raise
        return self._task


def data_of(jobs: Sequence[PlannedJob], say: Callable[[str], None]) -> TaskData:
    """The data of some jobs of one task.

    Args:
        jobs: at least one.
        say: is told if the Hub has to be asked again.
    """
    whole, ids = jobs[0].choice, [job.id for job in jobs]
    if draws_in_order(whole.spec):
        return TaskData(whole, say)
    splits, subsets = dict.fromkeys(i.split for i in ids), dict.fromkeys(i.subset for i in ids)
    return TaskData(replace(whole, splits=tuple(splits), subsets=tuple(subsets)), say)


def draws_in_order(spec: TaskSpec) -> bool:
    """Whether random draws for one subset depend on those before it."""
    return is_native(spec) and task_type(spec.scoring).draws_in_order


@dataclass(slots=True)
class Work:
    """What a job costs, counted while it runs; `encoded` are the texts that went through the model, in these actors.

    Encoding is timed by the `clock`, in seconds; it is slower where several jobs share the model.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    texts: int = 0
    encoded: int = 0
    tokens: int = 0
    bytes: int = 0
    clock: Callable[[], float] = time.monotonic
    actors: set[str] = field(default_factory=set)

    @contextmanager
    def phase(self, name: str, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
        """Time a part of the job."""
        started = clock()
        try:
            yield
        finally:
            self.seconds[name] = clock() - started

    def count(self, event: TextsEncoded) -> None:
        """Add what an event tells."""
        self.texts += event.count
        self.tokens += event.tokens
        self.encoded += event.count if event.tokens else 0
        self.actors |= {event.by} if event.by else set()


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


@dataclass(slots=True)
class JobUnderWay:
    """A job between its steps: what they made so far. Each step may be done by another thread, but one at a time.

    Attributes:
        planned: which.
        work: what it cost so far.
        notes: message -> how many texts it is about.
        degenerate: what is wrong with its vectors.
        loaded, encoded: what the steps of the same name gave.
        scores: also there after `encode_job` where mteb scores while it encodes.
        about: what is known of the model itself, once it has encoded.
        failure: why a step failed; those after it do nothing then.
    """

    planned: PlannedJob
    work: Work = field(default_factory=Work)
    notes: Counter[str] = field(default_factory=Counter)
    degenerate: list[str] = field(default_factory=list)
    loaded: Loaded | None = None
    encoded: Encoded | None = None
    scores: Scores | None = None
    about: ModelFacts | None = None
    failure: Exception | SystemExit | None = None

    @contextmanager
    def failures_kept(self) -> Iterator[None]:
        """Whatever happens in here stops nothing but this job; what ends the whole run goes on."""
        try:
            yield
        except (StorageError, StoppedError):
            raise
        # the one place that keeps a job's failure from stopping the others; a model's own code may call sys.exit
        except (Exception, SystemExit) as error:  # noqa: BLE001
            _log.debug("%s failed", self.planned.id, exc_info=True)
            self.failure = error


def never_stop() -> None:
    """For runs without an end of their own."""


def load_job(job: JobUnderWay, data: TaskData) -> None:
    """The first step of a job: read its data."""
    with job.failures_kept(), job.work.phase("load"):
        job.loaded = loaded = data.load(job.planned.id)
        texts = (text for column in loaded.columns for text in column.texts)
        job.work.bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def encode_job(job: JobUnderWay, model: Model, watch: Watch, stop: Callable[[], None] = never_stop) -> None:
    """The second step: what the model has to do.

    Args:
        job: after `load_job`.
        model: encodes or ranks.
        watch: is told of progress.
        stop: is called at each event; it may raise StoppedError, which loses no work.
    """
    loaded, work, listener = job.loaded, job.work, _Listener(job, watch, stop)
    if job.failure is None and loaded is not None:
        with job.failures_kept():
            if is_native(job.planned.spec):
                watch(TextsCounted(sum(len(column.texts) for column in loaded.columns)))
                ranks = isinstance(model, RankingModel)
                with (
                    job.work.phase("rank" if ranks else "encode", job.work.clock),
                    _explained(job) if ranks else nullcontext(),
                ):
                    job.encoded = encode(loaded, model, listener)
            else:
                with work.phase("encode and score", work.clock), _explained(job):
                    job.scores = encode_and_score_in_mteb(loaded, model, listener)
    # now, for the next job may tell the model more of itself
    job.about = model.about


def score_job(job: JobUnderWay, model: Model, scorer: Scoring | None = None) -> Attempt:
    """The last step, for which the model does nothing any more: scores and the record, whatever happened before.

    Args:
        job: after `encode_job`.
        model: says what it is.
        scorer: does what `steps.score` does, in its place.
    """
    if job.failure is None:
        with job.failures_kept():
            job.scores = _noted(job, model, _scores(job, scorer or score))
    if (error := job.failure) is not None:
        known = isinstance(error, EvalHarnessError)
        message = str(error) if known else without_secrets(f"{type(error).__name__}: {error}")
        record = replace(_blank_record(job, model), error=message)
        return Attempt(record, None, job.work, isinstance(error, PrerequisiteError))
    scores = cast("Scores", job.scores)
    record = replace(_blank_record(job, model), metrics=scores.metrics, notes=[*map(without_secrets, scores.notes)])
    return Attempt(record, scores, job.work, out_of_reach=False)


def _scores(job: JobUnderWay, scorer: Scoring) -> Scores:
    if job.scores is not None:
        return job.scores
    if job.loaded is None or job.encoded is None:
        raise AssertionError("a job is scored after it is loaded and encoded")
    with job.work.phase("score"), _explained(job):
        return scorer(job.loaded, job.encoded)


def _noted(job: JobUnderWay, model: Model, scores: Scores) -> Scores:
    """Scores that can be a result, with what was noted on the way to them."""
    _check_main_score(job.planned.spec, scores, job.degenerate)
    is_lowered = model.spec.dtype != "float32"
    # what the engine says of it is more
    precision = [f"weights and activations in {model.spec.dtype}"] if is_lowered and not model.computing.notes else []
    counted = [f"{count} {message}" for message, count in sorted(job.notes.items())]
    notes = (*scores.notes, *model.spec.notes, *precision, *model.computing.notes, *counted)
    return replace(scores, notes=notes)


@dataclass(frozen=True, slots=True)
class _Listener:
    """Hears a job's events: sees whether time is up, counts work and notes, and passes progress on."""

    job: JobUnderWay
    watch: Watch
    stop: Callable[[], None]

    def __call__(self, event: EncodeEvent) -> None:
        self.stop()
        if isinstance(event, EncodeNote):
            self.job.notes[event.message] += event.count
            if event.kind == DEGENERATE:
                self.job.degenerate.append(f"{event.count} {event.message}")
            return
        if isinstance(event, TextsEncoded):
            self.job.work.count(event)
        if not isinstance(event, Waiting):
            self.watch(event)


@contextmanager
def _explained(job: JobUnderWay) -> Iterator[None]:
    """Scoring, where libraries keep their warnings to themselves and what they cannot compute is said in our words.

    Raises:
        ModelError: the vectors are such that no score can be computed.
    """
    try:
        with without_warnings():
            yield
    except (ValueError, ArithmeticError) as error:
        if not job.degenerate:
            raise
        raise ModelError(
            f"{job.planned.spec.name}: no score can be computed ({error}): {'; '.join(job.degenerate)}. Check the "
            "weights, or scale the vectors with --normalize"
        ) from error


def _check_main_score(spec: TaskSpec, scores: Scores, known: Sequence[str]) -> None:
    if spec.main_score not in scores.metrics:
        numbers = [name for name, value in scores.metrics.items() if isinstance(value, float)]
        raise DataError(f"{spec.name}: has no metric {spec.main_score!r} to rank by; there are {shorten(numbers, 20)}")
    if not isfinite(scores.metrics[spec.main_score]):
        raise DataError(
            f"{spec.name}: {spec.main_score} is not a number, so this is no score: all similarities or all gold values "
            f"are equal. Check that the model gives different texts different vectors{''.join(f'; {s}' for s in known)}"
        )


def _actors(job: JobUnderWay) -> dict[str, int]:
    """How many actors of Ray had texts of a job, and on how many nodes; nothing where there were none."""
    by = job.work.actors
    return {"actors": len(by), "nodes": len({actor.partition("/")[0] for actor in by})} if by else {}


def _blank_record(job: JobUnderWay, model: Model) -> JobRecord:
    planned, about = job.planned, asdict(job.about or model.about)
    facts = {
        "evalharness": __version__,
        "python": platform.python_version(),
        "device": model.device,
        **model.computing.facts(),
        **_actors(job),
        "model": model.spec.model_dump(mode="json"),
        ABOUT: {name: value for name, value in about.items() if value is not None},
        "task_type": planned.spec.type,
        "packages": {name: installed_version(name) for name in PACKAGES},
    }
    return JobRecord(
        job=planned.id,
        key=planned.key,
        main_score=planned.spec.main_score,
        languages=list(planned.spec.languages[planned.id.subset]),
        dataset_revision=planned.spec.revision,
        # of its steps: between them it may wait for those of other jobs
        seconds=sum(job.work.seconds.values()),
        facts=facts,
    )
