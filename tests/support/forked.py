"""The command line in forked children: each begins as a new process does, without seconds of imports.

    forked.py kills FOLDER COUNT      a child dies COUNT times, at file operations and at any moment
    forked.py disks FOLDER PLACE      PLACE (store, results or hub) on file systems of ten sizes, each then made larger

Both print a line of JSON. This process imports everything and computes nothing, so that its children may use threads.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LIBRARIES = (
    "evalharness.cli.main",
    "evalharness.run.request",
    "evalharness.run.plan",
    "evalharness.cli.display",
    "evalharness.models.kinds.dense",
    "evalharness.models.engines.torch",
    "evalharness.tasks.sts",
    "evalharness.tasks.retrieval",
    "evalharness.tasks.classification",
    "mteb",
    "datasets",
    "pyarrow.parquet",
    "transformers.models.bert.modeling_bert",
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND
_EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.utime", "os.truncate", "os.link")
_KILLED = -signal.SIGKILL
# of the disks, in steps of pages; the last one is large enough for all that is written
_SIZES = {
    "store": (4, 8, 12, 16, 24, 32, 48, 64, 96, 160),
    "results": (4, 8, 12, 16, 24, 32, 48, 64, 96, 160),
    "hub": (4, 16, 32, 64, 96, 128, 192, 256, 384, 512),
}
_ENOUGH = "64m"

Operation = tuple[str, str]


def child(
    folder: Path,
    arguments: Sequence[str],
    hook: Callable[[str, tuple[Any, ...]], None] | None = None,
    *,
    seconds: float | None = None,
) -> int:
    """Run a command line in a folder; what it says is added to the file `said` there.

    Args:
        folder: where it is started.
        arguments: the command line.
        hook: an audit hook for the child.
        seconds: after which it is killed.

    Returns:
        The exit code; for a child that a signal ended, minus its number.
    """
    process = os.fork()
    if process:
        if seconds is not None:
            time.sleep(seconds)
            # its number is its own until it is waited for
            os.kill(process, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    code = 70
    try:
        os.chdir(folder)
        said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        if hook is not None:
            sys.addaudithook(hook)
        from evalharness.cli.main import execute

        code = execute(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Operations:
    """An audit hook that counts operations on files below a folder, and kills the process at one of them."""

    def __init__(self, folder: Path, fatal: int | None = None, log: Path | None = None) -> None:
        """See the class.

        Args:
            folder: operations elsewhere do not count.
            fatal: number of the operation before which the process dies.
            log: gets a line per operation.
        """
        self._folder = str(folder)
        self._fatal = fatal
        self._log = None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._count = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" and event not in _EVENTS:
            return
        if not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 -- no Path: its methods are operations, too
        if not path.startswith(self._folder) or path.endswith("/said"):
            return
        kind = event
        if event == "open":
            kind = "open to write" if arguments[2] & _WRITING else "open to read"
        if self._count == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1
        if self._log is not None:
            os.write(self._log, f"{kind}\t{os.path.splitext(path)[1] or 'folder'}\n".encode())  # noqa: PTH122 -- as above


def contents(folder: Path) -> dict[str, str]:
    """What must not depend on any disturbance: scores and per-item scores, byte for byte, by file."""
    found: dict[str, str] = {}
    for path in sorted((folder / "results").rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".parquet":
            found[name] = path.read_bytes().hex()
        elif path.suffix == ".json":
            value = json.loads(path.read_text(encoding="utf-8"))
            found[name] = json.dumps(value.get("scores", value.get("metrics", value.get("name"))), sort_keys=True)
    return found


def kills(base: Path, count: int) -> dict[str, Any]:
    """Kill at operations of every kind, and a third of the times at any moment; some later runs are killed, too."""
    command = json.loads((base / "command.json").read_text())
    whole = base / "undisturbed"
    whole.mkdir()
    log = base / "operations"
    assert child(whole, command, Operations(whole, log=log)) == 0, (whole / "said").read_text()
    timed = base / "timed"
    timed.mkdir()
    started = time.monotonic()
    assert child(timed, command) == 0
    duration = time.monotonic() - started
    operations = [tuple(line.split("\t")) for line in log.read_text().splitlines()]
    rng = random.Random(7)
    ways: list[int | None] = [*_spread(operations, 2 * count // 3, rng), *([None] * (count - 2 * count // 3))]
    done: dict[str, int] = {}
    wrong: list[str] = []
    for number, fatal in enumerate(ways):
        place = base / f"kill-{number}"
        place.mkdir()
        if fatal is None:
            kind, ended = "any moment", child(place, command, seconds=rng.uniform(0.05, 0.6) * duration)
        else:
            kind, ended = " of ".join(operations[fatal]), child(place, command, Operations(place, fatal))
        if number % 4 == 0:
            child(place, command, Operations(place, rng.randrange(len(operations) // 2)))
        finished = child(place, command)
        done[kind] = done.get(kind, 0) + (ended == _KILLED)
        if finished != 0 or (fatal is not None and ended != _KILLED) or contents(place) != contents(whole):
            wrong.append(f"{number} ({kind}): {ended}, {finished}: {_said(place)}; {_differences(place, whole)}")
        shutil.rmtree(place)
    return {"operations": len(operations), "kills": done, "wrong": wrong}


def _said(place: Path) -> str:
    return (place / "said").read_text()[-500:]


def _differences(place: Path, whole: Path) -> list[str]:
    found, wanted = contents(place), contents(whole)
    return sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))


def _spread(operations: Sequence[tuple[str, ...]], count: int, rng: random.Random) -> list[int]:
    """Numbers of operations: of each kind at least one, then any."""
    places: dict[tuple[str, ...], list[int]] = {}
    for number, operation in enumerate(operations):
        places.setdefault(operation, []).append(number)
    chosen = [rng.choice(numbers) for numbers in places.values()][:count]
    others = [number for number in range(len(operations)) if number not in chosen]
    return chosen + rng.sample(others, min(len(others), count - len(chosen)))


@contextmanager
def disk(place: Path, kilobytes: int) -> Iterator[None]:
    """A file system of its own at a place."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def disks(base: Path, what: str) -> dict[str, Any]:
    """One place on disks of ten sizes; then each disk is made larger, and the same command has to finish."""
    command = json.loads((base / "command.json").read_text())
    folder = base / "work"
    places = {
        "store": folder / "store",
        "results": folder / "results",
        "hub": Path(os.environ.get("HF_HOME", "/nowhere")),
    }
    folder.mkdir()
    assert child(folder, command) == 0, (folder / "said").read_text()
    wanted = contents(folder)
    codes: dict[int, int] = {}
    wrong: list[str] = []
    for size in _SIZES[what]:
        shutil.rmtree(folder)
        folder.mkdir()
        if what == "hub":
            shutil.rmtree(places["hub"], ignore_errors=True)
        with disk(places[what], size):
            codes[size] = child(folder, command)
            said = (folder / "said").read_text()
            subprocess.run(["mount", "-o", f"remount,size={_ENOUGH}", str(places[what])], check=True)
            again = child(folder, command)
            told = codes[size] == 0 or "No space left on device" in said
            if codes[size] not in (0, 2, 3) or not told or "Traceback" in said or again or contents(folder) != wanted:
                wrong.append(f"{size} KB: {codes[size]}, {again}: {(folder / 'said').read_text()[-2000:]}")
    return {"codes": codes, "wrong": wrong}


if __name__ == "__main__":
    for library in _LIBRARIES:
        importlib.import_module(library)
    job, home, argument = sys.argv[1:]
    result = kills(Path(home), int(argument)) if job == "kills" else disks(Path(home), argument)
    sys.stdout.write(json.dumps(result) + "\n")
