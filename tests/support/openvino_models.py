"""Models on the OpenVINO engine, whatever backend usually runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.models.forward.pipeline import PipelineBackend
from evalharness.models.loading import ModelOptions, ResolvedModel, resolve_model
from evalharness.models.opening import imported
from evalharness.models.options import Execution
from evalharness.models.prompts import encoding
from evalharness.models.registry import kind_of
from evalharness.types import Side, ignore_event

CPU = Execution(device="cpu")


def resolved(folder: Path, **options: Any) -> ResolvedModel:
    return resolve_model(str(folder), ModelOptions(**options))


def on_openvino(model: ResolvedModel, execution: Execution = CPU) -> PipelineBackend:
    return PipelineBackend(model, execution, imported(f"kinds.{kind_of(model)}"), imported("engines.openvino"))


def vectors(backend: PipelineBackend, model: ResolvedModel, texts: list[str], side: Side = None) -> NDArray[np.float32]:
    """Of texts, or scores of joined pairs."""
    return backend.encode(texts, encoding(model.spec, side, None), ignore_event).vectors
