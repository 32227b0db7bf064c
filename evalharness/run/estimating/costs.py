"""What jobs and a whole run cost: seconds by phase, bytes of vectors, device memory; from their work and a speed."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isnan

from evalharness.catalog.amounts import JobAmounts
from evalharness.catalog.tasks import TaskSpec, needs_hub
from evalharness.models.prompts import encoding
from evalharness.results.records import JobId
from evalharness.run.estimating.devices import Alike, longest_first, shard_costs
from evalharness.run.estimating.memory import Shape, batch_bytes, weight_bytes
from evalharness.run.estimating.scripts import ENGLISH, rate_of
from evalharness.run.estimating.speed import Speed
from evalharness.run.estimating.work import JobWork, Texts
from evalharness.types import Encoding, ModelSpec, Side

# seconds of a processor core, measured on starter tasks, tasks of the Hub and generated ones (benchmarks/estimates.py)
START_SECONDS = 0.9
# what of reading the Hub is not done while the model is loaded
_HUB_START = 0.5
_SCORING_START = 1.1
_HUB_TASK, _FILE_TASK = 0.1, 0.02
_PER_TEXT_READ, _PER_BYTE_READ = 4e-6, 1.2e-8
_PER_TEXT, _PER_NUMBER = 1e-6, 1e-9
_PER_TESTED, _PER_FIT = 2e-6, 5e-3
_PER_QUERY, _PER_PRODUCT = 1.5e-4, 4e-11
# counting words takes as long as comparing vectors of so many numbers would
_LEXICAL_WIDTH = 1_400.0
# as the task types have them where they decide whether fits get processes of their own
_FIT = 2e-9
_PROCESSES_PAY = 3.0
_STORED_BESIDE = 18


@dataclass(frozen=True, slots=True)
class Outfit:
    """What a run computes with.

    Attributes:
        spec: the model.
        speed: how fast one device is with it.
        shape: of its transformer; None where nobody knows.
        devices: how many there are.
        batch_tokens: padded tokens of a batch; None where nobody makes batches here.
        at_once: batches that are on a device at the same time.
        stored: columns whose vectors the store has already, by task.
        keeps: whether vectors are kept.
    """

    spec: ModelSpec
    speed: Speed
    shape: Shape | None = None
    devices: int = 1
    batch_tokens: int | None = None
    at_once: int = 1
    stored: Mapping[str, Collection[Side]] = field(default_factory=dict)
    keeps: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """Texts of one length: how many, and seconds of all of them."""

    texts: float
    seconds: float


@dataclass(frozen=True, slots=True)
class JobCost:
    """What a job costs.

    Attributes:
        load, score: seconds.
        encode: seconds of all shards on the devices that there are.
        shards: seconds of each of them on one device.
        course: the texts in the order in which they are encoded.
        tokens: that go through the model.
        bytes: of vectors that are stored; NaN where nobody knows how large they are.
        memory: bytes of a device; None where nobody knows.
    """

    load: float
    encode: float
    score: float
    shards: Sequence[float] = ()
    course: Sequence[Part] = ()
    tokens: float = 0.0
    bytes: float = 0.0
    memory: int | None = None

    @property
    def seconds(self) -> float:
        """Of all its steps."""
        return self.load + self.encode + self.score

    def then(self, other: JobCost) -> JobCost:
        """With a second stage, which has no data of its own to read; both models are open."""
        memory = None if self.memory is None or other.memory is None else self.memory + other.memory
        return JobCost(
            self.load,
            self.encode + other.encode,
            self.score + other.score,
            (*self.shards, *other.shards),
            (*self.course, *other.course),
            self.tokens + other.tokens,
            self.bytes + other.bytes,
            memory,
        )


def job_cost(spec: TaskSpec, work: JobWork, outfit: Outfit) -> JobCost:
    """What a job costs, apart from what a run does once.

    Args:
        spec: its task.
        work: what it has to do.
        outfit: with what.
    """
    there, speed = outfit.stored.get(spec.name, ()), outfit.speed
    correction = speed.correction("encode")
    shards: list[float] = []
    course: list[Part] = []
    tokens = stored = longest = 0.0
    for how, columns in _by_encoding(spec, work, outfit.spec).items():
        if columns[0].side in there:
            continue
        reading = partial(_tokens, speed, work.scripts, how)
        alike = [Alike(texts.count / len(texts.lengths), one) for texts in columns for one in texts.lengths]
        # what is cut in the end is no shorter in a shard
        seconds = {one.length: speed.seconds(reading(one.length)) * correction for one in alike}
        shards += shard_costs(alike, seconds.__getitem__)
        course += [Part(one.count, one.count * seconds[one.length]) for one in sorted(alike, key=_longest_first)]
        read = sum(one.count * reading(one.length) for one in alike)
        tokens += read
        stored += sum(one.count for one in alike) * (speed.bytes_per_text + _STORED_BESIDE)
        stored += read * speed.bytes_per_token
        longest = max([longest, *(reading(one.length) for one in alike)])
    return JobCost(
        load=_load(spec, work) * speed.correction("load"),
        encode=longest_first(shards, outfit.devices),
        score=_score(spec, work, _width(outfit)) * speed.correction("score"),
        shards=shards,
        course=course,
        tokens=tokens,
        bytes=stored if outfit.keeps else 0.0,
        memory=_memory(outfit, longest),
    )


def _longest_first(alike: Alike) -> float:
    return -alike.length


def _by_encoding(spec: TaskSpec, work: JobWork, model: ModelSpec) -> Mapping[Encoding, list[Texts]]:
    """Columns that are encoded alike, together, as `EmbeddingModel.encode_columns` has it."""
    groups: dict[Encoding, list[Texts]] = defaultdict(list)
    for texts in work.texts:
        groups[encoding(model, texts.side, spec.context())].append(texts)
    return groups


def _tokens(speed: Speed, scripts: tuple[str, ...], how: Encoding, characters: float) -> float:
    """Tokens that a model reads of a text; prompts are written in English, or cost about as much."""
    prompt = len(how.prompt) * rate_of((ENGLISH,), speed.rates)
    whole = prompt + speed.tokens(characters, scripts, None)
    return whole if how.max_length is None else min(whole, how.max_length)


def _load(spec: TaskSpec, work: JobWork) -> float:
    """Seconds to read a job's data, which are on this machine already."""
    texts = sum(one.count for one in work.texts)
    return (_HUB_TASK if needs_hub(spec) else _FILE_TASK) + _PER_TEXT_READ * texts + _PER_BYTE_READ * work.bytes


def _width(outfit: Outfit) -> float:
    if outfit.spec.kind == "lexical":
        return _LEXICAL_WIDTH
    of_vectors = outfit.speed.bytes_per_text
    if of_vectors and not isnan(of_vectors):
        return of_vectors / 4
    return outfit.shape.width if outfit.shape is not None else 0


def _score(spec: TaskSpec, work: JobWork, width: float) -> float:
    """Seconds to score a job, by what grows with its size."""
    queries, corpus = work.of("queries"), work.of("corpus")
    if queries is not None and corpus is not None:
        compared = work.amounts.candidates or queries.count * corpus.count
        return _PER_QUERY * queries.count + _PER_PRODUCT * compared * width
    texts, amounts = sum(one.count for one in work.texts), work.amounts
    if amounts.fits:
        return (_PER_TESTED * texts + _PER_FIT) * amounts.fits + _fits(spec, amounts, width)
    if spec.scoring == "BitextMining":
        return _PER_TEXT * texts + _PER_PRODUCT * (texts / 2) ** 2 * width
    return (_PER_TEXT + _PER_NUMBER * width) * texts


def _fits(spec: TaskSpec, amounts: JobAmounts, width: float) -> float:
    """Seconds of classifiers or clusterings, in processes of their own where these pay."""
    if spec.scoring == "Clustering":
        alone = amounts.fits * min(8 * amounts.rows, 50_000) * width * (4 + 0.12 * amounts.labels) * 1e-9
    elif spec.scoring == "Classification":
        alone = _FIT * amounts.fits * amounts.rows * width * amounts.labels
    else:
        alone = _FIT * amounts.fits * amounts.rows * width
    return alone / min(os.cpu_count() or 1, amounts.fits) if alone > _PROCESSES_PAY else alone


def _memory(outfit: Outfit, longest: float) -> int | None:
    """Bytes on a device: weights and a batch at the budget, or of the longest text alone where that is longer."""
    speed, dtype = outfit.speed, outfit.spec.dtype
    if outfit.spec.kind == "lexical":
        return 0
    if speed.parameters is None or outfit.shape is None:
        return None
    tokens = max(outfit.batch_tokens or 0, round(longest))
    return weight_bytes(speed.parameters, dtype) + outfit.at_once * batch_bytes(outfit.shape, tokens, dtype)


@dataclass(frozen=True, slots=True)
class RunCost:
    """What a run costs.

    Attributes:
        jobs: what is to do; None where nothing says how large a job is.
        start: seconds before the first job: the program, its libraries, the model.
        devices: that encode.
    """

    jobs: Mapping[JobId, JobCost | None]
    start: float
    devices: int = 1

    @property
    def known(self) -> list[JobCost]:
        """Of jobs whose size is known."""
        return [cost for cost in self.jobs.values() if cost is not None]

    @property
    def load(self) -> float:
        """Seconds to read the data of all jobs."""
        return sum(cost.load for cost in self.known)

    @property
    def encode(self) -> float:
        """Seconds to encode: several devices need not wait at the end of each job, but a second stage for the first."""
        packed = longest_first([shard for cost in self.known for shard in cost.shards], self.devices)
        return max([packed, *(cost.encode for cost in self.known)])

    @property
    def score(self) -> float:
        """Seconds to score all jobs."""
        return sum(cost.score for cost in self.known)

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.start + self.load + self.encode + self.score

    @property
    def bytes(self) -> float:
        """Of vectors that are stored."""
        return sum(cost.bytes for cost in self.known)

    @property
    def memory(self) -> int | None:
        """Bytes of a device that the job takes which takes most."""
        return max((cost.memory for cost in self.known if cost.memory is not None), default=None)


def start_seconds(specs: Sequence[TaskSpec], loading: float, correction: float = 1.0) -> float:
    """Seconds of what a run does once.

    Args:
        specs: tasks that are to do.
        loading: seconds until the model is open; 0 if it need not be.
        correction: what all but the start of the program is multiplied by, as runs have shown.
    """
    if not specs:
        return START_SECONDS
    hub = _HUB_START if any(needs_hub(spec) for spec in specs) else 0.0
    return START_SECONDS + correction * (_SCORING_START + hub + loading)
