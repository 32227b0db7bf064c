"""Hidden states and logits by onnxruntime: a file of the model's repository or folder, or one exported here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from evalharness.catalog.models import NOTHING_KNOWN
from evalharness.errors import ModelError
from evalharness.models.engines.onnx_export import start_export
from evalharness.models.engines.onnx_files import BATCH_OPERATORS, QUANTISED_OPERATORS, chosen_file, has_operators
from evalharness.models.engines.onnx_session import OnnxSession, find_provider
from evalharness.models.forward.pipeline import Exportable, GraphOutput
from evalharness.models.forward.weights import check_embedder, load_config
from evalharness.models.options import Execution
from evalharness.models.registry import ONNX, ONNX_EXPORT, ResolvedModel
from evalharness.types import Encoding


class OnnxEngine:
    """An `Engine` around `onnxruntime.InferenceSession`.

    Attributes:
        device, identity, graph, takes, gives, vocabulary, width, size, is_exact, is_alone, version, notes: see
            `Engine`.
    """

    version = f"onnxruntime {onnxruntime.__version__}"
    notes = ()

    def __init__(self, model: ResolvedModel, execution: Execution, kind: Exportable) -> None:
        self._name = model.spec.name
        config = load_config(model)
        if kind.wants == "hidden":
            check_embedder(self._name, config)
        provider = find_provider(execution.device)
        # a model that is usually torch's is its weights, not the files that lie beside them
        is_exported = model.options.onnx_file == ONNX_EXPORT or model.spec.backend != ONNX
        file = ONNX_EXPORT if is_exported else chosen_file(model)
        self.device = provider.device
        self.graph = file
        self.identity: Mapping[str, Any] = {
            "file": file,
            "exported": is_exported,
            "provider": provider.name,
            "version": ".".join(onnxruntime.__version__.split(".")[:2]),
        }

        def start(path: Path) -> OnnxSession:
            return OnnxSession(self._name, path, provider, kind.wants, execution.threads)

        path = model.facts.folder / file
        exported = start_export(model, kind, start) if is_exported else None
        self._session = start(path) if exported is None else exported.session
        self.takes: Collection[str] = self._session.takes
        self.gives: Collection[GraphOutput] = tuple(self._session.outputs)
        self.vocabulary = getattr(config, "vocab_size", None)
        self.width = int(getattr(config, "hidden_size", 0))
        # a graph's constants are not all parameters, and a quantised one has them in other forms
        self.size = NOTHING_KNOWN if exported is None else exported.record.size
        self.is_exact = is_exported or not has_operators(path, QUANTISED_OPERATORS)
        self.is_alone = not is_exported and has_operators(path, BATCH_OPERATORS)

    def run(self, inputs: Mapping[str, Any], output: GraphOutput) -> torch.Tensor:
        """See `Engine`."""
        return self._session.run(inputs, output)

    def check(self, encoding: Encoding) -> None:
        """See `Engine`."""
        if encoding.dtype != "float32":
            raise ModelError(
                f"{self._name}: the precision of an ONNX model is that of its file, {encoding.dtype} is wanted; "
                "leave --precision out, or name a file of that precision with --onnx-file"
            )
        if encoding.pooling == "own" and "vectors" not in self.gives and "hidden" in self.gives:
            raise ModelError(
                f"{self._name}: the ONNX file gives token vectors only, so the pooling has to be told; give --pooling"
            )
        if encoding.pooling != "own" and "hidden" not in self.gives:
            raise ModelError(
                f"{self._name}: the ONNX file gives whole vectors only ({self._session.outputs['vectors']}), "
                f"{encoding.pooling} pooling is wanted; use a file with last_hidden_state, or --pooling own to take "
                "its vectors as they are"
            )


def home(execution: Execution) -> str:
    """The torch device of inputs and outputs, wherever it computes between.

    Raises:
        PrerequisiteError: the device that is to compute is not there.
    """
    find_provider(execution.device)
    return "cpu"


open_engine = OnnxEngine
