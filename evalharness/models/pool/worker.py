"""What an actor does: it opens models and does work on shards, and tells of progress to whoever asks meanwhile."""

from __future__ import annotations

import os
import platform
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from evalharness.catalog.models import NOTHING_KNOWN, ModelFacts
from evalharness.errors import StoppedError
from evalharness.models.code import code_digest
from evalharness.models.computing import NOTHING_SAID, Computed, Computing, Counted
from evalharness.models.options import Execution
from evalharness.models.registry import OpenBackend, ResolvedModel
from evalharness.models.source import Seen, check_unchanged, find_again, look
from evalharness.store.shards import PlannedShard
from evalharness.store.text_encoder import Preparing, ShardWork
from evalharness.types import EncodeEvent, EncodeNote, TextsEncoded

Open: TypeAlias = Callable[[ResolvedModel, Execution], OpenBackend]
# what libraries read when they are imported
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Order:
    """A model as actors are to open it.

    Attributes:
        number: what it is called between driver and actors.
        model: the model, as it was resolved by the driver.
        execution: how it runs.
        open_here: opens it.
        is_near: whether the actor is on the driver's machine, whose files were looked at.
        seen: how the driver saw the model's files, see `look`.
    """

    number: int
    model: ResolvedModel
    execution: Execution
    open_here: Open
    is_near: bool = False
    seen: Seen = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """What an actor has found of a model; see `OpenBackend`, `Counted` and `Computed`."""

    device: str
    identity: Mapping[str, Any]
    size: ModelFacts
    computing: Computing


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a shard.

    Attributes:
        value: what the work gives; or vectors, for the driver to do the work with.
        is_encoded: whether it is the vectors.
        events: what is to be told, beside what was heard of it.
    """

    value: Any
    is_encoded: bool
    events: tuple[EncodeEvent, ...]


@dataclass(frozen=True, slots=True)
class Presence:
    """Where an actor is and what it runs on; who shares work has to have the same code."""

    machine: str
    process: int
    code: str = field(default_factory=code_digest)
    python: str = field(default_factory=platform.python_version)


class Worker:
    """An actor's object; one thread works, others ask and tell meanwhile."""

    def __init__(self, threads: int) -> None:
        """See the class; so many CPU threads compute, of libraries that are not imported yet."""
        os.environ.update(dict.fromkeys(_THREADS, str(threads)))
        self._opened: dict[int, OpenBackend] = {}
        self._ahead: dict[str, PlannedShard] = {}
        self._stopped: set[str] = set()
        self._heard: deque[EncodeEvent] = deque()
        self._changed = threading.Condition()
        self._is_working = False

    def where(self) -> Presence:
        """Where it is."""
        return Presence(socket.gethostname(), os.getpid())

    def open(self, order: Order) -> Opened:
        """Open a model; once is enough.

        Raises:
            ModelError: its files are not here, or not the same.
            PrerequisiteError, ModelError: as `open_backend`.
        """
        if order.number not in self._opened:
            model, seen = order.model, order.seen
            if model.facts.files and (not order.is_near or look(model.facts.folder, model.facts.files) != seen):
                folder = find_again(model.facts.folder, model.facts.files, model.spec.fingerprint)
                model = replace(model, facts=model.facts.moved(folder))
                seen = look(folder, model.facts.files)
            opened = order.open_here(model, order.execution)
            if model.facts.files:
                check_unchanged(
                    model.spec.name,
                    model.facts.folder,
                    model.facts.files,
                    content=model.spec.fingerprint,
                    seen=seen,
                )
            self._opened[order.number] = opened
        opened = self._opened[order.number]
        return Opened(
            device=opened.device,
            identity=dict(opened.identity),
            size=opened.size if isinstance(opened, Counted) else NOTHING_KNOWN,
            computing=opened.computing if isinstance(opened, Computed) else NOTHING_SAID,
        )

    def forget(self, number: int) -> None:
        """Have a model go."""
        self._opened.pop(number, None)

    def prepare(self, name: str, number: int, work: ShardWork[Any], shard: PlannedShard) -> None:
        """Begin with a shard that this actor may have to do next; others may be quicker.

        Args:
            name: of the piece of work.
            number: the model's.
            work: is to be done on it.
            shard: its texts.
        """
        opened = self._opened.get(number)
        if isinstance(opened, Preparing):
            self._ahead = {name: shard}
            opened.prepare(shard.texts, work.encoding)

    def do(self, name: str, number: int, work: ShardWork[Any], shard: PlannedShard) -> Done:
        """Do work on a shard; or, where the files of the work are not at hand, encode for it.

        Args:
            name: of the piece of work, for `stop`.
            number: the model's, which is open.
            work: is to be done.
            shard: on this.

        Raises:
            StoppedError: it was stopped.
            ModelError, StorageError: as the work.
        """
        backend = self._opened[number]
        # what is prepared is known by the very sequence of texts
        shard = self._ahead.pop(name, shard)
        notes: list[EncodeEvent] = []

        def emit(event: EncodeEvent) -> None:
            if name in self._stopped:
                raise StoppedError("nobody waits for it any more")
            # of a shard that is tried again they must not be told twice
            if isinstance(event, EncodeNote):
                notes.append(event)
            else:
                self._keep(event)

        with self._changed:
            self._is_working = True
            self._heard.clear()
        try:
            is_here = work.mark is None or _is_seen(work.mark)
            value = work(shard, backend, emit) if is_here else backend.encode(shard.texts, work.encoding, emit)
            return Done(value, not is_here, (*self._taken(), *notes))
        finally:
            with self._changed:
                self._stopped.discard(name)
                self._is_working = False
                self._changed.notify_all()

    def _keep(self, event: EncodeEvent) -> None:
        with self._changed:
            last = self._heard[-1] if self._heard else None
            if isinstance(event, TextsEncoded) and isinstance(last, TextsEncoded) and _alike(event, last):
                self._heard[-1] = TextsEncoded(last.count + event.count, last.tokens + event.tokens)
            else:
                self._heard.append(event)

    def hear(self, seconds: float) -> list[EncodeEvent]:
        """What there is to tell: after so many seconds, or as soon as nothing more will come."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_working, seconds)
        return self._taken()

    def _taken(self) -> list[EncodeEvent]:
        with self._changed:
            found = list(self._heard)
            self._heard.clear()
            return found

    def stop(self, name: str) -> None:
        """End a piece of work at its next batch."""
        with self._changed:
            if self._is_working:
                self._stopped.add(name)


def _is_seen(path: Path) -> bool:
    with suppress(OSError):
        return path.exists()
    return False


def _alike(one: TextsEncoded, other: TextsEncoded) -> bool:
    """Whether both went through the model, or neither."""
    return bool(one.tokens) == bool(other.tokens)
