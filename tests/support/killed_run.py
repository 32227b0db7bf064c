"""The command line with small shards; each shard that is begun is a line in a file: `killed_run.py LOG ARGUMENTS`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from evalharness.cli.main import main
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


if __name__ == "__main__":
    plan.SHARD_TEXTS = SHARD_TEXTS
    count_work(sys.argv.pop(1))
    main()
