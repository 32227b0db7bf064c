"""Models: a name to an object that encodes texts the way the model's authors mean it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from evalharness.catalog.models import NOTHING_KNOWN, ModelFacts
from evalharness.errors import UsageError
from evalharness.hub import ignore_message
from evalharness.models.computing import NOTHING_SAID, Computed, Computing, Counted
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.given import checked_kind, checked_name
from evalharness.models.lazy import known_opening, open_and_keep
from evalharness.models.named import Named, name_model
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution, ModelOptions
from evalharness.models.pool.asked import idle_gpus
from evalharness.models.prompts import encoding
from evalharness.models.rankers import PairModel, RankingModel, Reranker, two_stage_spec
from evalharness.models.registry import OpenBackend, ResolvedModel, check_execution, find_backend
from evalharness.models.resolving import resolve, resolve_model
from evalharness.models.workers import workers_of
from evalharness.store.memory import REMEMBERED_BYTES
from evalharness.store.shards import store_key
from evalharness.store.storing import StoringEncoder
from evalharness.store.text_encoder import ShardMap, TextEncoder, one_by_one
from evalharness.store.unstored import UnstoredEncoder
from evalharness.store.uses import use_path
from evalharness.types import ModelSpec, Side, TaskContext

__all__ = [
    "LoadedModel", "ModelOptions", "Named", "ResolvedModel", "System", "load_model", "name_model", "open_embedder",
    "open_model", "resolve", "resolve_model",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class System:
    """What is evaluated: a model, alone or with a reranker as second stage; nothing has to be loaded yet.

    Attributes:
        model: the model, or the first stage.
        reranker: the second stage.
        top_k: how many documents of the first stage the second gets per query.
        opened: the model's backend, if it is loaded already.
    """

    model: ResolvedModel
    reranker: ResolvedModel | None = None
    top_k: int = 100
    opened: OpenBackend | None = None

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
    resolved: ResolvedModel,
    execution: Execution | None = None,
    *,
    store: Path | None = None,
    spread: ShardMap = one_by_one,
) -> EmbeddingModel:
    """Load the weights of a resolved model that makes vectors.

    Args:
        resolved: see `resolve_model`.
        execution: device and batch size; they never change a number.
        store: folder of the embedding store; None to keep no vectors.
        spread: has shards of texts encoded: here, one by one, or elsewhere.

    Raises:
        UsageError: the model makes none, or its backend has no use for what `execution` says.
        ModelError: the weights do not fit, are missing, or belong to another kind of model.
        PrerequisiteError: the device or a package is not there.
    """
    execution = execution or Execution()
    return _embedder(resolved, _opened_embedder(resolved, execution), store, spread)


def _opened_embedder(resolved: ResolvedModel, execution: Execution) -> OpenBackend:
    spec = resolved.spec
    if spec.kind != "embedder":
        raise UsageError(
            f"{spec.name} is of the kind {spec.kind}: it ranks documents and has no embeddings; `evaluate` takes it by "
            "its name"
        )
    check_execution([spec], execution)
    opened: OpenBackend = open_backend(resolved, execution)
    return opened


def _embedder(resolved: ResolvedModel, opened: OpenBackend, store: Path | None, spread: ShardMap) -> EmbeddingModel:
    encoder = _planned(resolved, opened, store, spread)
    about, how, workers = _about(resolved, opened), computing(opened), workers_of(opened)
    return EmbeddingModel(resolved.spec, encoder, device=opened.device, about=about, computing=how, workers=workers)


def _pairs(resolved: ResolvedModel, opened: OpenBackend, store: Path | None, spread: ShardMap) -> PairModel:
    encoder = _planned(resolved, opened, store, spread)
    about, how, workers = _about(resolved, opened), computing(opened), workers_of(opened)
    return PairModel(resolved.spec, encoder, device=opened.device, about=about, computing=how, workers=workers)


def _about(resolved: ResolvedModel, opened: OpenBackend) -> ModelFacts:
    """What is known of an opened model beside what it computes: what its card says, and what can be counted."""
    size = opened.size if isinstance(opened, Counted) else NOTHING_KNOWN
    return replace(resolved.about, parameters=size.parameters, embedding_parameters=size.embedding_parameters)


def computing(opened: OpenBackend) -> Computing:
    """How an opened model computes, as far as its backend says."""
    return opened.computing if isinstance(opened, Computed) else NOTHING_SAID


def open_model(
    system: System,
    execution: Execution | None = None,
    *,
    store: Path | None = None,
    spread: ShardMap = one_by_one,
    tasks: Sequence[TaskContext] = (),
    say: Callable[[str], None] = ignore_message,
) -> EmbeddingModel | RankingModel:
    """Load a model of any kind, with its second stage if there is one; with a store, what was loaded before may wait.

    Args:
        system: what is loaded.
        execution: device and batch size; they never change a number.
        store: folder of the embedding store; None to keep no vectors.
        spread: has shards of texts encoded: here, one by one, or elsewhere.
        tasks: what it is for; if the store has nothing of one of them, nothing waits.
        say: is told what is loaded now.

    Raises:
        UsageError, ModelError, PrerequisiteError: as `open_embedder`; of a model that waits, when it is needed.
    """
    execution, model = execution or Execution(), system.model
    check_execution(system.stages, execution)
    second = None
    if system.reranker is not None:
        opened = _stage(system.reranker, execution, store, tasks, say)
        second = Reranker(_pairs(system.reranker, opened, store, spread), system.top_k)
    first: Any = _stage(model, execution, store, tasks, say) if system.opened is None else system.opened
    if model.spec.kind == "embedder":
        embedder = _embedder(model, first, store, spread)
        return embedder if second is None else RankingModel(system.spec, embedder, second)
    if model.spec.kind == "lexical":
        return RankingModel(system.spec, first, second)
    return RankingModel(model.spec, None, Reranker(_pairs(model, first, store, spread), 0))


def _stage(
    resolved: ResolvedModel,
    execution: Execution,
    store: Path | None,
    tasks: Sequence[TaskContext],
    say: Callable[[str], None],
) -> Any:  # noqa: ANN401 -- as `open_backend`
    """A stage's backend: loaded; or, if there is a store and it has been loaded before, when it is needed."""
    message = f"loading {resolved.spec.name} ({resolved.spec.facts_from})"
    known = None if store is None else known_opening(resolved, execution)
    if store is None or known is None:
        may_export = find_backend(resolved.spec.backend).engine is not None and execution.engine != "torch"
        first = "; for the first time here it may be exported and measured, which takes longer"
        _say_idle(resolved, execution, say)
        say(f"{message}{first if known is None and store is not None and may_export else ''}")
        return open_backend(resolved, execution) if store is None else open_and_keep(resolved, execution)
    identity = _identity(resolved, known)
    sides: tuple[Side, ...] = (None, "query", "document")
    for task in tasks:
        folders = {store / store_key(identity, encoding(resolved.spec, side, task)) for side in sides}
        if not any(use_path(folder, task.name).exists() for folder in folders):
            _say_idle(resolved, execution, say)
            say(message)
            known.begin()
            break
    return known


def _say_idle(resolved: ResolvedModel, execution: Execution, say: Callable[[str], None]) -> None:
    if (line := idle_gpus(resolved, execution)) is not None:
        say(line)


def _identity(resolved: ResolvedModel, opened: OpenBackend) -> dict[str, Any]:
    """What tells a model's vectors from all others, and its name."""
    return {"model": resolved.spec.name, "fingerprint": resolved.spec.fingerprint, **opened.identity}


def _planned(resolved: ResolvedModel, opened: OpenBackend, store: Path | None, spread: ShardMap) -> TextEncoder:
    """The backend behind the plan of shards: with the store, if vectors are to be kept, or in memory."""
    spec = resolved.spec
    if store is None or not find_backend(spec.backend).keeps_vectors:
        return _unstored(resolved, opened, spread)
    return StoringEncoder(opened, store, _identity(resolved, opened), spec.similarity, spread)


def _unstored(resolved: ResolvedModel, opened: OpenBackend, spread: ShardMap = one_by_one) -> TextEncoder:
    # what the fingerprint does not tell apart may have another vector for the same text the next time
    is_constant = find_backend(resolved.spec.backend).keeps_vectors
    return UnstoredEncoder(opened, spread, remember=REMEMBERED_BYTES if is_constant else 0)


class LoadedModel(EmbeddingModel):
    """What `load_model` gives: a model that is open, with what `evaluate` has to know of it.

    Attributes:
        named: the model as it was asked for.
        resolved: what it turned out to be.
        opened: its backend.
        execution: how it runs.
    """

    def __init__(self, named: Named, resolved: ResolvedModel, opened: OpenBackend, execution: Execution) -> None:
        about = _about(resolved, opened)
        encoder, how, workers = _unstored(resolved, opened), computing(opened), workers_of(opened)
        super().__init__(resolved.spec, encoder, device=opened.device, about=about, computing=how, workers=workers)
        self.named = named
        self.resolved = resolved
        self.opened = opened
        self.execution = execution


def load_model(
    name: str | PathLike[str], options: ModelOptions | None = None, *, execution: Execution | None = None
) -> LoadedModel:
    """Load a model for use from Python.

    Args:
        name: a Hub id (`BAAI/bge-base-en-v1.5`, optionally `@revision`), a folder, or `all-MiniLM-L6-v2`.
        options: what to change against the model's card or files.
        execution: device and batch size; they never change a number.

    Returns:
        An object with `encode_queries`, `encode_corpus` and `encode`, which `evaluate` takes, too.

    Raises:
        UsageError, PrerequisiteError, ModelError: see `resolve_model` and `open_embedder`.

    >>> model = load_model("all-MiniLM-L6-v2", execution=Execution(device="cpu"))
    >>> model  # doctest: +NORMALIZE_WHITESPACE
    LoadedModel('sentence-transformers/all-MiniLM-L6-v2', backend='transformers', pooling='mean', normalize=True,
                max_length=256, dtype='float32', device='cpu')
    >>> model.encode(["a text", "another"]).shape
    (2, 384)
    """
    checked = checked_name("load_model", name)
    checked_kind("load_model", options, (ModelOptions, type(None)), "a ModelOptions")
    checked_kind("load_model", execution, (Execution, type(None)), "an Execution")
    named, execution = name_model(checked, options or ModelOptions()), execution or Execution()
    resolved = resolve(named)
    return LoadedModel(named, resolved, _opened_embedder(resolved, execution), execution)
