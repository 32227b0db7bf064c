"""Pairs of texts, which several task types judge: where they come from, and how alike the two of a pair are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from evalharness.data.mteb import column, text_column
from evalharness.data.tables import Table, tell_all
from evalharness.metrics.groups import group_column, groups_of_pairs
from evalharness.metrics.measures import similarity_column
from evalharness.tasks.definition import side_of
from evalharness.types import Embeddings, Side, TextColumn

Gold = TypeVar("Gold", int, float)

# of a pair in local files
SENTENCES = ("sentence1", "sentence2")
# of what is encoded
_FIRST, _SECOND = "first", "second"
# pairs that are compared at a time, so that what lies between two steps stays in the processor's cache
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class JudgedPairs(Generic[Gold]):
    """Pairs of texts with what people say of each; the sides are None but for a few mteb tasks."""

    first: Sequence[str]
    second: Sequence[str]
    gold: Sequence[Gold]
    first_side: Side = None
    second_side: Side = None


def mteb_pairs(
    task: Any,  # noqa: ANN401 -- an mteb task object
    rows: Any,  # noqa: ANN401 -- a data set's rows
    *,
    names: Sequence[str],
    gold: Callable[[Any], Gold],
    where: str,
) -> JudgedPairs[Gold]:
    """Pairs of an mteb task.

    Args:
        task: says which sides they have.
        rows: hold them.
        names: columns of the first texts, the second ones, and of what people say.
        gold: made of the last.
        where: for errors.

    Raises:
        DataError: a column is missing, or holds other things than texts.
    """
    first, second, judged = names
    return JudgedPairs(
        first=text_column(rows, first, where),
        second=text_column(rows, second, where),
        gold=[gold(value) for value in column(rows, judged, where)],
        first_side=side_of(task.input1_prompt_type),
        second_side=side_of(task.input2_prompt_type),
    )


def local_pairs(table: Table, gold: Callable[[], Sequence[Gold]]) -> JudgedPairs[Gold]:
    """Pairs of a local task.

    Args:
        table: has `SENTENCES`.
        gold: reads what people say; what is wrong with it is told together with what is wrong with the texts.

    Raises:
        DataError: something is wrong.
    """
    first, second = SENTENCES
    tell_all(lambda: table.texts(first), lambda: table.texts(second), gold)
    return JudgedPairs(table.texts(first), table.texts(second), gold())


def pair_columns(pairs: JudgedPairs[Any]) -> list[TextColumn]:
    """What is encoded."""
    return [
        TextColumn(_FIRST, pairs.first, pairs.first_side),
        TextColumn(_SECOND, pairs.second, pairs.second_side),
    ]


def pair_texts(pairs: JudgedPairs[Any], number: int, item: Mapping[str, float]) -> dict[str, str]:
    """Both texts of a pair; see `TaskType.texts`."""
    del item
    return {"first text": pairs.first[number], "second text": pairs.second[number]}


def similarities_within(embeddings: Mapping[str, Embeddings]) -> dict[str, list[float]]:
    """How alike the two of each pair are: by the model's own `similarity`, cosine, Manhattan and Euclidean distance.

    The distances are sklearn's, in the vectors' own dtype, as mteb takes them.

    Args:
        embeddings: of both `pair_columns`.
    """
    from evalharness.ranking.similarity import pairwise

    first, second = embeddings[_FIRST], embeddings[_SECOND]
    found: dict[str, list[float]] = {name: [] for name in ("similarity", "cosine", "manhattan", "euclidean")}
    # a last block of one pair would be added up in another way
    ends = [*range(_BLOCK, len(first) - 1, _BLOCK), len(first)]
    for start, end in zip([0, *ends], ends, strict=False):
        left, right = first.rows(slice(start, end)), second.rows(slice(start, end))
        found["similarity"] += pairwise(left, right)
        for name, values in _alike(left.vectors, right.vectors).items():
            found[name] += values.tolist()
    return found


def _alike(first: NDArray[np.float32], second: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """sklearn's `paired_..._distances` as similarities, to the last bit, without its checks."""
    apart = first - second
    euclidean = -np.sqrt(_squared(apart))
    if not np.isfinite(euclidean).all():
        from sklearn.metrics.pairwise import (
            paired_cosine_distances,
            paired_euclidean_distances,
            paired_manhattan_distances,
        )

        # the checks have something to say
        return {
            "cosine": 1 - paired_cosine_distances(first, second),
            "manhattan": -paired_manhattan_distances(first, second),
            "euclidean": -paired_euclidean_distances(first, second),
        }
    manhattan = -np.abs(apart, out=apart).sum(axis=-1)
    turned = _of_length_one(first)
    turned -= _of_length_one(second)
    return {"cosine": 1 - 0.5 * _squared(turned), "manhattan": manhattan, "euclidean": euclidean}


def _squared(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.einsum("ij,ij->i", vectors, vectors))


def _of_length_one(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.sqrt(_squared(vectors))
    # sklearn's rule
    lengths[lengths < 10 * np.finfo(lengths.dtype).eps] = 1
    return np.asarray(vectors / lengths[:, None], dtype=np.float32)


def dots_within(embeddings: Mapping[str, Embeddings]) -> list[float]:
    """The dot product of each pair, as `np.dot` gives it, which a product of whole matrices does not to the last bit.

    Args:
        embeddings: of both `pair_columns`.
    """
    first, second = embeddings[_FIRST].vectors, embeddings[_SECOND].vectors
    values: list[float] = (first[:, None, :] @ second[:, :, None])[:, 0, 0].tolist()
    return values


def item_columns(pairs: JudgedPairs[Any], similarities: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Columns of pairs' items: each similarity, and which pairs share a text.

    Args:
        pairs: of texts.
        similarities: of each pair, by the names of `similarities_within`.
    """
    named = {similarity_column(name): found for name, found in similarities.items()}
    return named | group_column(groups_of_pairs(pairs.first, pairs.second))
