"""An OpenVINO graph on the CPU: in which precision it computes, with how many threads, what goes in and comes out."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from errno import EAGAIN, ENOMEM
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from evalharness.errors import EngineError, ModelError, shorten
from evalharness.models.cpus import usable_cpus
from evalharness.models.engines.openvino_library import openvino
from evalharness.models.forward.pipeline import GraphOutput
from evalharness.types import DType

GRAPH_FILE = "model.xml"
# what a machine may lack for a moment
_SHORTAGES = (EAGAIN, ENOMEM)
# one after the other in cores of their own they wait less for each other, in all cores the batch would be too small
_STREAMS = 4
# below that a stream's part is not worth it
_TOKENS_OF_A_PART = 256
_OUT_OF_MEMORY = ("failed to allocate", "bad_alloc", "out of memory", "allocate memory", "not enough memory")
# int8 says what the matrix products of a quantised graph are; the rest of it is float32
_PRECISIONS: Mapping[DType, tuple[str, openvino.Type]] = {
    "float32": ("f32", openvino.Type.f32),
    "int8": ("f32", openvino.Type.f32),
    "bfloat16": ("bf16", openvino.Type.bf16),
    "float16": ("f16", openvino.Type.f16),
}
_CAPABILITIES: Mapping[DType, str] = {"bfloat16": "BF16", "float16": "FP16"}


@cache
def core() -> openvino.Core:
    """The library, started once."""
    return openvino.Core()


def check_precision(name: str, dtype: DType) -> None:
    """See that this CPU computes in a precision.

    Raises:
        EngineError: it does not, and the library would take another one and say nothing.
    """
    able = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    needed = _CAPABILITIES.get(dtype)
    if needed is None or needed in able:
        return
    others = ["float32", *(other for other, capability in _CAPABILITIES.items() if capability in able)]
    raise EngineError(
        f"{name}: this CPU has no instructions for {dtype}, so openvino computes in {shorten(others)} here; choose one "
        "of them"
    )


def thread_count() -> int:
    """How many threads compute: as many as torch's, and no more than this process has CPUs.

    Torch heeds OMP_NUM_THREADS and the CPUs that a process is tied to; a container's share of CPUs it does not see.
    """
    return min(torch.get_num_threads(), usable_cpus())


class OpenVinoSession:
    """A `Graph` in OpenVINO that is ready to run; its tensors are in memory.

    Attributes:
        takes: names of its inputs.
        model: as it was read.
    """

    def __init__(self, name: str, folder: Path, dtype: DType) -> None:
        """See the class.

        Args:
            name: the model's, for errors.
            folder: has the graph's files.
            dtype: in which precision it computes.

        Raises:
            EngineError: the files cannot be used, or not in that precision.
        """
        self._name = name
        check_precision(name, dtype)
        hint, wanted = _PRECISIONS[dtype]
        threads = thread_count()
        self._streams = min(threads, _STREAMS)
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": hint,
            "EXECUTION_MODE_HINT": "PERFORMANCE" if hint == "bf16" else "ACCURACY",
            # numbers would depend on the text's neighbours
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": self._streams,
            # others want the same CPUs
            "ENABLE_CPU_PINNING": False,
        }
        try:
            self.model = core().read_model(folder / GRAPH_FILE)
            self._graph = core().compile_model(self.model, "CPU", settings)
        except RuntimeError as error:
            said = f"{name}: openvino cannot load {GRAPH_FILE}: {error}"
            # another engine now would be another engine for good, and all vectors would be encoded anew
            if any(os.strerror(number) in str(error) for number in _SHORTAGES):
                raise ModelError(f"{said}. The machine is short of threads or memory; run the command again") from None
            raise EngineError(said) from None
        if (got := self._graph.get_property("INFERENCE_PRECISION_HINT")) != wanted:
            raise EngineError(f"{name}: openvino computes in {got} here, {dtype} is wanted; choose another precision")
        self.takes: Collection[str] = tuple(item.get_any_name() for item in self._graph.inputs)
        self._requests = [self._graph.create_infer_request() for _ in range(self._streams)]
        self._lock = Lock()

    def run(self, inputs: Mapping[str, Any], output: GraphOutput) -> torch.Tensor:
        """See `Graph`; float32. It has one output.

        Raises:
            MemoryError: the batch is too large.
            ModelError: the library fails.
        """
        del output
        ids = inputs["input_ids"]
        # without token types of its own, a text is the first of a pair
        arrays = [(inputs[key] if key in inputs else torch.zeros_like(ids)).numpy() for key in self.takes]
        parts = max(1, min(self._streams, len(ids), ids.numel() // _TOKENS_OF_A_PART))
        with self._lock:
            try:
                found = self._run_parts([np.array_split(array, parts) for array in arrays])
            except RuntimeError as error:
                if any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
                    raise MemoryError(str(error)) from None
                raise ModelError(f"{self._name}: openvino failed: {error}") from None
        # of a text without a token it makes NaN; in torch no token of it counts, and a mean of none is 0
        found[~inputs["attention_mask"].numpy().any(axis=1)] = 0
        return torch.from_numpy(found)

    def _run_parts(self, inputs: list[list[Any]]) -> Any:  # noqa: ANN401 -- an array
        """An output for parts of a batch, each on a stream of its own."""
        parts = list(zip(*inputs, strict=True))
        running = self._requests[: len(parts)]
        try:
            for request, part in zip(running, parts, strict=True):
                request.start_async(list(part), share_inputs=True)
        finally:
            # whatever went wrong, nothing may run on arrays that are gone
            for request in running:
                request.wait()
        # a copy, for the requests' memory is written again
        return np.concatenate([request.get_output_tensor(0).data for request in running]).astype(np.float32, copy=False)
