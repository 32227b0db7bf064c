"""Models: a name to an object that encodes texts the way the model's authors mean it."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

from evalharness.errors import UsageError, clip
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.named import Named, name_model
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution, ModelOptions
from evalharness.models.rankers import PairModel, RankingModel, Reranker, two_stage_spec
from evalharness.models.registry import OpenBackend, ResolvedModel, check_execution, find_backend
from evalharness.models.resolving import resolve, resolve_model
from evalharness.models.unstored import UnstoredEncoder
from evalharness.store.storing import StoringEncoder
from evalharness.store.text_encoder import TextEncoder
from evalharness.types import ModelSpec

__all__ = [
    "ModelOptions", "Named", "ResolvedModel", "System", "load_model", "name_model", "open_embedder", "open_model",
    "resolve", "resolve_model",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class System:
    """What is evaluated: a model, alone or with a reranker as second stage; nothing is loaded yet.

    Attributes:
        model: the model, or the first stage.
        reranker: the second stage.
        top_k: how many documents of the first stage the second gets per query.
    """

    model: ResolvedModel
    reranker: ResolvedModel | None = None
    top_k: int = 100

    @property
    def stages(self) -> list[ModelSpec]:
        """The model, and the second stage if there is one."""
        return [self.model.spec, *([] if self.reranker is None else [self.reranker.spec])]

    @property
    def spec(self) -> ModelSpec:
        """What its results are of."""
        if self.reranker is None:
            return self.model.spec
        return two_stage_spec(self.model.spec, self.reranker.spec, self.top_k)


def open_embedder(
    resolved: ResolvedModel, execution: Execution | None = None, *, store: Path | None = None
) -> EmbeddingModel:
    """Load the weights of a resolved model that makes vectors.

    Args:
        resolved: see `resolve_model`.
        execution: device and batch size; they never change a number.
        store: folder of the embedding store; None to keep no vectors.

    Raises:
        UsageError: the model makes none, or its backend has no use for what `execution` says.
        ModelError: the weights do not fit, are missing, or belong to another kind of model.
        PrerequisiteError: the device or a package is not there.
    """
    spec = resolved.spec
    if spec.kind != "embedder":
        raise UsageError(f"{spec.name} is of the kind {spec.kind}: it ranks documents and has no embeddings")
    check_execution([spec], execution or Execution())
    return _open_embedder(resolved, execution or Execution(), store)


def _open_embedder(resolved: ResolvedModel, execution: Execution, store: Path | None) -> EmbeddingModel:
    spec, opened = resolved.spec, open_backend(resolved, execution)
    return EmbeddingModel(spec, _planned(resolved, opened, store), device=opened.device)


def open_model(
    system: System, execution: Execution | None = None, *, store: Path | None = None
) -> EmbeddingModel | RankingModel:
    """Load a model of any kind, with its second stage if there is one; arguments and errors as `open_embedder`."""
    execution, model = execution or Execution(), system.model
    check_execution(system.stages, execution)
    second = None
    if system.reranker is not None:
        opened = open_backend(system.reranker, execution)
        pairs = PairModel(system.reranker.spec, _planned(system.reranker, opened, store), device=opened.device)
        second = Reranker(pairs, system.top_k)
    if model.spec.kind == "embedder":
        embedder = _open_embedder(model, execution, store)
        return embedder if second is None else RankingModel(system.spec, embedder, second)
    first = open_backend(model, execution)
    if model.spec.kind == "lexical":
        return RankingModel(system.spec, first, second)
    alone = PairModel(model.spec, _planned(model, first, store), device=first.device)
    return RankingModel(model.spec, None, Reranker(alone, 0))


def _planned(resolved: ResolvedModel, opened: OpenBackend, store: Path | None) -> TextEncoder:
    """The backend behind the plan of shards: with the store, if vectors are to be kept, or in memory."""
    spec = resolved.spec
    if store is None or not find_backend(spec.backend).keeps_vectors:
        return UnstoredEncoder(opened)
    identity = {"model": spec.name, "fingerprint": spec.fingerprint, **opened.identity}
    return StoringEncoder(opened, store, identity, spec.similarity)


def load_model(
    name: str | PathLike[str], options: ModelOptions | None = None, *, execution: Execution | None = None
) -> EmbeddingModel:
    """Load a model for use from Python.

    Args:
        name: a Hub id (`BAAI/bge-base-en-v1.5`, optionally `@revision`), a folder, or `all-MiniLM-L6-v2`.
        options: what to change against the model's card or files.
        execution: device and batch size; they never change a number.

    Returns:
        An object with `encode_queries`, `encode_corpus` and `encode`.

    Raises:
        UsageError, PrerequisiteError, ModelError: see `resolve_model` and `open_embedder`.
    """
    for value, kinds, expected in (
        (name, (str, PathLike), "a name such as 'BAAI/bge-base-en-v1.5', or a folder"),
        (options, (ModelOptions, type(None)), "a ModelOptions"),
        (execution, (Execution, type(None)), "an Execution"),
    ):
        if not isinstance(value, kinds):
            raise UsageError(f"load_model got {type(value).__name__} {clip(str(value))}; expected {expected}")
    if not fspath(name).strip():
        raise UsageError("load_model got an empty name; expected a name such as 'BAAI/bge-base-en-v1.5', or a folder")
    return open_embedder(resolve_model(fspath(name), options), execution)
