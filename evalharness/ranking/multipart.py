"""Vectors of several kinds per text (dense, sparse, multi-vector): packed into one row, compared kind by kind.

Formulas as in FlagEmbedding's BGE-M3: dense by dot product; sparse by the sum over common tokens of the product of
their weights; multi-vector by the mean over the query's tokens of the largest dot product with a document's token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evalharness.types import MultiPart, Output

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Vector = NDArray[np.float32]
_SIZES = 3
# texts loaded at a time
CHUNK = 1_000
# tokens of documents, and of queries, whose products are computed at a time: 64 MiB of them
_DOCUMENT_TOKENS, _QUERY_TOKENS = 65_536, 256


@dataclass(frozen=True, slots=True)
class Parts:
    """All vectors of one text.

    Attributes:
        dense: shape (dimensions,); empty if there is none.
        tokens: ids of the tokens that have a weight, each once; below 2**24, so that float32 holds them exactly.
        weights: one per token.
        vectors: shape (tokens of the text, dimensions); empty if there are none.
    """

    dense: Vector
    tokens: NDArray[np.int64]
    weights: Vector
    vectors: Vector


def pack(parts: Parts) -> Vector:
    """All vectors of a text in one row: three sizes, the dense vector, token ids and weights, token vectors."""
    sizes = np.array([len(parts.dense), len(parts.tokens), len(parts.vectors)], dtype=np.float32)
    rest = (parts.dense, parts.tokens.astype(np.float32), parts.weights, parts.vectors.ravel())
    return np.concatenate([sizes, *rest]).astype(np.float32)


def unpack(row: Vector) -> Parts:
    """The vectors of such a row.

    >>> made = Parts(np.ones(2, np.float32), np.array([7]), np.array([0.5], np.float32), np.zeros((3, 2), np.float32))
    >>> again = unpack(pack(made))
    >>> again.dense.tolist(), again.tokens.tolist(), again.weights.tolist(), again.vectors.shape
    ([1.0, 1.0], [7], [0.5], (3, 2))
    """
    width, words, count = (int(size) for size in row[:_SIZES])
    borders = np.cumsum([_SIZES, width, words, words])
    dense, tokens, weights = (row[a:b] for a, b in pairwise(borders))
    vectors = row[borders[-1] :].reshape(count, -1) if count else np.empty((0, 0), dtype=np.float32)
    return Parts(dense, tokens.astype(np.int64), weights, vectors)


def scores(queries: MultiPart, documents: MultiPart) -> Vector:
    """Weighted similarities of all queries with all documents.

    Weights are divided by their sum.

    Returns:
        float32, shape (queries, documents).
    """
    left, right = ([unpack(row) for row in side.source.load()] for side in (queries, documents))
    total = sum(queries.weights.values())
    found = np.zeros((len(left), len(right)), dtype=np.float32)
    for output, weight in queries.weights.items():
        found += np.float32(weight / total) * _SIMILARITIES[output](left, right)
    return found


def _dense(queries: Sequence[Parts], documents: Sequence[Parts]) -> Vector:
    found: Vector = np.stack([part.dense for part in queries]) @ np.stack([part.dense for part in documents]).T
    return found


def _matrix(texts: Sequence[Parts], width: int) -> csr_array:
    from scipy.sparse import csr_array

    starts = np.cumsum([0, *(len(part.tokens) for part in texts)])
    weights = np.concatenate([part.weights for part in texts])
    tokens = np.concatenate([part.tokens for part in texts])
    return csr_array((weights, tokens, starts), shape=(len(texts), width))


def _sparse(queries: Sequence[Parts], documents: Sequence[Parts]) -> Vector:
    width = 1 + max((int(part.tokens.max()) for part in (*queries, *documents) if len(part.tokens)), default=0)
    found: Vector = (_matrix(queries, width) @ _matrix(documents, width).T).toarray().astype(np.float32)
    return found


def _multi_vector(queries: Sequence[Parts], documents: Sequence[Parts]) -> Vector:
    found = np.zeros((len(queries), len(documents)), dtype=np.float32)
    for columns in _groups([len(part.vectors) for part in documents], _DOCUMENT_TOKENS):
        right = np.concatenate([documents[column].vectors for column in columns])
        ends = np.cumsum([0, *(len(documents[column].vectors) for column in columns)])[:-1]
        for rows in _groups([len(part.vectors) for part in queries], _QUERY_TOKENS):
            left = np.concatenate([queries[row].vectors for row in rows])
            best = np.maximum.reduceat(left @ right.T, ends, axis=1)
            counts = np.array([len(queries[row].vectors) for row in rows])
            sums = np.add.reduceat(best, np.cumsum([0, *counts])[:-1], axis=0)
            found[np.ix_(rows, columns)] = sums / counts[:, None].astype(np.float32)
    return found


def _groups(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Positions of texts that have vectors, in parts of so many tokens (at least one text)."""
    groups: list[list[int]] = []
    total = budget + 1
    for place, size in enumerate(sizes):
        if not size:
            continue
        if total + size > budget:
            groups.append([])
            total = 0
        groups[-1].append(place)
        total += size
    return groups


_SIMILARITIES = {"dense": _dense, "sparse": _sparse, "multi-vector": _multi_vector}


def products(queries: MultiPart, documents: MultiPart) -> float:
    """How many multiplications the multi-vector similarity of all queries with all documents takes."""
    if not len(queries):
        return 0.0
    width = unpack(queries.source[:1].load()[0]).vectors.shape[1]
    return float(_token_count(queries) * _token_count(documents) * width)


def _token_count(texts: MultiPart) -> int:
    starts = range(0, len(texts), CHUNK)
    return sum(int(row[_SIZES - 1]) for first in starts for row in texts.source[first : first + CHUNK].load())


def only(embeddings: MultiPart, output: Output) -> MultiPart:
    """The same vectors, compared by one kind alone."""
    weights: Mapping[Output, float] = {output: 1.0}
    return MultiPart(embeddings.source, weights, embeddings.truncated)
