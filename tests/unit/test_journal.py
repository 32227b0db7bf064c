"""A shard in progress: a broken off run costs a batch, and the next one's bytes are those of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pytest
from support.fake_server import MODEL, FakeServer, running
from support.lookup import JournaledLookup, smooth, stack
from support.processes import Pythons, out_of_reach
from support.tiny import save_bert, save_cross_encoder, save_m3

from evalharness.errors import StoppedError
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.forward.batches import BatchRunner
from evalharness.models.loading import ModelOptions, System, open_embedder, open_model, resolve_model
from evalharness.models.options import Execution
from evalharness.models.rankers import Pair, RankingModel
from evalharness.store import journal as journal_module
from evalharness.store.journal import ShardJournal
from evalharness.store.keeping import collect
from evalharness.store.storing import StoringEncoder
from evalharness.types import Emit, Encoding, TextColumn, TextsEncoded, ignore_event

TEXTS = [f"{'word ' * (number % 9)}{number}" for number in range(40)]
ENCODING = Encoding(pooling="cls", normalize=True, max_length=64, dtype="float32", prompt="")
Work = Callable[[Path, Emit], object]


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of texts in each forward pass."""
    seen: list[int] = []
    real = BatchRunner._tried

    def counted(self: BatchRunner, tokens: dict[str, list[Any]], forward: Any) -> Any:
        seen.append(len(tokens["input_ids"]))
        return real(self, tokens, forward)

    monkeypatch.setattr(BatchRunner, "_tried", counted)
    return seen


def embedding(folder: Path, **options: Any) -> Work:
    resolved = resolve_model(str(folder), ModelOptions(**options))

    def work(store: Path, emit: Emit) -> object:
        model = open_embedder(resolved, Execution(device="cpu", batch_tokens=64), store=store)
        return model.encode_columns([TextColumn("a", TEXTS, None)], None, emit)

    return work


def reranking(folder: Path) -> Work:
    system = System(resolve_model(str(folder), ModelOptions(backend="cross-encoder")))

    def work(store: Path, emit: Emit) -> object:
        model = open_model(system, Execution(device="cpu", batch_tokens=64), store=store)
        assert isinstance(model, RankingModel)
        assert model._reranker is not None
        return model._reranker.model.score_pairs([Pair("how", text) for text in TEXTS], None, emit)

    return work


M3 = {
    "backend": "m3",
    "mode": "dense+sparse+multi-vector",
    "max_length": 64,
    "like": "BAAI/bge-m3",
}
KINDS: dict[str, Callable[[Path], Work]] = {
    "transformers": lambda folder: embedding(save_bert(folder), pooling="cls"),
    "m3": lambda folder: embedding(save_m3(folder), **M3),
    "cross-encoder": lambda folder: reranking(save_cross_encoder(folder)),
}  # fmt: skip


def shard_bytes(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.rglob("*.shard")}


def after(events: int, error: BaseException) -> Emit:
    """Raises after so many batches."""
    left = [events]

    def emit(event: object) -> None:
        if isinstance(event, TextsEncoded) and event.tokens:
            left[0] -= 1
            if not left[0]:
                raise error

    return emit


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StoppedError("time")], ids=["Ctrl-C", "budget"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_done_is_not_done_again(tmp_path: Path, forwards: list[int], kind: str, error: BaseException) -> None:
    work = KINDS[kind](tmp_path / "model")
    work(tmp_path / "whole", ignore_event)
    whole = list(forwards)
    assert len(whole) > 6
    for _ in range(2):
        forwards.clear()
        with pytest.raises(type(error)):
            work(tmp_path / "store", after(3, error))
        assert len(forwards) == 3
        assert len(list(tmp_path.rglob("*.partial"))) == 1
    forwards.clear()
    events: list[TextsEncoded] = []
    work(tmp_path / "store", lambda event: events.append(event) if isinstance(event, TextsEncoded) else None)
    assert forwards == whole[6:]
    assert sum(event.count for event in events) == len(TEXTS)
    assert shard_bytes(tmp_path / "store") == shard_bytes(tmp_path / "whole") != {}
    assert list(tmp_path.rglob("*.partial")) == []


# imports everything once and computes nothing, so that its children may; each takes a folder's kind of model to its end
SCRIPT = """
import os, socket, sys, time
from pathlib import Path
sys.path[:0] = {places!r}
import test_journal
from evalharness.store import journal
from evalharness.models.engines import torch
from evalharness.models.kinds import cross_encoder, dense, m3
from evalharness.models.forward.batches import BatchRunner
journal.FLUSH_SECONDS = 0.0
real = BatchRunner._tried
channel = socket.create_connection(("127.0.0.1", int(sys.argv[1]))).makefile("rw")
def slow(*arguments):
    found = real(*arguments)
    print("batch", file=channel, flush=True)
    time.sleep(0.05)
    return found
BatchRunner._tried = slow
for line in channel:
    kind, _, folder = line.rstrip().partition(" ")
    child = os.fork()
    if child == 0:
        try:
            print(os.getpid(), file=channel, flush=True)
            test_journal.KINDS[kind](Path(folder) / "model")(Path(folder) / "store", lambda _: None)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    print("ended", file=channel, flush=True)
"""


@pytest.fixture(scope="module")
def forking(tmp_path_factory: pytest.TempPathFactory, pythons: Pythons) -> Iterator[TextIO]:
    """What the script is asked through, and tells."""
    folder = tmp_path_factory.mktemp("forking")
    places = list(map(str, (Path(__file__).parents[1], Path(__file__).parent)))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        script = ["-c", SCRIPT.format(places=places), str(listening.getsockname()[1])]
        process = pythons.start(script, folder, out_of_reach(folder))
        listening.settimeout(60)
        channel = listening.accept()[0]
    with channel, channel.makefile("rw") as lines:
        yield lines
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(("kind", "number"), [*((kind, signal.SIGKILL) for kind in KINDS), ("m3", signal.SIGINT)])
def test_killed_within_a_shard(tmp_path: Path, forwards: list[int], forking: TextIO, kind: str, number: int) -> None:
    work = KINDS[kind](tmp_path / "model")
    work(tmp_path / "whole", ignore_event)
    whole = list(forwards)
    forking.write(f"{kind} {tmp_path}\n")
    forking.flush()
    child = int(forking.readline())
    for _ in range(4):
        assert forking.readline() == "batch\n"
    os.kill(child, number)
    # a batch that was under way may come to its end
    assert [line for line in iter(forking.readline, "ended\n") if line != "batch\n"] == []
    assert shard_bytes(tmp_path / "store") == {}
    forwards.clear()
    work(tmp_path / "store", ignore_event)
    # one at the most was under way, and not written down
    assert len(whole) - 6 <= len(forwards) <= len(whole) - 3
    assert forwards == whole[-len(forwards) :]
    assert shard_bytes(tmp_path / "store") == shard_bytes(tmp_path / "whole")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with running(FakeServer()) as fake:
        yield fake


@pytest.mark.parametrize("backend", ["http", "http-rerank"])
def test_servers_are_not_asked_again(tmp_path: Path, server: FakeServer, backend: str) -> None:
    system = System(resolve_model(MODEL, ModelOptions(backend=backend, url=server.url)))

    def work(store: Path, emit: Emit) -> None:
        model = open_model(system, Execution(batch_tokens=16), store=store)
        server.seen.clear()
        if isinstance(model, EmbeddingModel):
            model.encode_columns([TextColumn("a", TEXTS, None)], None, emit)
        else:
            assert model._reranker is not None
            model._reranker.model.score_pairs([Pair("how", text) for text in TEXTS], None, emit)

    work(tmp_path / "whole", ignore_event)
    whole = len(server.seen)
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path / "store", after(whole // 2, KeyboardInterrupt()))
    work(tmp_path / "store", ignore_event)
    assert 0 < len(server.seen) <= whole - whole // 2
    assert shard_bytes(tmp_path / "store") == shard_bytes(tmp_path / "whole") != {}


def storing(root: Path, backend: JournaledLookup) -> StoringEncoder:
    return StoringEncoder(backend, root, {"model": "a/b"}, "cosine")


def broken_off(root: Path, count: int) -> Path:
    """A store whose only shard has so many texts in its journal; gives the journal."""
    backend = JournaledLookup(smooth)
    with pytest.raises(KeyboardInterrupt):
        storing(root, backend).encode(TEXTS, ENCODING, stop_at(count))
    return next(root.rglob("*.partial"))


def stop_at(count: int) -> Emit:
    seen = [0]

    def emit(event: object) -> None:
        seen[0] += isinstance(event, TextsEncoded) and event.count > 0
        if seen[0] == count:
            raise KeyboardInterrupt

    return emit


def test_a_damaged_journal_costs_work_and_nothing_else(tmp_path: Path) -> None:
    content = broken_off(tmp_path / "0", 10).read_bytes()
    rng = random.Random(5)
    for number in range(1, 80):
        root, spoilt = tmp_path / str(number), bytearray(content)
        path = broken_off(root, 3)
        at = rng.randrange(len(content))
        if number % 2:
            spoilt = spoilt[:at]
        else:
            spoilt[at] ^= 1 << rng.randrange(8)
        path.write_bytes(spoilt)
        backend = JournaledLookup(smooth)
        found = storing(root, backend).encode(TEXTS, ENCODING, ignore_event)
        np.testing.assert_array_equal(found.vectors, stack(smooth, TEXTS))
        # all entries are of one size, but for the last digits of their offsets
        kept = len(TEXTS) - len(backend.seen)
        assert abs(kept - 10 * at // len(content)) <= 1
    for odd in (b"", b"\xff" * 1000, b"\0" * 1000):
        path = broken_off(tmp_path / f"odd {len(odd)}{odd[:1]!r}", 3)
        path.write_bytes(odd)
        storing(path.parents[2], JournaledLookup(smooth)).encode(TEXTS, ENCODING, ignore_event)


def test_a_journal_goes_on_behind_what_is_whole(tmp_path: Path) -> None:
    path = broken_off(tmp_path, 10)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(KeyboardInterrupt):
        storing(tmp_path, JournaledLookup(smooth)).encode(TEXTS, ENCODING, stop_at(20))
    backend = JournaledLookup(smooth)
    storing(tmp_path, backend).encode(TEXTS, ENCODING, ignore_event)
    assert len(backend.seen) == len(TEXTS) - 20


def test_a_journal_that_cannot_be_written_costs_work_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "FLUSH_SECONDS", 0.0)
    real = Path.open

    def full(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.suffix == ".partial":
            raise OSError(28, "No space left on device")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    found = storing(tmp_path, JournaledLookup(smooth)).encode(TEXTS, ENCODING, ignore_event)
    np.testing.assert_array_equal(found.vectors, stack(smooth, TEXTS))


def test_half_an_entry_takes_no_room_on_a_full_disk(tmp_path: Path) -> None:
    script = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from evalharness.store.journal import ShardJournal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for size in (10, 5000):
    journal = ShardJournal(Path(sys.argv[1]))
    journal.add({"texts": [str(size)]}, {"rows": np.zeros((size, 1), dtype=np.float32)})
    journal.__exit__(KeyboardInterrupt, None, None)
print(Path(sys.argv[1]).stat().st_size)
assert ShardJournal(Path(sys.argv[1])).find({"texts": ["10"]}) is not None
"""
    place = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", script, str(tmp_path / "a.partial")]
    done = subprocess.run(command, env=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) < 200


def test_a_quick_model_writes_no_journal(tmp_path: Path) -> None:
    def look(_: object) -> None:
        assert list(tmp_path.rglob("*.partial")) == []

    storing(tmp_path, JournaledLookup(smooth)).encode(TEXTS, ENCODING, look)


def test_what_goes_into_a_batch_is_its_name(tmp_path: Path) -> None:
    batch: dict[str, list[Any]] = {"input_ids": [[1, 2], [3]], "marks": [0, 1], "texts": ["a", "b"]}
    others: list[dict[str, list[Any]]] = [
        {**batch, "input_ids": [[1, 2], [4]]}, {**batch, "input_ids": [[1], [2, 3]]}, {**batch, "marks": [1, 0]},
        {**batch, "texts": ["ab", ""]}, {**batch, "input_ids": [[3], [1, 2]]}, {"input_ids": [[1, 2], [3]]},
    ]  # fmt: skip
    arrays = {"rows": np.arange(6, dtype=np.float32).reshape(2, 3), "accepted": np.array(7), "none": np.empty((0, 4))}
    journal = ShardJournal(tmp_path / "a.partial")
    journal.add(batch, arrays)
    journal.__exit__(KeyboardInterrupt, None, None)
    again = ShardJournal(tmp_path / "a.partial")
    found = again.find(batch)
    assert found is not None
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values, strict=True)
    assert [again.find(other) for other in others] == [None] * len(others)


@pytest.mark.parametrize("of_another", ["key", "shard"])
def test_the_journal_of_another_model_or_shard_is_not_believed(tmp_path: Path, of_another: str) -> None:
    path = broken_off(tmp_path, 10)
    place = path.parent
    if of_another == "key":
        place = tmp_path / ("e" * 32) / "shards"
        place.mkdir(parents=True)
    moved = path.rename(place / (path.name if of_another == "key" else "f" * 32 + ".partial"))
    batch = {"texts": [max(TEXTS, key=len)]}
    assert ShardJournal(moved).find(batch) is None
    moved.rename(path)
    assert ShardJournal(path).find(batch) is not None


def test_gc_removes_journals_nobody_goes_on_with(tmp_path: Path) -> None:
    broken_off(tmp_path, 3)
    collect(tmp_path)
    assert list(tmp_path.rglob("*.partial")) == []
