"""Values that travel between the layers: specs, records of progress, embeddings, scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_origin
from typing import Protocol as TypingProtocol

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from evalharness.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Places: TypeAlias = slice | NDArray[np.integer[Any]] | Sequence[int]

Side: TypeAlias = Literal["query", "document"] | None
Pooling: TypeAlias = Literal["cls", "mean", "weightedmean", "lasttoken", "own"]
Kind: TypeAlias = Literal["embedder", "reranker", "lexical"]
DType: TypeAlias = Literal["float32", "bfloat16", "float16", "int8"]
EngineName: TypeAlias = Literal["auto", "torch", "onnx", "openvino"]
Protocol: TypeAlias = Literal["mteb", "published"]
Output: TypeAlias = Literal["dense", "sparse", "multi-vector"]
PairTemplate: TypeAlias = Literal["yes-logit", "qwen3", "layerwise"]
PairTruncation: TypeAlias = Literal["longest_first", "only_second"]
PairInstruction: TypeAlias = Literal["joined", "template", "left-out"]
Similarity: TypeAlias = Literal["cosine", "dot"]
Metrics: TypeAlias = dict[str, Any]
Label: TypeAlias = str | int | float

PROTOCOLS: tuple[Protocol, ...] = ("mteb", "published")
DTYPES: tuple[DType, ...] = ("float32", "bfloat16", "float16", "int8")
ENGINES: tuple[EngineName, ...] = ("auto", "torch", "onnx", "openvino")
OUTPUTS: tuple[Output, ...] = ("dense", "sparse", "multi-vector")
# `own`: what the backend does by itself (a server, a library), which is not ours to choose
POOLINGS: tuple[Pooling, ...] = ("cls", "mean", "weightedmean", "lasttoken", "own")


class Frozen(BaseModel):
    """Base of all specs: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def changed(self, changes: Mapping[str, object]) -> Self:
        """A copy with other values of some fields. Raises pydantic's ValidationError for a wrong name or value."""
        return self.model_validate({**{name: getattr(self, name) for name in self.model_fields_set}, **changes})


class Encoding(Frozen):
    """All that can change the vector of a text, apart from the model's files.

    Attributes:
        pooling: how token vectors become one vector.
        normalize: whether vectors are scaled to length 1.
        max_length: tokens kept of prompt + text, special tokens included; the rest is cut on the right. None: all.
        dtype: precision of weights and activations; vectors are float32 always.
        prompt, suffix: the exact text put before and after the input.
        prompt_as_tokens: whether both are tokenized by themselves: no token spans the border, the text is cut (SGPT).
        prompt_within: tokens of prompt and text together beyond which a text goes without the prompt (instructor).
        pool_prompt: whether the prompt's tokens count in the pooling (instructor: no).
        layer_norm: whether vectors are brought to mean 0 and variance 1 before anything else (nomic).
        dimensions: how many are kept (Matryoshka), before normalisation. None: all.
        adapter: name of the adapter of weights that the model is to use for this text (jina).
        outputs: which kinds of vectors are made of a text (bge-m3).
        side, task: of the text, where the model itself goes by them (sentence-transformers' Router, mteb's models).
    """

    pooling: Pooling
    normalize: bool
    max_length: int | None
    dtype: DType
    prompt: str
    suffix: str = ""
    prompt_as_tokens: bool = False
    prompt_within: int | None = None
    pool_prompt: bool = True
    layer_norm: bool = False
    dimensions: int | None = None
    adapter: str = ""
    outputs: tuple[Output, ...] = ("dense",)
    side: Side = None
    task: str = ""

    def facts(self) -> dict[str, Any]:
        """What identifies it in keys; a field that came later and is at its default leaves old keys valid."""
        return self.model_dump(exclude_defaults=True)


class TaskContext(Frozen):
    """The part of a task that a prompt may depend on; the instruction is what the task tells instructed models."""

    name: str
    type: str
    instruction: str = ""


class VectorFacts(Frozen):
    """What can be said of a model's vectors, and of a reranker, which makes none, cannot.

    Attributes:
        prompts, suffixes, adapters, prompt_within: see `Encoding`; by mteb's keys, such as `query`, `Retrieval-query`,
            `ArguAna-query`, `STS12`. The suffix of texts without a side has the key "".
        default_prompt: prompt for texts that have no side, where no key fits.
        instruction_template: makes a task's instruction a prompt (not of documents) where no key but the side's fits.
        prompt_as_tokens, pool_prompt, normalize, layer_norm, dimensions: as in `Encoding`.
        unnormalized_types: task types whose vectors are not scaled to length 1.
    """

    prompts: dict[str, str] = {}
    suffixes: dict[str, str] = {}
    adapters: dict[str, str] = {}
    default_prompt: str = ""
    instruction_template: str = ""
    prompt_as_tokens: StrictBool = False
    pool_prompt: StrictBool = True
    normalize: StrictBool = False
    unnormalized_types: tuple[str, ...] = ()
    layer_norm: StrictBool = False
    dimensions: int | None = Field(default=None, ge=1)
    prompt_within: dict[str, int] = {}


class Facts(VectorFacts):
    """How a model makes vectors or scores; who says only some of it makes one with only these fields set (`stated`).

    Attributes:
        pooling, max_length, dtype: as in `Encoding`.
        similarity: the model's own similarity function.
        pair_template: how a language model is asked about a pair: `yes-logit`, `qwen3` or `layerwise`.
        pair_truncation: of long pairs, the longer text is cut, or the query to 3/4, then the document (FlagEmbedding).
        pair_instruction: where a query's instruction is read: behind the query, there and in the template, or nowhere.
        languages: mteb language codes; empty where unknown.
    """

    pooling: Pooling = "own"
    max_length: int | None = Field(default=None, ge=1)
    dtype: DType = "float32"
    similarity: Similarity = "cosine"
    pair_template: PairTemplate | None = None
    pair_truncation: PairTruncation = "longest_first"
    pair_instruction: PairInstruction = "joined"
    languages: tuple[str, ...] = ()

    def stated(self) -> dict[str, Any]:
        """The facts that are set, without what a subclass has beside them."""
        return {name: getattr(self, name) for name in Facts.model_fields if name in self.model_fields_set}


# facts whose values stand by key: side, task or task type, each with the side behind it
BY_KEY = tuple(name for name, item in Facts.model_fields.items() if get_origin(item.annotation) is dict)


class ModelSpec(Facts):
    """A model as it is used: which it is, and the facts of it that all sources together give.

    Attributes:
        name: Hub id, or `local/<folder>` for a folder.
        revision: commit of a Hub model, or the first 40 digits of the fingerprint.
        fingerprint: sha256 over the content of all files that can change a vector.
        kind: `embedder` (texts to vectors), `reranker` (pairs to scores) or `lexical` (words in common).
        backend: name of what runs it; see `evalharness.models.registry`.
        encodes_by, outputs: what of a text's side and task it goes by itself, and what it makes; see `Encoding`.
        output_weights: where more than one kind of vector counts, or another than the dense, by how much each.
        remote_code: whether the repository's own Python code runs.
        facts_from: where most of the facts were read, for people.
        origins: fact -> who stated it; those that are missing have their default.
        notes: what a reader of any of its numbers must know.
        overrides: what the user changed against those facts; part of the result path.
    """

    name: str
    revision: str
    fingerprint: str
    kind: Kind = "embedder"
    backend: str = "transformers"
    encodes_by: tuple[Literal["side", "task"], ...] = ()
    outputs: tuple[Output, ...] = ("dense",)
    output_weights: dict[Output, float] = {}
    remote_code: bool = False
    facts_from: str = ""
    origins: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    overrides: dict[str, Any] = {}


class Rows(TypingProtocol):
    """Rows that may be elsewhere than in memory until NumPy asks for them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, dimensions)."""

    def __getitem__(self, index: Any, /) -> Any:  # noqa: ANN401 -- whatever NumPy takes
        """Some of the rows."""

    def __array__(self) -> NDArray[np.float32]:
        """All of them, in memory."""


@dataclass(frozen=True, slots=True)
class Dense:
    """One vector per text.

    Attributes:
        source: float32, shape (texts, dimensions); an array, or rows of memory-mapped files.
        similarity: how the model means its vectors to be compared.
        truncated, unknown: per text, whether it was cut, and is mostly tokens for unknown words; None if nobody knows.
        is_checked: whether the layer that it comes from has seen that all numbers are finite.
    """

    source: NDArray[np.float32] | Rows
    similarity: Similarity = "cosine"
    truncated: NDArray[np.bool_] | None = None
    unknown: NDArray[np.bool_] | None = None
    is_checked: bool = False

    @property
    def vectors(self) -> NDArray[np.float32]:
        """All vectors, in memory."""
        import numpy as np

        return np.asarray(self.source, dtype=np.float32)

    def __len__(self) -> int:
        return int(self.source.shape[0])

    def rows(self, index: Places) -> Dense:
        """The vectors at these positions, in this order."""
        truncated, unknown = _some(self.truncated, index), _some(self.unknown, index)
        return replace(self, source=self.source[index], truncated=truncated, unknown=unknown)


class PackedRows(TypingProtocol):
    """Several vectors of each text in one row of numbers (`multipart.pack`), which may be elsewhere than in memory."""

    def __len__(self) -> int:
        """How many texts."""

    def __getitem__(self, index: Any, /) -> PackedRows:  # noqa: ANN401 -- whatever NumPy takes
        """Some of the texts."""

    def load(self) -> list[NDArray[np.float32]]:
        """The row of each text, in memory."""


@dataclass(frozen=True, slots=True)
class MultiPart:
    """Vectors of several kinds per text, compared by a weighted mean of the similarities of each kind.

    Attributes:
        source: the vectors.
        weights: by kind; kinds without a weight do not count.
        truncated, unknown, is_checked: as in `Dense`.
        similarity: of each kind.
    """

    source: PackedRows
    weights: Mapping[Output, float] = field(default_factory=dict)
    truncated: NDArray[np.bool_] | None = None
    unknown: NDArray[np.bool_] | None = None
    similarity: Similarity = "dot"
    is_checked: bool = False

    def __len__(self) -> int:
        return len(self.source)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """There are none. Raises UsageError."""
        raise UsageError(
            "sparse and multi-vectors can rank documents, but they are no single vectors; choose retrieval and "
            "reranking tasks, or --mode dense"
        )

    def rows(self, index: Places) -> MultiPart:
        """The vectors at these positions, in this order."""
        truncated, unknown = _some(self.truncated, index), _some(self.unknown, index)
        return replace(self, source=self.source[index], truncated=truncated, unknown=unknown)


def _some(flags: NDArray[np.bool_] | None, index: Places) -> NDArray[np.bool_] | None:
    return None if flags is None else flags[index]


Embeddings: TypeAlias = Dense | MultiPart


@dataclass(frozen=True, slots=True)
class TextColumn:
    """Texts that a task wants encoded.

    Attributes:
        name: what the task calls them, for example `corpus`.
        texts: in the task's order.
        side: `query`, `document`, or None for symmetric tasks.
    """

    name: str
    texts: Sequence[str]
    side: Side


@dataclass(frozen=True, slots=True)
class ItemScores:
    """What is known of single items (query, pair, test row ...), enough to recompute the main score.

    Attributes:
        ids: one per item.
        columns: name -> one float per item; see docs/results.md.
        names: what the numbers in columns of labels stand for: labels, or lists of them; empty: they are the labels.
    """

    ids: Sequence[str]
    columns: Mapping[str, Sequence[float]]
    names: Sequence[Label | Sequence[Label]] = ()


@dataclass(frozen=True, slots=True)
class Scores:
    """Result of scoring one subset of one split.

    Attributes:
        metrics: mteb's metric names -> value, unrounded except where mteb's protocol rounds.
        items: per-item scores.
        notes: what a reader of the number must know.
        retrieved: for retrieval, what was found: for each query its id, and document id -> score, best first.
    """

    metrics: Metrics
    items: ItemScores
    notes: tuple[str, ...] = ()
    retrieved: Iterable[tuple[str, Mapping[str, float]]] | None = None


@dataclass(frozen=True, slots=True)
class TextsEncoded:
    """So many texts more are done, repeated ones with the first; `tokens` of the model (stored: none) `by` an actor."""

    count: int
    tokens: int = 0
    by: str = ""


@dataclass(frozen=True, slots=True)
class EncodeNote:
    """`truncated`, `unknown`, `batch_shrunk`, `empty` or `degenerate`: it happened to `count` texts, for the result."""

    kind: str
    message: str
    count: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the user should know and that changes no number: a damaged file, a Hub that fails now and then."""

    message: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing happens, for somebody else has to answer; told again and again, so that whoever has a clock may stop."""


@dataclass(frozen=True, slots=True)
class ShardsUsed:
    """Vectors were found in these files of the store."""

    paths: frozenset[Path]


@dataclass(frozen=True, slots=True)
class TextsPlanned:
    """What is missing of all texts of a job is known, so that the next job may plan; see `store.planning`."""


EncodeEvent: TypeAlias = TextsEncoded | EncodeNote | Notice | Waiting | ShardsUsed | TextsPlanned
Emit: TypeAlias = Callable[[EncodeEvent], None]


def ignore_event(event: EncodeEvent) -> None:
    """An `Emit` for callers that watch nothing."""
    del event


def content_digest(value: object) -> str:
    """sha256 of a JSON-able value, independent of key order.

    >>> content_digest({"a": 1, "b": 2}) == content_digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
