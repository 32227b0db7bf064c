"""Seconds of a processor that short commands take: `python benchmarks/starts.py [TIMES]`.

Each is started TIMES times (5) in a fresh process; the quickest start counts, since other work makes a start slower and
nothing makes it quicker. Exits with 1 if one takes longer than it may.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalharness.catalog.tasks import all_task_names


@dataclass(frozen=True, slots=True)
class Command:
    """A command, its exit code, and the most seconds of a processor that it may take."""

    arguments: Sequence[str]
    most: float
    code: int = 0


WRONG_NAMES = [f"{name[:-3]}xyz" for name in sorted(all_task_names(), key=len)[-20:]]
COMMANDS: Mapping[str, Command] = {
    # the promise of the design
    "--help": Command(["--help"], 0.3),
    "list suites": Command(["list", "suites"], 1),
    "list tasks": Command(["list", "tasks"], 3),
    "run with 20 wrong names": Command(["run", "--model", "all-MiniLM-L6-v2", "--tasks", *WRONG_NAMES], 10, code=2),
}


def seconds(command: Command) -> float:
    """What one start takes of a processor, user and system time together."""
    before = os.times()
    started = [sys.executable, "-m", "evalharness", *command.arguments]
    done = subprocess.run(started, capture_output=True, text=True, check=False)
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
    for name, command in COMMANDS.items():
        least = min(seconds(command) for _ in range(times))
        slow = slow or least > command.most
        print(f"{name}: {least:.2f} s, {command.most:g} s at the most")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
