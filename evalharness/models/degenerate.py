"""Vectors and scores that are numbers and still say nothing: all equal, all zero, or too large to be multiplied."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from evalharness.store.index import reading_order
from evalharness.types import Dense, Embeddings, EncodeNote

DEGENERATE = "degenerate"
_CHUNK = 16_384
# torch.nn.functional.normalize leaves shorter vectors as good as zero
_SHORTEST = 1e-12
_LARGEST = float(np.finfo(np.float32).max)


def degenerate_notes(embeddings: Embeddings, texts: Sequence[str]) -> Iterator[EncodeNote]:
    """What a reader of scores must know of the vectors behind them; nothing for usual ones.

    Args:
        embeddings: row i belongs to text i.
        texts: at least one.
    """
    if not isinstance(embeddings, Dense):
        return
    zero = huge = 0
    same, first = True, embeddings.rows(slice(0, 1)).vectors
    places = reading_order(embeddings)
    for start in range(0, len(embeddings), _CHUNK):
        vectors = embeddings.rows(places[start : start + _CHUNK]).vectors
        peaks = np.abs(vectors).max(axis=1, initial=0)
        zero += int((peaks < _SHORTEST).sum())
        # a sum of so many squares at the most
        huge += int((peaks.astype(np.float64) ** 2 * max(1, vectors.shape[1]) > _LARGEST).sum())
        same = same and bool((vectors == first).all())
    if zero:
        yield EncodeNote(DEGENERATE, "texts got a vector of zeros, which is similar to nothing", zero)
    elif same and len(set(texts)) > 1:
        message = "texts got one and the same vector, so that nothing tells them apart: the scores say nothing"
        yield EncodeNote(DEGENERATE, message, len(texts))
    if huge:
        yield EncodeNote(DEGENERATE, "texts got vectors so large that products of them may leave float32", huge)


def same_score_notes(
    queries: Sequence[Hashable], documents: Sequence[str], scores: NDArray[np.float32]
) -> Iterator[EncodeNote]:
    """As `degenerate_notes`, of scores of pairs: whether all documents of a query have one score, for all queries.

    Args:
        queries: of the pairs, each with what else is asked with it.
        documents: of the pairs.
        scores: of the pairs.
    """
    found: dict[Hashable, set[float]] = defaultdict(set)
    there: dict[Hashable, set[str]] = defaultdict(set)
    for query, document, score in zip(queries, documents, scores.tolist(), strict=True):
        found[query].add(score)
        there[query].add(document)
    if max(map(len, there.values()), default=0) > 1 and all(len(values) == 1 for values in found.values()):
        message = "pairs got the same score as all others of their query, so that nothing tells them apart: the scores "
        yield EncodeNote(DEGENERATE, f"{message}say nothing", len(scores))
