"""Python programs as processes of their own: forked from one that has imported everything, or started afresh."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

_SERVER = Path(__file__).parent / "fork_server.py"
# what a child of the server may have otherwise than the server; libraries read anything else when they are imported
_MOVABLE = ("HF_ENDPOINT", "HF_HOME", "XDG_CACHE_HOME")
# the first changes from test to test, and no program reads it; joblib and scikit-learn set the others when they are
# imported, in the server's children, too
_IGNORED = ("PYTEST_CURRENT_TEST", "KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK")
# Ray sets some where it is imported, which the server never does; each of the suite's processes has others of xdist
_IGNORED_FAMILIES = ("RAY_", "PYTEST_XDIST_")
_SECONDS = 600
# until whoever was first listens
_PATIENCE, _PAUSE = 60.0, 0.01


def out_of_reach(folder: Path) -> dict[str, str]:
    """An environment without a Hub, with caches in a folder."""
    return {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(folder / "hf"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


class Process(Protocol):
    """What is needed of `subprocess.Popen`."""

    @property
    def returncode(self) -> int | None: ...

    def communicate(self, *, timeout: float | None = None) -> tuple[str, str]: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, number: int, /) -> None: ...


class _Reader:
    """Reads a pipe to its end while the process runs, so that it never waits for a reader."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._bytes = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with open(self._descriptor, "rb") as pipe:  # noqa: PTH123 -- a descriptor, no path
            self._bytes = pipe.read()

    def text(self) -> str:
        """All of it; as text=True of subprocess, with any end of line."""
        self._thread.join()
        return self._bytes.decode().replace("\r\n", "\n").replace("\r", "\n")


class _Forked:
    """A child of the server."""

    def __init__(self, pid: int, reply: socket.socket, pipes: Sequence[int]) -> None:
        self._pid = pid
        self._reply = reply
        self._readers = [_Reader(pipe) for pipe in pipes]
        self._handle = os.pidfd_open(pid)
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._reply.settimeout(timeout)
            try:
                told = self._reply.recv(32)
            except TimeoutError:
                raise subprocess.TimeoutExpired(f"process {self._pid}", timeout or 0) from None
            assert told, "the server that forks is gone"
            self.returncode = int(told)
            self._reply.close()
            os.close(self._handle)
        return self.returncode

    def communicate(self, *, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        return self._readers[0].text(), self._readers[1].text()

    def send_signal(self, number: int, /) -> None:
        if self.returncode is None:
            signal.pidfd_send_signal(self._handle, number)


class _Begun(NamedTuple):
    """A child, and where its exit code will be told."""

    pid: int
    reply: socket.socket


class Pythons:
    """Starts Python programs; those that can be forked, from a server that is started with the first of them.

    All that have the same folder share one server, in whichever processes they are.
    """

    def __init__(self, folder: Path) -> None:
        """See the class.

        Args:
            folder: whose path stands for other folders in the server.
        """
        self._folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._environment = _shared(os.environ)

    def start(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], *, fresh: bool = False
    ) -> Process:
        """Start what `python ARGUMENTS` starts.

        Args:
            arguments: `-m MODULE`, `-c CODE` or a file, then the program's own arguments.
            folder: where it runs.
            environment: what it has besides this process's.
            fresh: whether the start of the interpreter and the imports are a part of what is tested. They are done
                afresh, too, where the environment differs in more than the Hub's address and the folders of caches.
        """
        whole = {**os.environ, **environment}
        if fresh or not self._can_fork(whole):
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder, env=whole, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        return self._fork(arguments, folder, whole)

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], *, fresh: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Start it and wait until it ends."""
        process = self.start(arguments, folder, environment, fresh=fresh)
        try:
            output, errors = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            raise
        assert process.returncode is not None
        return subprocess.CompletedProcess([*arguments], process.returncode, output, errors)

    def close(self) -> None:
        """Have no more of the server, which ends when nobody has."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _can_fork(self, environment: Mapping[str, str]) -> bool:
        if sys.platform != "linux" or _shared(environment) != self._environment:
            return False
        endpoint, home, cache = (environment.get(name, "") for name in _MOVABLE)
        return endpoint.startswith("http://") and not endpoint.endswith("/") and all(map(os.path.isabs, (home, cache)))

    def _fork(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> _Forked:
        request = {"arguments": list(arguments), "folder": str(folder), "environment": dict(environment)}
        output, errors = os.pipe(), os.pipe()
        # a server may have ended, with whoever was its last, before it has heard of this one
        found = self._asked(request, output[1], errors[1]) or self._asked(request, output[1], errors[1])
        os.close(output[1])
        os.close(errors[1])
        assert found is not None, f"the server that forks ended: {self._last_words()}"
        return _Forked(found.pid, found.reply, [output[0], errors[0]])

    def _asked(self, request: Mapping[str, object], output: int, errors: int) -> _Begun | None:
        """What the server has begun, if there is one."""
        if self._channel is None:
            self._channel = self._connected()
        reply, answer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with answer, suppress(ConnectionError):
            socket.send_fds(self._channel, [json.dumps(request).encode()], [output, errors, answer.fileno()])
        if told := reply.recv(32):
            return _Begun(int(told), reply)
        reply.close()
        self.close()
        return None

    def _last_words(self) -> str:
        if self._server is None:
            return "the process that started it knows why"
        return self._server.communicate()[1].decode()

    def _connected(self) -> socket.socket:
        """A way to the server, which is started if there is none."""
        # a name that needs no file, and is free when the server has ended
        name = b"\0evalharness-" + sha256(os.fsencode(self._folder)).hexdigest().encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door, suppress(OSError):
            door.bind(name)
            door.listen()
            self._start_server(door)
        channel, ends = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET), time.monotonic() + _PATIENCE
        while True:
            try:
                channel.connect(name)
            except ConnectionRefusedError:
                # it is taken, and nobody listens yet
                assert time.monotonic() < ends
                time.sleep(_PAUSE)
            else:
                return channel

    def _start_server(self, door: socket.socket) -> None:
        stand = [str(self._folder / "home"), str(self._folder / "cache"), f"{self._folder.name}.invalid"]
        self._server = subprocess.Popen(
            [sys.executable, str(_SERVER), str(door.fileno()), *stand],
            env=self._environment | {"OMP_NUM_THREADS": "1"}, pass_fds=[door.fileno()],
            # pipes, as its children have them
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


def _shared(environment: Mapping[str, str]) -> dict[str, str]:
    """The part that a program must have in common with the server."""
    return {
        name: value
        for name, value in environment.items()
        if name not in (*_MOVABLE, *_IGNORED) and not name.startswith(_IGNORED_FAMILIES)
    }
