"""Torch models as ONNX files: made once, held against the model that they were made of, and kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnxruntime
import torch
import transformers

from evalharness.errors import EngineError, PrerequisiteError
from evalharness.models.engines.export_check import EXAMPLES, OUTPUTS, compared_length, largest_difference
from evalharness.models.engines.exports import ExportError, Made, Running, Wanted, started
from evalharness.models.engines.onnx_session import OnnxSession
from evalharness.models.forward.pipeline import Exportable
from evalharness.models.forward.weights import silent, size_of
from evalharness.models.registry import ResolvedModel

_FILE = "model.onnx"
_OPSET = 17
# of torch's own attention the exporter makes more: it looks for NaN in the weights of every pair of tokens
_ATTENTION = "eager"


def start_export(model: ResolvedModel, kind: Exportable, start: Callable[[Path], OnnxSession]) -> Running[OnnxSession]:
    """A model's export, running; it is made and compared if no kept one was compared on texts as long.

    Args:
        model: what is exported.
        kind: says which graph of it.
        start: makes a file run; it reads all of it at once.

    Raises:
        EngineError: the model cannot be exported, or its export gives other numbers.
        PrerequisiteError: a package is missing.
    """
    _check_exportable(model, kind)
    made_of = {
        "output": kind.wants,
        "pooling": model.spec.pooling,
        "own code": str(model.spec.remote_code),
        "opset": str(_OPSET),
        "attention": _ATTENTION,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "onnxruntime": onnxruntime.__version__,
    }

    def make(folder: Path) -> tuple[OnnxSession, Made]:
        if find_spec("onnx") is None:
            raise PrerequisiteError("the export needs onnx, which is not installed: pip install 'evalharness[onnx]'")
        encoder = kind.load().eval()
        _export(model.spec.name, encoder, kind, folder / _FILE)
        session = start(folder / _FILE)
        difference = largest_difference(model, kind, encoder, session)
        return session, Made(compared_length(model), difference, size_of(encoder))

    wanted = Wanted(model.spec.name, model.spec.fingerprint, made_of, compared_length(model))
    return started(wanted, lambda folder: start(folder / _FILE), make)


def _check_exportable(model: ResolvedModel, kind: Exportable) -> None:
    name = model.spec.name
    if model.spec.pooling == "own" and kind.wants == "hidden":
        raise EngineError(f"{name}: an exported model has to be told the pooling; give --pooling")
    if model.spec.dtype != "float32":
        raise EngineError(f"{name}: models are exported to ONNX in float32 only, {model.spec.dtype} is wanted")


@contextmanager
def _step_by_step(encoder: Any) -> Iterator[None]:  # noqa: ANN401 -- a torch model
    """A model whose attention is made of single operations meanwhile, if it is one that can be told."""
    if not isinstance(encoder, transformers.PreTrainedModel):
        yield
        return
    before = encoder.config._attn_implementation  # noqa: SLF001 -- nothing public tells
    encoder.set_attn_implementation(_ATTENTION)
    try:
        yield
    finally:
        encoder.set_attn_implementation(before)


def _export(name: str, encoder: Any, kind: Exportable, path: Path) -> None:  # noqa: ANN401 -- a torch model
    """A torch model as ONNX, for any number of texts and tokens."""
    inputs = kind.reader.inputs(kind.reader.plain_tokens(EXAMPLES))
    names, output = list(inputs), OUTPUTS[kind.wants]
    module = torch.nn.Module().eval()
    module.encoder = encoder
    module.forward = lambda *given: getattr(encoder(**dict(zip(names, given, strict=True))), output)
    with warnings.catch_warnings(), torch.no_grad(), silent(), _step_by_step(encoder):
        # it warns of what tracing might fix to the examples' values; the comparison shows whether it has
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module,
                tuple(inputs[key] for key in names),
                str(path),
                # the newer exporter takes ten times as long and fails on T5
                dynamo=False,
                input_names=names,
                output_names=[output],
                dynamic_axes={key: {0: "texts", 1: "tokens"} for key in names}
                | {output: {0: "texts", **({1: "tokens"} if kind.wants == "hidden" else {})}},
                opset_version=_OPSET,
            )
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            why = f"cannot be exported to ONNX ({error}); leave --backend onnx or --engine onnx out"
            raise ExportError(why) from None
        except OSError as error:
            raise EngineError(
                f"{name}: its ONNX file cannot be written to {path.parent.parent} ({error.strerror or error}); make "
                "room there, or set TMPDIR to another folder"
            ) from None
