"""Hidden states and logits by OpenVINO on the CPU, from a graph that is exported of the torch model and kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from evalharness.errors import ModelError, PrerequisiteError
from evalharness.models.engines.exports import Running
from evalharness.models.engines.openvino_export import start_export
from evalharness.models.engines.openvino_library import openvino
from evalharness.models.engines.openvino_session import OpenVinoSession, check_precision
from evalharness.models.forward.pipeline import Exportable, GraphOutput
from evalharness.models.forward.weights import check_embedder, load_config
from evalharness.models.options import Execution
from evalharness.models.registry import ResolvedModel
from evalharness.types import Encoding


class OpenVinoEngine:
    """An `Engine` around a compiled graph.

    Attributes:
        device, identity, graph, takes, gives, vocabulary, width, size, is_exact, is_alone, version, notes: see
            `Engine`.
    """

    device = "cpu"
    graph = "the OpenVINO graph"
    version = f"openvino {openvino.__version__.partition('-')[0]}"
    # scales of a quantised graph are fixed
    is_alone = False

    def __init__(self, model: ResolvedModel, execution: Execution, kind: Exportable) -> None:
        home(execution)
        self._name, self._dtype = model.spec.name, model.spec.dtype
        config = load_config(model)
        if kind.wants == "hidden":
            check_embedder(self._name, config)
        check_precision(self._name, self._dtype)
        exported = _started(model, kind)
        self._session = exported.session
        self.identity: Mapping[str, Any] = {
            "engine": "openvino",
            "version": ".".join(openvino.__version__.split(".")[:2]),
            "precision": self._dtype,
        }
        self.takes: Collection[str] = self._session.takes
        self.gives: Collection[GraphOutput] = (kind.wants,)
        self.vocabulary = getattr(config, "vocab_size", None)
        self.width = int(getattr(config, "hidden_size", 0))
        self.size = exported.record.size
        self.notes = exported.record.notes
        self.is_exact = self._dtype == "float32"

    def run(self, inputs: Mapping[str, Any], output: GraphOutput) -> torch.Tensor:
        """See `Engine`."""
        return self._session.run(inputs, output)

    def check(self, encoding: Encoding) -> None:
        """See `Engine`."""
        if encoding.dtype != self._dtype:
            raise ModelError(f"{self._name}: computes in {self._dtype} here, {encoding.dtype} is wanted")


def _started(model: ResolvedModel, kind: Exportable) -> Running[OpenVinoSession]:
    if model.spec.dtype == "int8":
        from evalharness.models.engines.openvino_int8 import start_int8

        return start_int8(model, kind)
    return start_export(model, kind, model.spec.dtype)


def home(execution: Execution) -> str:
    """The torch device of inputs and outputs.

    Raises:
        PrerequisiteError: another device than the CPU is to compute.
    """
    if (execution.device or "cpu").partition(":")[0] != "cpu":
        raise PrerequisiteError(
            f"the device {execution.device!r} cannot be used by openvino, which runs on the CPU here; leave --device "
            "out, or choose torch"
        )
    return "cpu"


open_engine = OpenVinoEngine
