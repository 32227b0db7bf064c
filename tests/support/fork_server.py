"""A Python that has imported everything and computed nothing, and forks for each program that it is asked to run.

`fork_server.py DESCRIPTOR HOME CACHE HOST` is started by `support.processes` with a socket that listens. All processes
of a suite ask through it, and when the last of them has gone it ends. The child is a process as any other: own folder,
environment, output, exit code and signals; only the seconds of imports are spared. Libraries read where the Hub and its
caches are once, when they are imported. So this process imports them under names that stand for nothing (a folder HOME,
a folder CACHE, a HOST), finds every place that holds one of them, and each child puts there what its own environment
says. A place that is missed names no Hub and no cache that exists.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import FunctionType
from typing import Any, NoReturn
from urllib.parse import urlsplit

# what is imported late, beside all of our own modules
_LIBRARIES = ("mteb", "datasets", "pyarrow.parquet", "transformers.models.bert.modeling_bert", "httpx")
# the first starts a thread when it is imported, and threads do not survive a fork; the second keeps the cache's name in
# places that nobody can fill; the others look whether the first is there
_KEPT_OUT = ("onnxruntime", "matplotlib", "openvino", "nncf")
# memory allocators and a library of tables keep these; nothing waits for them
_HARMLESS_THREADS = ("jemalloc_bg_thd", "polars-ooc-clea")
_REQUEST_BYTES = 1 << 20
_TEXTS = (str, bytes, PurePath)
_FROZEN = (tuple, frozenset)
_GROUPS = (*_FROZEN, list, set)
_HTTP_PORT = 80
_PATIENCE = 60.0


@dataclass(frozen=True)
class Stand:
    """Names that stand for what the environment of a child says."""

    home: str
    cache: str
    host: str
    port: int = 64999

    @property
    def environment(self) -> dict[str, str]:
        """Under which the libraries are imported."""
        return {"HF_HOME": self.home, "XDG_CACHE_HOME": self.cache, "HF_ENDPOINT": f"http://{self.host}:{self.port}"}

    def is_in(self, value: object) -> bool:
        """Whether a value is, or holds, one of the names."""
        if isinstance(value, _TEXTS):
            text = os.fsdecode(value)
            return any(name in text for name in (self.home, self.cache, self.host))
        # the collector does not track, and so does not list, dictionaries of texts alone
        if type(value) is dict and not gc.is_tracked(value):
            return any(map(self.is_in, value.values()))
        if type(value) in _FROZEN:
            return any(map(self.is_in, value))  # type: ignore[call-overload]  # a group
        return type(value) in _GROUPS and any(isinstance(part, _TEXTS) and self.is_in(part) for part in value)  # type: ignore[attr-defined]  # as above

    def meaning(self, value: Any, environment: Mapping[str, str]) -> Any:
        """What a value that holds a name becomes in a child with this environment."""
        if isinstance(value, str):
            for variable, name in self.environment.items():
                value = value.replace(name, environment[variable])
            return value.replace(self.host, urlsplit(environment["HF_ENDPOINT"]).hostname or "")
        if isinstance(value, PurePath):
            return type(value)(self.meaning(str(value), environment))
        if value == self.port:
            return urlsplit(environment["HF_ENDPOINT"]).port or _HTTP_PORT
        if type(value) is dict:
            return {key: self.meaning(part, environment) for key, part in value.items()}
        return type(value)(self.meaning(part, environment) for part in value) if type(value) in _GROUPS else value


@dataclass(frozen=True)
class Place:
    """Where a library keeps such a name: an entry of a module, or an attribute of an object or a function."""

    owner: Any
    key: str

    @property
    def value(self) -> Any:
        return self.owner[self.key] if isinstance(self.owner, dict) else getattr(self.owner, self.key)

    def fill(self, value: Any) -> None:
        if isinstance(self.owner, dict):
            self.owner[self.key] = value
        else:
            object.__setattr__(self.owner, self.key, value)


def import_everything(stand: Stand) -> None:
    """Import what commands import, as they do: told little, under the environment of the stand."""
    from evalharness.cli.shell import Loudness, _set_libraries

    os.environ.update(stand.environment)
    _set_libraries(Loudness.NORMAL)
    import evalharness

    for name in _KEPT_OUT:
        # an import of it fails
        sys.modules[name] = None  # type: ignore[assignment]  # as the import system documents it
    ours = [module.name for module in pkgutil.walk_packages(evalharness.__path__, "evalharness.")]
    for name in (*_LIBRARIES, *ours):
        if not name.endswith("__main__"):
            with suppress(ImportError):
                importlib.import_module(name)
    for name in _KEPT_OUT:
        del sys.modules[name]


def _parts(value: Any) -> Iterator[Any]:
    """A value, and the groups in it."""
    yield value
    if type(value) in _GROUPS:
        for part in value:
            yield from _parts(part)


def places(stand: Stand) -> list[Place]:
    """Every place in this process that holds a name of the stand.

    Raises:
        TypeError: one cannot be filled.
    """
    objects = gc.get_objects()
    holders = [found for found in objects if any(map(stand.is_in, gc.get_referents(found)))]
    modules = {id(vars(module)) for module in list(sys.modules.values()) if module is not None}
    found: list[Place] = []
    others: list[object] = []
    for holder in holders:
        if id(holder) in modules:
            found += [Place(holder, key) for key, value in holder.items() if stand.is_in(value)]
        elif type(holder).__module__.partition(".")[0] == "huggingface_hub":
            found += [Place(holder, key) for key, value in vars(holder).items() if stand.is_in(value)]
        elif isinstance(holder, FunctionType):
            defaults = (Place(holder, key) for key in ("__defaults__", "__kwdefaults__"))
            found += [place for place in defaults if stand.is_in(place.value)]
        # each child gets the whole environment anew
        elif not isinstance(holder, PurePath | Stand | type(os.environ)):
            others.append(holder)
    filled = {id(part) for place in found for part in _parts(place.value)}
    if unknown := [f"{type(other)}: {str(other)[:200]}" for other in others if id(other) not in filled]:
        raise TypeError(f"these hold the Hub's address or a cache: {unknown}")
    return found


def check_threads() -> None:
    """See that a fork loses nothing.

    Raises:
        RuntimeError: this process has threads of unknown libraries.
    """
    tasks = Path("/proc/self/task")
    names = [(task / "comm").read_text().strip() for task in tasks.iterdir() if task.name != str(os.getpid())]
    unknown = sorted(set(names) - set(_HARMLESS_THREADS))
    if unknown:
        raise RuntimeError(f"the imports started threads: {unknown}")


def run_program(arguments: Sequence[str]) -> None:
    """What `python ARGUMENTS` does: `-m MODULE`, `-c CODE` or a file, then the program's own arguments."""
    kind, rest = arguments[0], list(arguments[1:])
    if kind == "-m":
        sys.argv, sys.path[0] = rest, os.getcwd()  # noqa: PTH109 -- what Python puts there
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        main = type(sys)("__main__")
        sys.modules["__main__"] = main
        exec(compile(rest[0], "<string>", "exec"), vars(main))  # noqa: S102 -- what -c means
    else:
        sys.argv, sys.path[0] = list(arguments), str(Path(kind).parent.absolute())
        runpy.run_path(kind, run_name="__main__")


def _exit_code(run: Callable[[], None]) -> int:
    """As Python ends: what the program says, or 1 and a traceback."""
    try:
        run()
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        sys.stderr.write(f"{ended.code}\n")
        return 1
    except BaseException:  # noqa: BLE001 -- as Python does at the end of a program
        traceback.print_exc()
        return 1
    return 0


def become(request: Mapping[str, Any], found: Sequence[Place], stand: Stand) -> NoReturn:
    """Run a program in this child and end."""
    import numpy as np

    code = 70
    try:
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        for place in found:
            place.fill(stand.meaning(place.value, request["environment"]))
        # each process draws its own names and numbers where none are asked for
        np.random.seed()  # noqa: NPY002 -- libraries use it
        tempfile.tempdir = None
        code = _exit_code(lambda: run_program(request["arguments"]))
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as Python does at its end
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF)


class Server:
    """Forks on request, and tells number and exit code of each child."""

    def __init__(self, door: socket.socket, stand: Stand, found: Sequence[Place]) -> None:
        self._door = door
        self._channels: dict[int, socket.socket] = {}
        self._stand = stand
        self._places = found
        self._replies: dict[int, int] = {}
        self._woken, self._wakes = os.pipe()
        # who has started it may be gone already
        door.settimeout(_PATIENCE)

    def serve(self) -> None:
        """Until all that have come are gone."""
        os.set_blocking(self._wakes, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakes)
        self._let_in()
        while self._channels:
            ready, _, _ = select.select([self._door.fileno(), self._woken, *self._channels], [], [])
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._tell_ended()
            for channel in [channel for number, channel in self._channels.items() if number in ready]:
                self._answer(channel)
            if self._door.fileno() in ready:
                self._let_in()

    def _let_in(self) -> None:
        channel, _ = self._door.accept()
        self._channels[channel.fileno()] = channel

    def _answer(self, channel: socket.socket) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(channel, _REQUEST_BYTES, 3)
        except ConnectionError:
            message = b""
        if message:
            self._start(json.loads(message), descriptors)
        else:
            del self._channels[channel.fileno()]
            channel.close()

    def _start(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        output, errors, reply = descriptors
        process = os.fork()
        if not process:
            self._let_go(output, errors, reply)
            become(request, self._places, self._stand)
        os.close(output)
        os.close(errors)
        os.write(reply, f"{process}\n".encode())
        self._replies[process] = reply

    def _let_go(self, output: int, errors: int, reply: int) -> None:
        """In the child: its own output, nothing of this server's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        for descriptor in (output, errors, reply, self._woken, self._wakes, *self._replies.values()):
            os.close(descriptor)
        for channel in (self._door, *self._channels.values()):
            channel.close()

    def _tell_ended(self) -> None:
        while self._replies:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            reply = self._replies.pop(process)
            # whoever asked may be gone
            with suppress(BrokenPipeError):
                os.write(reply, f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os.close(reply)


def main() -> None:
    descriptor, home, cache, host = sys.argv[1:]
    door = socket.socket(fileno=int(descriptor))
    stand = Stand(home, cache, host)
    # an interrupt of the tests is for the tests; they end this process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_everything(stand)
    del sys.argv[1:], sys.orig_argv[1:]
    urlsplit.cache_clear()  # type: ignore[attr-defined]  # a cache of the standard library, which holds what it was asked
    gc.collect()
    found = places(stand)
    check_threads()
    # the collector shall not touch, and so copy, what all children share
    gc.freeze()
    Server(door, stand, found).serve()


if __name__ == "__main__":
    main()
