"""Torch models as OpenVINO graphs: made once, held against the model that they were made of, and kept.

The library's own `convert_model` is not used, for it reports what it does to a server.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from evalharness.errors import EngineError
from evalharness.models.engines.export_check import EXAMPLES, OUTPUTS, compared_length, largest_difference
from evalharness.models.engines.exports import ExportError, Made, Running, Wanted, started
from evalharness.models.engines.openvino_library import openvino
from evalharness.models.engines.openvino_session import GRAPH_FILE, OpenVinoSession
from evalharness.models.forward.pipeline import Exportable
from evalharness.models.forward.weights import silent, size_of
from evalharness.models.registry import ResolvedModel
from evalharness.types import DType

# libraries raise anything on a graph that they cannot read, and a repository's own code does so in tracing
_LONGEST_REASON = 300


class _OneOutput(torch.nn.Module):
    """A model as what is exported: tensors in, by their places, and one out."""

    def __init__(self, loaded: Any, names: Sequence[str], output: str) -> None:  # noqa: ANN401 -- a torch model
        super().__init__()
        self._loaded = loaded
        self._names = tuple(names)
        self._output = output

    def forward(self, *inputs: torch.Tensor) -> Any:  # noqa: ANN401 -- transformers has no common type
        return getattr(self._loaded(**dict(zip(self._names, inputs, strict=True))), self._output)


def made_of(model: ResolvedModel, kind: Exportable) -> dict[str, str]:
    """What a graph depends on, apart from the model's files."""
    return {
        "output": kind.wants,
        "pooling": model.spec.pooling,
        "own code": str(model.spec.remote_code),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "openvino": openvino.__version__,
    }


def start_export(model: ResolvedModel, kind: Exportable, dtype: DType) -> Running[OpenVinoSession]:
    """A model's export, running; it is made and compared if no kept one was compared on texts as long.

    Args:
        model: what is exported, in float32.
        kind: says which graph of it.
        dtype: in which precision it is to compute; it is compared in float32.

    Raises:
        EngineError: the model cannot be exported, or its export gives other numbers.
    """
    name = model.spec.name
    if model.spec.pooling == "own" and kind.wants == "hidden":
        raise EngineError(f"{name}: an exported model has to be told the pooling; give --pooling")

    def make(folder: Path) -> tuple[OpenVinoSession, Made]:
        loaded = kind.load("float32").eval()
        save_graph(name, _converted(loaded, kind), folder)
        session = OpenVinoSession(name, folder, "float32")
        difference = largest_difference(model, kind, loaded, session)
        made = Made(compared_length(model), difference, size_of(loaded))
        return session if dtype == "float32" else OpenVinoSession(name, folder, dtype), made

    wanted = Wanted(name, model.spec.fingerprint, made_of(model, kind), compared_length(model))
    return started(wanted, lambda folder: OpenVinoSession(name, folder, dtype), make)


def save_graph(name: str, graph: openvino.Model, folder: Path) -> None:
    """Write a graph's files.

    Args:
        name: the model's, for errors.
        graph: what is written, in the precision that it has.
        folder: where; a temporary one.

    Raises:
        EngineError: there is no room for them, which may change.
    """
    try:
        openvino.save_model(graph, folder / GRAPH_FILE, compress_to_fp16=False)
    except (OSError, RuntimeError) as error:
        raise EngineError(
            f"{name}: its OpenVINO graph cannot be written to {folder.parent} ({error}); make room there, or set "
            "TMPDIR to another folder"
        ) from None


def _converted(loaded: Any, kind: Exportable) -> openvino.Model:  # noqa: ANN401 -- a torch model
    """A torch model as a graph, for any number of texts and tokens."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch import ts_decoder

    inputs = kind.reader.inputs(kind.reader.plain_tokens(EXAMPLES))
    if hasattr(loaded.config, "use_cache"):
        # what a decoder keeps for the next token is no tensor
        loaded.config.use_cache = False
    module = _OneOutput(loaded, list(inputs), OUTPUTS[kind.wants]).eval()
    with warnings.catch_warnings(), torch.no_grad(), silent():
        # it warns of what tracing might fix to the examples' values; the comparison shows whether it has
        warnings.simplefilter("ignore")
        try:
            reader = FrontEndManager().load_by_framework("pytorch")
            decoder = ts_decoder.TorchScriptPythonDecoder(module, example_input=tuple(inputs.values()))
            graph = reader.convert(reader.load(decoder))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 -- of two libraries and the model's own code: no list is whole
            reason = " ".join(str(error).split())[:_LONGEST_REASON]
            raise ExportError(f"cannot be exported to OpenVINO ({reason}); run it with torch") from None
    for item, key in zip(graph.inputs, inputs, strict=True):
        item.get_tensor().set_names({key})
        item.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
    graph.validate_nodes_and_infer_types()
    return graph
