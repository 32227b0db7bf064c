"""How fast the exact search is: `python benchmarks/search_speed.py [DOCUMENTS ...] [--disk FOLDER] [--parts N]`.

1,000 queries over corpora of 384 dimensions: ours; the product alone, by NumPy and by torch; faiss-cpu's IndexFlatIP;
mteb's own search. All in one process, one after another, the best of ROUNDS; the results are held against each other.
With --disk, 10,000,000 vectors in shards below FOLDER are searched instead, and the peak of anonymous memory is shown.

With --parts, the corpus (1,000,000, the first of DOCUMENTS) is searched at once and in N parts one after the other, in
turn, the best of ROUNDS of each; what is found is the same to the bit. With both, the first of N parts of what is on
disk goes to a process of its own, as to a node of a cluster: what it is sent, and the peak of its anonymous memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from large_corpus import anonymous_memory, watch_memory
from numpy.typing import NDArray

from evalharness.ranking.best import Found
from evalharness.ranking.exact import as_one_part, search_all, search_part
from evalharness.ranking.parts import Part, PartMap, searched_by
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


def stored(folder: Path, documents: int) -> Dense:
    """Vectors in shards, made if they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, documents, SHARD)
    sizes = [min(SHARD, documents - first) for first in starts]
    # the last one is of another size in a larger corpus
    paths = [
        folder / (f"{first}.shard" if size == SHARD else f"{first}-{size}.shard")
        for first, size in zip(starts, sizes, strict=True)
    ]
    for first, size, path in zip(starts, sizes, paths, strict=True):
        if not path.exists():
            write_shard(path, {VECTORS: directions(size, first)})
    # in another order than that of the files, as documents of any lengths are
    mixed = np.random.default_rng(0).permutation(documents)
    shards, places = (mixed // SHARD).astype(np.int32), (mixed % SHARD).astype(np.int32)
    return Dense(StoredRows(paths, shards, places, DIMENSIONS))


def search_disk(folder: Path, documents: int) -> str:
    """Search vectors in shards; gives a line on it."""
    corpus = stored(folder, documents)
    ids, peak = [str(number) for number in range(documents)], [0]
    threading.Thread(target=watch_memory, args=[peak], daemon=True).start()
    started = time.monotonic()
    found: Ranking = search_all(Dense(directions(QUERIES, 2)), corpus, ids, K)
    seconds = time.monotonic() - started
    speed = Speed(documents, "ours, from disk", seconds)
    return f"{_line(speed)}\n\n{len(found.documents)} queries; peak RssAnon {peak[0] / 1e9:.2f} GB"


def in_parts(count: int) -> PartMap:
    """A map that searches so many parts one after the other."""

    def spread(whole: Part, vectors: NDArray[np.float32], k: int) -> Iterator[Found]:
        return (search_part(part, vectors, k) for part in whole.cut(-(-len(whole) // count)))

    return spread


def search_parts(documents: int, count: int) -> Iterator[str]:
    """Lines on a search at once and in parts.

    Raises:
        AssertionError: they find something else.
    """
    corpus, queries = Dense(directions(documents, 1)), Dense(directions(QUERIES, 2))
    ids = [str(number) for number in range(documents)]
    found: dict[str, Ranking] = {}
    clock: dict[str, list[float]] = {}
    processor: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, parts in (("ours", 1), (f"ours, in {count} parts", count)):
            started, used = time.monotonic(), time.process_time()
            with searched_by(in_parts(parts)):
                found[name] = search_all(queries, corpus, ids, K)
            clock.setdefault(name, []).append(time.monotonic() - started)
            processor.setdefault(name, []).append(time.process_time() - used)
    at_once, by_parts = found.values()
    for ours, theirs in ((at_once.documents, by_parts.documents), (at_once.scores, by_parts.scores)):
        if np.array(ours).tobytes() != np.array(theirs).tobytes():
            raise AssertionError("parts found something else")
    yield from (_line(Speed(documents, name, min(seconds))) for name, seconds in clock.items())
    whole, divided = (min(seconds) for seconds in processor.values())
    yield f"\nCPU seconds: {whole:.2f} at once, {divided:.2f} in parts, {divided / whole:.3f} times as many"


def part_on_disk(folder: Path, documents: int, count: int) -> str:
    """A line on the first of so many parts, searched in a process of its own."""
    ids = [str(number) for number in range(documents)]
    corpus = stored(folder, documents)
    part = as_one_part(corpus, ids).cut(-(-documents // count))[0]
    packed = pickle.dumps(part.alone())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        worker = pool.apply(_answer, (packed, directions(QUERIES, 2)))
    told = f"{len(packed) / len(part):.1f} bytes per document were sent, {worker.sent / 1e6:.0f} MB came back"
    memory = f"RssAnon {worker.before / 1e9:.2f} GB before, {worker.peak / 1e9:.2f} GB at its peak"
    return f"{_line(Speed(len(part), 'a part, from disk', worker.seconds))}\n\n{told}; {memory}"


@dataclass(frozen=True, slots=True)
class Worker:
    """What a process needed for a part: seconds, bytes of its answer, and of its anonymous memory."""

    seconds: float
    sent: int
    before: int
    peak: int


def _answer(packed: bytes, queries: NDArray[np.float32]) -> Worker:
    part, before, peak = pickle.loads(packed), anonymous_memory(), [0]  # noqa: S301 -- what was packed above
    threading.Thread(target=watch_memory, args=[peak], daemon=True).start()
    started = time.monotonic()
    found = search_part(part, queries, K)
    return Worker(time.monotonic() - started, len(pickle.dumps(found)), before, peak[0])


def _line(speed: Speed) -> str:
    return f"| {speed.documents:,} | {speed.name} | {speed.seconds:.2f} | {speed.gigaflops:.0f} |"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=int, nargs="*")
    parser.add_argument("--disk", type=Path, metavar="FOLDER")
    parser.add_argument("--parts", type=int, metavar="N")
    arguments = parser.parse_args()
    print("| documents | search | seconds | GFLOP/s |")
    print("| ---: | --- | ---: | ---: |")
    first = (arguments.documents or [ON_DISK if arguments.disk else SIZES[-1]])[0]
    if arguments.disk is not None:
        print(
            part_on_disk(arguments.disk, first, arguments.parts)
            if arguments.parts
            else search_disk(arguments.disk, first)
        )
        return
    if arguments.parts:
        for line in search_parts(first, arguments.parts):
            print(line)
        return
    for documents in arguments.documents or SIZES:
        for speed in speeds(documents):
            print(_line(speed), flush=True)


if __name__ == "__main__":
    main()
