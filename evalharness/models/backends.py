"""Backends: code that turns texts into vectors, or pairs into scores. A file in this folder is a backend.

`sentence-transformers` is `sentence_transformers.py`, imported on use. Each such file defines BACKEND.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from evalharness.errors import PrerequisiteError, UsageError, unknown_names
from evalharness.models.files import FileFacts
from evalharness.models.options import ModelOptions
from evalharness.models.source import TORCH_WEIGHTS, WeightFiles
from evalharness.types import Embeddings, Emit, Encoding, Execution, Kind, ModelSpec

_OTHERS = (
    "__init__", "backends", "batches", "files", "http_client", "loading", "options", "resolving", "source", "tokens"
)  # fmt: skip


class OpenBackend(Protocol):
    """A `TextEncoder` that says what it is.

    Attributes:
        device: where it runs, for the record.
        identity: what of the backend can change a vector, apart from the model and the encoding.
    """

    device: str
    identity: Mapping[str, Any]

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit) -> Embeddings:
        """Encode texts; row i belongs to text i."""
        ...


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model with everything known that can change its results; no weights are loaded yet.

    Attributes:
        spec: the model as it is used.
        facts: what its files say; for a model that is no files, what there is to say without them.
        options: what the user asked for.
        given: the name that the user gave, for models that are no files.
    """

    spec: ModelSpec
    facts: FileFacts
    options: ModelOptions
    given: str = ""


@dataclass(frozen=True, slots=True)
class Backend:
    """What a backend's file defines as BACKEND.

    Attributes:
        open: loads a resolved model.
        kind: what it makes.
        resolve: (name, options) -> model, for models that are not files of a folder or of the Hub.
        weights: which files hold the weights, given the options.
        needs: packages beyond the core, by import name.
        extra: the extra of evalharness that installs them.
        makes_parts: whether it makes sparse and multi-vectors, too.
        keeps_vectors: whether vectors may go into the store: only if the fingerprint tells one model from another.
    """

    open: Callable[[ResolvedModel, Execution], Any]
    kind: Kind = "embedder"
    resolve: Callable[[str, ModelOptions], ResolvedModel] | None = None
    weights: Callable[[ModelOptions], WeightFiles] = lambda _: TORCH_WEIGHTS
    needs: tuple[str, ...] = ()
    extra: str = ""
    makes_parts: bool = False
    keeps_vectors: bool = True


@cache
def backend_names() -> tuple[str, ...]:
    """All backends."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _OTHERS)
    return tuple(name.replace("_", "-") for name in files)


def find_backend(name: str) -> Backend:
    """The backend of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in backend_names():
        raise UsageError(unknown_names("backend", [name], backend_names()))
    found: Backend = import_module(f"evalharness.models.{name.replace('-', '_')}").BACKEND
    return found


def check_installed(name: str) -> None:
    """See that a backend's packages are there.

    Raises:
        PrerequisiteError: one is not; the message has the pip command.
    """
    backend = find_backend(name)
    if missing := [module for module in backend.needs if find_spec(module) is None]:
        raise PrerequisiteError(
            f"the {name} backend needs {' and '.join(missing)}, which is not installed: "
            f"pip install 'evalharness[{backend.extra}]'"
        )
