"""What a model's own files say about pooling, prompts and lengths, read as sentence-transformers reads them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from evalharness.errors import ModelError, clip, shorten
from evalharness.models.layout import DENSE, NORMALIZE, POOLING, STATIC, TRANSFORMER, Layout, Module, folder_of
from evalharness.reading import checked, read_object
from evalharness.types import POOLINGS, Facts, Pooling, Similarity

_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# a table of token vectors, by model2vec's name
_MODEL2VEC = "model2vec"
_SENTENCE_CONFIGS = "sentence_*_config.json"
# RoBERTa and its kin number positions from pad_token_id + 1 on
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl", "longformer")
_UNSET_LENGTH = 10**9
_TOKENIZER_SETTINGS = ("tokenizer_args", "processor_kwargs")
# of sentence_bert_config.json: what sentence-transformers hands on to transformers on loading
_LOADING_SETTINGS = ("model_args", "model_kwargs", "config_args", "config_kwargs", *_TOKENIZER_SETTINGS)
_NO_CHANGE = (
    # where files come from and whether their code may run: the library itself puts the caller's in their place
    "cache_dir", "revision", "token", "local_files_only", "trust_remote_code",
    # what we set: the precision, the device, the side of padding, the longest input
    "torch_dtype", "dtype", "device_map", "padding_side", "model_max_length",
    # other ways to the same numbers
    "attn_implementation", "unpad_inputs", "use_memory_efficient_attention", "low_cpu_mem_usage", "use_cache",
    # of outputs that nobody takes
    "add_pooling_layer", "output_hidden_states", "output_attentions", "return_dict", "clean_up_tokenization_spaces",
)  # fmt: skip
_FILE_POOLINGS = tuple(name for name in POOLINGS if name != "own")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What was found; None where the files do not say.

    Attributes:
        transformer: folder of the transformer's files, or of a table's of token vectors; empty for a model that is no
            files.
        folder: where all of its files are.
        positions: longest input that the model has positions for.
        said: how vectors are made, as far as the files say it.
        lowercase: whether texts are lower-cased before the tokenizer.
        dense: folders of the dense layers after the pooling, in order.
        modules: kinds of sentence-transformers' modules, in order.
        files: all files that are read, relative to `folder`.
        onnx_files: all ONNX files that there are, read or not.
        unheeded: what the transformer's settings for loading have that only sentence-transformers heeds.
        own_code: whether its repository has Python code that is to load it.
        foreign_code: other repositories whose code is to load it.
    """

    transformer: Path = Path()
    folder: Path = Path()
    positions: int | None = None
    said: Facts = field(default_factory=Facts)
    lowercase: bool = False
    dense: tuple[Path, ...] = ()
    modules: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    onnx_files: tuple[str, ...] = ()
    unheeded: tuple[str, ...] = ()
    own_code: bool = False
    foreign_code: tuple[str, ...] = ()

    @property
    def is_table(self) -> bool:
        """Whether its modules begin with a table of token vectors."""
        return self.modules[:1] == (STATIC,)

    def moved(self, folder: Path) -> FileFacts:
        """The same of the same files in another folder."""
        return replace(
            self,
            folder=folder,
            transformer=folder / self.transformer.relative_to(self.folder),
            dense=tuple(folder / path.relative_to(self.folder) for path in self.dense),
        )


@dataclass(frozen=True, slots=True)
class _Settings:
    """A JSON file of a model, whose values are checked where they are taken."""

    path: Path
    values: dict[str, Any]

    def get(self, key: str, *types: type) -> Any:  # noqa: ANN401 -- a value of one of the types
        """The key's value; None where it is missing or null."""
        value = self.values.get(key)
        return None if value is None else checked(value, types, f"{self.path}, {key}", ModelError)

    def texts(self, key: str) -> dict[str, str]:
        """An object of texts, without those that are null."""
        found = self.get(key, dict) or {}
        return {
            name: checked(text, str, f"{self.path}, {key}, {name}", ModelError)
            for name, text in found.items()
            if text is not None
        }


def _settings(path: Path) -> _Settings:
    """What a file says: nothing where it is missing."""
    return _Settings(path, read_object(path, ModelError) if path.exists() else {})


def read_facts(folder: Path, layout: Layout) -> FileFacts:
    """Read what modules.json points to.

    Args:
        folder: of the model.
        layout: its files.

    Raises:
        ModelError: a pooling mode is not supported, or a file is missing or damaged.
    """
    modules = layout.modules
    main = folder_of(modules, TRANSFORMER)
    main = folder_of(modules, STATIC) if main is None else main
    transformer = folder / (main or "")
    code = _code(transformer)
    sentence = _sentence_config(transformer)
    settings = _settings(folder / "config_sentence_transformers.json")
    return FileFacts(
        transformer=transformer,
        folder=folder,
        positions=_positions(transformer),
        said=_said(folder, layout, settings, _own_length(sentence) or _tokenizer_length(transformer)),
        lowercase=bool(sentence.get("do_lower_case", bool)),
        modules=tuple(module.kind.rpartition(".")[2] for module in modules),
        dense=tuple(folder / module.path for module in modules if module.kind == DENSE),
        files=layout.files,
        onnx_files=tuple(
            sorted(path.relative_to(folder).as_posix() for path in [*folder.glob("*.onnx"), *folder.glob("*/*.onnx")])
        ),
        unheeded=_unheeded(sentence),
        own_code=bool(code) or not all(module.is_known for module in modules),
        foreign_code=tuple(sorted({entry.partition("--")[0] for entry in code if "--" in entry})),
    )


def _said(folder: Path, layout: Layout, settings: _Settings, max_length: int | None) -> Facts:
    """What the files say of how vectors are made; what they are silent on is not set."""
    modules, prompts = layout.modules, settings.texts("prompts")
    pooling = folder_of(modules, POOLING)
    is_normalized = folder_of(modules, NORMALIZE) is not None
    said: dict[str, Any] = {
        "pooling": None if pooling is None else _pooling(folder / pooling),
        "pool_prompt": None if pooling is None else _pools_prompt(folder / pooling),
        "normalize": is_normalized if modules else _static_normalize(folder, modules),
        "max_length": max_length,
        "prompts": prompts,
        "default_prompt": _default_prompt(settings, prompts),
        "similarity": _similarity(settings),
        "dimensions": _dimensions(settings),
    }
    return Facts.model_validate({name: value for name, value in said.items() if value is not None})


def sends_sides_apart(modules: Sequence[str]) -> bool:
    """Whether a model of sentence-transformers sends queries and documents different ways.

    Args:
        modules: kinds of its modules.
    """
    return not {"Router", "Asym"}.isdisjoint(modules)


def is_static(folder: Path, modules: tuple[Module, ...]) -> bool:
    """Whether a folder holds a table of token vectors and no transformer."""
    if modules:
        return folder_of(modules, STATIC) is not None
    return bool(_settings(folder / "config.json").values.get("model_type") == _MODEL2VEC)


def _static_normalize(folder: Path, modules: tuple[Module, ...]) -> bool | None:
    """What model2vec's own config says; None for other models."""
    return bool(_settings(folder / "config.json").get("normalize", bool)) if is_static(folder, modules) else None


def architectures(transformer: Path) -> list[str]:
    """Names of the classes that config.json says the model is of."""
    config = _settings(transformer / "config.json")
    return _texts(config.get("architectures", list) or [], f"{config.path}, architectures")


def _texts(values: list[object], where: str) -> list[str]:
    return [checked(value, str, where, ModelError) for value in values]


def _code(transformer: Path) -> list[str]:
    """Classes of the repository's own, by which config.json and the tokenizer's want the model to be loaded."""
    found: list[str] = []
    for name in ("config.json", "tokenizer_config.json"):
        settings = _settings(transformer / name)
        # an old tokenizer's is a list
        entries = settings.get("auto_map", dict, list) or {}
        for entry in entries.values() if isinstance(entries, dict) else entries:
            items = entry if isinstance(entry, list) else [entry]
            found += _texts([item for item in items if item is not None], f"{settings.path}, auto_map")
    return found


def _pools_prompt(folder: Path) -> bool:
    return _settings(folder / "config.json").get("include_prompt", bool) is not False


def _sentence_config(transformer: Path) -> _Settings:
    # as sentence-transformers, which looks for BERT's first
    found = sorted(transformer.glob(_SENTENCE_CONFIGS), key=lambda path: ("_bert_" not in path.name, path.name))
    return _settings(found[0] if found else transformer / "sentence_bert_config.json")


def _pooling(folder: Path) -> Pooling:
    config = _settings(folder / "config.json")
    modes = config.get("pooling_mode", str, list) or [
        mode for key, mode in _LEGACY_POOLING.items() if config.get(key, bool)
    ]
    modes = [modes] if isinstance(modes, str) else _texts(modes, f"{config.path}, pooling_mode")
    if len(modes) != 1 or modes[0] not in _FILE_POOLINGS:
        raise ModelError(
            f"{config.path}: pooling {' + '.join(modes) or 'unset'} is not supported; expected one of "
            f"{shorten(_FILE_POOLINGS)}"
        )
    return cast("Pooling", modes[0])


def _length(settings: _Settings, key: str, unset: Collection[int] = (0,)) -> int | None:
    """A number of tokens; None where it is missing, null or one of `unset`."""
    length = settings.get(key, int, float)
    if length is None or length in unset:
        return None
    if length < 1 or (length < _UNSET_LENGTH and length != int(length)):
        raise ModelError(f"{settings.path}, {key}: expected a whole number of tokens from 1 on, found {length}")
    return min(int(length), _UNSET_LENGTH) if length < float("inf") else _UNSET_LENGTH


def _own_length(sentence: _Settings) -> int | None:
    """sentence-transformers' own limit; what its settings for the tokenizer say goes first."""
    stated = _length(sentence, "max_seq_length", unset=())
    for key in _TOKENIZER_SETTINGS:
        settings = _Settings(sentence.path, sentence.get(key, dict) or {})
        if (length := _length(settings, "model_max_length", unset=())) is not None:
            return length
    return stated


def _unheeded(sentence: _Settings) -> tuple[str, ...]:
    found = {key: sentence.get(key, dict) or {} for key in _LOADING_SETTINGS}
    return tuple(
        f"{sentence.path}, {key}: {clip(entry)}" for key in found for entry in found[key] if entry not in _NO_CHANGE
    )


def _positions(transformer: Path) -> int | None:
    config = _settings(transformer / "config.json")
    if config.get("max_position_embeddings", int, float) in (-1, 0):  # XLNet's, for any length
        return None
    positions = _length(config, "max_position_embeddings")
    if positions is None:
        return None
    padding = config.get("pad_token_id", int) or 0
    return positions - (padding + 1 if config.values.get("model_type") in _OFFSET_POSITIONS else 0)


def _tokenizer_length(transformer: Path) -> int | None:
    """The tokenizer's limit, but no more than the model has positions."""
    length = _length(_settings(transformer / "tokenizer_config.json"), "model_max_length") or _UNSET_LENGTH
    limit = min(length, _positions(transformer) or _UNSET_LENGTH)
    return None if limit >= _UNSET_LENGTH else limit


def _default_prompt(settings: _Settings, prompts: dict[str, str]) -> str:
    name = settings.get("default_prompt_name", str)
    if name is None:
        return ""
    if name not in prompts:
        raise ModelError(
            f"{settings.path}: has default_prompt_name {clip(name)}, which is not among its prompts "
            f"({shorten(list(prompts)) or 'none'})"
        )
    return prompts[name]


def _dimensions(settings: _Settings) -> int | None:
    number: int | None = settings.get("truncate_dim", int)
    if number is not None and number < 1:
        raise ModelError(f"{settings.path}, truncate_dim: expected a number of dimensions from 1 on, found {number}")
    return number


def _similarity(settings: _Settings) -> Similarity:
    name = settings.get("similarity_fn_name", str) or "cosine"
    if name not in ("cosine", "dot"):
        raise ModelError(f"{settings.path}: similarity {clip(name)} is not supported; expected cosine or dot")
    return cast("Similarity", name)
