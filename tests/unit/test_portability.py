"""What runs on every system: locks and marks that die with their process, memory, temporary files, few descriptors."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.lookup import LookupBackend, smooth, stack

from evalharness.errors import StoppedError
from evalharness.files import atomic_path, lock, remove_stale_temporaries
from evalharness.run.storing import peak_memory
from evalharness.store.keeping import collect
from evalharness.store.storing import StoringEncoder
from evalharness.types import EncodeEvent, Encoding, Waiting, ignore_event

IDENTITY = {"model": "a/b", "fingerprint": "f" * 64}
ENCODING = Encoding(pooling="cls", normalize=True, max_length=64, dtype="float32", prompt="")
TEXTS = [f"text number {number}" for number in range(24)]


def filled(root: Path) -> Path:
    """A store with a shard; gives its folder of a key."""
    storing = StoringEncoder(LookupBackend(smooth), root, IDENTITY, "cosine")
    np.testing.assert_array_equal(storing.encode(TEXTS, ENCODING, ignore_event).vectors, stack(smooth, TEXTS))
    return next(path.parent.parent for path in root.rglob("*.shard"))


def test_few_descriptors(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from support.lookup import LookupBackend, smooth, stack
from evalharness.store import shards as plan
from evalharness.store.storing import StoringEncoder
from evalharness.types import EncodeEvent, Encoding, Waiting, ignore_event
plan.SHARD_TEXTS = 2
texts = [f"text {number}" for number in range(600)]
encodings = [Encoding(pooling="cls", normalize=True, max_length=length, dtype="float32", prompt="")
             for length in range(1, 61)]
def encode(count, encoding):
    encoder = StoringEncoder(LookupBackend(smooth), Path(sys.argv[1]), {"model": "a/b"}, "cosine")
    return encoder, encoder.encode(texts[:count], encoding, ignore_event)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
for _ in range(2):
    encoder, found = encode(600, encodings[0])
    assert len(list(Path(sys.argv[1]).rglob("*.shard"))) >= 300
    assert (found.vectors == stack(smooth, texts)).all()
    held = [encoder.encode(texts[:4], encoding, ignore_event) for encoding in encodings]
    assert all((dense.vectors == stack(smooth, texts[:4])).all() for dense in held)
"""
    place = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parents[1])])}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env={**os.environ, **place}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_mark_dies_with_its_process(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    script = """
import os, signal, sys
from pathlib import Path
from evalharness.store.marks import Mark
mark = Mark(Path(sys.argv[1]))
mark.add(sys.argv[2])
print("marked", flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), folder.name],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    assert collect(tmp_path, keep_days=0).in_use == [folder]
    process.kill()
    process.communicate()
    assert collect(tmp_path, keep_days=0).shards == 1
    assert [path.name for path in (tmp_path / "in-use").iterdir()] == ["gate"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_file_systems_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def unknown(*_: object, **__: object) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("filelock.lock_descriptor", unknown)
    filled(tmp_path)
    assert collect(tmp_path, keep_days=0).shards == 1


def test_nothing_needs_linux() -> None:
    script = """
import sys
sys.modules |= {"fcntl": None, "resource": None}
import evalharness.cli.main, evalharness.run.plan, evalharness.store.storing, evalharness.store.keeping
"""
    place = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], env=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class _Facts:
    def __init__(self, **facts: Any) -> None:
        self.__dict__ |= facts


def test_peak_memory_in_bytes_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    import psutil

    monkeypatch.setattr(resource, "getrusage", lambda _: _Facts(ru_maxrss=3000))
    assert peak_memory() == 3000 * 1024
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_memory() == 3000
    monkeypatch.setattr(psutil, "Process", lambda: _Facts(memory_info=lambda: _Facts(peak_wset=77, rss=5)))
    assert peak_memory() == 77


def test_a_file_is_closed_before_it_is_renamed_and_gone_if_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_here() -> list[str]:
        return [os.path.realpath(name) for name in Path("/proc/self/fd").iterdir()]

    seen: list[str] = []

    def replaced(self: Path, target: Path) -> None:
        seen.extend(name for name in open_here() if str(tmp_path) in name)
        raise PermissionError(errno.EACCES, "in use")

    monkeypatch.setattr(Path, "replace", replaced)
    with pytest.raises(PermissionError), atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert seen == []
    assert list(tmp_path.iterdir()) == []


def test_temporaries_of_the_living_stay(tmp_path: Path) -> None:
    young, old = tmp_path / ".a.b.tmp", tmp_path / ".c.d.tmp"
    for path in (young, old):
        path.touch()
    os.utime(old, (1000, 1000))
    assert remove_stale_temporaries(tmp_path) == 1
    assert young.exists()
    assert remove_stale_temporaries(tmp_path, older_than=0) == 1


def test_a_shard_that_another_process_is_at_is_waited_for_with_an_eye_on_the_clock(tmp_path: Path) -> None:
    (shard,) = (filled(tmp_path) / "shards").glob("*.shard")
    shard.unlink()
    seen: list[Waiting] = []

    def emit(event: EncodeEvent) -> None:
        if isinstance(event, Waiting):
            seen.append(event)
        if len(seen) == 3:
            raise StoppedError("time")

    backend = LookupBackend(smooth)
    storing = StoringEncoder(backend, tmp_path, IDENTITY, "cosine")
    with shard.with_suffix(".claim").open("a") as other:
        assert lock(other)
        with pytest.raises(StoppedError):
            storing.encode(TEXTS, ENCODING, emit)
    assert backend.seen == []
    seen.clear()
    storing.encode(TEXTS, ENCODING, emit)
    assert len(backend.seen) == len(TEXTS)
