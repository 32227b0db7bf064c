"""Kinds and engines: what is made of hidden states or logits, what computes them, and which go together.

Each is a row here and a file, which is imported on use; `pipeline.py` says what such a file holds. A backend that names
an engine runs the kinds that the engine holds, and which one follows from the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType

from evalharness.errors import UsageError, shorten
from evalharness.models.backends import BACKENDS, Backend, find_backend, imported
from evalharness.types import OUTPUTS, ModelSpec

# what is made of hidden states or logits, a file each -> the backend that runs it on torch
KINDS: Mapping[str, str] = {
    "dense": "transformers",
    "m3": "m3",
    "cross_encoder": "cross-encoder",
    "llm_reranker": "llm-reranker",
}
# what turns token ids into hidden states or logits, a file `engine_<name>.py` each -> kinds whose graphs it can hold
ENGINES: Mapping[str, tuple[str, ...]] = {
    "torch": tuple(KINDS),
    # a language model that is asked about pairs takes positions, and may stop after a layer: no file says how
    "onnx": ("dense", "m3", "cross_encoder"),
}


def backend_for(name: str, usual: str | None, model: str) -> Backend:
    """A backend as it runs a model: if its engine runs several kinds, it is and takes what the model's kind does.

    Args:
        name: the backend's.
        usual: the backend that runs the model unless another one is asked for; None where only the files can tell.
        model: its name, for the message.

    Raises:
        UsageError: there is no such backend, or its engine cannot hold what the model's kind wants.
    """
    backend = find_backend(name)
    if backend.engine is None or usual is None or name in KINDS.values():
        return backend
    held = [KINDS[kind] for kind in ENGINES[backend.engine]]
    if usual in KINDS.values() and usual not in held:
        raise UsageError(
            f"{model}: is run by the {usual} backend, and the {name} backend cannot hold what that computes; it runs "
            f"what usually runs by {shorten(held)}. Leave --backend out"
        )
    made = BACKENDS[usual if usual in held else KINDS["dense"]]
    of_kinds = {option for of_torch in held for option in BACKENDS[of_torch].uses}
    uses = tuple(option for option in backend.uses if option in made.uses or option not in of_kinds)
    return replace(backend, uses=uses, why=made.why, kind=made.kind)


def kind_code(spec: ModelSpec) -> ModuleType:
    """The file of what is made by a backend that is a kind on an engine."""
    own = next((kind for kind, backend in KINDS.items() if backend == spec.backend), None)
    kind = own or ("cross_encoder" if spec.kind == "reranker" else "m3")
    return imported("dense" if kind == "m3" and spec.outputs == (OUTPUTS[0],) else kind)


def engine_code(spec: ModelSpec) -> ModuleType:
    """The file of the engine of a backend that is a kind on an engine."""
    return imported(f"engine_{find_backend(spec.backend).engine}")
