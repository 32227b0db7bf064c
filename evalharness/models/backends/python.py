"""Any Python object that turns texts into vectors: `python:module:name`."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import EvalHarnessError, ModelError, UsageError, clip, unknown_names
from evalharness.models.config import FileFacts
from evalharness.models.folding import BACKEND, NO_REVISION, Identity, Stated, spec_without_files
from evalharness.models.named import Named
from evalharness.models.options import Execution
from evalharness.models.prompts import prompted
from evalharness.models.registry import ResolvedModel, beyond_texts
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Dense, Emit, Encoding, Facts, TextsEncoded

# texts handed over at a time
_CHUNK = 1024
_PARTS = 3
# what FlagEmbedding's M3 returns has its vectors under this name
_DENSE_KEY = "dense_vecs"
_NOTE = (
    "a Python object, known by the source of its module only: a change of its weights or of what the module imports is "
    "not noticed"
)

Encode = Callable[[Sequence[str], str], Any]


class PythonBackend:
    """A `TextEncoder` around an object of the user's.

    Attributes:
        device: for the record.
        identity: what of the backend can change a vector, apart from the model and the encoding.
    """

    def __init__(self, model: ResolvedModel, execution: Execution) -> None:
        del execution
        self.device = "the object's own"
        self.identity = {"backend": "python"}
        self._name = model.spec.name
        self._similarity = model.spec.similarity
        self._encode = _interface(_object(model.given), self._name)

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        """Encode texts; row i belongs to text i. The object is told which side they are of.

        Raises:
            ModelError: the object fails, returns what are no vectors of these texts, or cannot do what is wanted.
        """
        # what it makes is not stored, so no run goes on where another ended
        del journal
        if asked := beyond_texts(encoding, ("layer_norm", "side")):
            raise ModelError(
                f"{self._name} cannot be told {' and '.join(asked)}, which the card that it was lent asks for; leave "
                "--like out, or run the model itself"
            )
        whole = [prompted(text, encoding) for text in texts]
        parts: list[NDArray[np.float32]] = []
        for first in range(0, len(whole), _CHUNK):
            chunk = whole[first : first + _CHUNK]
            rows = self._checked(chunk, encoding.side or "")
            if parts and rows.shape[1] != parts[0].shape[1]:
                raise ModelError(
                    f"{self._name} returned vectors of {parts[0].shape[1]} dimensions, and then of {rows.shape[1]}"
                )
            parts.append(rows)
            # words, for it does not say what it takes for a token
            emit(TextsEncoded(len(chunk), sum(len(text.split()) or 1 for text in chunk)))
        # torch, which naming a model need not wait for
        import torch

        from evalharness.models.kinds.dense import finish

        vectors = np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32)
        return Dense(finish(torch.from_numpy(vectors), encoding, self._name).numpy(), self._similarity)

    def _checked(self, texts: list[str], side: str) -> NDArray[np.float32]:
        with _users_code(self._name):
            found = self._encode(texts, side)
        rows = _as_rows(found)
        if rows is None or rows.shape[0] != len(texts):
            shape = f"an array of shape {rows.shape}" if rows is not None else type(found).__name__
            raise ModelError(
                f"{self._name} returned {shape} for {len(texts)} texts; expected a vector of numbers for each"
            )
        return rows


def _as_rows(found: Any) -> NDArray[np.float32] | None:  # noqa: ANN401 -- whatever the object returns
    """A matrix of it, or None if it is none."""
    if isinstance(found, dict):
        found = found.get(_DENSE_KEY)
    if hasattr(found, "detach"):  # a torch tensor, maybe on another device and of another precision
        found = found.detach().float().cpu().numpy()
    try:
        rows = np.asarray(found, dtype=np.float32)
    except (TypeError, ValueError):
        return None
    return rows if rows.ndim == 2 else None  # noqa: PLR2004 -- texts and dimensions


def _interface(thing: Any, name: str) -> Encode:  # noqa: ANN401
    """The first interface of these that the object has: queries and corpus, LangChain's, sentence-transformers'.

    Raises:
        ModelError: it has none.
    """

    def has(*methods: str) -> bool:
        return all(callable(getattr(thing, method, None)) for method in methods)

    symmetric = thing.encode if has("encode") else None
    if has("encode_queries", "encode_corpus"):
        others = symmetric or thing.encode_corpus
        by_side = {"query": thing.encode_queries, "document": thing.encode_corpus}
        return lambda texts, side: by_side.get(side, others)(list(texts))
    if has("embed_query", "embed_documents"):

        def embed(texts: Sequence[str], side: str) -> Any:  # noqa: ANN401
            if side != "query":
                return thing.embed_documents(list(texts))
            return [thing.embed_query(text) for text in texts]

        return embed
    if symmetric is not None:
        return lambda texts, _: symmetric(list(texts))
    raise ModelError(
        f"{name} is a {type(thing).__name__} with none of the interfaces known here: encode_queries and encode_corpus, "
        "embed_query and embed_documents (LangChain), or encode (sentence-transformers)"
    )


@contextmanager
def _users_code(what: str, advice: str = "") -> Iterator[None]:
    """Run code of the user's, whose failure is the user's to read, not a defect of ours."""
    try:
        yield
    except EvalHarnessError:
        raise
    # it can raise anything, its own end of the program included, and whatever it is, it is the error of this model
    except (Exception, SystemExit, GeneratorExit) as error:
        first = (str(error).splitlines() or [""])[0]
        raise ModelError(f"{what} failed with {type(error).__name__}: {clip(first, 300)}{advice}") from error


@contextmanager
def _current_folder() -> Iterator[None]:
    """Modules of the current folder can be imported, first of all."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _parts(name: str) -> list[str]:
    parts = name.split(":")
    if len(parts) != _PARTS or not all(parts):
        raise UsageError(f"{name!r} is not of the form python:module:function, for example python:my_model:load")
    return parts[1:]


def _module(name: str) -> Any:  # noqa: ANN401
    with _current_folder(), _users_code(f"importing the module {name}"):
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise UsageError(f"the module {name} cannot be imported from the current folder: {error}") from None


def _object(name: str) -> Any:  # noqa: ANN401
    module_name, attribute = _parts(name)
    module = _module(module_name)
    found = getattr(module, attribute)
    is_maker = inspect.isfunction(found) or inspect.isclass(found)
    wanted = "; expected a function or class that is called without arguments and gives the model"
    with _current_folder(), _users_code(name, wanted):
        return found() if is_maker else found


def resolve(named: Named) -> ResolvedModel:
    """An object of a module of the user's; the module is imported.

    Raises:
        UsageError: there is none of this name.
        ModelError: the module fails.
    """
    module_name, attribute = _parts(named.name)
    module = _module(module_name)
    if not hasattr(module, attribute):
        raise UsageError(unknown_names(f"name in the module {module_name}", [attribute], vars(module)))
    # a module need not be a file of Python's, or a file at all
    file = getattr(module, "__file__", None)
    source = Path(file).read_text(encoding="utf-8", errors="backslashreplace") if file else module_name
    name = f"python/{module_name}.{attribute}"
    identity = Identity(name, NO_REVISION, f"{attribute}\n{source}", (_NOTE,))
    # whatever adapters a card has that it was lent
    none = Stated(BACKEND, Facts(adapters={}))
    spec = spec_without_files(named.renamed(name), "python", identity, none).changed({"encodes_by": ("side",)})
    return ResolvedModel(spec, FileFacts(), named.options, given=named.name)


open_backend = PythonBackend
