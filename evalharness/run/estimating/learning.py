"""What a run shows of a model's speed: followed as it goes, and kept for the next estimate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evalharness.hub import ignore_message
from evalharness.models.lazy import is_known_by_files
from evalharness.models.loading import System
from evalharness.models.pool.asked import asked_pool
from evalharness.run.estimating.foreseeing import Setting, foresee
from evalharness.run.estimating.progress import Progress, Shown
from evalharness.run.estimating.scripts import USUAL
from evalharness.run.estimating.speed import Phase, Point, Seen, Speed, find_speed, keep_speed, speed_key
from evalharness.run.events import Foreseen, RunEvent, Watch
from evalharness.run.plan import Plan
from evalharness.run.steps import Model

# by which work is distributed over a run where nothing is known of the model
_ANY_RATE = 2000.0
# seconds of encoding that show something
_LEAST_SECONDS = 1.0
_FLOAT = 4.0
# seconds until a model is open, about; a first run, which may export and measure it, takes longer than all others
_LOADING, _LOADING_OF_PARAMETER = 4.0, 4e-9


@dataclass(frozen=True, slots=True)
class Following:
    """A run that is followed.

    Attributes:
        system: what is evaluated.
        progress: hears of it.
        key: of the model's speed, taken before libraries are imported, which set variables; empty where none is kept.
        is_known: whether the model's speed was known before.
    """

    system: System
    progress: Progress
    key: Mapping[str, Any]
    is_known: bool

    def beside(self, watch: Watch, model: Model) -> Callable[[RunEvent], None]:
        """What hears a run's events for both, and is told first how long the run takes.

        Args:
            watch: hears them.
            model: that runs.
        """
        if (workers := model.workers) is not None:
            self.progress.spread(lambda: workers.engines)
        watch(Foreseen(self.progress.left, self.progress.left_of))

        def hear(event: RunEvent) -> None:
            self.progress(event)
            watch(event)

        return hear

    def keep(self, model: Model) -> None:
        """Keep what the run has shown, unless that was little; of two stages nobody knows which took how long.

        Args:
            model: what ran.
        """
        shown = self.progress.shown()
        encoding = shown.steps["encode"]
        if self.system.reranker is not None or not self.key or encoding.actual < _LEAST_SECONDS:
            return
        known = find_speed(self.key)
        if known is not None and self.is_known:
            # what was estimated is corrected already
            raw: dict[Phase, Seen] = {
                step: Seen(actual=seen.actual, estimated=seen.estimated / known.correction(step))
                for step, seen in shown.steps.items()
            }
            keep_speed(known.learned(raw))
        elif known is None and shown.tokens and encoding.estimated:
            keep_speed(_first_speed(model, shown).changed({"made_of": dict(self.key)}))


def _first_speed(model: Model, shown: Shown) -> Speed:
    """The speed of a model that nobody has measured: its seconds for texts of the length that it had."""
    per_text, encoding, about = shown.tokens / shown.texts, shown.steps["encode"], model.about
    scale = shown.tokens / shown.estimated_tokens if shown.estimated_tokens else 1.0
    # the estimate has the same texts at a rate that is known, with as many tokens as most tokenizers make
    each = encoding.actual / encoding.estimated / (_ANY_RATE * scale) * per_text
    return Speed(
        is_calibrated=False,
        points=(Point(tokens=per_text, seconds=each),),
        rates={script: rate * scale for script, rate in USUAL.items()},
        bytes_per_text=_FLOAT * (about.dimensions or 0),
        loading=_LOADING + _LOADING_OF_PARAMETER * (about.parameters or 0),
        parameters=about.parameters,
        batch_tokens=model.computing.batch_tokens,
        device=model.device,
        seen={"encode": Seen(actual=encoding.actual, estimated=encoding.actual)},
    )


def follow(plan: Plan, system: System, setting: Setting) -> Following:
    """Follow a run that begins now.

    Args:
        plan: which jobs.
        system: what is evaluated.
        setting: with what.
    """
    # of several devices, nobody knows which took how long
    is_one = is_known_by_files(system.model) and asked_pool(system.model, setting.execution) is None
    key = speed_key(system.model, setting.execution) if is_one else {}
    cost = foresee(plan, system, setting, ignore_message).cost
    is_known = cost is not None
    if cost is None and (cost := foresee(plan, system, setting.at(_ANY_RATE), ignore_message).cost) is None:
        raise AssertionError("at a stated rate, everything costs something")
    return Following(system, Progress(cost, trusted=is_known), key, is_known)
