"""Hidden states and logits by torch, through transformers."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from threading import Lock
from typing import Any

import torch

from evalharness.errors import ModelError
from evalharness.models.engines.torch_attention import find_kernel
from evalharness.models.engines.torch_unpadded import TRIAL_TEXTS, Unpadded, tried
from evalharness.models.forward.batches import choose_device, precision
from evalharness.models.forward.company import computes_exactly
from evalharness.models.forward.devices import moved
from evalharness.models.forward.pipeline import GraphOutput, Kind
from evalharness.models.forward.tokens import BatchReader
from evalharness.models.forward.weights import embedding_rows, size_of, torch_dtype
from evalharness.models.options import Execution
from evalharness.models.registry import ResolvedModel
from evalharness.types import Encoding

_ATTRIBUTES: Mapping[GraphOutput, str] = {"hidden": "last_hidden_state", "logits": "logits"}


class TorchEngine:
    """An `Engine` around a model of transformers.

    Attributes:
        device, identity, graph, takes, gives, vocabulary, width, size, is_exact, is_alone, version, notes: see
            `Engine`.
    """

    is_alone = False
    version = f"torch {torch.__version__}"
    notes = ()

    def __init__(self, model: ResolvedModel, execution: Execution, kind: Kind) -> None:
        self.device = choose_device(execution.device)
        self.is_exact = computes_exactly(model)
        self._name, self._backend = model.spec.name, model.spec.backend
        self._model = kind.load().to(self.device).eval()
        self.graph = type(self._model).__name__
        self.takes: Collection[str] = set(inspect.signature(self._model.forward).parameters)
        self.gives: Collection[GraphOutput] = (kind.wants,)
        self.vocabulary = embedding_rows(self._model)
        self.width = int(getattr(self._model.config, "hidden_size", 0))
        self.size = size_of(self._model)
        self._unpadded = self._find_unpadded(model, kind)
        unpadded = {} if self._unpadded is None else {"attention": "unpadded"}
        self.identity: Mapping[str, Any] = {**precision(model.spec.dtype, self.device), **unpadded}
        # launched one by one: two batches at once would need the memory of two
        self._turn = Lock()

    def _find_unpadded(self, model: ResolvedModel, kind: Kind) -> Unpadded | None:
        """The model without padding where there is a kernel for that, and it gives the same."""
        kernel = find_kernel(self.device, torch_dtype(model))
        if kernel is None or not isinstance(kind.reader, BatchReader):
            return None
        inputs = kind.reader.inputs(kind.reader.plain_tokens(TRIAL_TEXTS))
        return tried(self._model, kernel, inputs, _ATTRIBUTES[kind.wants])

    def run(self, inputs: Mapping[str, Any], output: GraphOutput) -> torch.Tensor:
        """See `Engine`; a repository's own code can give other things than a tensor."""
        if self._unpadded is not None:
            packed = self._unpadded.packed(inputs)
            with self._turn:
                model_output = self._unpadded.run(inputs, packed)
        else:
            here = {
                name: moved(value, self.device) if isinstance(value, torch.Tensor) else value
                for name, value in inputs.items()
            }
            with self._turn:
                model_output = self._model(**here)
        found: torch.Tensor = getattr(model_output, _ATTRIBUTES[output])
        return found

    def check(self, encoding: Encoding) -> None:
        """See `Engine`."""
        if encoding.pooling == "own" and "hidden" in self.gives:
            raise ModelError(f"{self._name}: the {self._backend} backend has to be told the pooling; give --pooling")


def home(execution: Execution) -> str:
    """The torch device of inputs and outputs.

    Raises:
        PrerequisiteError: it is not there.
    """
    return choose_device(execution.device)


open_engine = TorchEngine
