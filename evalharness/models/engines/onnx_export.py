"""Torch models as ONNX files: made once, held against the model that they were made of, and kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch
import transformers

from evalharness.errors import EngineError, PrerequisiteError
from evalharness.models.engines.exports import Comparison, claimed, find_export, keep_export
from evalharness.models.engines.onnx_session import OnnxSession
from evalharness.models.forward.batches import BatchRunner
from evalharness.models.forward.pipeline import Exportable
from evalharness.models.registry import ResolvedModel
from evalharness.types import content_digest, ignore_event

_FILE = "model.onnx"
_TOLERANCE = 1e-4
_OPSET = 17
_CHECK_TEXTS = 32
_EXAMPLES = ("How do ferns grow?", "In the shade")
_OUTPUTS = {"hidden": "last_hidden_state", "logits": "logits"}
_WORDS = (
    "How",
    "do",
    "ferns",
    "grow",
    "in",
    "the",
    "shade",
    "?",
    "7",
    "stones",
    "and",
    "rivers,",
    "中",
    "façade",
    "x-ray",
    "!",
)


def start_export(model: ResolvedModel, kind: Exportable, start: Callable[[Path], OnnxSession]) -> OnnxSession:
    """A model's export, running; it is made and compared if no kept one was compared on texts as long.

    Args:
        model: what is exported.
        kind: says which graph of it.
        start: makes a file run; it reads all of it at once.

    Raises:
        ModelError: the model cannot be exported, or its export gives other numbers.
        PrerequisiteError: a package is missing.
    """
    made_of = {
        "fingerprint": model.spec.fingerprint,
        "output": kind.wants,
        "own code": str(model.spec.remote_code),
        "opset": str(_OPSET),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    key = f"{model.spec.fingerprint}-{content_digest(made_of)[:16]}"
    longest = model.spec.max_length or 1
    _check_exportable(model, kind)
    with claimed(key), TemporaryDirectory() as temporary:
        kept = find_export(key)
        if kept is not None and kept.record.max_length >= longest:
            return start(kept.folder / _FILE)
        if find_spec("onnx") is None:
            raise PrerequisiteError("the export needs onnx, which is not installed: pip install 'evalharness[onnx]'")
        folder, encoder = Path(temporary), kind.load().eval()
        _export(model.spec.name, encoder, kind, folder / _FILE)
        session = start(folder / _FILE)
        difference = _compared(encoder, kind, session, model)
        keep_export(key, folder, Comparison(longest, difference), made_of)
        return session


def _check_exportable(model: ResolvedModel, kind: Exportable) -> None:
    name = model.spec.name
    if model.spec.pooling == "own" and kind.wants == "hidden":
        raise EngineError(f"{name}: an exported model has to be told the pooling; give --pooling")
    if model.spec.dtype != "float32":
        raise EngineError(f"{name}: models are exported to ONNX in float32 only, {model.spec.dtype} is wanted")


def _export(name: str, encoder: Any, kind: Exportable, path: Path) -> None:  # noqa: ANN401 -- a torch model
    """A torch model as ONNX, for any number of texts and tokens."""
    inputs = kind.reader.inputs(kind.reader.plain_tokens(_EXAMPLES))
    names, output = list(inputs), _OUTPUTS[kind.wants]
    module = torch.nn.Module().eval()
    module.encoder = encoder
    module.forward = lambda *given: getattr(encoder(**dict(zip(names, given, strict=True))), output)
    with warnings.catch_warnings(), torch.no_grad():
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
            raise EngineError(
                f"{name}: cannot be exported to ONNX ({error}); leave --backend onnx or --engine onnx out"
            ) from None


def _compared(encoder: Any, kind: Exportable, session: OnnxSession, model: ResolvedModel) -> float:  # noqa: ANN401
    """The largest difference between an exported model and the torch model.

    That of a logit, or of an element of a token's hidden state at length 1.

    Raises:
        EngineError: it is too large.
    """

    def differences(part: dict[str, list[Any]]) -> torch.Tensor:
        inputs = kind.reader.inputs(part)
        wanted, found = getattr(encoder(**inputs), _OUTPUTS[kind.wants]), session.run(inputs, kind.wants)
        if kind.wants == "hidden":
            mask = inputs["attention_mask"][:, :, None]
            wanted, found = (torch.nn.functional.normalize(states, dim=-1) * mask for states in (wanted, found))
        largest: torch.Tensor = (wanted - found).abs().flatten(1).amax(dim=1)
        return largest

    tokens = kind.reader.plain_tokens(_check_texts(model.spec.max_length or 1))
    with torch.inference_mode():
        batches = BatchRunner(model.spec.name, "cpu", None).run(tokens, differences, ignore_event)
        largest = float(torch.cat([batch.rows for batch in batches]).nan_to_num(nan=float("inf")).max())
    if largest > _TOLERANCE:
        raise EngineError(
            f"{model.spec.name}: the exported ONNX model differs from the torch model by {largest:.2g} on "
            f"{_CHECK_TEXTS} texts, at most {_TOLERANCE} is allowed; leave --backend onnx or --engine onnx out"
        )
    return largest


def _check_texts(max_length: int) -> list[str]:
    """Fixed texts of no word to about as many as the model takes, few of them long."""
    steps = _CHECK_TEXTS - 2
    counts = [0, *(round(max_length ** (step / steps)) for step in range(steps + 1))]
    return [" ".join(_WORDS[(number + place) % len(_WORDS)] for place in range(n)) for number, n in enumerate(counts)]
