"""Models as ONNX files, run by onnxruntime: a file of the model's repository or folder, or one exported here.

Tokens, pooling and all that follows are those of the transformers backend; only the layers between run elsewhere.
"""

from __future__ import annotations

import mmap
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from evalharness.errors import ModelError, PrerequisiteError, shorten
from evalharness.journal import NO_JOURNAL, Journal
from evalharness.models.backends import OF_TOKENS, ONNX_EXPORT, ONNX_PLAIN_FILES, ResolvedModel, beyond_texts
from evalharness.models.batches import BatchRunner
from evalharness.models.company import company_facts, find_company
from evalharness.models.loading import check_order, check_settings, load_config, load_dense, load_encoder
from evalharness.models.tokens import PromptTokenizer, TokenPipeline
from evalharness.models.transformers import finish, pool, pooling_facts
from evalharness.types import Dense, Emit, Encoding, Execution, ModelSpec, ignore_event

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_INPUT_TYPES: dict[str, Any] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
# what these scale by is taken from the whole batch, padding included
_BATCH_OPERATORS = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
_QUANTISED_OPERATORS = (
    *_BATCH_OPERATORS, "DequantizeLinear", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "MatMulBnb4",
    "QAttention", "QGemm", "QLinearMatMul",
)  # fmt: skip
# of a protobuf string field: the key of external data that names its file, then that name's length and text
_DATA_FILE = re.compile(rb"\x0a\x08location\x12(.)", re.DOTALL)
_ORT_ERRORS = (
    ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.InvalidGraph, ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile, ort_errors.NotImplemented, ort_errors.RuntimeException, ort_errors.EPFail,
)  # fmt: skip
_OUT_OF_MEMORY = ("failed to allocate memory", "bad_alloc", "out of memory")
_TOLERANCE = 1e-4
_OPSET = 17
_CHECK_TEXTS = 32
_EXAMPLES = ("How do ferns grow?", "In the shade")
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
_FATAL = 4


class OnnxBackend:
    """A `TextEncoder` around `onnxruntime.InferenceSession`.

    Attributes:
        device: torch device name.
        identity: what of the backend can change a vector, apart from the model and the encoding.
    """

    def __init__(self, model: ResolvedModel, execution: Execution) -> None:
        self._name = model.spec.name
        _check_kind(model)
        provider = _provider(execution.device)
        self.device = provider.device
        exported = model.options.onnx_file == ONNX_EXPORT
        file = ONNX_EXPORT if exported else _chosen_file(model)
        self._tokens = PromptTokenizer(model)
        self.identity = {
            "backend": "onnx",
            "file": file,
            "exported": exported,
            "provider": provider.name,
            "version": ".".join(onnxruntime.__version__.split(".")[:2]),
            **self._tokens.identity,
            **pooling_facts(model.spec),
        }
        check_order(model)
        check_settings(model)
        self._dense = load_dense(model)
        path = None if exported else model.facts.folder / file
        if path is None:
            encoder = _checked_encoder(model)
            self._graph = _exported(encoder, self._tokens, provider, name=self._name)
            self._compare(encoder, model.spec)
        else:
            self._graph = _Graph(self._name, path, provider)
        config = load_config(model)
        self._width = int(getattr(config, "hidden_size", 0))
        self._tokens.check_vocabulary(getattr(config, "vocab_size", None))
        runner = self._runner(model, path, execution.batch_tokens)
        self._pipeline = TokenPipeline(runner, model.spec.similarity)

    def _runner(self, model: ResolvedModel, path: Path | None, batch_tokens: int | None) -> BatchRunner:
        kind = self.device.partition(":")[0]
        if path is not None and _has_operators(path, _BATCH_OPERATORS):
            return BatchRunner(self._name, kind, 1)
        output = str(self._graph.hidden or self._graph.vectors)
        is_exact = path is None or not _has_operators(path, _QUANTISED_OPERATORS)
        trial = self._tokens.trial(lambda inputs: self._graph.run(inputs, output), "cpu", is_exact=is_exact)
        company = find_company(model, trial)
        self.identity |= company_facts(company)
        return BatchRunner(self._name, kind, batch_tokens, company)

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        """Encode texts; row i belongs to text i.

        Raises:
            ModelError: a text needs more memory than there is, or the encoding does not fit the model.
        """
        self._check(encoding)
        return self._pipeline.run(
            texts,
            emit,
            tokenize=lambda part: self._tokens.tokenize(part, encoding),
            forward=lambda tokens: self._pooled(tokens, encoding),
            width=self._width,
            journal=journal,
        )

    def _check(self, encoding: Encoding) -> None:
        if encoding.dtype != "float32":
            raise ModelError(
                f"{self._name}: the precision of an ONNX model is that of its file, {encoding.dtype} is wanted; "
                "leave --dtype out, or name a file of that precision with --onnx-file"
            )
        if refused := beyond_texts(encoding, OF_TOKENS):
            raise ModelError(f"{self._name}: the onnx backend cannot do {' and '.join(refused)}")
        if encoding.pooling == "own" and self._graph.vectors is None:
            raise ModelError(
                f"{self._name}: the ONNX file gives token vectors only, so the pooling has to be told; give --pooling"
            )
        if encoding.pooling == "own" and len(self._dense):
            raise ModelError(
                f"{self._name}: nothing tells whether the ONNX file's own vectors have been through the dense layers; "
                "give --pooling"
            )
        if encoding.pooling != "own" and self._graph.hidden is None:
            raise ModelError(
                f"{self._name}: the ONNX file gives whole vectors only ({self._graph.vectors}), {encoding.pooling} "
                "pooling is wanted; use a file with last_hidden_state, or --pooling own to take its vectors as they are"
            )

    def _pooled(self, tokens: dict[str, list[Any]], encoding: Encoding) -> NDArray[np.float32]:
        return self._rows(tokens, encoding, self._graph.run).numpy()

    def _rows(
        self, tokens: dict[str, list[Any]], encoding: Encoding, run: Callable[[Any, str], torch.Tensor]
    ) -> torch.Tensor:
        batch = self._tokens.padded(tokens, "cpu")
        with torch.inference_mode():
            if encoding.pooling == "own":
                return finish(run(batch.inputs, str(self._graph.vectors)), encoding, self._name)
            hidden = run(batch.inputs, str(self._graph.hidden))
            vectors = pool(hidden, batch.counted, encoding.pooling, batch.attended)
            return finish(self._dense(vectors), encoding, self._name)

    def _compare(self, encoder: Any, spec: ModelSpec) -> None:  # noqa: ANN401 -- transformers has no common type
        """See that the exported model gives the vectors of the torch model."""
        how = Encoding(pooling=spec.pooling, normalize=True, max_length=spec.max_length, dtype="float32", prompt="")
        tokens = self._tokens.tokenize(_check_texts(spec.max_length or 1), how).tokens

        def differences(part: dict[str, list[Any]]) -> torch.Tensor:
            wanted = self._rows(part, how, lambda inputs, _: encoder(**inputs).last_hidden_state)
            return (wanted - self._rows(part, how, self._graph.run)).abs().amax(dim=1)

        runner = BatchRunner(spec.name, "cpu", None)
        found = torch.cat([batch.rows for batch in runner.run(tokens, differences, ignore_event)])
        largest = float(found.nan_to_num(nan=float("inf")).max())
        if largest > _TOLERANCE:
            raise ModelError(
                f"{spec.name}: the exported ONNX model differs from the torch model by {largest:.2g} on "
                f"{_CHECK_TEXTS} texts, at most {_TOLERANCE} is allowed; use --backend transformers"
            )


@dataclass(frozen=True, slots=True)
class _Provider:
    """Where onnxruntime runs: its name for it, options, and torch's name."""

    name: str
    options: dict[str, str]
    device: str


def _provider(device: str | None) -> _Provider:
    kind, _, number = (device or "cpu").partition(":")
    if kind == "cpu":
        return _Provider("CPUExecutionProvider", {}, "cpu")
    found = onnxruntime.get_available_providers()
    name = "CUDAExecutionProvider"
    if kind != "cuda" or name not in found:
        raise PrerequisiteError(
            f"the device {device!r} cannot be used by the onnx backend here (this onnxruntime has {shorten(found)}); "
            "leave --device out, or install onnxruntime-gpu for cuda"
        )
    # by default it would multiply with fewer bits than float32 has
    return _Provider(name, {"device_id": number or "0", "use_tf32": "0"}, f"cuda:{number or 0}")


class _Graph:
    """An ONNX file that is ready to run.

    Attributes:
        hidden: name of the output with a vector per token, if there is one.
        vectors: name of the output with a vector per text, if there is one.
    """

    def __init__(self, name: str, path: Path, provider: _Provider) -> None:
        self._name = name
        options = onnxruntime.SessionOptions()
        # errors are raised; the copy that goes to stderr is not wanted
        options.log_severity_level = _FATAL
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=[(provider.name, provider.options)]
            )
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
        outputs = self._session.get_outputs()
        self.hidden = next((item.name for item in outputs if len(item.shape) == len("btd")), None)
        whole = [item.name for item in outputs if len(item.shape) == len("bd")]
        named = "sentence_embedding" if "sentence_embedding" in whole else None
        self.vectors = named or (whole[0] if self.hidden is None and len(whole) == 1 else None)
        if self.hidden is None and self.vectors is None:
            found = [f"{item.name} {item.shape}" for item in outputs]
            raise ModelError(
                f"{name}: {path.name} has no output with vectors; expected last_hidden_state (texts, tokens, "
                f"dimensions) or sentence_embedding (texts, dimensions), found {shorten(found)}"
            )

    def run(self, inputs: Any, output: str) -> torch.Tensor:  # noqa: ANN401 -- a tokenizer's batch
        """One output for a padded batch; float32."""
        # without token types of its own, a text is the first of a pair
        given = {key: inputs[key] if key in inputs else torch.zeros_like(inputs["input_ids"]) for key in self._inputs}
        feed = {key: given[key].numpy().astype(kind) for key, kind in self._inputs.items()}
        try:
            found = self._session.run([output], feed)[0]
        except _ORT_ERRORS as error:
            if any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
                raise MemoryError(str(error)) from None
            raise ModelError(f"{self._name}: onnxruntime failed: {error}") from None
        return torch.from_numpy(np.asarray(found, dtype=np.float32))


def _check_kind(model: ResolvedModel) -> None:
    heads = load_config(model).architectures or ()
    if any(head.endswith("ForSequenceClassification") for head in heads):
        raise ModelError(
            f"{model.spec.name} is a cross-encoder ({shorten(heads)}): it scores pairs and has no embeddings. "
            "Leave --backend out to rank candidates with it, or give it as --reranker"
        )


def _chosen_file(model: ResolvedModel) -> str:
    """The ONNX file to run, by its path in the model's folder; nothing but a plain one unless it is named."""
    name, folder, chosen = model.spec.name, model.facts.folder, model.options.onnx_file
    there = model.facts.onnx_files
    plain = [file for file in ONNX_PLAIN_FILES if file in there]
    listed = shorten(there) or "none"
    if chosen is not None and chosen not in there:
        raise ModelError(f"{name}: has no file {chosen}; its ONNX files are: {listed}")
    if chosen is None and len(plain) != 1:
        raise ModelError(
            f"{name}: {'more than one' if plain else 'no'} plain ONNX file ({' or '.join(ONNX_PLAIN_FILES)}); its ONNX "
            f"files are: {listed}. Name one with --onnx-file, or make one with --onnx-file export"
        )
    file = chosen or plain[0]
    if chosen is None and _has_operators(folder / file, _QUANTISED_OPERATORS):
        raise ModelError(
            f"{name}: {file} is quantised, so its vectors are not the model's; if that is what you want to measure, "
            f"name it: --onnx-file {file}"
        )
    _check_data_files(name, folder / file)
    return file


def _check_data_files(name: str, path: Path) -> None:
    """See that the files of an ONNX file's numbers are there, and are among those that the fingerprint counts."""
    with _content(path) as content:
        found = {content[hit.end() : hit.end() + hit[1][0]] for hit in _DATA_FILE.finditer(content)}
    wanted = sorted(file.decode(errors="replace") for file in found)
    own = (f"{path.name}_data", f"{path.name}.data")
    if foreign := [file for file in wanted if not file.startswith(own) or "/" in file]:
        raise ModelError(
            f"{name}: {path.name} keeps its numbers in {shorten(foreign)}, which is not known to belong to it; "
            f"expected {' or '.join(own)}"
        )
    if missing := [file for file in wanted if not (path.parent / file).is_file()]:
        raise ModelError(
            f"{name}: {path.name} keeps its numbers in {shorten(missing)}, which is missing; fetch it, too"
        )


@contextmanager
def _content(path: Path) -> Iterator[bytes | mmap.mmap]:
    with path.open("rb") as handle:
        if not path.stat().st_size:
            yield b""
            return
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def _has_operators(path: Path, operators: Sequence[str]) -> bool:
    """Whether an ONNX file has a node of one of these types."""
    with _content(path) as content:
        # in protobuf: the field of a node's type, the name's length, the name
        return any(content.find(bytes([0x22, len(name)]) + name.encode()) >= 0 for name in operators)


def _check_texts(max_length: int) -> list[str]:
    """Fixed texts of no word to about as many as the model takes, few of them long."""
    steps = _CHECK_TEXTS - 2
    counts = [0, *(round(max_length ** (step / steps)) for step in range(steps + 1))]
    return [" ".join(_WORDS[(number + place) % len(_WORDS)] for place in range(n)) for number, n in enumerate(counts)]


def _checked_encoder(model: ResolvedModel) -> Any:  # noqa: ANN401 -- transformers has no common type
    name = model.spec.name
    if model.spec.pooling == "own":
        raise ModelError(f"{name}: an exported model has to be told the pooling; give --pooling")
    if model.spec.dtype != "float32":
        raise ModelError(f"{name}: models are exported to ONNX in float32 only, {model.spec.dtype} is wanted")
    if find_spec("onnx") is None:
        raise PrerequisiteError("the export needs onnx, which is not installed: pip install 'evalharness[onnx]'")
    return load_encoder(model).eval()


def _exported(encoder: Any, tokens: PromptTokenizer, provider: _Provider, *, name: str) -> _Graph:  # noqa: ANN401
    """A torch model as ONNX, for any number of texts and tokens."""
    how = Encoding(pooling="own", normalize=False, max_length=None, dtype="float32", prompt="")
    inputs = tokens.padded(tokens.tokenize(_EXAMPLES, how).tokens, "cpu").inputs
    names, output = list(inputs), "last_hidden_state"
    module = torch.nn.Module().eval()
    module.encoder = encoder
    module.forward = lambda *given: encoder(**dict(zip(names, given, strict=True))).last_hidden_state
    with TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        # it warns of what tracing might fix to the examples' values; the comparison shows whether it has
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                module,
                tuple(inputs[key] for key in names),
                str(path),
                # the newer exporter takes ten times as long and fails on T5
                dynamo=False,
                input_names=names,
                output_names=[output],
                dynamic_axes={key: {0: "texts", 1: "tokens"} for key in [*names, output]},
                opset_version=_OPSET,
            )
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            raise ModelError(f"{name}: cannot be exported to ONNX ({error}); use --backend transformers") from None
        return _Graph(name, path, provider)


open_backend = OnnxBackend
