"""Batches on a torch device: texts of similar length together, within a budget of padded tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from evalharness.errors import ModelError, PrerequisiteError
from evalharness.models.forward.at_once import worked_ahead
from evalharness.models.forward.budget import default_tokens
from evalharness.store.journal import NO_JOURNAL, Arrays, Journal
from evalharness.types import DType, Emit, EncodeNote

# texts tokenized at a time: enough to sort well, little memory
BLOCK = 8192
# torch's can be pages
_LONGEST_REASON = 150

# which texts may share a batch; `alone` is none
Company: TypeAlias = Literal["any lengths", "equal lengths", "alone"]
ANY_LENGTHS: Company = "any lengths"

# from tokens of some texts to a row for each: an array, or a sequence of whatever a backend makes
Forward: TypeAlias = Callable[[dict[str, list[Any]]], Any]


def choose_device(wanted: str | None) -> str:
    """The wanted torch device, or the best one present.

    Raises:
        PrerequisiteError: the wanted device is not there.
    """
    if wanted is None:
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        # read back, for some devices only take
        torch.zeros(1, device=wanted).tolist()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = " ".join(str(error).split())
        reason = reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."
        raise PrerequisiteError(f"the device {wanted!r} cannot be used here ({reason}); leave --device out") from None
    return wanted


def precision(dtype: DType, device: str) -> dict[str, str]:
    """What of torch can change a vector; belongs to a backend's identity.

    In float32 the kind of device does not count: all are as exact as float32 is, and the record names it.
    """
    facts = {"matmul_precision": torch.get_float32_matmul_precision()}
    return facts if dtype == "float32" else {**facts, "device": device.partition(":")[0]}


def blocks(texts: Sequence[str]) -> Iterator[list[int]]:
    """Positions of the texts, longest first, in parts that are tokenized together."""
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    order = np.argsort(-lengths, kind="stable").tolist()
    for first in range(0, len(order), BLOCK):
        yield order[first : first + BLOCK]


@dataclass(frozen=True, slots=True)
class Batch:
    """Results of a batch: positions of its texts, a row for each, and the tokens that went through the model now."""

    places: list[int]
    rows: Any
    tokens: int


class BatchRunner:
    """Runs token sequences through a model; a batch that does not fit into memory goes in halves.

    Attributes:
        batch_tokens: padded tokens per batch; fewer once one did not fit.
    """

    def __init__(
        self, name: str, device: str, batch_tokens: int | None, company: Company = ANY_LENGTHS, at_once: int = 1
    ) -> None:
        """See the class.

        Args:
            name: the model's, for errors.
            device: torch device name.
            batch_tokens: padded tokens per batch; None for what suits the device.
            company: see `company.find_company`.
            at_once: batches that are in work at the same time, in threads if there are several.
        """
        self._at_once = at_once
        self._company = company
        self._name = name
        self._device = device
        self.batch_tokens = batch_tokens or default_tokens(device)

    def run(
        self,
        tokens: Mapping[str, Sequence[Any]],
        forward: Forward,
        emit: Emit,
        journal: Journal = NO_JOURNAL,
    ) -> Iterator[Batch]:
        """Run all texts, longest first.

        Args:
            tokens: as a tokenizer gives them: `input_ids`, `attention_mask` and so on, an entry per text.
            forward: from a part of the same to a row per text.
            emit: is told of batches that were halved.
            journal: has rows of batches that an earlier run has done, and gets those of this one.

        Raises:
            ModelError: a single text needs more memory than there is.
        """
        lengths = np.array([len(ids) for ids in tokens["input_ids"]], dtype=np.int64)
        kept = _Kept(forward, journal)
        started = (
            _started(kept, places, {key: [values[place] for place in places] for key, values in tokens.items()})
            for places in _batches(lengths, self.batch_tokens, self._company)
        )
        for done in worked_ahead(started, lambda one: self._rows(one, forward), self._at_once):
            yield from self._halving(done.item, done.result, kept, emit)

    def _halving(self, started: _Started, rows: Any | None, kept: _Kept, emit: Emit) -> Iterator[Batch]:  # noqa: ANN401
        places, tokens = started.places, started.tokens
        if started.rows is not None:
            yield Batch(places, rows, 0)
            return
        if rows is not None:
            kept.add(tokens, rows)
            yield Batch(places, rows, sum(map(len, tokens["input_ids"])))
            return
        half = (len(places) + 1) // 2
        length = max(len(ids) for ids in tokens["input_ids"])
        self.batch_tokens = min(self.batch_tokens, half * length)
        note = f"out of memory, batch halved to {half} texts of {length} tokens"
        emit(EncodeNote("batch_shrunk", note, len(places)))
        for part in (slice(half), slice(half, None)):
            again = _started(kept, places[part], {key: v[part] for key, v in tokens.items()})
            yield from self._halving(again, self._rows(again, kept.forward), kept, emit)

    def _rows(self, started: _Started, forward: Forward) -> Any | None:  # noqa: ANN401 -- as `_tried`
        return self._tried(started.tokens, forward) if started.rows is None else started.rows

    def _tried(self, tokens: dict[str, list[Any]], forward: Forward) -> Any | None:  # noqa: ANN401
        """Rows, or None if the batch does not fit; by then the failed batch's tensors are free."""
        try:
            return forward(tokens)
        except IndexError as error:
            raise ModelError(
                f"{self._name}: a text holds a token that the model has no vector for ({error}); see that the "
                "folder has the tokenizer of the model"
            ) from None
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        if len(tokens["input_ids"]) == 1:
            raise ModelError(
                f"{self._name}: a single text of {len(tokens['input_ids'][0])} tokens does not fit into the memory of "
                f"{self._device}; lower --max-length or choose another --device"
            )
        return None


@dataclass(frozen=True, slots=True)
class _Kept:
    """A forward pass, and where its rows are kept: as an array, or rows of any length end to end."""

    forward: Forward
    journal: Journal

    def find(self, tokens: Mapping[str, Sequence[Any]]) -> Any | None:  # noqa: ANN401 -- rows as `forward` gives them
        """Rows of an earlier run."""
        found = self.journal.find(tokens)
        if found is None or "ends" not in found:
            return None if found is None else found["rows"]
        return np.split(found["rows"], found["ends"][:-1])

    def add(self, tokens: Mapping[str, Sequence[Any]], rows: Any) -> None:  # noqa: ANN401 -- as above
        """Keep rows."""
        if self.journal is NO_JOURNAL:
            return
        arrays: Arrays = {"rows": rows}
        if isinstance(rows, list):
            arrays = {"rows": np.concatenate(rows), "ends": np.cumsum([len(row) for row in rows])}
        self.journal.add(tokens, arrays)


@dataclass(frozen=True, slots=True)
class _Started:
    """A batch before it runs: positions of its texts, their tokens, and its rows if an earlier run has left them."""

    places: list[int]
    tokens: dict[str, list[Any]]
    rows: Any | None


def _started(kept: _Kept, places: list[int], tokens: dict[str, list[Any]]) -> _Started:
    return _Started(places, tokens, kept.find(tokens))


def _batches(lengths: NDArray[np.int64], budget: int, company: Company) -> Iterator[list[int]]:
    """Positions of texts that go together, longest first, padded tokens within the budget (at least one text)."""
    order = np.argsort(-lengths, kind="stable")
    falling = -lengths[order]
    first = 0
    while first < len(order):
        room = 1 if company == "alone" else max(1, budget // max(-int(falling[first]), 1))
        last = first + room
        if company == "equal lengths":
            last = min(last, int(np.searchsorted(falling, falling[first], side="right")))
        yield order[first:last].tolist()
        first = min(last, len(order))


def is_out_of_memory(error: Exception) -> bool:
    """Whether it says that there is too little memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch's CPU allocator has no class of its own
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)
