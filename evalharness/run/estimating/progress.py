"""How much of a run is left: its estimate, corrected by what happened so far; and what is kept of that in the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from evalharness.results.records import JobId
from evalharness.run.estimating.costs import START_SECONDS, JobCost, RunCost
from evalharness.run.estimating.speed import Phase, Seen
from evalharness.run.events import JobEnded, JobStarted, RunEvent, TextsCounted
from evalharness.run.together import JobResumed
from evalharness.types import TextsEncoded

# seconds that a phase has to have been seen before it corrects an estimate that nobody trusts
_LEAST_SEEN = 1.0
# of an estimate that is trusted, so many seconds count as seen as they were estimated
_TRUSTED = 3.0
_STEPS: tuple[Phase, ...] = ("load", "encode", "score")


@dataclass(slots=True)
class _Job:
    """A job under way.

    Attributes:
        cost: what was estimated of it; None where nothing was known.
        began: when its present step began.
        step: which that is.
        texts: all of them, repeated ones and those that are stored included; 0 before its data are loaded.
        encoded, there: how many went through the model, and how many were there or repeated.
        first, last: when texts came out of the model for the first and for the last time, in seconds of an engine (see
            `Progress`); None before.
        before: those that were encoded with the first ones.
    """

    cost: JobCost | None
    began: float
    step: Phase = "load"
    texts: int = 0
    encoded: int = 0
    there: int = 0
    tokens: int = 0
    first: float | None = None
    last: float = 0.0
    before: int = 0

    def hear(self, event: TextsEncoded, now: float) -> None:
        """Take in that some texts are done."""
        if not event.tokens:
            self.there += event.count
            return
        self.encoded, self.tokens, self.last = self.encoded + event.count, self.tokens + event.tokens, now
        if self.first is None:
            self.first, self.before = now, self.encoded

    @property
    def is_encoded(self) -> bool:
        """Whether nothing of it is left for the model, as far as it is known."""
        return self.encoded + self.there >= self.texts

    def estimated(self, texts: int) -> float:
        """Seconds that were estimated for the first so many texts that go through the model."""
        if self.cost is None or not self.cost.course:
            return 0.0
        whole = sum(part.texts for part in self.cost.course)
        left = share = min(texts / max(whole * self.missing(), 1), 1.0) * whole
        seconds = 0.0
        for part in self.cost.course:
            taken = min(left, part.texts)
            seconds += part.seconds * taken / part.texts if part.texts else 0.0
            left -= taken
        return seconds * self.missing() if share else 0.0

    def missing(self) -> float:
        """Share of the texts in its estimate that go through the model; that has each repeated text once already."""
        whole = 0 if self.cost is None else sum(part.texts for part in self.cost.course)
        return min(max(self.texts - self.there, 0) / whole, 1.0) if whole and self.texts else 1.0


@dataclass(slots=True)
class _Sum:
    """Seconds that a step took in jobs, and those that were estimated for the same."""

    actual: float = 0.0
    estimated: float = 0.0


@dataclass(slots=True)
class _Heard:
    """What a run has shown so far.

    Attributes:
        jobs: under way.
        ended: those that are not any more.
        sums: by step, of jobs that ended.
        tokens, texts: that went through the model in them.
        estimated_tokens: of the same.
        first: the job that began first; libraries are imported while its data are loaded.
        first_load: estimated seconds of that.
        opened: when the model gave its first vectors.
    """

    jobs: dict[JobId, _Job] = field(default_factory=dict)
    ended: set[JobId] = field(default_factory=set)
    sums: dict[Phase, _Sum] = field(default_factory=lambda: {step: _Sum() for step in _STEPS})
    tokens: int = 0
    estimated_tokens: float = 0.0
    texts: int = 0
    first: JobId | None = None
    first_load: float = 0.0
    opened: float | None = None


class _Left(NamedTuple):
    """Seconds that are left of steps, those of encoding of one engine."""

    load: float = 0.0
    encode: float = 0.0
    score: float = 0.0

    def seconds(self, share: float) -> float:
        """Of all of them, where encoding takes such a share of what it takes one engine."""
        return self.load + self.encode * share + self.score


class Progress:
    """Hears what happens in a run and says how much of it is left; threads may ask and tell at the same time.

    What encoding takes is counted in seconds of one engine: where several of them encode several jobs, each job gets
    its share of what all of them have.
    """

    def __init__(self, cost: RunCost, *, trusted: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """See the class; the run begins now.

        Args:
            cost: what was estimated.
            trusted: whether its seconds of encoding are from a speed that is known; else only how they are distributed.
            clock: in seconds.
        """
        self._cost, self._trusted, self._clock = cost, trusted, clock
        self._began = clock()
        self._heard = _Heard()
        self._current: _Job | None = None
        self._engines: Callable[[], int] = lambda: 1
        self._shared, self._told = 0.0, self._began
        self._lock = threading.Lock()

    def spread(self, engines: Callable[[], int]) -> None:
        """Say that several engines encode.

        Args:
            engines: how many they are now; 0 as long as nobody knows.
        """
        self._engines = engines

    def __call__(self, event: RunEvent) -> None:
        """Take in an event."""
        now = self._clock()
        with self._lock:
            shared = self._share(now)
            if isinstance(event, JobStarted):
                self._start(event.job.id, now)
            elif isinstance(event, JobResumed):
                self._current = self._heard.jobs.get(event.job)
            elif isinstance(event, TextsCounted) and self._current is not None:
                job = self._current
                job.step, job.texts, job.began = "encode", event.texts, now
            elif isinstance(event, TextsEncoded) and self._current is not None:
                self._current.hear(event, shared)
                if self._current.is_encoded:
                    self._current.step, self._current.began = "score", now
                if event.tokens and self._heard.opened is None:
                    self._heard.opened = now
            elif isinstance(event, JobEnded):
                self._end(event)

    def _share(self, now: float) -> float:
        """Seconds of an engine that each of the jobs has had that are encoded at the same time."""
        self._shared += (now - self._told) * max(1, self._engines()) / max(1, self._encoding)
        self._told = now
        return self._shared

    @property
    def _encoding(self) -> int:
        """How many jobs are encoded."""
        return sum(job.step == "encode" for job in self._heard.jobs.values())

    def _start(self, job: JobId, now: float) -> None:
        self._current = self._heard.jobs[job] = begun = _Job(self._cost.jobs.get(job), now)
        if self._heard.first is None:
            self._heard.first, self._heard.first_load = job, 0.0 if begun.cost is None else begun.cost.load

    def _end(self, event: JobEnded) -> None:
        heard, job = self._heard, self._heard.jobs.pop(event.record.job, None)
        heard.ended.add(event.record.job)
        if job is None or event.record.error is not None:
            return
        if job is self._current:
            self._current = None
        if job.cost is None:
            return
        if "score" in event.spent:
            self._add("score", event.spent["score"], job.cost.score)
        if "load" in event.spent and event.record.job != heard.first:
            self._add("load", event.spent["load"], job.cost.load)
        if job.first is not None:
            self._add("encode", job.last - job.first, job.estimated(job.encoded) - job.estimated(job.before))
            heard.tokens, heard.texts = heard.tokens + job.tokens, heard.texts + job.encoded
            heard.estimated_tokens += job.cost.tokens * job.missing()

    def _add(self, step: Phase, actual: float, estimated: float) -> None:
        found = self._heard.sums[step]
        found.actual, found.estimated = found.actual + actual, found.estimated + estimated

    def left(self) -> float | None:
        """Seconds until the run ends; None while nothing tells it."""
        with self._lock:
            now, engines = self._clock(), self._engines()
            shared = self._share(now)
            if (ratios := self._ratios()) is None or not engines:
                return None
            under_way = self._heard.jobs
            left = [self._left_of(job, ratios, now, shared) for job in under_way.values()]
            left += [
                _Left(*(ratios[step] * getattr(cost, step) for step in _STEPS))
                for job, cost in self._cost.jobs.items()
                if cost is not None and job not in self._heard.ended and job not in under_way
            ]
            seconds = sum(one.seconds(1 / engines) for one in left)
            if self._heard.opened is None:
                seconds += max(self._cost.start - (now - self._began), 0.0)
            return seconds

    def left_of(self, job: JobId) -> float | None:
        """Seconds until a job that is under way ends; None while nothing tells it."""
        with self._lock:
            now, engines, found = self._clock(), self._engines(), self._heard.jobs.get(job)
            shared = self._share(now)
            if found is None or found.cost is None or (ratios := self._ratios()) is None or not engines:
                return None
            return self._left_of(found, ratios, now, shared).seconds(max(1, self._encoding) / engines)

    def _ratios(self) -> Mapping[str, float] | None:
        if (encode := self._ratio("encode")) is None:
            return None
        return {"encode": encode, "load": self._ratio("load") or 1.0, "score": self._ratio("score") or 1.0}

    def _left_of(self, job: _Job, ratios: Mapping[str, float], now: float, shared: float) -> _Left:
        if job.cost is None:
            return _Left()
        score = ratios["score"] * job.cost.score
        if job.step == "score":
            return _Left(score=max(score - (now - job.began), 0.0))
        if job.step == "load":
            load = max(ratios["load"] * job.cost.load - (now - job.began), 0.0)
            return _Left(load, ratios["encode"] * job.cost.encode, score)
        missing = job.estimated(max(job.texts - job.there, 0)) - job.estimated(job.encoded)
        since = shared - job.last if job.first is not None else 0.0
        return _Left(0.0, max(ratios["encode"] * missing - since, 0.0), score)

    def _ratio(self, step: Phase) -> float | None:
        """What estimates of a step are to be multiplied by; None where there is nothing to go by."""
        found = self._heard.sums[step]
        actual, estimated = found.actual, found.estimated
        job = self._current
        if step == "encode" and job is not None and job.first is not None:
            actual += job.last - job.first
            estimated += job.estimated(job.encoded) - job.estimated(job.before)
        if self._trusted or step != "encode":
            return (actual + _TRUSTED) / (estimated + _TRUSTED)
        return actual / estimated if actual >= _LEAST_SEEN and estimated > 0 else None

    def shown(self) -> Shown:
        """What the jobs that ended have shown."""
        heard = self._heard
        seen = {step: Seen(actual=found.actual, estimated=found.estimated) for step, found in heard.sums.items()}
        if heard.opened is not None:
            estimated = self._cost.start - START_SECONDS + heard.first_load
            seen["start"] = Seen(actual=heard.opened - self._began, estimated=estimated)
        return Shown(seen, heard.texts, heard.tokens, heard.estimated_tokens)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a run has shown.

    Attributes:
        steps: seconds by step, and those that were estimated for the same; `start` ends with the first vectors.
        texts, tokens: that went through the model in jobs that ended.
        estimated_tokens: of the same.
    """

    steps: Mapping[Phase, Seen]
    texts: int
    tokens: int
    estimated_tokens: float
