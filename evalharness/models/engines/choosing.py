"""Which engine computes a model that torch can compute: the one asked for, or the fastest that gives the same numbers.

Rows of `registry.BACKENDS` that say `torch` can run on any engine here; other rows name the engine that they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeVar

from evalharness.errors import EngineError, ModelError, PrerequisiteError, UsageError
from evalharness.models.forward.batches import choose_device
from evalharness.models.options import Execution
from evalharness.models.registry import ResolvedModel, kind_of
from evalharness.types import ENGINES, DType

Opened = TypeVar("Opened")

TORCH = "torch"


@dataclass(frozen=True, slots=True)
class Exporting:
    """An engine that runs a graph which is made of the torch model.

    Attributes:
        needs: packages beyond the core, by import name.
        extra: the extra of evalharness that installs them; none for what is part of the core.
        precisions: those in which it computes.
        kinds: of `registry.KINDS`, those whose graph it can hold.
    """

    needs: tuple[str, ...]
    extra: str
    precisions: tuple[DType, ...]
    kinds: tuple[str, ...] = ("dense", "m3", "cross_encoder")


# fastest first on a CPU: results/measured/speed.md
EXPORTING = {
    "openvino": Exporting(("openvino",), "", ("float32", "bfloat16", "int8")),
    "onnx": Exporting(("onnxruntime", "onnx"), "onnx", ("float32",)),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine that may run a model.

    Attributes:
        name: a file of this folder.
        passed_over: faster ones that cannot, each with the reason.
    """

    name: str
    passed_over: tuple[str, ...] = ()


def open_first(model: ResolvedModel, execution: Execution, open_on: Callable[[Choice], Opened]) -> Opened:
    """Open a model on the engine that was asked for, or on the first that can run it.

    Args:
        model: what is opened.
        execution: says which engine, and where.
        open_on: opens it on one.

    Raises:
        UsageError: the engine that was asked for runs no model of this kind or precision.
        PrerequisiteError: it is not installed, or the device is not there.
        ModelError: no engine can run the model; the last one's reason.
    """
    is_asked_for = "engine" in execution.model_fields_set and execution.engine != ENGINES[0]
    if is_asked_for:
        _check_able(model, execution.engine)
        return open_on(Choice(execution.engine))
    passed_over: list[str] = []
    for name in _candidates(model, execution, passed_over):
        try:
            return open_on(Choice(name, tuple(passed_over)))
        except EngineError as error:
            passed_over.append(f"{name}: {error}")
    if model.spec.dtype == "int8":
        raise ModelError(f"{model.spec.name}: cannot be run in int8 here ({'; '.join(passed_over)})")
    return open_on(Choice(TORCH, tuple(passed_over)))


def _candidates(model: ResolvedModel, execution: Execution, passed_over: list[str]) -> Iterator[str]:
    """Engines to try before torch."""
    # on an accelerator torch is the fastest
    if choose_device(execution.device).partition(":")[0] != "cpu":
        if model.spec.dtype == "int8":
            passed_over.append("it is for CPUs; give --device cpu")
        return
    for name, engine in EXPORTING.items():
        # a wish for torch is none for its precisions
        if execution.engine not in (ENGINES[0], name) and model.spec.dtype != "int8":
            continue
        if kind_of(model) not in engine.kinds or model.spec.dtype not in engine.precisions:
            continue
        if missing := _missing(engine):
            passed_over.append(f"{name}: {' and '.join(missing)} not installed")
            continue
        yield name


def _missing(engine: Exporting) -> list[str]:
    return [module for module in engine.needs if find_spec(module) is None]


def _check_able(model: ResolvedModel, name: str) -> None:
    spec, kind, leave = model.spec, kind_of(model), "leave --engine out"
    if (engine := EXPORTING.get(name)) is None:
        if spec.dtype == "int8":
            raise UsageError(f"{spec.name}: {name} does not compute in int8; openvino does, on CPUs: {leave}")
        return
    if kind not in engine.kinds:
        raise UsageError(
            f"{spec.name}: {name} cannot hold what the {spec.backend} backend computes, which torch does; {leave}"
        )
    if spec.dtype not in engine.precisions:
        raise UsageError(
            f"{spec.name}: {name} computes in {' or '.join(engine.precisions)}, {spec.dtype} is wanted; {leave}"
        )
    if missing := _missing(engine):
        wanted = f"'evalharness[{engine.extra}]'" if engine.extra else " ".join(missing)
        raise PrerequisiteError(
            f"the engine {name} needs {' and '.join(missing)}, not installed here: pip install {wanted}"
        )
