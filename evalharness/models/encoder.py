"""The encoder: prompts over dedupe over a backend, each layer with the same interface.

A task sees `EmbeddingModel.encode_columns` and nothing below it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from evalharness.catalog.models import NOTHING_KNOWN, ModelFacts
from evalharness.catalog.tasks import TaskSpec, all_task_names, find_task
from evalharness.data.texts import document_text
from evalharness.errors import UsageError, unknown_names
from evalharness.models.computing import NOTHING_SAID, Computing
from evalharness.models.degenerate import degenerate_notes
from evalharness.models.given import checked_documents, checked_texts, described
from evalharness.models.prompts import encoding
from evalharness.models.workers import Workers
from evalharness.store.planning import Encode, Wanted, planned
from evalharness.store.text_encoder import TextEncoder, check_finite
from evalharness.store.uses import Uses
from evalharness.types import (
    Dense,
    Embeddings,
    Emit,
    EncodeNote,
    Encoding,
    ModelSpec,
    MultiPart,
    Side,
    TaskContext,
    TextColumn,
    TextsEncoded,
    TextsPlanned,
)

_NOTHING = Dense(np.empty((0, 0), dtype=np.float32))


class DedupingEncoder:
    """Encodes each distinct text once and hands the vector to all places where the text stands."""

    def __init__(self, below: TextEncoder) -> None:
        self._below = below

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit) -> Embeddings:
        """Encode texts; row i belongs to text i."""
        with self.plan([Wanted(texts, encoding)], emit) as (encode,):
            return encode(emit)

    @contextmanager
    def plan(self, wanted: Sequence[Wanted], emit: Emit) -> Iterator[Sequence[Encode]]:
        """See `Planning`; all that is wanted of a job, for the next may plan then."""
        distinct = [_distinct(each.texts) for each in wanted]
        below = [Wanted(texts, each.encoding) for (texts, _), each in zip(distinct, wanted, strict=True)]
        with planned(self._below, below, emit) as found:
            emit(TextsPlanned())
            yield [
                partial(self._handed_out, each, places, encode)
                for each, (_, places), encode in zip(below, distinct, found, strict=True)
            ]

    def _handed_out(self, wanted: Wanted, places: NDArray[np.int64] | None, encode: Encode, emit: Emit) -> Embeddings:
        distinct, encoding = encode(emit), wanted.encoding
        if distinct.truncated is not None and (count := int(distinct.truncated.sum())):
            cut = "texts cut" if encoding.max_length is None else f"texts cut to {encoding.max_length} tokens"
            emit(EncodeNote("truncated", cut, count))
        if distinct.unknown is not None and (count := int(distinct.unknown.sum())):
            emit(EncodeNote("unknown", "texts consist mostly of tokens that the model does not know", count))
        if places is None:
            return distinct
        emit(TextsEncoded(len(places) - len(wanted.texts)))
        return distinct.rows(places)


def _distinct(texts: Sequence[str]) -> tuple[Sequence[str], NDArray[np.int64] | None]:
    """Each text once, in the order of the first ones; and, for each text, its place there, if that is not its own."""
    # gone before anything is encoded: it takes half as much memory as short texts themselves
    position = dict.fromkeys(texts, 0)
    if len(position) == len(texts):
        return texts, None
    position = {text: place for place, text in enumerate(position)}
    return list(position), np.fromiter(map(position.__getitem__, texts), dtype=np.int64, count=len(texts))


def describe(kind: str, spec: ModelSpec, device: str) -> str:
    """A model for people: what it is, and where it runs.

    Args:
        kind: what is in front of the brackets.
        spec: the model as it is used.
        device: torch device name.

    >>> spec = ModelSpec(name="a/b", revision="0", fingerprint="0", pooling="cls", normalize=True, max_length=512)
    >>> describe("Model", spec, "cpu")  # doctest: +NORMALIZE_WHITESPACE
    "Model('a/b', backend='transformers', pooling='cls', normalize=True, max_length=512, dtype='float32',
           device='cpu')"
    """
    of_spec = ("backend", "pooling", "normalize", "max_length", "dtype")
    of_stages = {name: value for name, value in spec.overrides.items() if name in ("reranker", "rerank_top_k")}
    facts = {name: getattr(spec, name) for name in of_spec} | of_stages | {"device": device}
    return f"{kind}({spec.name!r}, {', '.join(f'{name}={value!r}' for name, value in facts.items())})"


class EmbeddingModel:
    """A model with its prompts: it encodes texts the way that its authors mean it.

    Attributes:
        spec: the model as it is used; also what identifies it in results.
        device: torch device name of the backend, for the record.
        computing: how the backend computes, for the record.
        workers: what encodes, where that is more than one engine.
    """

    def __init__(
        self,
        spec: ModelSpec,
        backend: TextEncoder,
        *,
        device: str,
        about: ModelFacts = NOTHING_KNOWN,
        computing: Computing = NOTHING_SAID,
        workers: Workers | None = None,
    ) -> None:
        self.spec = spec
        self.computing = computing
        self.workers = workers
        self.device = device
        self._encoder = DedupingEncoder(backend)
        self._about = about
        self._dimensions: int | None = None

    @property
    def about(self) -> ModelFacts:
        """What is known of the model itself, for people; the size of its vectors once it has made some."""
        return replace(self._about, dimensions=self._dimensions)

    def __repr__(self) -> str:
        return describe(type(self).__name__, self.spec, self.device)

    def encode_queries(self, texts: Sequence[str], *, task: TaskSpec | str | None = None) -> NDArray[np.float32]:
        """Encode queries, with the prompt that the model's card has for the query side of this task.

        Args:
            texts: at least one.
            task: a task or its name, where the model has prompts by task or task type.

        Returns:
            Vectors of shape (texts, dimensions), in input order.

        Raises:
            UsageError: there is no task of this name, or what is given is no list of texts.
            ModelError: a vector is not finite.
        """
        return self._vectors(checked_texts(texts), "query", task)

    def encode_corpus(
        self, texts: Sequence[str | Mapping[str, str]], *, task: TaskSpec | str | None = None
    ) -> NDArray[np.float32]:
        """Encode documents: texts, or mappings with `text` and optionally `title`. See `encode_queries`."""
        checked = checked_documents(texts)
        joined = [item if isinstance(item, str) else document_text(item.get("title"), item["text"]) for item in checked]
        return self._vectors(joined, "document", task)

    def encode(self, texts: Sequence[str], *, task: TaskSpec | str | None = None) -> NDArray[np.float32]:
        """Encode texts of a symmetric task (similarity, clustering, classification ...). See `encode_queries`."""
        return self._vectors(checked_texts(texts), None, task)

    def encode_columns(
        self, columns: Sequence[TextColumn], task: TaskContext | None, emit: Emit
    ) -> dict[str, Embeddings]:
        """Encode a task's texts. Columns that share a prompt go together: a text in two of them is encoded once.

        Returns:
            Column name -> embeddings, row i for text i.

        Raises:
            ModelError: a vector is not finite; the message names the first such text.
        """
        groups: dict[Encoding, list[TextColumn]] = defaultdict(list)
        for column in columns:
            groups[encoding(self.spec, column.side, task)].append(column)
        wanted = [
            Wanted([text for column in members for text in column.texts], shared) for shared, members in groups.items()
        ]
        found: dict[str, Embeddings] = {}
        # cluster sets of one label each need no vectors at all
        with self._encoder.plan([each for each in wanted if each.texts], emit) as encoders:
            encode = iter(encoders)
            for each, members in zip(wanted, groups.values(), strict=True):
                embeddings = self._checked(next(encode)(emit), each.texts, emit) if each.texts else _NOTHING
                start = 0
                for column in members:
                    found[column.name] = embeddings.rows(slice(start, start + len(column.texts)))
                    start += len(column.texts)
        return found

    def _checked(self, embeddings: Embeddings, texts: Sequence[str], emit: Emit) -> Embeddings:
        if isinstance(embeddings, MultiPart):
            embeddings = replace(embeddings, weights=self.spec.output_weights)
        elif len(embeddings):
            self._dimensions = int(embeddings.source.shape[1])
        if not embeddings.is_checked:
            check_finite(embeddings, texts)
        for note in degenerate_notes(embeddings, texts):
            emit(note)
        return embeddings

    def _vectors(self, texts: Sequence[str], side: Side, task: TaskSpec | str | None) -> NDArray[np.float32]:
        column, context, uses = TextColumn("texts", texts, side), _context(task), Uses()
        found = self.encode_columns([column], context, uses.hear)["texts"]
        uses.note(context.name if context else "")
        return found.vectors


def _context(task: TaskSpec | str | None) -> TaskContext | None:
    if task is None:
        return None
    spec = find_task(task) if isinstance(task, str) else task
    if spec is None:
        raise UsageError(unknown_names("task", [str(task)], all_task_names()))
    if not isinstance(spec, TaskSpec):
        raise UsageError(f"task has to be a task's name, got {described(task)}")
    return spec.context()
