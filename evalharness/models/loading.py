"""Tokenizers, weights and dense layers from a model's files, each checked before it is used."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoTokenizer, MT5EncoderModel, T5EncoderModel, UMT5EncoderModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import logging as transformers_logging

from evalharness.errors import ModelError, shorten
from evalharness.models.backends import ResolvedModel
from evalharness.models.files import read_json
from evalharness.models.options import check_remote_code

TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# of models that translate, only the half that reads the text is wanted
_ENCODERS = {"t5": T5EncoderModel, "mt5": MT5EncoderModel, "umt5": UMT5EncoderModel}
_ACTIVATIONS = {"Identity": torch.nn.Identity, "Tanh": torch.nn.Tanh, "ReLU": torch.nn.ReLU, "GELU": torch.nn.GELU}
_LOADING_ERRORS = (
    OSError, ValueError, KeyError, RuntimeError, SafetensorError, UnpicklingError, EOFError, zipfile.BadZipFile
)  # fmt: skip


def load_tokenizer(model: ResolvedModel) -> Any:  # noqa: ANN401 -- transformers has no common type
    """The model's fast tokenizer.

    Raises:
        ModelError: it is missing, damaged or slow.
    """
    spec = model.spec
    try:
        tokenizer = AutoTokenizer.from_pretrained(model.facts.transformer, trust_remote_code=spec.remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{spec.name}: the tokenizer cannot be loaded: {error}") from None
    if not tokenizer.is_fast:
        raise ModelError(f"{spec.name}: needs a fast tokenizer (tokenizer.json), found {type(tokenizer).__name__}")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_config(model: ResolvedModel) -> Any:  # noqa: ANN401
    """The model's config.json.

    Raises:
        ModelError: it is missing or damaged, or names code of the repository that may not run.
    """
    path = model.facts.transformer / "config.json"
    if model.facts.own_code and path.is_file() and read_json(path).get("model_type") not in CONFIG_MAPPING:
        check_remote_code(model.spec.name, model.options)
    try:
        return AutoConfig.from_pretrained(model.facts.transformer, trust_remote_code=model.spec.remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{model.spec.name}: config.json cannot be used: {error}") from None


def load_encoder(model: ResolvedModel) -> Any:  # noqa: ANN401
    """The transformer: all layers that take part must be in the file, and it must be no reranker.

    Raises:
        ModelError: they are not, or it is one.
    """
    spec, config = model.spec, load_config(model)
    if any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
        raise ModelError(
            f"{spec.name} is a cross-encoder ({shorten(config.architectures)}): it scores pairs and has no embeddings. "
            "Leave --backend out to rank candidates with it, or give it as --reranker"
        )
    kind = _ENCODERS.get(config.model_type)
    if kind is None and getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{spec.name}: encoder-decoder models ({config.model_type}) are not supported by this backend")
    loaded, report = load_weights(model, kind or AutoModel, config)
    # an unused pooler does no harm; any other missing layer would run on random numbers
    check_complete(spec.name, [key for key in report["missing_keys"] if not key.startswith("pooler.")])
    return loaded


def load_weights(model: ResolvedModel, kind: Any, config: Any) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
    """Weights into a transformers class.

    Returns:
        The model, and transformers' report: `missing_keys` and so on.

    Raises:
        ModelError: they cannot be loaded.
    """
    with silent():
        try:
            loaded, report = kind.from_pretrained(
                model.facts.transformer,
                config=config,
                dtype=TORCH_DTYPES[model.spec.dtype],
                trust_remote_code=model.spec.remote_code,
                output_loading_info=True,
            )
        except _LOADING_ERRORS as error:
            raise ModelError(f"{model.spec.name}: the weights cannot be loaded: {error}") from None
    return loaded, report


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
    usual = ("Pooling", "Dense", "Normalize")
    order = [kind for kind in model.facts.modules if kind in usual]
    if order != sorted(order, key=usual.index):
        raise ModelError(
            f"{model.spec.name}: modules.json has {', '.join(order)} in this order; expected the pooling first, then "
            "dense layers, then the normalisation. --backend sentence-transformers runs any order"
        )


def _dense_layer(name: str, folder: Path) -> torch.nn.Sequential:
    config = read_json(folder / "config.json")
    activation = str(config.get("activation_function", "Tanh")).rsplit(".", 1)[-1]
    if activation not in _ACTIVATIONS:
        raise ModelError(
            f"{name}: the dense layer {folder.name} has the activation {activation!r}; known are "
            f"{shorten(list(_ACTIVATIONS))}"
        )
    if config.get("use_residual"):
        raise ModelError(f"{name}: the dense layer {folder.name} adds its input to its output, which is not supported")
    linear = torch.nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    weights = {key.removeprefix("linear."): value.float() for key, value in _tensors(name, folder).items()}
    check_complete(f"{name}, {folder.name}", [key for key in linear.state_dict() if key not in weights])
    try:
        linear.load_state_dict({key: weights[key] for key in linear.state_dict()})
    except RuntimeError as error:
        raise ModelError(f"{name}: the weights of the dense layer {folder.name} do not fit: {error}") from None
    return torch.nn.Sequential(linear, _ACTIVATIONS[activation]())


def _tensors(name: str, folder: Path) -> dict[str, torch.Tensor]:
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if not safe.is_file() and not pickled.is_file():
        raise ModelError(f"{name}: {folder.name} has no model.safetensors; without it every vector is wrong")
    return load_file(safe) if safe.is_file() else load_pickle(name, pickled)


def load_pickle(name: str, path: Path) -> dict[str, torch.Tensor]:
    """Tensors from a pickle that the user has allowed; still without running code from it.

    Raises:
        ModelError: it cannot be read so.
    """
    try:
        found: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except _LOADING_ERRORS as error:
        raise ModelError(f"{name}: {path.name} cannot be loaded: {error}") from None
    return found
