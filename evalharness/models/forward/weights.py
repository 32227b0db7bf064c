"""Configs, weights and dense layers from a model's files, each checked before it is used."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import logging as transformers_logging

from evalharness.catalog.models import ModelFacts
from evalharness.errors import EvalHarnessError, ModelError, clip, shorten
from evalharness.models.options import check_remote_code
from evalharness.models.registry import ResolvedModel
from evalharness.reading import checked, read_object
from evalharness.types import DType

_TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# of models that translate, only the half that reads the text is wanted
_ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
_ACTIVATIONS = {"Identity": torch.nn.Identity, "Tanh": torch.nn.Tanh, "ReLU": torch.nn.ReLU, "GELU": torch.nn.GELU}
_PICKLE_ERRORS = (
    OSError, ValueError, LookupError, RuntimeError, TypeError, AttributeError, UnpicklingError, EOFError,
    zipfile.BadZipFile,
)  # fmt: skip
_LONGEST_REASON = 300
# what a dense layer takes and gives; anything else is for other modules
_POOLED = "sentence_embedding"
_NUMBER = re.compile(r"\.\d+\.")


@contextmanager
def library_errors(model: ResolvedModel, what: str) -> Iterator[None]:
    """Say which model it is whose files a library cannot use; around that library's call alone.

    Args:
        model: whose files are loaded.
        what: cannot be done, for the message.

    Raises:
        ModelError: in place of whatever the library raises: for odd files that can be anything.
    """
    try:
        yield
    except (EvalHarnessError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 -- strict dataclasses, bare exceptions of Rust: no list is whole
        reason = " ".join(str(error).split())
        if isinstance(error, KeyError) or not reason:
            reason = f"{type(error).__name__} {reason}".strip()
        if model.spec.remote_code and isinstance(error, ImportError | AttributeError | TypeError):
            raise ModelError(
                f"{model.spec.name}: the Python code of its repository does not run with transformers "
                f"{transformers.__version__}, only its authors can mend that: {reason}"
            ) from None
        raise ModelError(f"{model.spec.name}: {what} ({model.facts.folder}): {reason}") from None


def load_config(model: ResolvedModel) -> Any:  # noqa: ANN401
    """The model's config.json.

    Raises:
        ModelError: it is missing or damaged, or names code of the repository that may not run.
    """
    path = model.facts.transformer / "config.json"
    if not path.is_file():
        raise ModelError(f"{model.spec.name}: {path} is missing; fetch all files of the model")
    settings = read_object(path, ModelError)
    if settings.get("transformers_weights") is not None:
        raise ModelError(
            f"{path}, transformers_weights: names weights of its own, which are not counted; take the entry out and "
            "call the file model.safetensors"
        )
    checked(settings.get("model_type", ""), str, f"{path}, model_type", ModelError)
    if model.facts.own_code and settings.get("model_type") not in CONFIG_MAPPING:
        check_remote_code(model.spec.name, model.options)
    with library_errors(model, "config.json cannot be used"), silent():
        return AutoConfig.from_pretrained(model.facts.transformer, trust_remote_code=model.spec.remote_code)


def load_encoder(model: ResolvedModel) -> Any:  # noqa: ANN401
    """The transformer: all layers that take part must be in the file, and it must be no reranker.

    Raises:
        ModelError: they are not, or it is one.
    """
    spec, config = model.spec, load_config(model)
    check_embedder(spec.name, config)
    kind = _ENCODERS.get(config.model_type)
    if kind is None and getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{spec.name}: encoder-decoder models ({config.model_type}) are not supported by this backend")
    # imported on use: with it come seconds, which an engine that has its graph need not wait for
    loaded, report = load_weights(model, getattr(transformers, kind or "AutoModel"), config)
    # an unused pooler does no harm; any other missing layer would run on random numbers
    check_complete(spec.name, [key for key in report["missing_keys"] if not key.startswith("pooler.")])
    return loaded


def check_embedder(name: str, config: Any) -> None:  # noqa: ANN401 -- transformers has no common type
    """See that a model is no reranker.

    Raises:
        ModelError: it is one.
    """
    if any(head.endswith("ForSequenceClassification") for head in config.architectures or ()):
        raise ModelError(
            f"{name} is a cross-encoder ({shorten(config.architectures)}): it scores pairs and has no embeddings. "
            "Leave --backend out to rank candidates with it, or give it as --reranker"
        )


def load_weights(model: ResolvedModel, kind: Any, config: Any) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
    """Weights into a transformers class.

    Returns:
        The model, and transformers' report: `missing_keys` and so on.

    Raises:
        ModelError: they cannot be loaded, or have more layers than config.json.
    """
    with library_errors(model, "the weights cannot be loaded"), silent():
        loaded, report = kind.from_pretrained(
            model.facts.transformer,
            config=config,
            dtype=torch_dtype(model),
            trust_remote_code=model.spec.remote_code,
            output_loading_info=True,
        )
    # they are mapped from the file, which somebody may write to while they are in use
    for tensor in (*loaded.parameters(), *loaded.buffers()):
        tensor.data = tensor.data.clone()
    _check_layers(model, loaded, report["unexpected_keys"])
    return loaded, report


def _check_layers(model: ResolvedModel, loaded: Any, unexpected: Collection[str]) -> None:  # noqa: ANN401
    """See that no layer of a stack is left out: one that is like those that were loaded but for its number."""

    def without_number(key: str) -> str:
        # some files were saved with a head around the model, some without
        return _NUMBER.sub(".N.", key.removeprefix(f"{loaded.base_model_prefix}."))

    stacked = {without_number(key) for key in loaded.state_dict() if _NUMBER.search(key)}
    left = [key for key in sorted(unexpected) if without_number(key) in stacked]
    if left:
        raise ModelError(
            f"{model.spec.name}: the weight file has layers that config.json leaves out ({shorten(left)}); the two do "
            f"not belong together: {model.facts.transformer}"
        )


def torch_dtype(model: ResolvedModel) -> torch.dtype:
    """The precision of a model's weights on torch.

    Raises:
        ModelError: torch does not compute so.
    """
    if model.spec.dtype not in _TORCH_DTYPES:
        raise ModelError(
            f"{model.spec.name}: torch computes in {shorten(list(_TORCH_DTYPES))}, {model.spec.dtype} is wanted; "
            "openvino can do that on the CPU"
        )
    return _TORCH_DTYPES[model.spec.dtype]


def in_precision(model: ResolvedModel, dtype: DType | None) -> ResolvedModel:
    """A model as it is loaded in this precision; None: in its own."""
    return model if dtype is None else replace(model, spec=model.spec.changed({"dtype": dtype}))


def embedding_rows(loaded: Any) -> int | None:  # noqa: ANN401
    """How many tokens a model has vectors for; None where it does not tell."""
    try:
        return int(loaded.get_input_embeddings().weight.shape[0])
    except (NotImplementedError, AttributeError):  # a repository's own code
        found = getattr(loaded.config, "vocab_size", None)
        return found if isinstance(found, int) else None


def size_of(model: torch.nn.Module) -> ModelFacts:
    """How many parameters a model has, each once, and how many of them are vectors of its tokens."""
    count = sum(weights.numel() for weights in model.parameters())
    try:
        table = int(model.get_input_embeddings().weight.numel())  # type: ignore[operator]  # of transformers' classes
    except (NotImplementedError, AttributeError, TypeError):  # it has none, or is a repository's own code
        table = None
    return ModelFacts(parameters=count, embedding_parameters=table)


def check_runs(model: ResolvedModel, forward: Callable[[], Any]) -> None:
    """Let a model run once before its first text: a config can be right in its form and wrong for the weights.

    Args:
        model: what is tried.
        forward: gives numbers for a short text.

    Raises:
        ModelError: it cannot, or they are no numbers.
    """
    with library_errors(model, "the model does not run with its config.json and weights"), torch.inference_mode():
        numbers = torch.as_tensor(forward())
    if not bool(torch.isfinite(numbers).all()):
        raise ModelError(
            f"{model.spec.name}: gives NaN or infinite numbers for a text of one letter; expected finite ones. See the "
            f"weights and config.json in {model.facts.folder}, or try --precision float32"
        )


def check_complete(name: str, missing: list[str]) -> None:
    """See that no layer that takes part is missing in the weight file.

    Raises:
        ModelError: one is; it would run on random numbers.
    """
    if missing:
        raise ModelError(
            f"{name}: the weight file lacks layers that take part in the result: {shorten(sorted(missing))}"
        )


@contextmanager
def silent() -> Iterator[None]:
    """Keep transformers from writing about what is checked here."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # transformers has no annotation
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # nor has this
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def load_dense(model: ResolvedModel) -> torch.nn.Sequential:
    """The dense layers after the pooling, in order; float32.

    Raises:
        ModelError: a layer is of an unknown form, or its weights are missing or do not fit.
    """
    return torch.nn.Sequential(*(_dense_layer(model.spec.name, folder) for folder in model.facts.dense)).eval()


def check_order(model: ResolvedModel) -> None:
    """See that what follows the transformer does so in the order in which our own backends do it.

    Raises:
        ModelError: it does not.
    """
    usual = ("Transformer", "Pooling", "Dense", "Normalize")
    order = [kind for kind in model.facts.modules if kind in usual]
    if order != sorted(order, key=usual.index):
        raise ModelError(
            f"{model.spec.name}: modules.json has {', '.join(order)} in this order; expected the transformer, the "
            "pooling, dense layers, the normalisation. --backend sentence-transformers runs any order"
        )


def check_settings(model: ResolvedModel) -> None:
    """See that the files ask for nothing on loading that our own backends do not do.

    Raises:
        ModelError: they do.
    """
    if model.facts.unheeded:
        raise ModelError(
            f"{shorten(model.facts.unheeded)}: changes the model in a way that only sentence-transformers knows; use "
            "--backend sentence-transformers, or take the entry out"
        )


def _dense_layer(name: str, folder: Path) -> torch.nn.Sequential:
    path = folder / "config.json"
    config = read_object(path, ModelError)
    function = checked(config.get("activation_function", "Tanh"), str, f"{path}, activation_function", ModelError)
    activation = function.rsplit(".", 1)[-1]
    if activation not in _ACTIVATIONS:
        raise ModelError(
            f"{name}: the dense layer {folder.name} has the activation {activation!r}; known are "
            f"{shorten(list(_ACTIVATIONS))}"
        )
    if checked(config.get("use_residual", False), bool, f"{path}, use_residual", ModelError):
        raise ModelError(f"{name}: the dense layer {folder.name} adds its input to its output, which is not supported")
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, _POOLED):
            raise ModelError(f"{path}, {key}: {clip(str(config[key]))} is not supported; expected {_POOLED} or nothing")
    sizes = [checked(config.get(key), int, f"{path}, {key}", ModelError) for key in ("in_features", "out_features")]
    bias = checked(config.get("bias", True), bool, f"{path}, bias", ModelError)
    weights = {key.removeprefix("linear."): value.float() for key, value in _tensors(name, folder).items()}
    shapes = {"weight": (sizes[1], sizes[0]), **({"bias": (sizes[1],)} if bias else {})}
    check_complete(f"{name}, {folder.name}", [key for key in shapes if key not in weights])
    if wrong := [f"{key} {tuple(weights[key].shape)}" for key, shape in shapes.items() if weights[key].shape != shape]:
        raise ModelError(
            f"{name}: the weights of the dense layer {folder.name} do not fit: {', '.join(wrong)}; its config.json has "
            f"{sizes[0]} in_features and {sizes[1]} out_features"
        )
    linear = torch.nn.Linear(sizes[0], sizes[1], bias=bias)
    linear.load_state_dict({key: weights[key] for key in shapes})
    return torch.nn.Sequential(linear, _ACTIVATIONS[activation]())


def _tensors(name: str, folder: Path) -> dict[str, torch.Tensor]:
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if not safe.is_file() and not pickled.is_file():
        raise ModelError(f"{name}: {folder.name} has no model.safetensors; without it every vector is wrong")
    if not safe.is_file():
        return load_pickle(name, pickled)
    try:
        return load_file(safe)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{name}: {safe} cannot be loaded: {error}") from None


def load_pickle(name: str, path: Path) -> dict[str, torch.Tensor]:
    """Tensors from a pickle, without running code from it.

    Args:
        name: the model's, for errors.
        path: the file.

    Raises:
        ModelError: it is damaged, holds anything but tensors by their names, or would run code.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except _PICKLE_ERRORS as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise ModelError(
            f"{name}: {path.name} cannot be loaded without running code from it, or is damaged: {reason}"
        ) from None
    if not isinstance(found, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in found.items()
    ):
        raise ModelError(f"{name}: {path.name} holds {type(found).__name__}; expected tensors by their names")
    return dict(found)
