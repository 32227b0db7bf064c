"""An ONNX file in onnxruntime: where it runs, what goes in, what comes out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from evalharness.errors import ModelError, PrerequisiteError, shorten
from evalharness.models.engines.onnx_files import data_files
from evalharness.models.forward.pipeline import GraphOutput

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_INPUT_TYPES: dict[str, Any] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_ORT_ERRORS = (
    ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.InvalidGraph, ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile, ort_errors.NotImplemented, ort_errors.RuntimeException, ort_errors.EPFail,
)  # fmt: skip
_OUT_OF_MEMORY = ("failed to allocate memory", "bad_alloc", "out of memory")
_FATAL = 4
_LOGITS = "logits"
_EXPECTED: Mapping[GraphOutput, str] = {
    "hidden": "vectors; expected last_hidden_state (texts, tokens, dimensions) or sentence_embedding (texts, "
    "dimensions)",
    "logits": "scores; expected logits (pairs, 1)",
}


@dataclass(frozen=True, slots=True)
class Provider:
    """Where onnxruntime runs: its name for it, options, and torch's name."""

    name: str
    options: dict[str, str]
    device: str


def find_provider(device: str | None) -> Provider:
    """The provider for a torch device name; by default the CPU's.

    Raises:
        PrerequisiteError: it is not there.
    """
    kind, _, number = (device or "cpu").partition(":")
    if kind == "cpu":
        return Provider("CPUExecutionProvider", {}, "cpu")
    found = onnxruntime.get_available_providers()
    name = "CUDAExecutionProvider"
    if kind != "cuda" or name not in found:
        raise PrerequisiteError(
            f"the device {device!r} cannot be used by the onnx backend here (this onnxruntime has {shorten(found)}); "
            "leave --device out, or install onnxruntime-gpu for cuda"
        )
    # by default it would multiply with fewer bits than float32 has
    return Provider(name, {"device_id": number or "0", "use_tf32": "0"}, f"cuda:{number or 0}")


class OnnxSession:
    """An ONNX file that is ready to run.

    Attributes:
        takes: names of its inputs.
        outputs: names of what it has of a vector per token, a vector per text, and scores; the last only if wanted.
    """

    def __init__(
        self, name: str, path: Path, provider: Provider, wants: GraphOutput, threads: int | None = None
    ) -> None:
        """See the class.

        Args:
            name: the model's, for errors.
            path: the file; all of it is read now, and may be overwritten later.
            provider: where it runs.
            wants: what is to come out.
            threads: of the CPU; None for as many as it likes.

        Raises:
            ModelError: the file cannot be used, or nothing of that kind comes out.
            PrerequisiteError: the provider does not start.
        """
        self._name = name
        options = onnxruntime.SessionOptions()
        # errors are raised; the copy that goes to stderr is not wanted
        options.log_severity_level = _FATAL
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            numbers = _take_numbers(options, path)
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=[(provider.name, provider.options)]
            )
            # until here
            del numbers
        except _ORT_ERRORS as error:
            raise ModelError(f"{name}: onnxruntime cannot load {path.name}: {error}") from None
        if self._session.get_providers()[0] != provider.name:
            raise PrerequisiteError(
                f"onnxruntime has {provider.name}, but it does not start here (libraries of CUDA or cuDNN missing?); "
                "leave --device out"
            )
        self._inputs = {item.name: _INPUT_TYPES.get(item.type) for item in self._session.get_inputs()}
        if wrong := [key for key, kind in self._inputs.items() if key not in _INPUTS or kind is None]:
            raise ModelError(
                f"{name}: {path.name} wants the inputs {shorten(wrong)}, which are not supported; expected integers "
                f"for {shorten(_INPUTS)}"
            )
        shapes = {item.name: item.shape for item in self._session.get_outputs()}
        self.outputs = _scores(shapes) if wants == "logits" else _vectors(shapes)
        if not self.outputs:
            found = [f"{output} {shape}" for output, shape in shapes.items()]
            raise ModelError(f"{name}: {path.name} has no output with {_EXPECTED[wants]}, found {shorten(found)}")
        self.takes: Collection[str] = tuple(self._inputs)

    def run(self, inputs: Mapping[str, torch.Tensor], output: GraphOutput) -> torch.Tensor:
        """One output for a padded batch; float32."""
        # without token types of its own, a text is the first of a pair
        given = {key: inputs[key] if key in inputs else torch.zeros_like(inputs["input_ids"]) for key in self._inputs}
        feed = {key: given[key].numpy().astype(kind) for key, kind in self._inputs.items()}
        try:
            found = self._session.run([self.outputs[output]], feed)[0]
        except _ORT_ERRORS as error:
            if any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
                raise MemoryError(str(error)) from None
            raise ModelError(f"{self._name}: onnxruntime failed: {error}") from None
        return torch.from_numpy(np.asarray(found, dtype=np.float32))


def _vectors(shapes: Mapping[str, list[Any]]) -> dict[GraphOutput, str]:
    hidden = next((name for name, shape in shapes.items() if len(shape) == len("btd")), None)
    whole = [name for name, shape in shapes.items() if len(shape) == len("bd")]
    named = "sentence_embedding" if "sentence_embedding" in whole else None
    vectors = named or (whole[0] if hidden is None and len(whole) == 1 else None)
    found: dict[GraphOutput, str | None] = {"hidden": hidden, "vectors": vectors}
    return {output: name for output, name in found.items() if name is not None}


def _scores(shapes: Mapping[str, list[Any]]) -> dict[GraphOutput, str]:
    # a size that the file leaves open is a name, or nothing
    fit = [
        name
        for name, shape in shapes.items()
        if len(shape) == len("bs") and (not isinstance(shape[1], int) or shape[1] == 1)
    ]
    if _LOGITS not in fit and len(fit) != 1:
        return {}
    return {"logits": _LOGITS if _LOGITS in fit else fit[0]}


def _take_numbers(options: onnxruntime.SessionOptions, path: Path) -> Mapping[str, NDArray[np.uint8]]:
    """Have numbers copied that are in files of their own: left to itself the library maps them, and reads them later.

    Returns:
        What has to stay until the session is there.
    """
    files = {name: path.parent / name for name in data_files(path)}
    found = {
        name: np.memmap(file, np.uint8, "r") for name, file in files.items() if file.is_file() and file.stat().st_size
    }
    if found:
        sizes = [numbers.size for numbers in found.values()]
        options.add_external_initializers_from_files_in_memory(list(found), list(found.values()), sizes)
    return found
