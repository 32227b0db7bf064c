"""A pool of engines that are threads, whose vectors tell which texts went through the model together."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from evalharness.catalog.selection import Selection, TaskChoice, select
from evalharness.errors import StoppedError
from evalharness.models.encoder import EmbeddingModel
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.shards import PlannedShard
from evalharness.store.storing import StoringEncoder
from evalharness.store.text_encoder import ShardWork, TextEncoder
from evalharness.store.unstored import UnstoredEncoder
from evalharness.types import Dense, Emit, Encoding, ModelSpec, TextsEncoded, Waiting
from support.local_tasks import jsonl_task
from support.lookup import smooth, spec

Result = TypeVar("Result")
IDENTITY = {"model": "test/lookup", "fingerprint": "f" * 64}


class Company:
    """A `TextEncoder` whose vectors depend, a little, on all texts that it gets together."""

    def __init__(self, act: Callable[[Sequence[str]], object] = lambda _: None) -> None:
        self.act = act
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        self.act(texts)
        self.seen += texts
        together = hashlib.sha256("\n".join(sorted(texts)).encode()).digest()[0]
        vectors = [smooth(encoding.prompt + text) + np.float32(together / 1000) for text in texts]
        emit(TextsEncoded(len(texts), tokens=len(texts)))
        return Dense(np.stack(vectors) if vectors else np.empty((0, 16), dtype=np.float32))


class Pool:
    """So many engines, which take shards of whoever asks; use it as a context."""

    device = "cpu"
    share_store = True

    def __init__(self, engine: Company, engines: int = 3, at_once: int | None = None) -> None:
        self.engine = engine
        self.engines = engines
        self.at_once = at_once or engines + 1
        self._threads = ThreadPoolExecutor(engines, thread_name_prefix="engine")

    @property
    def workers(self) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=True)

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        return self.engine.encode(texts, encoding, emit, journal)

    def spread(
        self, work: ShardWork[Result], shards: Sequence[PlannedShard], below: TextEncoder, emit: Emit
    ) -> Iterator[Result]:
        """A `ShardMap`."""
        told: SimpleQueue[Any] = SimpleQueue()
        is_over = threading.Event()

        def tell(event: Any) -> None:
            if is_over.is_set():
                raise StoppedError("nobody waits for it")
            told.put(event)

        futures: list[Future[Result]] = [self._threads.submit(work, shard, self.engine, tell) for shard in shards]
        try:
            for future in futures:
                while not future.done():
                    try:
                        emit(told.get(timeout=0.02))
                    except Empty:
                        emit(Waiting())
                while not told.empty():
                    emit(told.get())
                yield future.result()
        finally:
            is_over.set()
            for future in futures:
                future.cancel()


def pooled(
    pool: Pool, store: Path | None, *, remember: int = 10**9, model_spec: ModelSpec | None = None
) -> EmbeddingModel:
    """A model that a pool encodes for."""
    below: Any = (
        UnstoredEncoder(pool, pool.spread, remember=remember)
        if store is None
        else StoringEncoder(pool, store, IDENTITY, "cosine", pool.spread)
    )
    return EmbeddingModel(model_spec or spec(), below, device="cpu", workers=pool)


def alone(engine: Company, store: Path | None, *, remember: int = 10**9) -> EmbeddingModel:
    """The same model on one engine."""
    below: Any = (
        UnstoredEncoder(engine, remember=remember)
        if store is None
        else StoringEncoder(engine, store, IDENTITY, "cosine")
    )
    return EmbeddingModel(spec(), below, device="cpu")


def dawdle(texts: Sequence[str]) -> None:
    """Take a while that depends on the texts, as if by chance."""
    time.sleep(hashlib.sha256(repr(texts).encode()).digest()[1] / 256 * 0.03)


def own_texts(folder: Path, number: int) -> list[TaskChoice]:
    """Tasks of pairs, each with 16 texts of its own that begin with its number."""
    rows = [[{"sentence1": f"{n} {m}", "sentence2": f"{n} {m} too", "score": m % 6} for m in range(8)]
            for n in range(number)]  # fmt: skip
    paths = [jsonl_task(folder / f"Pairs{n}.toml", "STS", found) for n, found in enumerate(rows)]
    return select(Selection(tasks=list(map(str, paths))))
