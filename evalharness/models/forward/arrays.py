"""Tokens as arrays: a tokenizer's ids for many texts without a Python object for each, and batches of one width."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

# for each name, a row of numbers per text
Columns: TypeAlias = dict[str, list[NDArray[np.int64]]]

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
# steps that a class of tokenizers may take in its own way, and where the common way is
_STEPS = ("__call__", "_encode_plus", "_convert_encoding", "set_truncation_and_padding")
_COMMON = ("transformers.tokenization_utils_base", "transformers.tokenization_utils_tokenizers")
_ANY_TEXT = "a"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is done to the tokens of a text, or of a pair.

    Attributes:
        truncation: whether and how they are cut, as transformers takes it.
        max_length: how many are left with the special ones; None for what the tokenizer says.
        special: whether special tokens are added.
    """

    truncation: bool | str
    max_length: int | None = None
    special: bool = True


@dataclass(frozen=True, slots=True)
class Read:
    """Tokens of texts.

    Attributes:
        columns: by the tokenizer's names; without the attention mask where every token has a 1 in it.
        cut: per text, whether tokens were left out.
    """

    columns: Columns
    cut: NDArray[np.bool_]


def read(tokenizer: Any, texts: Sequence[str], limits: Limits, seconds: Sequence[str] | None = None) -> Read:  # noqa: ANN401
    """The tokens that calling a fast tokenizer of transformers gives.

    Args:
        tokenizer: nobody else may use it meanwhile.
        texts: at least one.
        limits: how they are cut.
        seconds: as many, the other texts of pairs.
    """
    if is_common(tokenizer):
        # the call leaves the tokenizer inside as it has to be for the others
        _called(tokenizer, [_ANY_TEXT], limits, None if seconds is None else [_ANY_TEXT])
        inside = tokenizer.backend_tokenizer
        inputs = list(texts) if seconds is None else list(zip(texts, seconds, strict=True))
        encodings = inside.encode_batch_fast(inputs, add_special_tokens=limits.special)
        ends = np.cumsum(np.fromiter(map(len, encodings), dtype=np.int64))
        columns = {IDS: _parts(chain.from_iterable(item.ids for item in encodings), ends)}
        if TYPES in tokenizer.model_input_names:
            columns[TYPES] = _parts(chain.from_iterable(item.type_ids for item in encodings), ends)
    else:
        found = _called(tokenizer, texts, limits, seconds)
        encodings = found.encodings
        columns = {name: rows_of(values) for name, values in found.items()}
    return Read(columns, np.array([bool(item.overflowing) for item in encodings], dtype=bool))


def _called(tokenizer: Any, texts: Sequence[str], limits: Limits, seconds: Sequence[str] | None) -> Any:  # noqa: ANN401
    return tokenizer(
        list(texts),
        None if seconds is None else list(seconds),
        add_special_tokens=limits.special,
        truncation=limits.truncation,
        max_length=limits.max_length,
        verbose=False,
    )


def is_common(tokenizer: Any) -> bool:  # noqa: ANN401
    """Whether all that a call does beside encoding is known."""
    classes = type(tokenizer).__mro__
    homes = [next((item.__module__ for item in classes if step in vars(item)), None) for step in _STEPS]
    return all(home in _COMMON for home in homes)


def rows_of(values: Sequence[Sequence[int]]) -> list[NDArray[np.int64]]:
    """Numbers of each text as an array, all of them parts of one."""
    ends = np.cumsum(np.fromiter(map(len, values), dtype=np.int64))
    return _parts(chain.from_iterable(values), ends)


def _parts(numbers: Iterable[int], ends: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    if not len(ends):
        return []
    stops = ends.tolist()
    flat = np.fromiter(numbers, dtype=np.int64, count=stops[-1])
    return [flat[start:stop] for start, stop in zip([0, *stops[:-1]], stops, strict=True)]


def count_of(number: int, rows: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """How often a number stands in each row."""
    if not rows:
        return np.zeros(0, dtype=np.int64)
    before = np.concatenate([[0], np.cumsum(np.concatenate(rows) == number)])
    ends = np.cumsum([len(row) for row in rows])
    found: NDArray[np.int64] = before[ends] - before[ends - [len(row) for row in rows]]
    return found


@dataclass(frozen=True, slots=True)
class Padding:
    """How rows of several lengths become a matrix: on the right whatever the tokenizer's side.

    Then a text's first token has the first position in every batch, whatever kind of positions the model has.

    Attributes:
        fillers: by the tokenizer's names, the number that stands where there is no token; None where it has none.
        has_mask: whether the model is told where there are tokens.
    """

    fillers: Mapping[str, int | None]
    has_mask: bool

    def inputs(self, columns: Mapping[str, Sequence[Sequence[int] | NDArray[np.int64]]]) -> dict[str, torch.Tensor]:
        """Tensors of shape (texts, tokens) on the CPU, by the tokenizer's names.

        Args:
            columns: a row of numbers per text for each name.

        Raises:
            ValueError: rows have to be filled up, and there is nothing to do it with.
        """
        there = attended([len(row) for row in columns[IDS]])
        found = {MASK: there.astype(np.int64)} if self.has_mask else {}
        for name, rows in columns.items():
            filler = self.fillers.get(name, 0)
            if filler is None and not there.all():
                raise ValueError("the tokenizer has no padding token")
            matrix = np.full(there.shape, filler or 0, dtype=np.int64)
            matrix[there] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
            found[name] = matrix
        return {name: torch.from_numpy(matrix) for name, matrix in found.items()}


def padding_of(tokenizer: Any) -> Padding:  # noqa: ANN401
    """How a tokenizer of transformers fills up."""
    fillers = {IDS: tokenizer.pad_token_id, TYPES: tokenizer.pad_token_type_id}
    return Padding(fillers, MASK in tokenizer.model_input_names)


def attended(lengths: Iterable[int]) -> NDArray[np.bool_]:
    """Where there are tokens in rows of these lengths, shape (texts, longest)."""
    counts = np.fromiter(lengths, dtype=np.int64)
    there: NDArray[np.bool_] = np.arange(counts.max(initial=0)) < counts[:, None]
    return there
