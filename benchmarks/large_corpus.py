"""Memory of a retrieval over a stored corpus: `python benchmarks/large_corpus.py FOLDER [DOCUMENTS]`.

Fills a store below FOLDER with vectors of 384 random numbers (once), then ranks 1,000 queries against all of them in a
fresh process and prints the time and the peak of anonymous memory (RssAnon: mapped files do not count). A sample of
the result is compared with a naive exact search.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evalharness.models.encoder import EmbeddingModel
from evalharness.ranking.records import RetrievalRecords
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.storing import StoringEncoder
from evalharness.tasks.retrieval import TASK_TYPE
from evalharness.types import Dense, Emit, Encoding, ModelSpec, TaskContext, TextsEncoded, ignore_event

DIMENSIONS, QUERIES, SAMPLE = 384, 1000, 20
STEPS = ("fill", "measure")
MODEL = ModelSpec(
    name="benchmark/random", revision="0" * 40, fingerprint="0" * 64, pooling="cls", normalize=True, max_length=512
)


def vector_of(text: str) -> NDArray[np.float32]:
    """A direction from the number at the end of a text."""
    kind, number = text.split()
    return np.random.default_rng([len(kind), int(number)]).standard_normal(DIMENSIONS, dtype=np.float32)


class RandomEncoder:
    """Gives each text the vector of its number."""

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        """See `TextEncoder`."""
        del encoding, journal
        emit(TextsEncoded(len(texts), len(texts)))
        return Dense(np.stack([vector_of(text) for text in texts]))


def anonymous_memory() -> int:
    """Bytes of anonymous memory of this process now."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


def watch_memory(peak: list[int]) -> None:
    """Keep the largest value seen."""
    while True:
        peak[0] = max(peak[0], anonymous_memory())
        time.sleep(0.02)


def records(documents: int) -> RetrievalRecords:
    """A corpus in which query n has the document n."""
    return RetrievalRecords(
        corpus_ids=[str(number) for number in range(documents)],
        corpus=[f"document {number}" for number in range(documents)],
        query_ids=[f"q{number}" for number in range(QUERIES)],
        queries=[f"query {number}" for number in range(QUERIES)],
        qrels=[{str(number): 1} for number in range(QUERIES)],
    )


def run(store: Path, documents: int, *, check: bool) -> None:
    """Encode what is missing, rank, and print what it took."""
    peak = [0]
    threading.Thread(target=watch_memory, args=[peak], daemon=True).start()
    identity = {"model": MODEL.name, "fingerprint": MODEL.fingerprint}
    model = EmbeddingModel(MODEL, StoringEncoder(RandomEncoder(), store, identity, "cosine"), device="cpu")
    data, started = records(documents), time.monotonic()
    found = model.encode_columns(TASK_TYPE.columns(data), TaskContext(name="Large", type="Retrieval"), ignore_event)
    encoded = time.monotonic()
    if not check:
        return
    scores = TASK_TYPE.score(data, found)
    print(f"{documents:,} x {DIMENSIONS} vectors, {QUERIES:,} queries")
    print(f"found in the store and checked in {encoded - started:.0f} s, ranked in {time.monotonic() - encoded:.0f} s")
    print(f"peak RssAnon {peak[0] / 1e9:.2f} GB")
    best = {query: next(iter(documents)) for query, documents in scores.retrieved or ()}
    wrong = compare(best, documents)
    print(f"first documents of {SAMPLE} queries by a naive exact search: {SAMPLE - wrong} equal")
    raise SystemExit(1 if wrong else 0)


def compare(best: dict[str, str], documents: int) -> int:
    """How many sampled queries have another first document by a plain double loop in float64."""
    queries = np.stack([vector_of(f"query {number}") for number in range(SAMPLE)]).astype(np.float64)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    top = np.full(SAMPLE, -np.inf)
    first = np.zeros(SAMPLE, dtype=np.int64)
    for start in range(0, documents, 10_000):
        part = np.stack([vector_of(f"document {n}") for n in range(start, min(start + 10_000, documents))])
        exact = part.astype(np.float64)
        scores = queries @ (exact / np.linalg.norm(exact, axis=1, keepdims=True)).T
        better = scores.max(axis=1) > top
        first[better] = start + scores.argmax(axis=1)[better]
        top = np.maximum(top, scores.max(axis=1))
    return sum(best[f"q{number}"] != str(first[number]) for number in range(SAMPLE))


def main() -> None:
    """Fill the store in one process and measure in another."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("documents", type=int, nargs="?", default=2_000_000)
    parser.add_argument("--step", choices=STEPS)
    given = parser.parse_args()
    if given.step:
        run(given.folder, given.documents, check=given.step == "measure")
        return
    for step in STEPS:
        command = [sys.executable, __file__, str(given.folder), str(given.documents), "--step", step]
        if code := subprocess.run(command, check=False).returncode:
            sys.exit(code)


if __name__ == "__main__":
    main()
