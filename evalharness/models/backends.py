"""Backends: code that turns texts into vectors, or pairs into scores.

A backend is a row of BACKENDS, which says what it is, and code that does it, imported on use. It may be a kind on an
engine: see `kinds.py`. Any other is a file of its own name:
`sentence-transformers` is `sentence_transformers.py`. That defines `open_backend`, which loads a resolved model; where
the model is no files of a folder or of the Hub, also `resolve`, which says what the model is.
"""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Protocol

from evalharness.errors import ModelError, PrerequisiteError, UsageError, clip, shorten, unknown_names
from evalharness.journal import NO_JOURNAL, Journal
from evalharness.models.files import FileFacts
from evalharness.models.layout import TORCH_WEIGHTS, WeightFiles, seen_folder
from evalharness.models.options import ModelOptions
from evalharness.types import Embeddings, Emit, Encoding, Execution, Kind, ModelSpec, Output

# of bge-m3: the layers behind its other vectors
M3_HEADS: Mapping[Output, str] = {"sparse": "sparse_linear.pt", "multi-vector": "colbert_linear.pt"}
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


# of `sys.flags.optimize`
_WITHOUT_DOCSTRINGS = 2


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
        runs_own_classes: whether modules of the model's own may run, if the user trusts them.
        engine: what computes for it, if it is a kind on an engine.
    """

    uses: tuple[str, ...]
    why: str
    kind: Kind = "embedder"
    is_files: bool = True
    weights: Callable[[ModelOptions], WeightFiles] = lambda _: TORCH_WEIGHTS
    needs: tuple[str, ...] = ()
    extra: str = ""
    keeps_vectors: bool = True
    runs_by: tuple[str, ...] = ("device", "batch_tokens")
    runs_own_classes: bool = False
    engine: str | None = None


def beyond_texts(encoding: Encoding) -> list[str]:
    """What an encoding wants that nobody can do who only hands over texts and gets vectors."""
    wanted = {
        f"{encoding.pooling} pooling": encoding.pooling != "own",
        f"dtype {encoding.dtype}": encoding.dtype != "float32",
        "prompts as tokens of their own": encoding.prompt_as_tokens,
        "prompts left out of the pooling": bool(encoding.prompt) and not encoding.pool_prompt,
        "prompts left out of long texts": bool(encoding.prompt) and encoding.prompt_within is not None,
    }
    return [what for what, is_wanted in wanted.items() if is_wanted]


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

BACKENDS: Mapping[str, Backend] = {
    "transformers": Backend(
        uses=_WITH_TOKENS, why="it makes one dense vector per text from the model's files", engine="torch"
    ),
    "sentence-transformers": Backend(
        uses=_WITH_TOKENS,
        why="it makes one dense vector per text from the model's files",
        needs=("sentence_transformers",),
        extra="sentence-transformers",
        runs_own_classes=True,
    ),
    "onnx": Backend(
        uses=(*_WITH_TOKENS, "mode", "mode_weights", "onnx_file"),
        why="it runs an ONNX file of the model",
        weights=_onnx_weights,
        needs=("onnxruntime",),
        extra="onnx",
        engine="onnx",
    ),
    "m3": Backend(
        uses=(*_WITH_TOKENS, "mode", "mode_weights"),
        why="it runs bge-m3's own files",
        weights=_m3_weights,
        engine="torch",
    ),
    "static": Backend(
        uses=(*_EMBEDDER, "max_length"),
        why="it takes the mean of stored float32 vectors",
        needs=("model2vec",),
        extra="static",
        runs_by=(),
    ),
    "cross-encoder": Backend(uses=_PAIRS, why="it scores pairs and makes no vectors", kind="reranker", engine="torch"),
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


def find_backend(name: str) -> Backend:
    """The backend of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in BACKENDS:
        raise UsageError(unknown_names("backend", [name], BACKENDS))
    return BACKENDS[name]


def open_backend(model: ResolvedModel, execution: Execution) -> Any:  # noqa: ANN401 -- the spec's kind says which
    """Load a resolved model.

    Returns:
        An `OpenBackend`; for a model of the kind `lexical`, a `rankers.LexicalBackend`.

    Raises:
        PrerequisiteError: the device is not there.
        ModelError: its files do not fit.
    """
    opener, facts = _code(model.spec.backend).open_backend, model.facts
    if not facts.files:
        return opener(model, execution)
    with seen_folder(facts.folder, facts.files) as seen:
        moved = replace(
            facts,
            folder=seen,
            transformer=seen / facts.transformer.relative_to(facts.folder),
            dense=tuple(seen / path.relative_to(facts.folder) for path in facts.dense),
        )
        try:
            return opener(replace(model, facts=moved), execution)
        except ModelError as error:
            raise ModelError(str(error).replace(str(seen), str(facts.folder))) from None


def resolve_elsewhere(backend: str, name: str, options: ModelOptions) -> ResolvedModel:
    """A model that is no files, by its backend.

    Raises:
        UsageError: there is no such model, or it cannot be used so.
        ModelError: it is not one that can be run.
    """
    resolved: ResolvedModel = _code(backend).resolve(name, options)
    return resolved


def _code(backend: str) -> ModuleType:
    return imported("pipeline" if find_backend(backend).engine is not None else backend.replace("-", "_"))


def imported(file: str) -> ModuleType:
    """A file of this folder.

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
    asked = {"device": execution.device, "batch_tokens": execution.batch_tokens}
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
