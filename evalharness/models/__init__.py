"""Models: a name to an object that encodes texts the way the model's authors mean it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evalharness.catalog import ModelCard, cards, find_card
from evalharness.embeddings import StoringEncoder
from evalharness.encoder import EmbeddingModel
from evalharness.errors import ModelError, UsageError, unknown_names
from evalharness.hub import ignore_message
from evalharness.models.files import FileFacts, read_facts
from evalharness.models.source import ModelFiles, find_model, fingerprint
from evalharness.types import DType, Execution, Frozen, ModelSpec, Pooling

_FALLBACK_MAX_LENGTH = 512
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


class ModelOptions(Frozen):
    """What a user may change of a model; None leaves the card's or the files' value.

    Attributes:
        like: a card's name; lends a fine-tuned checkpoint the facts of its base.
        pooling, normalize, max_length, dtype: see `Encoding`.
        query_prompt, document_prompt: replace all prompts of that side, for every task.
        name: the name in results, `organisation/model`.
    """

    like: str | None = None
    pooling: Pooling | None = None
    normalize: bool | None = None
    max_length: int | None = None
    dtype: DType | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model found on disk, with everything known that can change its vectors; no weights are loaded yet."""

    spec: ModelSpec
    facts: FileFacts


def check_options(options: ModelOptions) -> None:
    """Check what can be checked without the model.

    Raises:
        UsageError: `like` names no card, or a value is out of range.
    """
    if options.like is not None and find_card(options.like) is None:
        raise UsageError(unknown_names("model card", [options.like], cards()))
    if options.name is not None and not _NAME.fullmatch(options.name):
        raise UsageError(f"the name {options.name!r} is not of the form organisation/model")
    if options.max_length is not None and options.max_length < 1:
        raise UsageError(f"the maximum length must be at least 1 token, got {options.max_length}")


def resolve_model(
    name: str,
    options: ModelOptions | None = None,
    *,
    download: bool = True,
    say: Callable[[str], None] = ignore_message,
) -> ResolvedModel:
    """Find a model and settle what it is.

    The user's options come first, then the card named by `like`, then the model's own card, then its own files.

    Args:
        name: see `source.find_model`.
        options: what the user changes.
        download: whether the Hub may be asked.
        say: is told if the Hub has to be asked again.

    Raises:
        UsageError, PrerequisiteError, ModelError: as `find_model`; also ModelError if nothing tells the pooling.
    """
    options = options or ModelOptions()
    check_options(options)
    files = find_model(name, download=download, say=say)
    facts = read_facts(files.folder)
    card = find_card(options.like or files.name)
    return ResolvedModel(_spec(files, facts, card, options), facts)


def _spec(files: ModelFiles, facts: FileFacts, card: ModelCard | None, options: ModelOptions) -> ModelSpec:
    content = fingerprint(files.folder)
    pooling = options.pooling or (card.pooling if card else facts.pooling)
    if pooling is None:
        raise ModelError(
            f"{files.name}: nothing tells how to pool token vectors (no card, no modules.json with a Pooling module). "
            "Give --like BASE for a checkpoint fine-tuned from a model with a card, or --pooling cls|mean|lasttoken"
        )
    normalize = card.normalize if card else facts.normalize
    overrides = options.model_dump(exclude_none=True, exclude={"name", "like"})
    if overrides.get("dtype") == "float32":
        del overrides["dtype"]
    if options.like is not None:
        overrides["like"] = card.name if card else options.like
    return ModelSpec(
        name=options.name or files.name,
        revision=files.revision or content[:40],
        fingerprint=content,
        pooling=pooling,
        normalize=options.normalize if options.normalize is not None else bool(normalize),
        max_length=_max_length(card, facts, options),
        dtype=options.dtype or "float32",
        prompts=_prompts(dict(card.prompts) if card else dict(facts.prompts), options),
        default_prompt="" if card else facts.default_prompt,
        similarity=card.similarity if card else facts.similarity,
        languages=card.languages if card else (),
        facts_from=f"card of {card.name}" if card else "the model's own files",
        overrides=overrides,
    )


def _max_length(card: ModelCard | None, facts: FileFacts, options: ModelOptions) -> int:
    own = card.max_length if card else facts.max_length or _FALLBACK_MAX_LENGTH
    length = options.max_length or own
    if facts.positions is not None and length > facts.positions:
        raise ModelError(
            f"the model has positions for {facts.positions} tokens, but its maximum length was to be {length}; "
            f"give --max-length {facts.positions} or less"
        )
    return length


def _prompts(prompts: dict[str, str], options: ModelOptions) -> dict[str, str]:
    for side, text in (("query", options.query_prompt), ("document", options.document_prompt)):
        if text is not None:
            prompts = {key: old for key, old in prompts.items() if key != side and not key.endswith(f"-{side}")}
            prompts[side] = text
    return prompts


def open_model(
    resolved: ResolvedModel, execution: Execution | None = None, *, store: Path | None = None
) -> EmbeddingModel:
    """Load the weights of a resolved model.

    Args:
        resolved: see `resolve_model`.
        execution: device and batch size; they never change a number.
        store: folder of the embedding store; None to keep no vectors.

    Raises:
        ModelError: the weights do not fit, are missing, or belong to another kind of model.
        PrerequisiteError: the device is not there.
    """
    from evalharness.models.transformers import TransformersBackend

    spec = resolved.spec
    backend = TransformersBackend(spec, resolved.facts, execution or Execution())
    if store is None:
        return EmbeddingModel(spec, backend, device=backend.device)
    identity = {"model": spec.name, "fingerprint": spec.fingerprint, **backend.identity}
    return EmbeddingModel(spec, StoringEncoder(backend, store, identity, spec.similarity), device=backend.device)


def load_model(name: str, options: ModelOptions | None = None, *, execution: Execution | None = None) -> EmbeddingModel:
    """Load a model for use from Python.

    Args:
        name: a Hub id (`BAAI/bge-base-en-v1.5`, optionally `@revision`), a folder, or `all-MiniLM-L6-v2`.
        options: what to change against the model's card or files.
        execution: device and batch size; they never change a number.

    Returns:
        An object with `encode_queries`, `encode_corpus` and `encode`.

    Raises:
        UsageError, PrerequisiteError, ModelError: see `resolve_model` and `open_model`.
    """
    return open_model(resolve_model(name, options), execution)
