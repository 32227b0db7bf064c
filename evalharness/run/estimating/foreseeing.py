"""From a plan to what it costs: which speed is known of the model, or is measured now, and what the store has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import nan
from pathlib import Path

from evalharness.catalog.models import NOTHING_KNOWN, model_facts
from evalharness.errors import EvalHarnessError
from evalharness.models.computing import ACCELERATOR_TOKENS, CPU_TOKENS, GPU_BATCHES
from evalharness.models.lazy import is_known_by_files, known_opening
from evalharness.models.loading import Named, ResolvedModel, System, stored_sides
from evalharness.models.options import Execution
from evalharness.models.registry import find_backend
from evalharness.run.estimating.costs import JobCost, Outfit, RunCost, job_cost, start_seconds
from evalharness.run.estimating.memory import Shape, read_shape, usual_shape
from evalharness.run.estimating.speed import Speed, find_speed, keep_speed, speed_key, stated_speed
from evalharness.run.estimating.work import as_pairs, work_of
from evalharness.run.events import PlannedJob
from evalharness.run.plan import Plan
from evalharness.types import ModelSpec, Side

# of the memory that is free, what weights may take that are loaded only to be measured
_SHARE_OF_MEMORY = 0.5
# seconds of encoding in runs that say as much as a calibration
_SEEN_ENOUGH = 2.0
_FLOAT = 4
# of a lexical model: tokens that it cuts and counts in a second, and seconds until its libraries are there
_WORDS_RATE, _WORDS_LOADING = 1.5e6, 5.0


@dataclass(frozen=True, slots=True)
class Setting:
    """With what a run would be carried out.

    Attributes:
        execution: how a model runs.
        store: folder of the embedding store; None to keep no vectors.
        devices: that encode.
        rate: tokens per second of each, where somebody states it.
        may_measure: whether a model of which nothing is known is opened and measured.
    """

    execution: Execution
    store: Path | None = None
    devices: int = 1
    rate: float | None = None
    may_measure: bool = False

    def at(self, rate: float) -> Setting:
        """The same at a stated rate."""
        return replace(self, rate=rate)


@dataclass(frozen=True, slots=True)
class Foresight:
    """What a run will cost, as far as it is known.

    Attributes:
        cost: of the jobs to do; None where nothing says how fast the model is.
        batch_tokens: padded tokens of the batch that memory is counted for; None where nobody makes batches here.
        why: where the speed is from, or why there is none.
    """

    cost: RunCost | None
    batch_tokens: int | None = None
    why: str = ""


def foresee(plan: Plan, system: System | Named, setting: Setting, say: Callable[[str], None]) -> Foresight:
    """What the jobs of a plan cost that are to do.

    Args:
        plan: which jobs.
        system: what is evaluated; the model's name, where its files are not here.
        setting: with what.
        say: is told what takes a while.
    """
    stated = None if setting.rate is None else f"at the stated {setting.rate:,.0f} tokens per second and device"
    if isinstance(system, Named):
        if setting.rate is None:
            return Foresight(None, why="the model is not on disk, so nothing says how fast it is; give --rate")
        outfit = _named_outfit(system, setting, setting.rate)
        return Foresight(_cost(plan, [outfit], 0), outfit.batch_tokens, stated or "")
    outfits = []
    stages = (system.model, *([] if system.reranker is None else [system.reranker]))
    for stage in stages:
        speed = _speed(stage, setting, say)
        if isinstance(speed, str):
            return Foresight(None, why=speed)
        outfits.append(_outfit(plan, stage, speed, setting))
    why = stated or "at the speed measured on this machine"
    if all(map(_counts_words, stages)):
        why = f"at the usual speed of {system.model.spec.name}"
    if stated is None and any("encode" in outfit.speed.seen for outfit in outfits):
        why += ", corrected by the runs since"
    batch = next((outfit.batch_tokens for outfit in outfits if outfit.batch_tokens is not None), None)
    return Foresight(_cost(plan, outfits, system.top_k), batch, why)


def _cost(plan: Plan, outfits: Sequence[Outfit], top_k: int) -> RunCost:
    jobs = {planned.id: _job_cost(planned, outfits, top_k) for planned in plan.todo}
    loading = sum(outfit.speed.loading for outfit in outfits)
    if not any(cost is None or cost.shards for cost in jobs.values()):
        # a run whose vectors are all stored opens no model
        loading = 0.0
    specs = [planned.spec for planned in plan.todo]
    start = start_seconds(specs, loading, outfits[0].speed.correction("start"))
    return RunCost(jobs, start, max(outfit.devices for outfit in outfits))


def _job_cost(planned: PlannedJob, outfits: Sequence[Outfit], top_k: int) -> JobCost | None:
    if (work := work_of(planned.spec, planned.id)) is None:
        return None
    costs = [
        job_cost(planned.spec, as_pairs(work, top_k if number else None) if _ranks(outfit) else work, outfit)
        for number, outfit in enumerate(outfits)
    ]
    return costs[0] if len(costs) == 1 else costs[0].then(costs[1])


def _ranks(outfit: Outfit) -> bool:
    return outfit.spec.kind == "reranker"


def _counts_words(model: ResolvedModel) -> bool:
    return model.spec.kind == "lexical"


def _speed(model: ResolvedModel, setting: Setting, say: Callable[[str], None]) -> Speed | str:
    """How fast a model is, or why nobody knows."""
    spec = model.spec
    if _counts_words(model):
        return stated_speed(_WORDS_RATE, 0.0, None).changed({"loading": _WORDS_LOADING})
    if setting.rate is not None:
        return _stated(model, setting.execution, setting.rate)
    if not find_backend(spec.backend).is_files:
        return f"nothing is measured of {spec.name} (the {spec.backend} backend); give --rate"
    found = find_speed(speed_key(model, setting.execution)) if is_known_by_files(model) else None
    if not setting.may_measure:
        return found or f"{spec.name} has not been measured"
    if found is not None and (found.is_calibrated or found.seen_seconds >= _SEEN_ENOUGH):
        return found
    return _measured(model, setting.execution, say)


def _measured(model: ResolvedModel, execution: Execution, say: Callable[[str], None]) -> Speed | str:
    """What a calibration finds, which is kept, or why there is none."""
    name = model.spec.name
    if (size := _weights_on_disk(model)) > _SHARE_OF_MEMORY * _free_memory():
        return f"{name} has {size / 1e9:,.1f} GB of weights, too much to load them only to measure it; give --rate"
    # it imports torch
    from evalharness.run.estimating.calibrating import SECONDS, calibrate

    say(f"measuring how fast {name} is here: about {SECONDS:.0f} s beside loading it; what is found is kept")
    try:
        speed = calibrate(model, execution)
    except EvalHarnessError as error:
        return f"{name} could not be measured: {error}"
    if is_known_by_files(model):
        keep_speed(speed)
    return speed


def _weights_on_disk(model: ResolvedModel) -> int:
    paths = (model.facts.folder / name for name in model.facts.files)
    return sum(path.stat().st_size for path in paths if path.is_file())


def _free_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


def _stated(model: ResolvedModel, execution: Execution, rate: float) -> Speed:
    """What is known of a model without opening it, at a stated rate."""
    known = known_opening(model, execution) if is_known_by_files(model) else None
    facts = model_facts(model.spec.name) or NOTHING_KNOWN
    parameters = facts.parameters if known is None else known.size.parameters
    shape = _shape(model)
    width = model.spec.dimensions or facts.dimensions or (shape.width if shape is not None else nan)
    if model.spec.kind == "reranker":
        # a score, no vector
        width = 1
    speed = stated_speed(rate, float(_FLOAT * width), parameters)
    return speed if known is None else speed.changed({"batch_tokens": known.computing.batch_tokens})


def _shape(model: ResolvedModel) -> Shape | None:
    return read_shape(model.facts.transformer) if model.facts.files else None


def _outfit(plan: Plan, model: ResolvedModel, speed: Speed, setting: Setting) -> Outfit:
    if _counts_words(model):
        # in this process, and nothing is kept
        return Outfit(model.spec, speed, keeps=False)
    execution = setting.execution
    return Outfit(
        model.spec,
        speed,
        _shape(model),
        setting.devices,
        execution.batch_tokens or speed.batch_tokens or _usual_batch(execution, setting.rate),
        _batches_at_once(speed.device or execution.device),
        _stored(plan, model, setting),
        keeps=setting.store is not None and find_backend(model.spec.backend).keeps_vectors,
    )


def _usual_batch(execution: Execution, rate: float | None) -> int | None:
    """Padded tokens of a batch on the device that a rate is stated for; of accelerators, if nobody says which."""
    if rate is None:
        return None
    return CPU_TOKENS if execution.device == "cpu" else ACCELERATOR_TOKENS


def _batches_at_once(device: str | None) -> int:
    """On a device; a rate without one is taken for a GPU's."""
    return GPU_BATCHES if (device or "cuda").startswith("cuda") else 1


def _stored(plan: Plan, model: ResolvedModel, setting: Setting) -> Mapping[str, set[Side]]:
    """Sides of tasks whose vectors the store has."""
    if setting.store is None or not is_known_by_files(model):
        return {}
    if (known := known_opening(model, setting.execution)) is None:
        return {}
    sides = partial(stored_sides, model, known, setting.store.absolute())
    tasks = {planned.spec.name: planned.spec.context() for planned in plan.todo}
    return {name: found for name, context in tasks.items() if (found := sides(context))}


def _named_outfit(named: Named, setting: Setting, rate: float) -> Outfit:
    """Of a model whose files are not here: what its card and mteb's registry say."""
    card, facts = named.card, model_facts(named.known_as) or NOTHING_KNOWN
    said = {} if card is None else card.stated()
    options = named.options.model_dump(include={"max_length", "dimensions", "dtype"}, exclude_none=True)
    length = {} if facts.max_length is None else {"max_length": facts.max_length}
    spec = ModelSpec(name=named.known_as or named.name, revision="", fingerprint="", **{**length, **said, **options})
    width = spec.dimensions or facts.dimensions or nan
    speed = stated_speed(rate, float(_FLOAT * width), facts.parameters)
    batch = setting.execution.batch_tokens or _usual_batch(setting.execution, rate)
    shape = usual_shape(facts.dimensions) if facts.dimensions else None
    at_once = _batches_at_once(setting.execution.device)
    return Outfit(spec, speed, shape, setting.devices, batch, at_once, keeps=setting.store is not None)
