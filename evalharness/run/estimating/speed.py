"""How fast a model is on this machine: what was measured, and what runs have shown since.

    <cache folder>/speeds/<digest>.json    a `Speed`, under the digest of all that decides it

Nothing in it changes a number of a result. It may be removed at any time; what is found there is whole and as it was
written, or it is not found.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from evalharness.files import cache_folder
from evalharness.models.kept import Kept, find_kept, keep
from evalharness.models.lazy import opening_key
from evalharness.models.loading import ResolvedModel
from evalharness.models.options import Execution
from evalharness.run.estimating.scripts import USUAL, rate_of
from evalharness.types import Frozen

Phase: TypeAlias = Literal["start", "load", "encode", "score"]
PHASES: tuple[Phase, ...] = ("start", "load", "encode", "score")
# raised when what is measured changes
_VERSION = 1
# seconds by which an estimate is trusted, against what was seen; of short scoring most is the import of libraries
_TRUST: Mapping[Phase, float] = {"start": 2.0, "load": 2.0, "encode": 3.0, "score": 15.0}
# what earlier runs have shown counts half as much as the last one
_FADING = 0.5
# how many processors there are for it
_THREADS = ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT")


class Point(Frozen):
    """Seconds that a text of so many tokens takes among others of its length."""

    tokens: float
    seconds: float


class Seen(Frozen):
    """Seconds that something took in runs, and those that were estimated; of the last runs most."""

    actual: float = 0.0
    estimated: float = 0.0

    def ratio(self, trust: float) -> float:
        """What estimates are to be multiplied by.

        Args:
            trust: as many seconds are taken to have been as estimated.
        """
        return (self.actual + trust) / (self.estimated + trust)


class Speed(Kept):
    """How fast a model is, and how large what it makes.

    Attributes:
        is_calibrated: whether it was measured; else it is what a run has shown.
        points: at rising lengths.
        special: tokens of a text beside its own.
        rates: tokens of a character by script; see `scripts`.
        bytes_per_text, bytes_per_token: of vectors; NaN where nobody knows.
        loading: seconds until the model is open.
        parameters: how many; None where nobody can count them.
        batch_tokens: padded tokens of a batch; None where nobody makes batches here.
        device: where it runs.
        seen: what runs have shown, by phase.
    """

    is_calibrated: bool = True
    points: tuple[Point, ...]
    special: float = 2.0
    rates: dict[str, float] = dict(USUAL)
    bytes_per_text: float = 0.0
    bytes_per_token: float = 0.0
    loading: float = 0.0
    parameters: int | None = None
    batch_tokens: int | None = None
    device: str = ""
    seen: dict[Phase, Seen] = {}

    def tokens(self, characters: float, scripts: tuple[str, ...], most: int | None) -> float:
        """Tokens of a text that a model reads.

        Args:
            characters: of the text, with its prompt.
            scripts: see `scripts_of`.
            most: where it is cut; None for nowhere.
        """
        whole = self.special + characters * rate_of(scripts, self.rates)
        return whole if most is None else min(whole, most)

    def seconds(self, tokens: float) -> float:
        """Seconds for a text of so many tokens: between the points in straight lines, and on as between the last two.

        Below the first point a text takes less in proportion; beyond a single one as well.
        """
        points = self.points
        if len(points) == 1 or tokens <= points[0].tokens:
            return points[0].seconds * tokens / points[0].tokens
        right = next((number for number, point in enumerate(points) if point.tokens >= tokens), len(points) - 1)
        before, after = points[right - 1], points[right]
        slope = (after.seconds - before.seconds) / (after.tokens - before.tokens)
        # a measurement that was disturbed must not make long texts cost nothing
        return max(before.seconds + slope * (tokens - before.tokens), before.seconds)

    @property
    def seen_seconds(self) -> float:
        """Of encoding, in runs."""
        return self.seen["encode"].actual if "encode" in self.seen else 0.0

    def correction(self, phase: Phase) -> float:
        """What estimates of a phase are to be multiplied by, as runs have shown."""
        return self.seen[phase].ratio(_TRUST[phase]) if phase in self.seen else 1.0

    def learned(self, phases: Mapping[Phase, Seen]) -> Speed:
        """The speed after a run.

        Args:
            phases: what it took, and what was estimated before any correction.
        """
        seen = dict(self.seen)
        for phase, new in phases.items():
            old = seen.get(phase, Seen())
            seen[phase] = Seen(
                actual=_FADING * old.actual + new.actual, estimated=_FADING * old.estimated + new.estimated
            )
        return self.changed({"seen": seen, "digest": ""})


def stated_speed(tokens_per_second: float, bytes_per_text: float, parameters: int | None) -> Speed:
    """A speed that the user states, of a model that is not opened.

    Args:
        tokens_per_second: of one device, whatever the length of a text.
        bytes_per_text: of its vector.
        parameters: how many the model has, where known.
    """
    point = Point(tokens=1.0, seconds=1.0 / tokens_per_second)
    return Speed(points=(point,), bytes_per_text=bytes_per_text, parameters=parameters)


def on_one_device(execution: Execution) -> Execution:
    """The same on a single device of this machine; whatever else is said of a run decides no speed."""
    return Execution(
        device=execution.device,
        batch_tokens=execution.batch_tokens,
        engine=execution.engine,
        threads=execution.threads,
    )


def speed_key(model: ResolvedModel, execution: Execution) -> dict[str, Any]:
    """All that decides how fast one device is with a model."""
    return {
        "version": _VERSION,
        **opening_key(model, on_one_device(execution)),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": {name: os.environ[name] for name in _THREADS if name in os.environ},
    }


def speeds_folder() -> Path:
    """Where speeds are kept."""
    return cache_folder() / "speeds"


def find_speed(key: Mapping[str, Any]) -> Speed | None:
    """What is kept under a key; None if nothing is, or the file is not as it was written."""
    return find_kept(Speed, speeds_folder(), key)


def keep_speed(speed: Speed) -> None:
    """Keep a speed in place of what is there; without room or permission, nothing is kept."""
    keep(speeds_folder(), speed.sealed())
