"""What a model's own files say about pooling, prompts and lengths, read as sentence-transformers reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from evalharness.errors import ModelError, shorten
from evalharness.types import POOLINGS, Pooling, Similarity

_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# a table of token vectors, by sentence-transformers' name and by model2vec's
STATIC, _MODEL2VEC = "StaticEmbedding", "model2vec"
_KNOWN_MODULES = ("Transformer", "Pooling", "Dense", "Normalize", STATIC)
_SENTENCE_CONFIGS = "sentence_*_config.json"
# RoBERTa and its kin number positions from pad_token_id + 1 on
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl", "longformer")
_UNSET_LENGTH = 10**9
_FILE_POOLINGS = tuple(name for name in POOLINGS if name != "own")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What was found; None where the files do not say.

    Attributes:
        transformer: folder of the transformer's files; empty for a model that is no files.
        folder: where all of its files are.
        positions: longest input that the model has positions for.
        lowercase: whether texts are lower-cased before the tokenizer.
        dense: folders of the dense layers after the pooling, in order.
        modules: kinds of sentence-transformers' modules, in order.
        pool_prompt: whether the prompt's tokens count in the pooling.
        own_code: whether its repository has Python code that is to load it.
        foreign_code: other repositories whose code is to load it.
        others: see `ModelSpec`.
    """

    transformer: Path = Path()
    folder: Path = Path()
    positions: int | None = None
    pooling: Pooling | None = None
    normalize: bool | None = None
    max_length: int | None = None
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str = ""
    similarity: Similarity = "cosine"
    lowercase: bool = False
    dense: tuple[Path, ...] = ()
    modules: tuple[str, ...] = ()
    pool_prompt: bool = True
    own_code: bool = False
    foreign_code: tuple[str, ...] = ()


def read_json(path: Path) -> Any:  # noqa: ANN401 -- JSON
    """Parse a model's JSON file.

    Raises:
        ModelError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} is damaged, it is no JSON: {error}") from None


def read_facts(folder: Path) -> FileFacts:
    """Read modules.json and what it points to.

    Raises:
        ModelError: a module or a pooling mode is not supported, or a file is damaged.
    """
    modules = read_json(folder / "modules.json") if (folder / "modules.json").is_file() else []
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
    if unknown := [kind for kind in kinds if kind not in _KNOWN_MODULES]:
        raise ModelError(
            f"{folder.name}: modules.json names {shorten(unknown)}, which the transformers backend cannot run; "
            f"it knows {shorten(_KNOWN_MODULES)}"
        )
    paths = {kind: folder / str(module.get("path", "")) for kind, module in zip(kinds, modules, strict=True)}
    transformer = paths.get("Transformer", folder)
    code = _code(transformer)
    sentence = _sentence_config(transformer)
    card = folder / "config_sentence_transformers.json"
    settings = read_json(card) if card.is_file() else {}
    prompts = {key: text for key, text in (settings.get("prompts") or {}).items() if text is not None}
    return FileFacts(
        transformer=transformer,
        folder=folder,
        positions=_positions(transformer),
        pooling=_pooling(paths["Pooling"]) if "Pooling" in paths else None,
        normalize="Normalize" in kinds if modules else _static_normalize(folder),
        max_length=sentence.get("max_seq_length") or _tokenizer_length(transformer),
        prompts=prompts,
        default_prompt=_default_prompt(folder, settings, prompts),
        similarity=_similarity(folder, settings),
        lowercase=bool(sentence.get("do_lower_case")),
        modules=tuple(kinds),
        dense=tuple(folder / str(m["path"]) for kind, m in zip(kinds, modules, strict=True) if kind == "Dense"),
        pool_prompt=_pools_prompt(paths["Pooling"]) if "Pooling" in paths else True,
        own_code=bool(code),
        foreign_code=tuple(sorted({entry.partition("--")[0] for entry in code if "--" in entry})),
    )


def is_static(folder: Path) -> bool:
    """Whether a folder holds a table of token vectors and no transformer."""
    modules, config = folder / "modules.json", folder / "config.json"
    if modules.is_file():
        return any(str(module.get("type", "")).endswith(STATIC) for module in read_json(modules))
    return config.is_file() and read_json(config).get("model_type") == _MODEL2VEC


def _static_normalize(folder: Path) -> bool | None:
    """What model2vec's own config says; None for other models."""
    return bool(read_json(folder / "config.json").get("normalize", False)) if is_static(folder) else None


def _code(transformer: Path) -> list[str]:
    """Classes of the repository's own, by which config.json and the tokenizer's want the model to be loaded."""
    found: list[str] = []
    for name in ("config.json", "tokenizer_config.json"):
        path = transformer / name
        for entry in (read_json(path).get("auto_map") or {} if path.is_file() else {}).values():
            found += [item for item in (entry if isinstance(entry, list) else [entry]) if item]
    return found


def _pools_prompt(folder: Path) -> bool:
    return read_json(folder / "config.json").get("include_prompt") is not False


def _sentence_config(transformer: Path) -> dict[str, Any]:
    found = sorted(transformer.glob(_SENTENCE_CONFIGS))
    return cast("dict[str, Any]", read_json(found[0])) if found else {}


def _pooling(folder: Path) -> Pooling:
    config = read_json(folder / "config.json")
    modes = config.get("pooling_mode") or [mode for key, mode in _LEGACY_POOLING.items() if config.get(key)]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in _FILE_POOLINGS:
        raise ModelError(
            f"{folder}: pooling {' + '.join(modes) or 'unset'} is not supported; expected one of "
            f"{shorten(_FILE_POOLINGS)}"
        )
    return cast("Pooling", modes[0])


def _positions(transformer: Path) -> int | None:
    config = transformer / "config.json"
    settings = read_json(config) if config.is_file() else {}
    positions = settings.get("max_position_embeddings") or -1
    if positions < 1:  # none, or XLNet's -1 for any length
        return None
    offset = (settings.get("pad_token_id") or 0) + 1 if settings.get("model_type") in _OFFSET_POSITIONS else 0
    return int(positions) - offset


def _tokenizer_length(transformer: Path) -> int | None:
    """The tokenizer's limit, but no more than the model has positions."""
    tokenizer = transformer / "tokenizer_config.json"
    length = (read_json(tokenizer) if tokenizer.is_file() else {}).get("model_max_length") or _UNSET_LENGTH
    limit = min(int(length), _positions(transformer) or _UNSET_LENGTH)
    return None if limit >= _UNSET_LENGTH else limit


def _default_prompt(folder: Path, settings: dict[str, Any], prompts: dict[str, str]) -> str:
    name = settings.get("default_prompt_name")
    if name is None:
        return ""
    if name not in prompts:
        raise ModelError(
            f"{folder.name}: config_sentence_transformers.json has default_prompt_name {name!r}, which is not among "
            f"its prompts ({shorten(list(prompts)) or 'none'})"
        )
    return prompts[name]


def _similarity(folder: Path, settings: dict[str, Any]) -> Similarity:
    name = settings.get("similarity_fn_name") or "cosine"
    if name not in ("cosine", "dot"):
        raise ModelError(f"{folder.name}: similarity {name!r} is not supported; expected cosine or dot")
    return cast("Similarity", name)
