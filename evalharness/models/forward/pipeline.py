"""Kind x engine: what is made of hidden states or logits, what computes them, and the one way of texts through both.

A kind knows tokens and rows, an engine knows graphs; the rows of `registry.BACKENDS` say which go together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from evalharness.catalog.models import ModelFacts
from evalharness.models.forward.batches import ANY_LENGTHS, Batch, BatchRunner, Forward, blocks
from evalharness.models.forward.company import Trial, company_facts, find_company
from evalharness.models.forward.tokens import PROMPT_TOKENS, BatchReader, Reader, Tokenized
from evalharness.models.forward.vocabulary import check_vocabulary
from evalharness.models.forward.weights import check_runs
from evalharness.models.options import Execution
from evalharness.models.registry import ResolvedModel, find_backend
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Embeddings, Emit, Encoding, TextsEncoded

Tokenize: TypeAlias = Callable[[Sequence[str]], Tokenized]
# of a graph: a vector per token, a vector per text, scores
GraphOutput: TypeAlias = Literal["hidden", "vectors", "logits"]
# what tells one text's tokens from another's
_OF_A_TEXT = ("input_ids", "token_type_ids", PROMPT_TOKENS)


class Engine(Protocol):
    """Turns token ids into hidden states or logits. Its file defines `home` and `open_engine`.

    Attributes:
        device: where it runs, for the record.
        identity: what of it can change a number; which backend it is need not be said.
        graph: what the graph is called, for messages.
        takes: names of the graph's inputs.
        gives: the graph's outputs.
        vocabulary: how many tokens have a vector; None where nobody knows.
        width: dimensions of a hidden state; 0 where nobody knows.
        size: how many parameters it has, and how many of them are token embeddings.
        is_exact: whether it computes in whole float32.
        is_alone: whether the graph scales by the whole batch, so that a text must be one by itself.
    """

    device: str
    identity: Mapping[str, Any]
    graph: str
    takes: Collection[str]
    gives: Collection[GraphOutput]
    vocabulary: int | None
    width: int
    size: ModelFacts
    is_exact: bool
    is_alone: bool

    def run(self, inputs: Mapping[str, Any], output: GraphOutput) -> torch.Tensor:
        """An output for a padded batch.

        Args:
            inputs: tensors of shape (texts, tokens) by name, on the engine's home, and options if it takes any.
            output: one of `gives`.
        """
        ...

    def check(self, encoding: Encoding) -> None:
        """See that it computes what an encoding wants. Raises ModelError."""
        ...


class Kind(Protocol):
    """What is made of hidden states or logits. Its file defines `open_kind`.

    Attributes:
        wants: what it is made of.
        reader: what makes tokens for it.
        layers: what computes it behind the graph.
    """

    wants: GraphOutput
    layers: Sequence[torch.nn.Module]

    @property
    def reader(self) -> Reader: ...  # noqa: D102 -- see Attributes

    def load(self) -> Any:  # noqa: ANN401 -- transformers has no common type
        """The torch model that computes it."""
        ...

    def identity(self, engine: Engine) -> dict[str, Any]:
        """What of it can change a row, apart from the model and the encoding; where it goes by itself, its backend."""
        ...

    def try_out(self, engine: Engine) -> torch.Tensor:
        """All that it makes of a short text, in any form. Raises ModelError if the engine has another graph."""
        ...

    def trial(self, engine: Engine) -> Trial | None:
        """How to see whether texts depend on each other; None where they are known not to."""
        ...

    def check(self, encoding: Encoding) -> None:
        """See that it can do what an encoding wants. Raises ModelError."""
        ...

    def rows(self, engine: Engine, tokens: dict[str, list[Any]], encoding: Encoding) -> Any:  # noqa: ANN401
        """From a batch to a row per text: an array, or a list of arrays of different lengths."""
        ...

    def gather(self, encoded: Rows, engine: Engine) -> Embeddings:
        """The rows of all texts as what they are."""
        ...


class Exportable(Kind, Protocol):
    """A kind whose graph can be a file."""

    @property
    def reader(self) -> BatchReader: ...  # noqa: D102 -- see `Kind`


@dataclass(frozen=True, slots=True)
class Rows:
    """What came of texts, in their order.

    Attributes:
        rows: float32, shape (texts, dimensions); a list where rows have different lengths; None for no texts.
        truncated: per text, whether it was cut.
        unknown: per text, whether most of its tokens are the one for unknown words; False where nobody looked.
    """

    rows: NDArray[np.float32] | list[NDArray[np.float32]] | None
    truncated: NDArray[np.bool_]
    unknown: NDArray[np.bool_]

    def matrix(self, width: int) -> NDArray[np.float32]:
        """The rows as one array; for no texts of this width."""
        return np.empty((0, width), dtype=np.float32) if self.rows is None else np.asarray(self.rows)


def run_texts(
    texts: Sequence[str],
    runner: BatchRunner,
    emit: Emit,
    *,
    tokenize: Tokenize,
    forward: Forward,
    journal: Journal = NO_JOURNAL,
) -> Rows:
    """Tokens, then batches of similar length, then rows in the order of the texts; equal tokens go through once.

    Args:
        texts: any number.
        runner: makes the batches.
        emit: is told of progress and of batches that were halved.
        tokenize: from texts to tokens.
        forward: from a part of the tokens to a row per text.
        journal: see `BatchRunner.run`.

    Raises:
        ModelError: a text needs more memory than there is.
    """
    found: Any = None
    truncated, unknown = (np.zeros(len(texts), dtype=bool) for _ in range(2))
    for places in blocks(texts):
        tokenized = tokenize([texts[place] for place in places])
        truncated[places] = tokenized.cut
        unknown[places] = False if tokenized.unknown is None else tokenized.unknown
        same = _alone(len(places)) if tokenized.apart else _same_tokens(tokenized.tokens)
        firsts = {key: [values[place] for place in same.firsts] for key, values in tokenized.tokens.items()}
        for batch in runner.run(firsts, forward, emit, journal):
            if found is None:
                found = _room(len(texts), batch.rows)
            _put(found, np.array(places), same, batch)
            emit(TextsEncoded(int(same.counts[batch.places].sum()), batch.tokens))
    return Rows(found, truncated, unknown)


@dataclass(frozen=True, slots=True)
class _Same:
    """Texts in groups of equal tokens.

    Attributes:
        firsts: the first text of each group.
        order: all texts, group after group.
        starts: where each group begins in `order`.
        counts: how many texts each has.
    """

    firsts: list[int]
    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]


def _alone(count: int) -> _Same:
    every = np.arange(count)
    return _Same(every.tolist(), every, every, np.ones(count, dtype=np.int64))


def _same_tokens(tokens: Mapping[str, Sequence[Any]]) -> _Same:
    """Texts that differ only in what the tokenizer does not see go together."""
    columns = [map(_as_key, tokens[name]) for name in _OF_A_TEXT if name in tokens]
    groups: dict[tuple[Any, ...], int] = {}
    members = np.array([groups.setdefault(key, len(groups)) for key in zip(*columns, strict=True)], dtype=np.int64)
    if len(groups) == len(members):
        return _alone(len(members))
    order = np.argsort(members, kind="stable")
    counts = np.bincount(members, minlength=len(groups))
    starts = np.cumsum(counts) - counts
    return _Same(order[starts].tolist(), order, starts, counts)


def _as_key(part: Any) -> Any:  # noqa: ANN401 -- a number, a text, or some numbers
    if isinstance(part, np.ndarray):
        return part.tobytes()
    return tuple(part) if isinstance(part, list) else part


def _put(found: Any, places: NDArray[np.int64], same: _Same, batch: Batch) -> None:  # noqa: ANN401 -- see `_room`
    """Rows of a batch to all texts of their groups."""
    counts = same.counts[batch.places]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    texts = places[same.order[np.repeat(same.starts[batch.places], counts) + within]]
    if isinstance(found, list):
        for place, number in zip(texts.tolist(), np.repeat(np.arange(len(counts)), counts).tolist(), strict=True):
            found[place] = batch.rows[number]
    else:
        found[texts] = np.repeat(np.reshape(batch.rows, (len(counts), -1)), counts, axis=0)


def _room(texts: int, rows: Any) -> Any:  # noqa: ANN401 -- rows as `Forward` gives them
    if isinstance(rows, list):
        return [np.empty(0, dtype=np.float32)] * texts
    return np.empty((texts, np.size(rows[0])), dtype=np.float32)


class PipelineBackend:
    """A `TextEncoder`: a kind on an engine.

    Attributes:
        device: where the engine runs.
        identity: what of both can change a row, apart from the model and the encoding.
        size: how many parameters both have, and how many of them are token embeddings.
    """

    def __init__(self, model: ResolvedModel, execution: Execution, kind: ModuleType, engine: ModuleType) -> None:
        """See the class.

        Args:
            model: its files are loaded.
            execution: how it runs.
            kind: the file that defines what is made.
            engine: the file that defines what computes it.
        """
        self._kind: Kind = kind.open_kind(model, engine.home(execution))
        self._engine: Engine = engine.open_engine(model, execution, self._kind)
        self.device = self._engine.device
        self.size = _with_layers(self._engine.size, self._kind.layers)
        check_vocabulary(model.spec.name, self._kind.reader.tokenizer, self._engine.vocabulary)
        check_runs(model, lambda: self._kind.try_out(self._engine))
        trial = None if self._engine.is_alone else self._kind.trial(self._engine)
        company = ANY_LENGTHS if trial is None else find_company(model, trial)
        own = self._kind.identity(self._engine)
        # of a kind that was there before there were engines, vectors on torch are found under its own name
        if find_backend(model.spec.backend).holds:
            own["backend"] = model.spec.backend
        self.identity = {**own, **self._engine.identity, **company_facts(company)}
        batch_tokens = 1 if self._engine.is_alone else execution.batch_tokens
        self._runner = BatchRunner(model.spec.name, self.device, batch_tokens, company)

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """Encode texts, or score joined pairs; row i belongs to text i.

        Raises:
            ModelError: a text needs more memory than there is, or the encoding does not fit the model.
        """
        self._engine.check(encoding)
        self._kind.check(encoding)
        encoded = run_texts(
            texts,
            self._runner,
            emit,
            tokenize=lambda part: self._kind.reader.tokenize(part, encoding),
            forward=lambda tokens: self._rows(tokens, encoding),
            journal=journal,
        )
        return self._kind.gather(encoded, self._engine)

    def _rows(self, tokens: dict[str, list[Any]], encoding: Encoding) -> Any:  # noqa: ANN401 -- see `Kind.rows`
        with torch.inference_mode():
            return self._kind.rows(self._engine, tokens, encoding)


def _with_layers(size: ModelFacts, layers: Sequence[torch.nn.Module]) -> ModelFacts:
    if size.parameters is None:
        return size
    behind = sum(weights.numel() for layer in layers for weights in layer.parameters())
    return replace(size, parameters=size.parameters + behind)
