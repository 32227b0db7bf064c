"""Runs in a cluster of three nodes on this machine: scores, items and vectors are one process's, whoever dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
from support.local_tasks import jsonl_task
from support.processes import out_of_reach
from support.small_runs import contents, differences
from support.tiny import save_sentence_model

pytest.importorskip("ray", reason="needs the extra ray")

TESTS = Path(__file__).parents[1]
NODES = TESTS / "support" / "ray_nodes.py"
SLOW = TESTS / "support" / "slow_actors.py"
SETTINGS = ["--engine", "torch", "--threads", "1", "--batch-tokens", "2048"]
# of the tasks: so many texts of their own
PAIRS = 240


@dataclass(frozen=True)
class Place:
    """A model and tasks, and where Ray keeps its own: sockets have short names."""

    folder: Path
    ray: Path

    @property
    def environment(self) -> dict[str, str]:
        paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
        return {**os.environ, **out_of_reach(self.folder), "RAY_TMPDIR": str(self.ray), "PYTHONPATH": paths}

    def command(self, name: str, *arguments: str) -> list[str]:
        """A run into a folder of its own, shards of which are told of in a file."""
        tasks = [str(self.folder / f"{task}.toml") for task in ("Pairs", "Others")]
        output, store = self.folder / name / "results", self.folder / name / "store"
        folders = ["--output", str(output), "--store", str(store)]
        log = str(self.folder / f"{name}.log")
        run = ["run", "--model", str(self.folder / "model"), "--tasks", *tasks]
        return [sys.executable, str(SLOW), log, *run, *folders, *SETTINGS, *arguments]

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self.command(name, *arguments)
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=180, check=False)

    def begun(self, name: str) -> list[list[str]]:
        """Of each shard that was begun, who did and which it was."""
        log = self.folder / f"{name}.log"
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []

    def wait_for(self, name: str, what: Callable[[list[list[str]]], bool]) -> list[list[str]]:
        ends = time.monotonic() + 120
        while not what(begun := self.begun(name)):
            assert time.monotonic() < ends, begun
            time.sleep(0.02)
        return begun


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("ray")
    save_sentence_model(folder / "model")
    for task in ("Pairs", "Others"):
        rows = [
            {"sentence1": f"{task} {n} grow", "sentence2": f"{task} {n * 7} {'well ' * (n % 9)}", "score": n % 6}
            for n in range(PAIRS)
        ]
        jsonl_task(folder / f"{task}.toml", "STS", rows)
    ray = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    yield Place(folder, ray)
    shutil.rmtree(ray, ignore_errors=True)


class Nodes:
    """A cluster that stands until it is let go."""

    def __init__(self, place: Place, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(NODES), str(count)],
            env=place.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.address = self._line()

    def _line(self) -> str:
        lines: IO[str] | None = self._process.stdout
        assert lines is not None
        return lines.readline().strip()

    def _say(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()

    def remove(self) -> None:
        self._say("remove")
        assert self._line() == "removed"

    def end(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def serial(place: Place) -> dict[str, str]:
    """What one process makes of it."""
    done = place.run("serial")
    assert done.returncode == 0, done.stderr
    return files_of(place, "serial")


@pytest.fixture(scope="module")
def nodes(place: Place) -> Iterator[Nodes]:
    started = Nodes(place, 3)
    yield started
    started.end()


def files_of(place: Place, name: str) -> dict[str, str]:
    """Scores, items and vectors, byte for byte."""
    store = place.folder / name / "store"
    vectors = {path.relative_to(store).as_posix(): path.read_bytes().hex() for path in store.rglob("*.shard")}
    assert len(vectors) > 20
    return contents(place.folder / name / "results") | vectors


def facts_of(place: Place, name: str) -> list[dict[str, object]]:
    records = (place.folder / name / "results").rglob("jobs/**/*.json")
    return [json.loads(path.read_text(encoding="utf-8"))["facts"] for path in records]


def repeated(begun: list[list[str]]) -> int:
    return sum(Counter(shard for _, shard in begun).values()) - len({shard for _, shard in begun})


def test_a_killed_actor_and_a_lost_node_change_no_byte(place: Place, nodes: Nodes, serial: dict[str, str]) -> None:
    command = place.command("lost", "--ray", nodes.address)
    run = subprocess.Popen(command, env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # all three are at work
    begun = place.wait_for("lost", lambda begun: len({pid for pid, _ in begun}) == 3)
    os.kill(int(begun[-1][0]), signal.SIGKILL)
    nodes.remove()
    told = run.communicate(timeout=180)
    assert run.returncode == 0, told
    assert differences(files_of(place, "lost"), serial) == []
    # one for the actor, one for the node; and by those who are left
    assert repeated(place.begun("lost")) <= 2
    assert "an actor ended on" in told[1]
    assert [line for line in told[1].splitlines() if "ray" in line.lower() and "raylet" in line.lower()] == []
    facts = facts_of(place, "lost")
    assert {fact["threads"] for fact in facts} == {1}
    assert max(int(str(fact["actors"])) for fact in facts) >= 2
    assert all("actors" not in fact for fact in facts_of(place, "serial"))


def test_a_driver_that_was_killed_goes_on_where_it_was(place: Place, nodes: Nodes, serial: dict[str, str]) -> None:
    command = place.command("killed", "--ray", nodes.address)
    run = subprocess.Popen(command, env=place.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begun = place.wait_for("killed", lambda begun: len(begun) >= 8)
    run.kill()
    run.wait()
    # its actors end with it
    for pid in {int(pid) for pid, _ in begun}:
        ends = time.monotonic() + 30
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < ends
            time.sleep(0.05)
    done = place.run("killed", "--ray", nodes.address)
    assert done.returncode == 0, done.stderr
    assert differences(files_of(place, "killed"), serial) == []
    # one for each actor that ended with the driver
    assert repeated(place.begun("killed")) <= 3
