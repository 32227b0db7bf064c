"""The command line with small shards: `killed_run.py LOG PAUSE ARGUMENTS`.

Each shard that is begun is a line in the file LOG. Each batch takes PAUSE seconds longer, in which nothing is computed,
so that a tiny model spends most of a run in the middle of its shards, as a real one does.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from evalharness.cli.main import main
from evalharness.models.forward.batches import BatchRunner
from evalharness.models.forward.pipeline import PipelineBackend
from evalharness.store import shards as plan
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Embeddings, Emit, Encoding

SHARD_TEXTS = 50


def count_work(log: str) -> None:
    whole = PipelineBackend.encode

    def counted(
        self: PipelineBackend, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL
    ) -> Embeddings:
        with open(log, "a") as handle:  # noqa: PTH123 -- one write of a short line is never torn
            handle.write(f"{os.getpid()} {len(texts)}\n")
        return whole(self, texts, encoding, emit, journal)

    PipelineBackend.encode = counted  # type: ignore[method-assign]


def slow_down(seconds: float) -> None:
    whole = BatchRunner._tried

    def slow(self: BatchRunner, tokens: dict[str, list[Any]], forward: Any) -> Any:
        time.sleep(seconds)
        return whole(self, tokens, forward)

    BatchRunner._tried = slow  # type: ignore[method-assign]


if __name__ == "__main__":
    plan.SHARD_TEXTS = SHARD_TEXTS
    log, pause = sys.argv[1:3]
    del sys.argv[1:3]
    count_work(log)
    if float(pause):
        slow_down(float(pause))
    main()
