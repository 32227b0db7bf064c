"""Rerankers behind a server: text-embeddings-inference's protocol, or the one of Jina, Cohere, infinity and vLLM."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import ModelError
from evalharness.models.backends.http_batches import BATCH_TEXTS, BATCH_TOKENS, batch_limit, by_index, estimated_tokens
from evalharness.models.backends.http_client import (
    NOT_FOUND,
    HttpClient,
    Patience,
    RefusedError,
)
from evalharness.models.backends.http_replies import BadReplyError, said_in
from evalharness.models.backends.http_resolving import resolve_server, wire_name
from evalharness.models.named import Named
from evalharness.models.options import Execution
from evalharness.models.rankers import split_pair
from evalharness.models.registry import ResolvedModel
from evalharness.reading import described
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Dense, Emit, EncodeNote, Encoding, TextsEncoded

# trying another dialect would not help
_NOT_OF_DIALECT = (401, 403, NOT_FOUND)


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How a server wants to be asked for scores.

    Attributes:
        name: for the record.
        documents: under which key the documents go.
        extra: what else is sent.
        results: under which key of the reply the items are; None if it is a list of them.
        score: under which key of an item the score is.
    """

    name: str
    documents: str
    extra: Mapping[str, Any]
    results: str | None
    score: str


_DIALECTS = (
    _Dialect("tei", "texts", {"raw_scores": True, "truncate": True}, None, "score"),
    _Dialect("jina", "documents", {"raw_scores": True, "return_documents": False}, "results", "relevance_score"),
)


@dataclass(frozen=True, slots=True)
class _Group:
    """Pairs of one query.

    Attributes:
        query: theirs.
        documents: a text per pair.
        places: of the pairs.
    """

    query: str
    documents: list[str]
    places: list[int]

    def tokens(self) -> int:
        """About how many go through the model."""
        return len(self.places) * estimated_tokens(self.query) + sum(map(estimated_tokens, self.documents))


@dataclass(frozen=True, slots=True)
class _Scored:
    """Scores of a group.

    Attributes:
        group: which.
        scores: of its pairs.
        accepted: the size of the largest request that was accepted, if one was refused.
        kept: whether an earlier run got them.
    """

    group: _Group
    scores: Sequence[float]
    accepted: int | None = None
    kept: bool = False


@dataclass(frozen=True, slots=True)
class _Route:
    """Where and how the server is asked."""

    address: str
    dialect: _Dialect


class HttpReranker:
    """Scores pairs by asking a server; also a `TextEncoder` of joined pairs, a score being a vector of length 1.

    Attributes:
        device: where it runs, for the record.
        identity: what of the backend can change a score, apart from the model and the encoding.
    """

    def __init__(self, model: ResolvedModel, execution: Execution, *, patience: Patience | None = None) -> None:
        """See the class; has the server score a pair to see where and how it answers.

        Raises:
            ModelError: the server does not answer, or knows neither protocol.
        """
        name, url = str(model.options.name), str(model.options.url)
        self.device = "http"
        self._name = model.spec.name
        self._wire_name = wire_name(name, url)
        self._client = HttpClient(self._name, url, patience or Patience())
        with self._client.until(execution.ends):
            self._route = self._client.find("rerank", self._detected)
            limit = batch_limit(self._client)
        self.identity = {"backend": "http-rerank", "url": url, "protocol": self._route.dialect.name}
        self._batch_texts = min(BATCH_TEXTS, limit or BATCH_TEXTS)
        self._batch_tokens = execution.batch_tokens or BATCH_TOKENS

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        """Score joined pairs; row i belongs to pair i.

        Raises:
            ModelError: see `score`.
        """
        del encoding
        pairs = [(pair.query, pair.document) for pair in map(split_pair, texts)]
        return Dense(self.score(pairs, emit, journal)[:, np.newaxis])

    def score(self, pairs: Sequence[tuple[str, str]], emit: Emit, journal: Journal = NO_JOURNAL) -> NDArray[np.float32]:
        """Scores of pairs of a query and a document, as the server gives them; higher means more relevant.

        Args:
            pairs: those of one query go together.
            emit: is told of progress.
            journal: see `TextEncoder.encode`.

        Returns:
            float32, shape (pairs,), in input order.

        Raises:
            ModelError: the server fails or refuses.
        """
        scores = np.empty(len(pairs), dtype=np.float32)
        for found in self._client.each(self._groups(pairs), partial(self._scored, journal), emit):
            group = found.group
            scores[group.places] = found.scores
            if found.accepted is not None:
                self._batch_texts = min(self._batch_texts, found.accepted)
                note = f"pairs in a batch that the server refused for its size, sent {found.accepted} at a time"
                emit(EncodeNote("batch_shrunk", note, len(group.places)))
            emit(TextsEncoded(len(group.places), 0 if found.kept else group.tokens()))
        return scores

    def _detected(self, address: str) -> _Route:
        """The dialect in which the server answers at this address."""
        said = []
        for dialect in _DIALECTS:
            body = self._body(dialect, "a", ["a"])
            try:
                problem = self._client.post(address, body, partial(_problem, dialect))
                if problem is None:
                    return _Route(address, dialect)
                said.append(f"{dialect.name}: {self._client.wrong_with(problem)}")
            except RefusedError as refusal:
                if refusal.status in _NOT_OF_DIALECT:
                    raise
                said.append(f"{dialect.name}: {refusal}")
        raise ModelError(f"{self._name}: the server scores no pairs in any protocol known here; {'; '.join(said)}")

    def _body(self, dialect: _Dialect, query: str, documents: Sequence[str]) -> dict[str, Any]:
        return {"model": self._wire_name, "query": query, dialect.documents: list(documents), **dialect.extra}

    def _groups(self, pairs: Sequence[tuple[str, str]]) -> Iterator[_Group]:
        """Pairs that go together: of one query, within the limits of a request."""
        of_query: dict[str, list[int]] = defaultdict(list)
        for place, (query, _) in enumerate(pairs):
            of_query[query].append(place)
        for query, places in of_query.items():
            group = _Group(query, [], [])
            for place in places:
                document = pairs[place][1]
                more = estimated_tokens(query) + estimated_tokens(document)
                full = len(group.places) >= self._batch_texts or group.tokens() + more > self._batch_tokens
                if group.places and full:
                    yield group
                    group = _Group(query, [], [])
                group.documents.append(document)
                group.places.append(place)
            yield group

    def _scored(self, journal: Journal, group: _Group) -> _Scored:
        content = {"query": [group.query], "documents": group.documents}
        if (kept := journal.find(content)) is not None:
            return _Scored(group, kept["scores"].tolist(), int(kept["accepted"]) or None, kept=True)
        scores, accepted = self._halving(group.query, group.documents)
        journal.add(content, {"scores": np.array(scores), "accepted": np.array(accepted or 0)})
        return _Scored(group, scores, accepted)

    def _halving(self, query: str, documents: Sequence[str]) -> tuple[list[float], int | None]:
        """Scores, in halves if the server does not take the documents at once; and the size that it took then."""
        route = self._route
        body = self._body(route.dialect, query, documents)
        try:
            return self._client.post(route.address, body, partial(_read, route.dialect, len(documents))), None
        except RefusedError as refusal:
            if len(documents) == 1 or not refusal.is_about_size():
                raise
        half = (len(documents) + 1) // 2
        first, second = (self._halving(query, part) for part in (documents[:half], documents[half:]))
        return [*first[0], *second[0]], min(half, first[1] or half, second[1] or half)


def _read(dialect: _Dialect, count: int, reply: object) -> list[float]:
    """Scores of a reply, in the order of the documents.

    Raises:
        BadReplyError: it does not hold a finite score per document.
    """
    if dialect.results is not None:
        reply = reply.get(dialect.results) if isinstance(reply, dict) else None
    return [_number(score, place) for place, score in enumerate(by_index(reply, count, dialect.score))]


def _number(score: object, place: int) -> float:
    found = math.nan
    # a boolean is a number to Python
    if isinstance(score, int | float) and not isinstance(score, bool):
        with suppress(OverflowError):
            found = float(score)
    if not math.isfinite(found):
        raise BadReplyError(f"the score of the item with index {place} is {described(score)}, no finite number")
    return found


def _problem(dialect: _Dialect, reply: object) -> BadReplyError | None:
    """What keeps a reply from being a score in this dialect; None if nothing does."""
    try:
        _read(dialect, 1, reply)
    except BadReplyError as error:
        error.said = said_in(reply)
        return error
    return None


def resolve(named: Named) -> ResolvedModel:
    """A model behind a server that scores pairs. See `resolve_server`."""
    return resolve_server(named, backend="http-rerank")


open_backend = HttpReranker
