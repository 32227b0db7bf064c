"""Tokens of texts that are read together, of which equal ones go through the model once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evalharness.models.forward.tokens import PROMPT_TOKENS, Tokenized

Tokenize: TypeAlias = Callable[[Sequence[str]], Tokenized]
# what tells one text's tokens from another's
_OF_A_TEXT = ("input_ids", "token_type_ids", PROMPT_TOKENS)


@dataclass(frozen=True, slots=True)
class Block:
    """Tokens of some texts.

    Attributes:
        places: of its texts among all.
        distinct: tokens of a text of each group of equal ones, by the tokenizer's names.
        cut: per text, whether it was cut.
        unknown: per text, whether most of its tokens are unknown.
        order: its texts, group after group.
        starts: where each group begins in `order`.
        counts: how many texts each group has.
    """

    places: NDArray[np.int64]
    distinct: Mapping[str, Sequence[Any]]
    cut: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]

    def at(self, places: NDArray[np.int64]) -> Block:
        """The same where its texts are a part of others, at these places in its order."""
        return replace(self, places=places[self.places])

    def count(self, groups: Sequence[int]) -> int:
        """How many texts there are in groups."""
        return int(self.counts[groups].sum())

    def put(self, rows: Any, groups: Sequence[int], found: Any) -> None:  # noqa: ANN401 -- rows as `Forward` gives them
        """Write a row per group to the places of all its texts.

        Args:
            rows: one for each of the groups.
            groups: their numbers.
            found: room for all texts: an array, or a list where rows have different lengths.
        """
        counts = self.counts[groups]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        texts = self.places[self.order[np.repeat(self.starts[groups], counts) + within]]
        if isinstance(found, list):
            for place, number in zip(texts.tolist(), np.repeat(np.arange(len(counts)), counts).tolist(), strict=True):
                found[place] = rows[number]
        else:
            found[texts] = np.repeat(np.reshape(rows, (len(counts), -1)), counts, axis=0)


def read_block(places: Sequence[int], texts: Sequence[str], tokenize: Tokenize) -> Block:
    """Tokenize the texts at some places."""
    tokenized = tokenize([texts[place] for place in places])
    count = len(places)
    members = np.arange(count) if tokenized.apart else _groups(tokenized.tokens)
    order = np.argsort(members, kind="stable")
    counts = np.bincount(members)
    starts = np.cumsum(counts) - counts
    firsts = order[starts].tolist()
    return Block(
        places=np.array(places, dtype=np.int64),
        distinct={key: [values[place] for place in firsts] for key, values in tokenized.tokens.items()},
        cut=np.array(tokenized.cut, dtype=bool),
        unknown=np.zeros(count, dtype=bool) if tokenized.unknown is None else np.array(tokenized.unknown, dtype=bool),
        order=order,
        starts=starts,
        counts=counts,
    )


def _groups(tokens: Mapping[str, Sequence[Any]]) -> NDArray[np.int64]:
    """Per text, the number of its group: texts that differ only in what the tokenizer does not see are in one."""
    columns = [map(_as_key, tokens[name]) for name in _OF_A_TEXT if name in tokens]
    groups: dict[tuple[Any, ...], int] = {}
    return np.array([groups.setdefault(key, len(groups)) for key in zip(*columns, strict=True)], dtype=np.int64)


def _as_key(part: Any) -> Any:  # noqa: ANN401 -- a number, or some
    if isinstance(part, np.ndarray):
        return part.tobytes()
    return tuple(part) if isinstance(part, list) else part
