"""Kind x engine: what is made of hidden states or logits, what computes them, and the one way of texts through both.

A kind knows tokens and rows, an engine knows graphs; the rows of `registry.BACKENDS` say which go together.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from evalharness.catalog.models import ModelFacts
from evalharness.models.computing import Computing
from evalharness.models.forward.ahead import Ahead
from evalharness.models.forward.batches import ANY_LENGTHS, BLOCK, BatchRunner, Forward, blocks, is_out_of_memory
from evalharness.models.forward.blocks import Block, Tokenize, read_block
from evalharness.models.forward.budget import default_tokens, fitted_tokens
from evalharness.models.forward.company import Trial, company_facts, find_company
from evalharness.models.forward.tokens import BatchReader, Reader
from evalharness.models.forward.vocabulary import check_vocabulary
from evalharness.models.forward.weights import check_runs
from evalharness.models.options import Execution, asked_tokens
from evalharness.models.registry import ResolvedModel, find_backend
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import DType, Embeddings, Emit, Encoding, TextsEncoded

# of a graph: a vector per token, a vector per text, scores
GraphOutput: TypeAlias = Literal["hidden", "vectors", "logits"]


# tokens of a text by which the engine's speed is measured
_TRIAL_LENGTH = 64

# batches on a GPU, which computes one while the processor prepares the next and takes the rows of the one before
_AT_ONCE = 2


class Graph(Protocol):
    """What computes an output of a padded batch."""

    def run(self, inputs: Mapping[str, Any], output: GraphOutput) -> torch.Tensor:
        """An output for a padded batch.

        Args:
            inputs: tensors of shape (texts, tokens) by name, on the CPU or on the engine's home, and options if it
                takes any.
            output: one that it has.
        """
        ...


class Engine(Graph, Protocol):
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
        version: what computes, with its version, for the record.
        notes: what a reader of any number made by it must know.
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
    version: str
    notes: tuple[str, ...]

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

    def load(self, dtype: DType | None = None) -> Any:  # noqa: ANN401 -- see `Kind`
        """The torch model that computes it, in its own precision or in another one."""
        ...

    def rows(self, engine: Graph, tokens: dict[str, list[Any]], encoding: Encoding) -> Any:  # noqa: ANN401
        """See `Kind`; nothing is asked of the engine but to run."""
        ...


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
    parts = (read_block(places, texts, tokenize) for places in blocks(texts))
    return run_blocks(len(texts), parts, runner, emit, forward=forward, journal=journal)


def run_blocks(
    count: int,
    parts: Iterable[Block],
    runner: BatchRunner,
    emit: Emit,
    *,
    forward: Forward,
    journal: Journal = NO_JOURNAL,
) -> Rows:
    """What `run_texts` does once there are tokens.

    Args:
        count: of the texts.
        parts: their tokens; each text is in one.
        runner: see `run_texts`, as for the others.
        emit: is told of progress.
        forward: from tokens to rows.
        journal: see `BatchRunner.run`.
    """
    found: Any = None
    truncated, unknown = (np.zeros(count, dtype=bool) for _ in range(2))
    for part in parts:
        truncated[part.places], unknown[part.places] = part.cut, part.unknown
        for batch in runner.run(part.distinct, forward, emit, journal):
            if found is None:
                found = _room(count, batch.rows)
            part.put(batch.rows, batch.places, found)
            emit(TextsEncoded(part.count(batch.places), batch.tokens))
    return Rows(found, truncated, unknown)


def _room(texts: int, rows: Any) -> Any:  # noqa: ANN401 -- rows as `Forward` gives them
    if isinstance(rows, list):
        return [np.empty(0, dtype=np.float32)] * texts
    return np.empty((texts, np.size(rows[0])), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Trial:
    """Batches of one made-up text, to see how long an engine takes."""

    engine: Engine
    wants: GraphOutput
    reader: BatchReader
    max_length: int | None

    def seconds(self, tokens: int) -> float:
        """What a batch of so many tokens takes; infinite if there is no memory for it."""
        length = min(_TRIAL_LENGTH, self.max_length or _TRIAL_LENGTH)
        given = self.reader.plain_tokens(["a"])
        rows = {name: _stretched(values[0], length) for name, values in given.items()}
        inputs = self.reader.inputs({name: [row] * max(1, tokens // len(row)) for name, row in rows.items()})
        output = self.wants if self.wants in self.engine.gives else next(iter(self.engine.gives))
        started = time.perf_counter()
        try:
            with torch.inference_mode():
                # an accelerator is not done before something is read
                self.engine.run(inputs, output)[:1].cpu()
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return float("inf")
        return time.perf_counter() - started


def _stretched(row: Sequence[int], length: int) -> list[int]:
    """A row of at least so many numbers: one in the middle is repeated."""
    middle = len(row) // 2
    return [*row[:middle], *[row[middle]] * max(1, length - len(row) + 1), *row[middle + 1 :]]


class PipelineBackend:
    """A `TextEncoder`: a kind on an engine.

    Attributes:
        device: where the engine runs.
        identity: what of both can change a row, apart from the model and the encoding.
        size: how many parameters both have, and how many of them are token embeddings.
        passed_over: engines that would be faster and cannot run the model, each with the reason.
    """

    passed_over: tuple[str, ...] = ()

    def __init__(self, model: ResolvedModel, execution: Execution, kind: ModuleType, engine: ModuleType) -> None:
        """See the class.

        Args:
            model: its files are loaded.
            execution: how it runs.
            kind: the file that defines what is made.
            engine: the file that defines what computes it.
        """
        self._threads = execution.threads
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
        batch_tokens = 1 if self._engine.is_alone else self._budget(model, execution, engine.__name__)
        at_once = _AT_ONCE if self.device.startswith("cuda") else 1
        self._runner = BatchRunner(model.spec.name, self.device, batch_tokens, company, at_once)
        self._ahead: Ahead[Sequence[str], Encoding, Block] = Ahead(self._block)

    @property
    def computing(self) -> Computing:
        """How it computes."""
        engine, tokens = self._engine, self._runner.batch_tokens
        return Computing(engine.version, tokens, self.passed_over, engine.notes, self._threads)

    def prepare(self, texts: Sequence[str], encoding: Encoding) -> None:
        """See `Preparing`: tokenizes."""
        if len(texts) <= BLOCK:
            self._ahead.begin(texts, encoding)

    def forget(self) -> None:
        """See `Preparing`."""
        self._ahead.forget()

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """Encode texts, or score joined pairs; row i belongs to text i.

        Raises:
            ModelError: a text needs more memory than there is, or the encoding does not fit the model.
        """
        self._engine.check(encoding)
        self._kind.check(encoding)
        if self._threads is not None:
            # a thread has a number of its own, and may not be the one that opened the model
            torch.set_num_threads(self._threads)
        encoded = run_blocks(
            len(texts),
            self._blocks(texts, encoding),
            self._runner,
            emit,
            forward=lambda tokens: self._rows(tokens, encoding),
            journal=journal,
        )
        return self._kind.gather(encoded, self._engine)

    def _budget(self, model: ResolvedModel, execution: Execution, engine: str) -> int:
        """Padded tokens of a batch."""
        if (asked := asked_tokens(execution)) is not None:
            return asked
        reader = self._kind.reader
        if not isinstance(reader, BatchReader):
            return default_tokens(self.device)
        facts = {"fingerprint": model.spec.fingerprint, "dtype": model.spec.dtype, "engine": engine, **self.identity}
        trial = _Trial(self._engine, self._kind.wants, reader, model.spec.max_length)
        return fitted_tokens(facts, self.device, trial.seconds)

    def _block(self, texts: Sequence[str], encoding: Encoding) -> Block:
        """Tokens of no more texts than go together."""
        places = next(blocks(texts), [])
        return read_block(places, texts, lambda part: self._kind.reader.tokenize(part, encoding))

    def _blocks(self, texts: Sequence[str], encoding: Encoding) -> Iterator[Block]:
        """Tokens of any number of texts; while a block is used, the next is made."""
        if len(texts) <= BLOCK:
            if len(texts):
                yield self._ahead.take(texts, encoding)
            return
        places = [np.array(part) for part in blocks(texts)]
        parts = [[texts[place] for place in part] for part in places]
        try:
            for number, part in enumerate(parts):
                for near in parts[number : number + 2]:
                    self._ahead.begin(near, encoding)
                yield self._ahead.take(part, encoding).at(places[number])
        finally:
            self._ahead.forget()

    def _rows(self, tokens: dict[str, list[Any]], encoding: Encoding) -> Any:  # noqa: ANN401 -- see `Kind.rows`
        with torch.inference_mode():
            return self._kind.rows(self._engine, tokens, encoding)


def _with_layers(size: ModelFacts, layers: Sequence[torch.nn.Module]) -> ModelFacts:
    if size.parameters is None:
        return size
    behind = sum(weights.numel() for layer in layers for weights in layer.parameters())
    return replace(size, parameters=size.parameters + behind)
