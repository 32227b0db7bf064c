"""A model in actors that are threads, made of letters: what it does can be watched and held up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from evalharness.models.computing import Computing
from evalharness.models.config import FileFacts
from evalharness.models.options import Execution, ModelOptions
from evalharness.models.pool import backend as pool_backend
from evalharness.models.pool.backend import Pool, open_pool
from evalharness.models.pool.staff import Place
from evalharness.models.registry import ResolvedModel
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Dense, Emit, EncodeNote, Encoding, TextsEncoded
from support.actors import Fate, ThreadEmployer, spared
from support.lookup import smooth, spec, stack

MODEL = ResolvedModel(spec(), FileFacts(), ModelOptions())
ON_RAY = Execution(ray="local")


class Letters:
    """A backend that makes vectors of letters, five texts a batch."""

    device = "cpu"

    def __init__(self, execution: Execution, hold: Callable[[str], None], identity: Mapping[str, Any]) -> None:
        self.computing = Computing("letters 1", execution.batch_tokens or 77)
        self.identity = identity
        self._hold = hold

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        for first in range(0, len(texts), 5):
            batch = texts[first : first + 5]
            self._hold(batch[0])
            emit(TextsEncoded(len(batch), sum(map(len, batch))))
        if texts:
            emit(EncodeNote("batch_shrunk", "batch halved", 1))
        return Dense(stack(smooth, texts) if texts else np.empty((0, 2), dtype=np.float32))


def at_once(text: str) -> None:
    """Nobody waits."""


class Cluster:
    """A pool on threads, with what happened in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.executions: list[Execution] = []
        self.hold: Callable[[str], None] = at_once
        self.identity: Callable[[int], Mapping[str, Any]] = lambda _: {"backend": "letters"}

    def start(self, there: Sequence[Place], fate: Fate = spared) -> ThreadEmployer:
        self.employer = ThreadEmployer(there, fate)
        self._monkeypatch.setattr(pool_backend, "employ", lambda _: self.employer)
        return self.employer

    def open_here(self, model: ResolvedModel, execution: Execution) -> Any:
        self.executions.append(execution)
        return Letters(execution, self.hold, self.identity(len(self.executions)))

    def pool(self, execution: Execution = ON_RAY) -> Pool:
        return open_pool(MODEL, execution, self.open_here)
