"""Backends: code that turns texts into vectors, or pairs into scores.

A backend is a row of BACKENDS, which says what it is, and code that does it, which `opening` imports on use. There are
two sorts:

- a kind on an engine, where the row names an engine, and which kinds it holds if they are several; the code is a file
  of `kinds` and one of `engines`, and `forward` takes texts through both.
- any other is a file of `backends`, of its own name: `sentence-transformers` is `sentence_transformers.py`. It defines
  `open_backend`, which loads a resolved model; where the model is no files of a folder or of the Hub, also `resolve`,
  which says what a named model is.

Below the tables: which backend and kind run a model, and what is refused before anything is loaded.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Protocol

from evalharness.catalog.models import NOTHING_KNOWN, ModelFacts
from evalharness.errors import PrerequisiteError, UsageError, shorten, unknown_names
from evalharness.models.config import FileFacts
from evalharness.models.layout import TORCH_WEIGHTS, WeightFiles
from evalharness.models.options import Execution, ModelOptions, wrong_ray
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import DTYPES, ENGINES, OUTPUTS, DType, Embeddings, Emit, Encoding, Kind, ModelSpec, Output

# of bge-m3: the layers behind its other vectors
M3_HEADS: Mapping[Output, str] = {"sparse": "sparse_linear.pt", "multi-vector": "colbert_linear.pt"}
ONNX = "onnx"
ONNX_EXPORT = "export"
ONNX_PLAIN_FILES = ("model.onnx", "onnx/model.onnx")
_ONNX_FILE = re.compile(r"(?:[^/\\]+/)?[^/\\]+\.onnx")


class OpenBackend(Protocol):
    """A `TextEncoder` that says what it is.

    Attributes:
        device: where it runs, for the record.
        identity: what of the backend can change a vector, apart from the model and the encoding.
    """

    device: str
    identity: Mapping[str, Any]

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """See `TextEncoder`."""
        ...


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model with everything known that can change its results; no weights are loaded yet.

    Attributes:
        spec: the model as it is used.
        facts: what its files say; for a model that is no files, what there is to say without them.
        options: what the user asked for.
        given: the name that the user gave, for models that are no files.
        usual: the backend that runs it unless another one is asked for, for models that are files.
        about: what its card on the Hub says, for people.
    """

    spec: ModelSpec
    facts: FileFacts
    options: ModelOptions
    given: str = ""
    usual: str = ""
    about: ModelFacts = NOTHING_KNOWN


@dataclass(frozen=True, slots=True)
class Backend:
    """What a backend is.

    Attributes:
        uses: options that it does something with; others would be ignored, so they are refused.
        why: says why there are no others.
        kind: what it makes.
        is_files: whether its models are files of a folder or of the Hub.
        weights: which files hold the weights, given the options.
        needs: packages beyond the core, by import name.
        extra: the extra of evalharness that installs them.
        keeps_vectors: whether vectors may go into the store: only if the fingerprint tells one model from another.
        runs_by: what of `Execution` it heeds; the rest would be ignored, so it is refused.
        precisions: those in which it computes, if it can be told.
        runs_own_classes: whether modules of the model's own may run, if the user trusts them.
        engine: what computes for it, if it is a kind on an engine: a file of `engines`.
        holds: kinds whose graphs its engine can hold; empty where it is one kind by itself (KINDS).
    """

    uses: tuple[str, ...]
    why: str
    kind: Kind = "embedder"
    is_files: bool = True
    weights: Callable[[ModelOptions], WeightFiles] = lambda _: TORCH_WEIGHTS
    needs: tuple[str, ...] = ()
    extra: str = ""
    keeps_vectors: bool = True
    runs_by: tuple[str, ...] = ("device", "batch_tokens", "threads", "ray")
    precisions: tuple[DType, ...] = DTYPES[:3]
    runs_own_classes: bool = False
    engine: str | None = None
    holds: tuple[str, ...] = ()


def _m3_weights(options: ModelOptions) -> WeightFiles:
    wanted = tuple(name for output, name in M3_HEADS.items() if options.mode is not None and output in options.mode)
    return WeightFiles(others=wanted)


def _onnx_weights(options: ModelOptions) -> WeightFiles:
    """The ONNX files that running the model reads, with the files of their numbers; bge-m3's heads if they count."""
    heads = _m3_weights(options)
    if options.onnx_file == ONNX_EXPORT:
        return heads
    if options.onnx_file is not None and (not _ONNX_FILE.fullmatch(options.onnx_file) or ".." in options.onnx_file):
        raise UsageError(
            f"the ONNX file {options.onnx_file!r} has to be the path of an .onnx file in the model's repository, at "
            "most one folder deep, such as onnx/model.onnx"
        )
    files = [glob.escape(file) for file in ([options.onnx_file] if options.onnx_file else ONNX_PLAIN_FILES)]
    with_numbers = [pattern for file in files for pattern in (file, f"{file}_data*", f"{file}.data*")]
    return WeightFiles(torch=False, others=(*with_numbers, *heads.others))


_EMBEDDER = ("like", "query_prompt", "document_prompt", "normalize", "dimensions")
_WITH_TOKENS = (*_EMBEDDER, "pooling", "max_length", "dtype")
_PAIRS = ("like", "max_length", "dtype")
_BY_ENGINES = ("device", "batch_tokens", "engine", "threads", "ray")

BACKENDS: Mapping[str, Backend] = {
    "transformers": Backend(
        uses=_WITH_TOKENS,
        why="it makes one dense vector per text from the model's files",
        engine="torch",
        runs_by=_BY_ENGINES,
        precisions=DTYPES,
    ),
    "sentence-transformers": Backend(
        uses=_WITH_TOKENS,
        why="it makes one dense vector per text from the model's files",
        needs=("sentence_transformers",),
        extra="sentence-transformers",
        runs_own_classes=True,
    ),
    ONNX: Backend(
        uses=(*_WITH_TOKENS, "mode", "mode_weights", "onnx_file"),
        why="it runs an ONNX file of the model",
        weights=_onnx_weights,
        needs=("onnxruntime",),
        extra="onnx",
        engine="onnx",
        # a language model that is asked about pairs takes positions, and may stop after a layer: no file says how
        holds=("dense", "m3", "cross_encoder"),
    ),
    "m3": Backend(
        uses=(*_WITH_TOKENS, "mode", "mode_weights"),
        why="it runs bge-m3's own files",
        weights=_m3_weights,
        engine="torch",
        runs_by=_BY_ENGINES,
        precisions=DTYPES,
    ),
    "static": Backend(
        uses=(*_EMBEDDER, "max_length"),
        why="it takes the mean of stored float32 vectors",
        needs=("model2vec",),
        extra="static",
        runs_by=(),
    ),
    "cross-encoder": Backend(
        uses=_PAIRS,
        why="it scores pairs and makes no vectors",
        kind="reranker",
        engine="torch",
        runs_by=_BY_ENGINES,
        precisions=DTYPES,
    ),
    "llm-reranker": Backend(
        uses=(*_PAIRS, "cutoff_layer"),
        why="it has its own words around a pair, gives one raw score and makes no vectors",
        kind="reranker",
        engine="torch",
    ),
    "http": Backend(
        uses=(*_EMBEDDER, "max_length", "url"),
        why="the server decides on that; set it up there",
        is_files=False,
        needs=("httpx",),
        extra="http",
        runs_by=("batch_tokens",),
    ),
    "http-rerank": Backend(
        uses=("like", "url"),
        why="the server decides on that; set it up there",
        kind="reranker",
        is_files=False,
        needs=("httpx",),
        extra="http",
        runs_by=("batch_tokens",),
    ),
    "bm25": Backend(
        uses=(),
        why="it counts words and makes no vectors",
        kind="lexical",
        is_files=False,
        needs=("bm25s", "Stemmer"),
        extra="bm25",
        runs_by=(),
    ),
    # what cannot be told apart by its fingerprint must not share vectors
    "python": Backend(
        uses=_EMBEDDER, why="the object decides on that itself", is_files=False, keeps_vectors=False, runs_by=()
    ),
    "mteb": Backend(uses=(), why="mteb's own code decides on that", is_files=False, runs_by=("device",)),
}
# what is made of hidden states or logits, a file of `kinds` each -> the backend that runs it on torch
KINDS: Mapping[str, str] = {
    "dense": "transformers",
    "m3": "m3",
    "cross_encoder": "cross-encoder",
    "llm_reranker": "llm-reranker",
}


def find_backend(name: str) -> Backend:
    """The backend of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in BACKENDS:
        raise UsageError(unknown_names("backend", [name], BACKENDS))
    return BACKENDS[name]


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
    if not backend.holds or usual is None:
        return backend
    held = [KINDS[kind] for kind in backend.holds]
    if usual in KINDS.values() and usual not in held:
        raise UsageError(
            f"{model}: is run by the {usual} backend, and the {name} backend cannot hold what that computes; it runs "
            f"what usually runs by {shorten(held)}. Leave --backend out"
        )
    made = BACKENDS[usual if usual in held else KINDS["dense"]]
    of_kinds = {option for of_torch in held for option in BACKENDS[of_torch].uses}
    uses = tuple(option for option in backend.uses if option in made.uses or option not in of_kinds)
    return replace(backend, uses=uses, why=made.why, kind=made.kind)


def kind_of(model: ResolvedModel) -> str:
    """The kind of what a backend makes that is a kind on an engine; as `backend_for`, on an engine of several kinds."""
    kinds = {backend: kind for kind, backend in KINDS.items()}
    kind = kinds.get(model.spec.backend) or kinds.get(model.usual, "dense")
    return "dense" if kind == "m3" and model.spec.outputs == (OUTPUTS[0],) else kind


def check_installed(name: str) -> None:
    """See that a backend's packages are there.

    Raises:
        PrerequisiteError: one is not; the message has the pip command.
    """
    backend = find_backend(name)
    if missing := [module for module in backend.needs if find_spec(module) is None]:
        raise PrerequisiteError(
            f"the {name} backend needs {' and '.join(missing)}, not installed here: "
            f"pip install 'evalharness[{backend.extra}]'"
        )


def check_used(name: str, options: ModelOptions, backends: Mapping[str, Backend]) -> None:
    """See that every option does something with a model.

    Args:
        name: the model's, for the message.
        options: what the user gave.
        backends: those that may run the model, by name; the first is named in the message.

    Raises:
        UsageError: some do nothing; all of them are named, and backends that use them.
    """
    first = next(iter(backends))
    used = {option for backend in backends.values() for option in backend.uses}
    unused = {option: flag for option, flag in options.flags().items() if option not in used}
    if not unused:
        return
    hints = [
        f"{flag} works with --backend {shorten(able)}"
        for option, flag in unused.items()
        if (able := [backend for backend, facts in BACKENDS.items() if option in facts.uses])
    ]
    raise UsageError(
        f"{name}: the {first} backend has no use for {' and '.join(unused.values())}, for {backends[first].why}. "
        f"Leave that out ({'; '.join(hints)})"
    )


def check_execution(specs: Sequence[ModelSpec], execution: Execution) -> None:
    """See that what is asked of the way to run does something.

    Args:
        specs: the model, or all stages of it; one that heeds an option is enough.
        execution: what is asked for.

    Raises:
        UsageError: something does nothing; backends that heed it are named.
    """
    heeded = {option for spec in specs for option in find_backend(spec.backend).runs_by}
    asked = {name: getattr(execution, name) for name in ("device", "batch_tokens", "threads", "ray")}
    _check_ray(execution)
    # where it is not chosen for a run, the usual engine is a wish
    if "engine" in execution.model_fields_set and execution.engine != ENGINES[0]:
        asked["engine"] = execution.engine
    unused = [option for option, value in asked.items() if value is not None and option not in heeded]
    if not unused:
        return
    stages = " and ".join(f"{spec.name} (the {spec.backend} backend)" for spec in specs)
    hints = [
        f"--{option.replace('_', '-')} works with --backend "
        f"{shorten([name for name, facts in BACKENDS.items() if option in facts.runs_by], len(BACKENDS))}"
        for option in unused
    ]
    flags = " and ".join(f"--{option.replace('_', '-')} {asked[option]}" for option in unused)
    raise UsageError(f"{flags}: without effect on {stages}. Leave that out ({'; '.join(hints)})")


def _check_ray(execution: Execution) -> None:
    if execution.ray is None:
        return
    if problem := wrong_ray(execution.ray):
        raise UsageError(problem)
    kind, _, number = (execution.device or "cpu").partition(":")
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"--device {kind}: actors of Ray run on cpu or cuda; leave --ray out")
    if number:
        raise UsageError(
            f"--device {execution.device}: with --ray each actor gets a device of its own; give --device {kind}, or "
            "leave it out"
        )


# fields of an encoding that a backend can do which has the model's tokens and its weights
OF_TOKENS = ("pooling", "dtype", "prompt_as_tokens", "pool_prompt", "prompt_within", "layer_norm")


def beyond_texts(encoding: Encoding, able: Collection[str]) -> list[str]:
    """What an encoding wants that cannot be done by handing over texts and taking vectors.

    Args:
        encoding: what is wanted.
        able: fields of it that the backend can do all the same.
    """
    prompted = bool(encoding.prompt)
    wanted = {
        "pooling": f"{encoding.pooling} pooling" if encoding.pooling != "own" else "",
        "dtype": f"dtype {encoding.dtype}" if encoding.dtype != "float32" else "",
        "prompt_as_tokens": "prompts as tokens of their own" if encoding.prompt_as_tokens else "",
        "pool_prompt": "prompts left out of the pooling" if prompted and not encoding.pool_prompt else "",
        "prompt_within": "prompts left out of long texts" if prompted and encoding.prompt_within is not None else "",
        "layer_norm": "a layer norm" if encoding.layer_norm else "",
        "adapter": f"the adapter {encoding.adapter!r}" if encoding.adapter else "",
        "side": f"a way of its own for the side {encoding.side!r}" if encoding.side else "",
        "task": f"a way of its own for the task {encoding.task!r}" if encoding.task else "",
    }
    return [what for field, what in wanted.items() if what and field not in able]
