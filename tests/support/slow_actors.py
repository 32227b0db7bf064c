"""The command line with small shards that take their time; each that is begun is a line in a file.

slow_actors.py LOG SECONDS ARGUMENTS
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from evalharness.cli.main import main
from evalharness.models import opening
from evalharness.models.opening import open_here
from evalharness.models.options import Execution
from evalharness.models.registry import ResolvedModel
from evalharness.store import shards as plan
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Embeddings, Emit, Encoding

SHARD_TEXTS = 20


@dataclass
class Slow:
    """A backend that says what it begins and waits before it does."""

    opened: Any
    log: Path
    seconds: float

    def __post_init__(self) -> None:
        self.device, self.identity = self.opened.device, self.opened.identity
        self.size, self.computing = self.opened.size, self.opened.computing

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        with self.log.open("a", encoding="utf-8") as handle:
            handle.write(f"{os.getpid()} {sha256(repr(list(texts)).encode()).hexdigest()}\n")
        time.sleep(self.seconds)
        found: Embeddings = self.opened.encode(texts, encoding, emit, journal)
        return found


def open_slowly(model: ResolvedModel, execution: Execution, log: Path, seconds: float) -> Any:
    return Slow(open_here(model, execution), log, seconds)


if __name__ == "__main__":
    # what actors are sent is found by its name there, and so here
    sys.path.insert(0, str(Path(__file__).parents[1]))
    slowly = import_module("support.slow_actors").open_slowly
    plan.SHARD_TEXTS = SHARD_TEXTS
    opening.open_here = partial(slowly, log=Path(sys.argv.pop(1)), seconds=float(sys.argv.pop(1)))
    main()
