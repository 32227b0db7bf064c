"""From the name of a backend to its code, which is imported on use; nothing that it imports comes back here."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any

from evalharness.errors import ModelError, PrerequisiteError, clip
from evalharness.models.layout import seen_folder
from evalharness.models.named import Named
from evalharness.models.options import Execution
from evalharness.models.pool.asked import asked_pool
from evalharness.models.registry import ResolvedModel, find_backend, kind_of
from evalharness.types import ENGINES

# what torch computes can be computed by others
_CHOSEN_FROM = "torch"
# of `sys.flags.optimize`
_WITHOUT_DOCSTRINGS = 2


def resolve_elsewhere(backend: str, named: Named) -> ResolvedModel:
    """A model that is no files, by its backend.

    Raises:
        UsageError: there is no such model, or it cannot be used so.
        ModelError: it is not one that can be run.
    """
    resolved: ResolvedModel = imported(file_of(backend)).resolve(named)
    return resolved


def open_backend(model: ResolvedModel, execution: Execution) -> Any:  # noqa: ANN401 -- the spec's kind says which
    """Load a resolved model: in this process, or in the actors of Ray where that is asked for or has several GPUs work.

    Returns:
        An `OpenBackend`; for a model of the kind `lexical`, a `rankers.LexicalBackend`.

    Raises:
        PrerequisiteError: the device is not there, or Ray.
        ModelError: its files do not fit.
    """
    if (spreading := asked_pool(model, execution)) is not None:
        return imported("pool.backend").open_pool(model, spreading, open_here)
    return open_here(model, execution)


def open_here(model: ResolvedModel, execution: Execution) -> Any:  # noqa: ANN401 -- as above
    """Load a resolved model in this process; see `open_backend`."""
    if execution.threads is not None:
        import torch

        torch.set_num_threads(execution.threads)
    facts = model.facts
    if not facts.files:
        return _opened(model, execution)
    with seen_folder(facts.folder, facts.files) as seen:
        try:
            return _opened(replace(model, facts=facts.moved(seen)), execution)
        except ModelError as error:
            raise ModelError(str(error).replace(str(seen), str(facts.folder))) from None


def _opened(model: ResolvedModel, execution: Execution) -> Any:  # noqa: ANN401 -- as above
    spec = model.spec
    if (engine := find_backend(spec.backend).engine) is None:
        return imported(file_of(spec.backend)).open_backend(model, execution)
    kind, pipeline = imported(f"kinds.{kind_of(model)}"), imported("forward.pipeline")
    if engine != _CHOSEN_FROM:
        return pipeline.PipelineBackend(model, execution, kind, imported(f"engines.{engine}"))

    def open_on(choice: Any) -> Any:  # noqa: ANN401 -- importing its type would import torch
        opened = pipeline.PipelineBackend(model, execution, kind, imported(f"engines.{choice.name}"))
        opened.passed_over = choice.passed_over
        return opened

    return imported("engines.choosing").open_first(model, execution, open_on)


def import_code(model: ResolvedModel, engine: str) -> None:
    """Import what opening a kind on an engine imports, which takes seconds.

    Args:
        model: what is to be opened.
        engine: what computed it before, as `Computing` says it.
    """
    name = next((name for name in ENGINES if name in engine), _CHOSEN_FROM)
    for file in (f"kinds.{kind_of(model)}", "forward.pipeline", f"engines.{name}"):
        imported(file)
    if name == _CHOSEN_FROM:
        # what all classes of models import
        from transformers import GenerationMixin, PreTrainedModel  # noqa: F401


def file_of(backend: str) -> str:
    """The file of a backend that is no kind on an engine, by its place in this room."""
    return f"backends.{backend.replace('-', '_')}"


def imported(file: str) -> ModuleType:
    """A file of this room: of a backend, kind or engine.

    Raises:
        PrerequisiteError: Python runs in a way that libraries do not bear.
    """
    try:
        return import_module(f"evalharness.models.{file}")
    # transformers makes code of docstrings, and fails in several ways where there are none
    except Exception as error:
        if sys.flags.optimize < _WITHOUT_DOCSTRINGS:
            raise
        raise PrerequisiteError(
            "Python runs with -OO (or PYTHONOPTIMIZE=2), which leaves out docstrings, and transformers does not bear "
            f"that ({type(error).__name__}: {clip(str(error))}); run the command without it"
        ) from error
