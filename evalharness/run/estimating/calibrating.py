"""Measuring how fast a model is, in five seconds beside opening it: texts of a few lengths, and tokens by script."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from statistics import fmean
from typing import Any

from evalharness.models.computing import Computed, Counted, TokenCounting
from evalharness.models.lazy import is_known_by_files, known_opening, open_and_keep
from evalharness.models.loading import ResolvedModel
from evalharness.models.opening import import_code
from evalharness.models.options import Execution
from evalharness.models.pool.asked import asked_pool
from evalharness.models.prompts import encoding
from evalharness.models.rankers import Pair, join_pair
from evalharness.models.registry import OpenBackend, find_backend
from evalharness.run.estimating.scripts import ENGLISH, OTHER, USUAL, samples
from evalharness.run.estimating.speed import Point, Speed, on_one_device, speed_key
from evalharness.types import Dense, Embeddings, EncodeEvent, Encoding, ModelSpec, TextsEncoded

# all measurements together may take so long
SECONDS = 5.0
# words of a text; as most models read 512 tokens at most, longer ones follow from the last two
_WORDS = (8, 32, 128, 380)
# a measurement is long enough to believe, and the next one of a length is not begun
_ENOUGH = 0.8
_FIRST_TEXTS, _MOST_TEXTS, _MOST_AT_ONCE = 4, 4096, 16.0
_LONGER = 1.2
# of so many times as many texts, those in the middle are of about one length
_CHOICE = 4
_FLOAT = 4.0
# of each script where tokens can only be counted by encoding
_FEW = 2


@dataclass(slots=True)
class _Counter:
    """Hears how many tokens went through the model."""

    tokens: int = 0

    def __call__(self, event: EncodeEvent) -> None:
        if isinstance(event, TextsEncoded):
            self.tokens += event.tokens


def calibrate(model: ResolvedModel, execution: Execution) -> Speed:
    """Open a model and measure it.

    Args:
        model: whose files are here.
        execution: how it runs; of several devices one is measured.

    Raises:
        PrerequisiteError, ModelError: as `open_model`.
    """
    key, execution = speed_key(model, execution), on_one_device(execution)
    if asked_pool(model, execution) is not None:
        # all of them would be opened, each in an actor
        execution = execution.changed({"device": "cuda:0"})
    began = time.perf_counter()
    # opened for the first time it may be exported and measured, which no run does again
    is_first = is_known_by_files(model) and known_opening(model, execution) is None
    if find_backend(model.spec.backend).engine is not None:
        import_code(model, "")
    imported = time.perf_counter() - began
    opened: OpenBackend = open_and_keep(model, execution)
    loading = time.perf_counter() - began
    if is_first:
        began = time.perf_counter()
        opened = open_and_keep(model, execution)
        loading = imported + time.perf_counter() - began
    return measure(opened, model.spec).changed({"made_of": key, "loading": loading})


def measure(opened: OpenBackend, spec: ModelSpec, seconds: float = SECONDS) -> Speed:
    """What an open model takes for texts of a few lengths.

    Args:
        opened: the model.
        spec: what it is.
        seconds: that all measurements together take at most, as far as it can be foreseen.
    """
    how, ends = encoding(spec, None, None), time.perf_counter() + seconds
    as_text = _pair if spec.kind == "reranker" else str
    sizes = partial(_sizes, opened, how)
    # the first call pays for what comes with it
    opened.encode(_Length(_WORDS[0], as_text, sizes).texts(_FIRST_TEXTS), how, _Counter())
    found: list[_Measured] = []
    for words in _WORDS:
        last = found[-1].point if found else None
        # a text of this length takes about as much for a token as one of the length before
        if last is not None and time.perf_counter() + last.seconds / last.tokens * _FIRST_TEXTS * 2 * words > ends:
            break
        new = _measured(opened, how, _Length(words, as_text, sizes), ends)
        # of texts that are cut, the longer ones are no longer
        if last is None or new.point.tokens > _LONGER * last.tokens:
            found.append(new)
    return Speed(
        points=tuple(one.point for one in found),
        **_tokenized(opened, how, as_text),
        **found[-1].size(),
        parameters=opened.size.parameters if isinstance(opened, Counted) else None,
        batch_tokens=opened.computing.batch_tokens if isinstance(opened, Computed) else None,
        device=opened.device,
    )


@dataclass(frozen=True, slots=True)
class _Length:
    """Texts of a length.

    Attributes:
        words: so many.
        as_text: makes what the model reads of a text.
        sizes: of texts, by which they are alike.
    """

    words: int
    as_text: Callable[[str], str]
    sizes: Callable[[Sequence[str]], Sequence[int]]

    def texts(self, count: int) -> list[str]:
        """So many different texts that are about equally long, as those of a batch are among many."""
        known = [word for text in samples()[ENGLISH] for word in text.split()]
        # no two of them are the same, which would go through the model once
        draws = random.Random(self.words)  # noqa: S311 -- test data
        drawn = [self.as_text(" ".join(draws.choices(known, k=self.words))) for _ in range(_CHOICE * count)]
        sizes = self.sizes(drawn)
        by_size = sorted(range(len(drawn)), key=sizes.__getitem__)
        first = (len(drawn) - count) // 2
        return [drawn[place] for place in by_size[first : first + count]]


@dataclass(frozen=True, slots=True)
class _Measured:
    """What texts of a length take, and their vectors."""

    point: Point
    made: Embeddings

    def size(self) -> dict[str, float]:
        """Bytes of a vector: of one per text, or of several, which there are more of the longer it is."""
        if isinstance(self.made, Dense):
            return {"bytes_per_text": _FLOAT * self.made.source.shape[1]}
        numbers = sum(map(len, self.made.source.load()))
        return {"bytes_per_token": _FLOAT * numbers / len(self.made) / self.point.tokens}


def _measured(opened: OpenBackend, how: Encoding, length: _Length, ends: float) -> _Measured:
    """A text among as many as are enough to believe it, if there is time for them."""
    count = _FIRST_TEXTS
    while True:
        texts, counter = length.texts(count), _Counter()
        began = time.perf_counter()
        made = opened.encode(texts, how, counter)
        took = time.perf_counter() - began
        point = Point(tokens=max(counter.tokens / count, 1.0), seconds=took / count)
        wanted = min(_MOST_TEXTS, int(count * min(_ENOUGH / took, _MOST_AT_ONCE)) + 1)
        if took >= _ENOUGH / 2 or wanted <= count or time.perf_counter() + wanted * point.seconds > ends:
            return _Measured(point, made)
        count = wanted


def _sizes(opened: OpenBackend, how: Encoding, texts: Sequence[str]) -> list[int]:
    """Tokens of texts, or characters where nobody can count them."""
    return opened.token_counts(texts, how) if isinstance(opened, TokenCounting) else [len(text) for text in texts]


def _pair(text: str) -> str:
    """A text as a pair that a reranker reads."""
    query, _, document = text.partition(" ")
    return join_pair(Pair(query, document))


def _tokenized(opened: OpenBackend, how: Encoding, as_text: Callable[[str], str]) -> Mapping[str, Any]:
    """Tokens of a character by script, and of a text beside its own."""

    def count(texts: Sequence[str]) -> float:
        given = [as_text(text) for text in texts]
        if isinstance(opened, TokenCounting):
            return float(sum(opened.token_counts(given, how)))
        counter = _Counter()
        opened.encode(given, how, counter)
        return float(counter.tokens)

    special = max(count(["a"]) - 1, 0.0)
    rates = dict(USUAL)
    for script, texts in samples().items():
        kept = texts if isinstance(opened, TokenCounting) else list(islice(texts, _FEW))
        characters = sum(map(len, kept))
        rates[script] = max((count(kept) - special * len(kept)) / characters, 1e-3)
    # of those that nobody has measured, few are Latin
    others = [rate for script, rate in rates.items() if script not in USUAL]
    return {"special": special, "rates": {**rates, OTHER: fmean(others)}}
