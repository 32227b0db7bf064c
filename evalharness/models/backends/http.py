"""Models behind a server that speaks OpenAI's embeddings protocol: OpenAI, infinity, TEI (Hugging Face), vLLM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import ModelError, PrerequisiteError, UsageError, clip
from evalharness.models.backends.http_batches import BATCH_TEXTS, BATCH_TOKENS, batch_limit, by_index, estimated_tokens
from evalharness.models.backends.http_client import (
    HttpClient,
    Patience,
    RefusedError,
)
from evalharness.models.backends.http_replies import BadReplyError
from evalharness.models.backends.http_resolving import OPENAI, resolve_server, wire_name
from evalharness.models.named import Named
from evalharness.models.options import Execution
from evalharness.models.prompts import prompted
from evalharness.models.registry import ResolvedModel, beyond_texts
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Dense, Emit, EncodeNote, Encoding, TextsEncoded

_SHORTER = 0.8
# of OpenAI's embedding models; source: mteb's openai_models.py
_TOKENIZER = "cl100k_base"
_SHORTEST_NORM = 1e-12

Vectors: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Reply:
    """Checked vectors, and tokens as the server counts them; 0 if it does not."""

    rows: Vectors
    tokens: int


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of a batch.

    Attributes:
        rows: a vector per text.
        tokens: that went through the model now, or an estimate.
        cut: per text, whether it was made shorter.
        accepted: texts in the largest request that was accepted, if a larger one was refused.
    """

    rows: Vectors
    tokens: int
    cut: NDArray[np.bool_]
    accepted: int | None = None


class HttpBackend:
    """A `TextEncoder` that asks a server.

    Attributes:
        device: where it runs, for the record.
        identity: what of the backend can change a vector, apart from the model and the encoding.
    """

    def __init__(self, model: ResolvedModel, execution: Execution, *, patience: Patience | None = None) -> None:
        """See the class; sends the text "a" to see where the server answers.

        Raises:
            ModelError: the server does not answer, or refuses.
            PrerequisiteError: a length was given, and the tokenizer that could cut to it is missing.
        """
        name, url = str(model.options.name), str(model.options.url)
        self.device = "http"
        self._name = model.spec.name
        self._similarity = model.spec.similarity
        self._tokenizer = _load_tokenizer() if name.startswith(OPENAI) else None
        self.identity = {"backend": "http", "url": url} | ({"tokenizer": _TOKENIZER} if self._tokenizer else {})
        if model.options.max_length is not None and self._tokenizer is None:
            raise PrerequisiteError(
                f"{name}: to cut texts to {model.options.max_length} tokens, tiktoken and its file {_TOKENIZER} are "
                "needed: pip install tiktoken, or leave --max-length out"
            )
        self._client = HttpClient(self._name, url, patience or Patience())
        self._body: dict[str, Any] = {"model": wire_name(name, url), "encoding_format": "float"}
        self._widths: dict[int | None, int] = {}
        with self._client.until(execution.ends):
            self._address = self._client.find("embeddings", self._settled)
            # TEI takes only so many texts at once, and cuts long ones only if it is asked to or was started so
            limit = batch_limit(self._client)
        if limit is not None:
            self._body["truncate"] = True
        self._batch_texts = min(BATCH_TEXTS, limit or BATCH_TEXTS)
        self._batch_tokens = execution.batch_tokens or BATCH_TOKENS

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        """Encode texts; row i belongs to text i.

        Raises:
            ModelError: the server fails or refuses, its vectors are no vectors, or the encoding asks for what only
                the server could do.
        """
        self._check(encoding)
        whole = [prompted(text, encoding) for text in texts]
        sent, truncated = self._cut(whole, encoding.max_length)
        # as mteb does it for OpenAI, whose server refuses empty texts
        full = [place for place, text in enumerate(sent) if text.strip()]
        vectors = np.zeros((len(texts), self._width(encoding)), dtype=np.float32)
        if empty := len(texts) - len(full):
            emit(EncodeNote("empty", "empty texts got a zero vector", empty))
            emit(TextsEncoded(empty))
        refused = 0
        batches, ask = self._batches(sent, full), partial(self._found_or_asked, sent, encoding.dimensions, journal)
        for places, answer in self._client.each(batches, ask, emit):
            self._check_width(answer.rows.shape[1], encoding.dimensions)
            vectors[places] = _finished(answer.rows, encoding)
            truncated[places] |= answer.cut
            refused += int(answer.cut.sum())
            if answer.accepted is not None and not answer.cut.any():
                self._shrink(answer, emit)
            emit(TextsEncoded(len(places), answer.tokens))
        if refused:
            emit(EncodeNote("truncated", "texts cut because the server refused their length", refused))
        # what a server cuts by itself it does not say
        known = self._tokenizer is not None or refused > 0
        return Dense(vectors, self._similarity, truncated if known else None)

    def _check(self, encoding: Encoding) -> None:
        if asked := beyond_texts(encoding, ()):
            raise ModelError(
                f"{self._name}: a server cannot be told {' and '.join(asked)}, which the model needs; run it here, "
                "with another --backend"
            )

    def _settled(self, address: str) -> str:
        """The address, if the server answers there."""
        probe = self._client.post(address, self._body | {"input": ["a"]}, partial(_read, ["a"]))
        self._check_width(probe.rows.shape[1], None)
        return address

    def _cut(self, texts: list[str], length: int | None) -> tuple[list[str], NDArray[np.bool_]]:
        """Texts within the length, as far as that can be counted here."""
        cut = np.zeros(len(texts), dtype=bool)
        kept = list(texts)
        for place, text in enumerate(texts):
            # a token has a byte at least
            if self._tokenizer is None or length is None or len(text.encode("utf-8", "surrogatepass")) <= length:
                continue
            tokens = self._tokenizer.encode(text, disallowed_special=())
            if len(tokens) > length:
                kept[place], cut[place] = self._tokenizer.decode(tokens[:length]), True
        return kept, cut

    def _width(self, encoding: Encoding) -> int:
        """Dimensions that vectors are to have."""
        native = self._widths[None]
        if encoding.dimensions is not None and encoding.dimensions > native:
            raise ModelError(
                f"{self._name}: has vectors of {native} dimensions, {encoding.dimensions} are to be kept; "
                f"give --dimensions {native} or less"
            )
        return encoding.dimensions or native

    def _check_width(self, width: int, dimensions: int | None) -> None:
        """See that the server's vectors have as many dimensions as before, and not too few."""
        before = self._widths.setdefault(dimensions, width)
        if width != before:
            raise ModelError(
                f"{self._name}: the server sent vectors of {before} dimensions before and of {width} now; see that it "
                "runs one model only and was not started anew with another"
            )
        if dimensions is not None and width < dimensions:
            raise ModelError(f"{self._name}: the server was asked for {dimensions} dimensions and sent {width}")

    def _batches(self, texts: Sequence[str], places: Sequence[int]) -> Iterator[list[int]]:
        """Places of texts that go together, longest first: a server pads what it gets at once."""
        batch: list[int] = []
        tokens = 0
        for place in sorted(places, key=lambda place: len(texts[place]), reverse=True):
            more = estimated_tokens(texts[place])
            if batch and (len(batch) >= self._batch_texts or tokens + more > self._batch_tokens):
                yield batch
                batch, tokens = [], 0
            batch.append(place)
            tokens += more
        if batch:
            yield batch

    def _shrink(self, answer: _Answer, emit: Emit) -> None:
        """Send fewer texts at once from now on."""
        accepted = int(answer.accepted or 1)
        self._batch_texts = min(self._batch_texts, accepted)
        note = f"texts in a batch that the server refused for its size, sent {accepted} at a time"
        emit(EncodeNote("batch_shrunk", note, len(answer.rows)))

    def _found_or_asked(
        self, texts: Sequence[str], dimensions: int | None, journal: Journal, places: list[int]
    ) -> tuple[list[int], _Answer]:
        """A batch's places, and its vectors from the journal or the server."""
        batch = [texts[place] for place in places]
        content: dict[str, Sequence[Any]] = {"texts": batch, "dimensions": [dimensions or 0]}
        if (kept := journal.find(content)) is not None:
            return places, _Answer(kept["rows"], 0, kept["cut"], int(kept["accepted"]) or None)
        answer = self._answer(batch, dimensions)
        accepted = np.array(answer.accepted or 0)
        journal.add(content, {"rows": answer.rows, "cut": answer.cut, "accepted": accepted})
        return places, answer

    def _answer(self, texts: Sequence[str], dimensions: int | None) -> _Answer:
        """Vectors of a batch, in halves if the server does not take it whole."""
        try:
            return self._asked(texts, dimensions)
        except RefusedError as refusal:
            if not refusal.is_about_size():
                raise
        if len(texts) == 1:
            return self._shortened(texts[0], dimensions)
        half = (len(texts) + 1) // 2
        parts = [self._answer(part, dimensions) for part in (texts[:half], texts[half:])]
        if parts[0].rows.shape[1] != parts[1].rows.shape[1]:
            self._check_width(parts[0].rows.shape[1], dimensions)
            self._check_width(parts[1].rows.shape[1], dimensions)
        return _Answer(
            np.concatenate([part.rows for part in parts]),
            sum(part.tokens for part in parts),
            np.concatenate([part.cut for part in parts]),
            min(half, *(part.accepted or half for part in parts)),
        )

    def _asked(self, texts: Sequence[str], dimensions: int | None) -> _Answer:
        body = self._body | {"input": list(texts)} | ({} if dimensions is None else {"dimensions": dimensions})
        reply = self._client.post(self._address, body, partial(_read, texts))
        tokens = reply.tokens or sum(map(estimated_tokens, texts))
        return _Answer(reply.rows, tokens, np.zeros(len(texts), dtype=bool))

    def _shortened(self, text: str, dimensions: int | None) -> _Answer:
        """A text that the server finds too long, shorter until it is accepted: nobody here can count its tokens."""
        start = text
        while len(text) > 1:
            text = text[: int(len(text) * _SHORTER)]
            try:
                answer = self._asked([text], dimensions)
            except RefusedError as refusal:
                if not refusal.is_about_size():
                    raise
            else:
                return replace(answer, cut=np.ones(1, dtype=bool))
        raise ModelError(f"{self._name}: the server finds every text too long, even the start of {clip(start)}")


def _load_tokenizer() -> Any | None:  # noqa: ANN401 -- tiktoken is optional
    """OpenAI's tokenizer, if it is there; its file may have to be loaded from the network."""
    try:
        return import_module("tiktoken").get_encoding(_TOKENIZER)
    except (ImportError, OSError):
        return None


def _read(texts: Sequence[str], reply: object) -> _Reply:
    """Vectors of a reply, in the order of the texts.

    Raises:
        BadReplyError: it does not hold a vector of finite numbers per text, all of one length.
    """
    if not isinstance(reply, Mapping):
        raise BadReplyError("the reply is no JSON object")
    rows = [_vector(values) for values in by_index(reply.get("data"), len(texts), "embedding")]
    if len(lengths := sorted({len(row) for row in rows})) > 1:
        raise BadReplyError(f"the reply has vectors of {lengths[0]} and of {lengths[-1]} dimensions")
    for text, row in zip(texts, rows, strict=True):
        if not np.isfinite(row).all():
            raise BadReplyError(f"the vector of {clip(text)} has NaN or infinite numbers")
    usage = reply.get("usage")
    counted = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    # at least one per text, or it is no count
    tokens = counted if isinstance(counted, int) and counted >= len(texts) else 0
    return _Reply(np.stack(rows), tokens)


def _vector(values: object) -> Vectors:
    if isinstance(values, str):
        raise BadReplyError("the vectors are base64 text, although numbers were asked for (encoding_format float)")
    numbers = np.asarray(values) if isinstance(values, list) and values else None
    if numbers is None or numbers.ndim != 1 or numbers.dtype.kind not in "fiu":
        raise BadReplyError("an item of the reply is no list of numbers")
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def _finished(rows: Vectors, encoding: Encoding) -> Vectors:
    """What follows the server's part: fewer dimensions, then length 1."""
    kept = rows[:, : encoding.dimensions]
    if not encoding.normalize:
        return kept
    norms = np.linalg.norm(kept, axis=1, keepdims=True)
    scaled: Vectors = kept / np.maximum(norms, np.float32(_SHORTEST_NORM))
    return scaled


def resolve(named: Named) -> ResolvedModel:
    """A model behind a server that embeds. See `resolve_server`."""
    if named.options.max_length is not None and not named.name.startswith(OPENAI):
        raise UsageError(
            f"{named.name}: a server cannot be told --max-length, and only the tokenizer of {OPENAI}* models is known "
            "here, which texts could be cut with; leave it out and set the server up for it"
        )
    return resolve_server(named, backend="http")


open_backend = HttpBackend
