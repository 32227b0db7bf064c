"""How fast the exact search is: `python benchmarks/search_speed.py [DOCUMENTS ...] [--disk FOLDER]`.

1,000 queries over corpora of 384 dimensions: ours; the product alone, by NumPy and by torch; faiss-cpu's IndexFlatIP;
mteb's own search. All in one process, one after another, the best of ROUNDS; the results are held against each other.
With --disk, 10,000,000 vectors in shards below FOLDER are searched instead, and the peak of anonymous memory is shown.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from large_corpus import watch_memory
from numpy.typing import NDArray

from evalharness.ranking.exact import search_all
from evalharness.ranking.records import Ranking
from evalharness.store.index import VECTORS, StoredRows
from evalharness.store.shard_files import write_shard
from evalharness.types import Dense

SIZES, QUERIES, DIMENSIONS, K, ROUNDS = (100_000, 1_000_000), 1000, 384, 1000, 3
ON_DISK, SHARD = 10_000_000, 4096
# documents in a block, as in mteb
BLOCK = 50_000
FAR_APART = 1e-5


@dataclass(frozen=True, slots=True)
class Speed:
    """What a search took.

    Attributes:
        documents: searched.
        name: who searched.
        seconds: of the clock.
    """

    documents: int
    name: str
    seconds: float

    @property
    def gigaflops(self) -> float:
        """As if nothing but the product had to be done."""
        return 2 * self.documents * QUERIES * DIMENSIONS / self.seconds / 1e9


def directions(count: int, seed: int) -> NDArray[np.float32]:
    """Random vectors of length 1."""
    made = np.random.default_rng(seed).standard_normal((count, DIMENSIONS), dtype=np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def speeds(documents: int) -> Iterator[Speed]:
    """Each search of a corpus of this size; their results are the same but for the last bits.

    Raises:
        AssertionError: they are not.
    """
    import faiss
    import torch

    corpus, queries = directions(documents, 1), directions(QUERIES, 2)
    ids = [str(number) for number in range(documents)]
    blocks = [corpus[first : first + BLOCK] for first in range(0, documents, BLOCK)]
    room = np.empty((QUERIES, min(BLOCK, documents)), dtype=np.float32)
    left, tensors = torch.from_numpy(queries), [torch.from_numpy(block) for block in blocks]

    def by_faiss() -> NDArray[np.float32]:
        index = faiss.IndexFlatIP(DIMENSIONS)
        index.add(corpus)
        found: NDArray[np.float32] = index.search(queries, K)[0]
        return found

    yield _timed(
        documents, "the product, NumPy", lambda: [np.matmul(queries, b.T, out=room[:, : len(b)]) for b in blocks]
    )
    yield _timed(documents, "the product, torch", lambda: [torch.mm(left, tensor.T) for tensor in tensors])
    kept: dict[str, NDArray[np.float32]] = {}

    def ours() -> None:
        kept["ours"] = np.array(search_all(Dense(queries), Dense(corpus), ids, K).scores)

    yield _timed(documents, "ours", ours)
    yield _timed(documents, "faiss-cpu IndexFlatIP", lambda: kept.update(faiss=by_faiss()))
    yield _timed(documents, "mteb", lambda: kept.update(mteb=by_mteb(queries, corpus)))
    for name in ("faiss", "mteb"):
        if np.abs(kept["ours"] - kept[name]).max() > FAR_APART:
            raise AssertionError(f"{name} found other scores than we in {documents:,} documents")


def _timed(documents: int, name: str, work: Callable[[], object]) -> Speed:
    seconds = []
    for _ in range(ROUNDS):
        started = time.monotonic()
        work()
        seconds.append(time.monotonic() - started)
    return Speed(documents, name, min(seconds))


def by_mteb(queries: NDArray[np.float32], corpus: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores of each query, best first, by mteb's search through a corpus of vectors that are there already."""
    import torch
    from mteb import get_task
    from mteb.models.search_wrappers import chunked_full_corpus_search

    class Numbers:
        """A corpus whose rows are numbers."""

        def __init__(self, rows: range) -> None:
            self.rows = rows

        def __len__(self) -> int:
            return len(self.rows)

        def select(self, part: range) -> dict[str, list[str]]:
            return {"id": [str(number) for number in part], "text": [""] * len(part)}

    starts = iter(range(0, len(corpus), BLOCK))

    def encoded(*_: object, **__: object) -> torch.Tensor:
        first = next(starts)
        return torch.from_numpy(corpus[first : first + BLOCK])

    from unittest.mock import patch

    with patch("mteb.models.search_wrappers.create_dataloader"):
        heaps = chunked_full_corpus_search(
            task_corpus=Numbers(range(len(corpus))),
            corpus_chunk_size=BLOCK,
            query_idx_to_id={number: str(number) for number in range(len(queries))},
            query_embeddings=torch.from_numpy(queries),
            task_metadata=get_task("MindSmallReranking").metadata,
            hf_subset="default",
            hf_split="test",
            top_k=K,
            encode_kwargs={"show_progress_bar": False},
            encode_fn=encoded,
            similarity_fn=lambda first, second: torch.mm(torch.as_tensor(first), torch.as_tensor(second).T),
            search_k_offset=1,
        )
    return np.array([sorted((score for score, _ in heap), reverse=True) for heap in heaps.values()], dtype=np.float32)


def search_disk(folder: Path, documents: int) -> str:
    """Search vectors in shards, made if they are not there; gives a line on it."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, documents, SHARD)
    paths = [folder / f"{first}.shard" for first in starts]
    for first, path in zip(starts, paths, strict=True):
        if not path.exists():
            write_shard(path, {VECTORS: directions(min(SHARD, documents - first), first)})
    # in another order than that of the files, as documents of any lengths are
    mixed = np.random.default_rng(0).permutation(documents)
    shards, places = (mixed // SHARD).astype(np.int32), (mixed % SHARD).astype(np.int32)
    del mixed
    corpus = Dense(StoredRows(paths, shards, places, DIMENSIONS))
    ids, peak = [str(number) for number in range(documents)], [0]
    threading.Thread(target=watch_memory, args=[peak], daemon=True).start()
    started = time.monotonic()
    found: Ranking = search_all(Dense(directions(QUERIES, 2)), corpus, ids, K)
    seconds = time.monotonic() - started
    speed = Speed(documents, "ours, from disk", seconds)
    return f"{_line(speed)}\n\n{len(found.documents)} queries; peak RssAnon {peak[0] / 1e9:.2f} GB"


def _line(speed: Speed) -> str:
    return f"| {speed.documents:,} | {speed.name} | {speed.seconds:.2f} | {speed.gigaflops:.0f} |"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=int, nargs="*")
    parser.add_argument("--disk", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    print("| documents | search | seconds | GFLOP/s |")
    print("| ---: | --- | ---: | ---: |")
    if arguments.disk is not None:
        print(search_disk(arguments.disk, (arguments.documents or [ON_DISK])[0]))
        return
    for documents in arguments.documents or SIZES:
        for speed in speeds(documents):
            print(_line(speed), flush=True)


if __name__ == "__main__":
    main()
