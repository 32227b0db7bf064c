"""Models that rank documents without vectors of their own: rerankers, word counters, and two stages of them.

A pair of a query and a document goes through the encoder's layers as one text (`join_pair`), and its score comes back
as a vector of one dimension; so pairs are deduplicated, stored and resumed as texts are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evalharness.catalog.models import NOTHING_KNOWN, ModelFacts
from evalharness.errors import UsageError
from evalharness.models.computing import NOTHING_SAID, Computing
from evalharness.models.degenerate import same_score_notes
from evalharness.models.encoder import DedupingEncoder, EmbeddingModel, describe
from evalharness.models.prompts import encoding
from evalharness.models.workers import Workers
from evalharness.ranking.records import Ranking, RetrievalRecords
from evalharness.store.text_encoder import TextEncoder, check_finite
from evalharness.types import Emit, EncodeEvent, ModelSpec, TaskContext, TextsPlanned, content_digest

_COMMIT_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and a document, as a reranker reads them; with the instruction, for those that read it apart."""

    query: str
    document: str
    instruction: str | None = None


def join_pair(pair: Pair) -> str:
    """A pair as one text.

    >>> split_pair(join_pair(Pair("a", "b"))) == Pair("a", "b")
    True
    """
    apart = [] if pair.instruction is None else [pair.instruction]
    return json.dumps([pair.query, pair.document, *apart], ensure_ascii=False)


def split_pair(text: str) -> Pair:
    """The pair of such a text."""
    return Pair(*json.loads(text))


class PairModel:
    """A reranker: scores pairs of a query and a document.

    Attributes:
        spec: the model as it is used.
        device: torch device name of the backend, for the record.
        about: what is known of the model itself, for people.
        workers: what scores, where that is more than one engine.
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
        self.about = about
        self._encoder = DedupingEncoder(backend)

    def score_pairs(self, pairs: Sequence[Pair], task: TaskContext | None, emit: Emit) -> NDArray[np.float32]:
        """Scores of pairs; higher means more relevant.

        Args:
            pairs: any number.
            task: which task they are of.
            emit: is told of progress.

        Returns:
            float32, shape (pairs,), in input order.

        Raises:
            ModelError: a score is not finite.
        """
        if not pairs:
            return np.empty(0, dtype=np.float32)
        texts = [join_pair(pair) for pair in pairs]
        found = self._encoder.encode(texts, encoding(self.spec, None, task), emit)
        check_finite(found, texts)
        scores = found.vectors[:, :1]
        queries = [(pair.query, pair.instruction) for pair in pairs]
        for note in same_score_notes(queries, [pair.document for pair in pairs], scores[:, 0]):
            emit(note)
        return scores[:, 0]


@dataclass(frozen=True, slots=True)
class LexicalRequest:
    """What a word counter has to know beside the texts.

    Attributes:
        ids: document ids, for the rule for ties.
        depth: documents wanted per query.
        candidates: per query, numbers of the documents to choose from; None for all.
        languages: mteb language codes of the texts.
    """

    ids: Sequence[str]
    depth: int
    candidates: Sequence[Sequence[int] | NDArray[np.int64]] | None
    languages: Sequence[str]


class LexicalBackend(Protocol):
    """Ranks documents by the words that they share with a query."""

    device: str

    def rank(self, queries: Sequence[str], corpus: Sequence[str], request: LexicalRequest) -> Ranking:
        """Documents per query."""
        ...


@dataclass(frozen=True, slots=True)
class Reranker:
    """A second stage: the model, and how many documents of the first it gets per query."""

    model: PairModel
    top_k: int


class RankingModel:
    """What ranks a task's documents: a reranker on the task's own candidates, a word counter, or two stages.

    Attributes:
        spec: the model as results know it.
        device: torch device name, for the record.
        computing: how it computes, for the record.
        workers: what computes in its last stage, where that is more than one engine.
    """

    def __init__(
        self, spec: ModelSpec, first: EmbeddingModel | LexicalBackend | None, reranker: Reranker | None = None
    ) -> None:
        """See the class.

        Args:
            spec: what the results are of.
            first: finds documents; None to rank the task's own candidates.
            reranker: ranks what was found again.
        """
        self.spec = spec
        self._first = first
        self._reranker = reranker
        last = reranker.model if reranker else first
        self.workers = last.workers if isinstance(last, EmbeddingModel | PairModel) else None
        stages = [first, reranker.model if reranker else None]
        self.device = ", ".join(dict.fromkeys(stage.device for stage in stages if stage is not None))
        said = [stage.computing for stage in stages if isinstance(stage, EmbeddingModel | PairModel)]
        self.computing = replace(
            said[0] if said else NOTHING_SAID,
            engine=", ".join(dict.fromkeys(one.engine for one in said if one.engine)),
            passed_over=tuple(dict.fromkeys(reason for one in said for reason in one.passed_over)),
            notes=tuple(dict.fromkeys(note for one in said for note in one.notes)),
        )

    def __repr__(self) -> str:
        return describe(type(self).__name__, self.spec, self.device)

    @property
    def about(self) -> ModelFacts:
        """What is known of the model that the results are named after: the first stage, where there are two."""
        if isinstance(self._first, EmbeddingModel):
            return self._first.about
        return self._reranker.model.about if self._first is None and self._reranker is not None else NOTHING_KNOWN

    def rank(self, records: RetrievalRecords, languages: Sequence[str], task: TaskContext, emit: Emit) -> Ranking:
        """Rank the documents of each query.

        Args:
            records: the task's data.
            languages: mteb language codes of its texts.
            task: what it is.
            emit: is told of progress.

        Raises:
            UsageError: the task gives no candidates, and there is no first stage to find some.
        """
        first = self._first_stage(records, languages, task, emit)
        if first is not None and self._reranker is None:
            return first
        found = self._reranked(records, self._candidates(records, first, task), task, emit)
        notes = first.notes if first is not None else ()
        return replace(found, notes=(*notes, *self._pair_notes(records)))

    def _first_stage(
        self, records: RetrievalRecords, languages: Sequence[str], task: TaskContext, emit: Emit
    ) -> Ranking | None:
        if self._first is None:
            return None
        if isinstance(self._first, EmbeddingModel):
            # it imports torch: seconds that a mistyped command need not wait for
            from evalharness.ranking.search import search, text_columns

            is_last = self._reranker is None
            found = self._first.encode_columns(text_columns(records), task, emit if is_last else _without_plans(emit))
            return search(records, found["queries"], found["corpus"])
        request = LexicalRequest(records.corpus_ids, max(records.k_values), records.candidates, languages)
        return self._first.rank(records.queries, records.corpus, request)

    def _candidates(
        self, records: RetrievalRecords, first: Ranking | None, task: TaskContext
    ) -> list[NDArray[np.int64]]:
        # as in mteb, a document of the query's own id takes a place here, too, and is dropped at the end
        if first is not None and self._reranker is not None:
            return [documents[: self._reranker.top_k] for documents in first.as_they_came()]
        if records.candidates is None:
            raise UsageError(
                f"{self.spec.name} is a reranker, and {task.name} gives no candidates to rank. Let another model find "
                f"them: --model FIRST --reranker {self.spec.name} --rerank-top-k 100"
            )
        return [np.asarray(candidates, dtype=np.int64) for candidates in records.candidates]

    def _pair_notes(self, records: RetrievalRecords) -> tuple[str, ...]:
        left_out = self._reranker is not None and self._reranker.model.spec.pair_instruction == "left-out"
        if not (left_out and records.instructions):
            return ()
        return ("the reranker got the queries without their instructions, as in mteb",)

    def _reranked(
        self, records: RetrievalRecords, candidates: Sequence[NDArray[np.int64]], task: TaskContext, emit: Emit
    ) -> Ranking:
        from evalharness.ranking.search import ranked

        if self._reranker is None:
            raise UsageError(f"{self.spec.name} finds no documents and ranks none")
        how, apart = self._reranker.model.spec.pair_instruction, records.instructions
        queries = records.bare_queries if how == "left-out" and apart else records.queries
        instructions = apart if how == "template" and apart else [None] * len(queries)
        pairs = [
            Pair(query, records.corpus[number], instruction)
            for query, instruction, numbers in zip(queries, instructions, candidates, strict=True)
            for number in numbers.tolist()
        ]
        scores = self._reranker.model.score_pairs(pairs, task, emit)
        borders = np.cumsum([len(numbers) for numbers in candidates])[:-1]
        return ranked(candidates, np.split(scores, borders), records.corpus_ids)


def _without_plans(emit: Emit) -> Emit:
    """What is told of a stage behind which another one has texts of its own to plan."""

    def tell(event: EncodeEvent) -> None:
        if not isinstance(event, TextsPlanned):
            emit(event)

    return tell


def pair_facts(spec: ModelSpec) -> dict[str, str]:
    """What of a reranker can change its scores, apart from its files and the encoding; defaults left out, but one."""
    found: dict[str, str] = {"pair_truncation": spec.pair_truncation}
    if spec.pair_template is not None:
        found["pair_template"] = spec.pair_template
    if spec.pair_instruction != "joined":
        found["pair_instruction"] = spec.pair_instruction
    return found


def two_stage_spec(first: ModelSpec, second: ModelSpec, top_k: int) -> ModelSpec:
    """What the results of two stages are of: the first model, with the second as a change against it."""
    is_commit = len(second.revision) == _COMMIT_LENGTH
    named = f"{second.name}@{second.revision[:8]}" if is_commit else second.name
    overrides = {**first.overrides, "reranker": named, "rerank_top_k": top_k}
    overrides |= {f"reranker_{key}": value for key, value in second.overrides.items()}
    note = (
        f"the {top_k} best documents of each query were ranked again by {named}; the others were dropped, "
        f"so metrics beyond depth {top_k} see no more than these"
    )
    both = {
        "first": first.fingerprint,
        "second": second.fingerprint,
        "pairs": {**encoding(second, None, None).facts(), **pair_facts(second)},
        "top_k": top_k,
    }
    notes = (*first.notes, *(f"reranker: {text}" for text in second.notes), note)
    return first.changed({"fingerprint": content_digest(both), "overrides": overrides, "notes": notes})
