"""A cluster of four nodes on this machine, which loses two of them: whoever dies, what comes is one process's.

Jobs are scored and a corpus is searched by it, and runs have actors there. All in one file, so that one cluster serves.
"""

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
from typing import IO, Any

import pytest
from support.elsewhere import LONG_SECONDS
from support.local_tasks import jsonl_task
from support.processes import Process, Pythons, out_of_reach
from support.small_runs import contents, differences
from support.tiny import save_sentence_model

pytest.importorskip("ray", reason="needs the extra ray")

TESTS = Path(__file__).parents[1]
NODES = TESTS / "support" / "ray_nodes.py"
SLOW = TESTS / "support" / "slow_actors.py"
SETTINGS = ["--engine", "torch", "--threads", "1", "--batch-tokens", "2048"]
# of the tasks: so many texts of their own
PAIRS = 240
# of each shard, in runs that lose somebody: long enough for that to come in the middle
SHARD_SECONDS = 0.25


@dataclass(frozen=True)
class Place:
    """A model and tasks."""

    folder: Path
    pythons: Pythons

    def start(self, name: str, *arguments: str, seconds: float = SHARD_SECONDS) -> Process:
        """A run into a folder of its own, shards of which are told of in a file and take so many seconds more."""
        tasks = [str(self.folder / f"{task}.toml") for task in ("Pairs", "Others")]
        output, store = self.folder / name / "results", self.folder / name / "store"
        folders = ["--output", str(output), "--store", str(store)]
        log = str(self.folder / f"{name}.log")
        run = ["run", "--model", str(self.folder / "model"), "--tasks", *tasks]
        command = [str(SLOW), log, str(seconds), *run, *folders, *SETTINGS, *arguments]
        return self.pythons.start(command, self.folder, out_of_reach(self.folder))

    def run(self, name: str, *arguments: str) -> None:
        process = self.start(name, *arguments, seconds=0)
        told = process.communicate(timeout=180)
        assert process.returncode == 0, told

    def begun(self, name: str) -> list[list[str]]:
        """Of each shard that was begun, who did and which it was."""
        log = self.folder / f"{name}.log"
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []

    def wait_for(self, name: str, what: Callable[[list[list[str]]], bool]) -> list[list[str]]:
        ends = time.monotonic() + 240
        while not what(begun := self.begun(name)):
            assert time.monotonic() < ends, begun
            time.sleep(0.02)
        return begun


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, pythons: Pythons) -> Place:
    folder = tmp_path_factory.mktemp("ray")
    save_sentence_model(folder / "model")
    for task in ("Pairs", "Others"):
        rows = [
            {"sentence1": f"{task} {n} grow", "sentence2": f"{task} {n * 7} {'well ' * (n % 9)}", "score": n % 6}
            for n in range(PAIRS)
        ]
        jsonl_task(folder / f"{task}.toml", "STS", rows)
    return Place(folder, pythons)


class Nodes:
    """A cluster that stands until it is let go."""

    def __init__(self, folder: Path, count: int) -> None:
        """See the class.

        Args:
            folder: where Ray keeps its own; of a short name, since there are sockets in it.
            count: how many.
        """
        paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
        own = {
            **out_of_reach(folder),
            "RAY_TMPDIR": str(folder),
            "PYTHONPATH": paths,
            "OMP_NUM_THREADS": "1",
            # else its workers get what all other tests leave of the processors
            "RAY_worker_niceness": "0",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(NODES), str(count)],
            env={**os.environ, **own}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._address: str | None = None

    @property
    def address(self) -> str:
        """Of the cluster, which takes a while to stand."""
        self._address = self._address or str(self._line())
        return self._address

    def _line(self) -> Any:
        lines: IO[str] | None = self._process.stdout
        assert lines is not None
        return json.loads(lines.readline())

    def _say(self, what: str) -> None:
        assert self.address
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()

    def remove(self) -> None:
        self._say("remove")
        assert self._line() == "removed"

    def use(self, folder: Path) -> dict[str, Any]:
        """Score and search there; one node is lost."""
        self._say(f"use {folder}")
        found: dict[str, Any] = self._line()
        return found

    def end(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    started = Nodes(folder, 4)
    yield started
    started.end()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def serial(place: Place, nodes: Nodes) -> dict[str, str]:
    """What one process makes of it, while the nodes start."""
    assert nodes
    place.run("serial")
    return files_of(place, "serial")


@pytest.fixture(scope="module")
def used(nodes: Nodes, serial: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of scoring and searching; three nodes are left."""
    assert serial
    return nodes.use(tmp_path_factory.mktemp("used"))


@pytest.fixture(scope="module")
def left(nodes: Nodes, used: dict[str, Any]) -> Nodes:
    """Three nodes, at first."""
    assert used
    return nodes


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


def test_tasks_score_what_is_scored_here_and_what_they_cannot_is_scored_here(used: dict[str, Any]) -> None:
    said = used["score"]
    assert said.pop("run") == {"jobs": 10, "failed": ["Constant"], "same": True, "here": 0}
    after = said["takes long"].pop("after")
    assert after[0] < LONG_SECONDS / 2
    assert {kind: [each["said"], each["here"], each["went"]] for kind, each in said.items()} == {
        "plain": ["same", 0, True],
        "on this node": ["same", 0, True],
        "fails": ["KeyError: 'gone'", 0, True],
        "fails oddly": ["same", 1, True],
        "has no files": ["same", 1, True],
        "cannot be sent": ["same", 1, False],
        "dies once": ["same", 0, True],
        "takes long": ["StoppedError: the run has ended", 0, True],
    }


def test_nodes_find_what_is_found_here_to_the_last_bit(used: dict[str, Any]) -> None:
    parts = 20
    assert used["search"] == [
        {"case": "all nodes", "same": True, "parts": parts, "here": 0, "dropped": 0},
        {"case": "other last bits", "same": True, "parts": parts, "here": parts, "dropped": 4},
        {"case": "a node is lost", "same": True, "parts": parts, "here": 0, "dropped": 1},
    ]


def test_a_killed_actor_and_a_lost_node_change_no_byte(place: Place, left: Nodes, serial: dict[str, str]) -> None:
    run = place.start("lost", "--ray", left.address)
    # all three are at work
    begun = place.wait_for("lost", lambda begun: len({pid for pid, _ in begun}) == 3)
    os.kill(int(begun[-1][0]), signal.SIGKILL)
    left.remove()
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


def test_a_driver_that_was_killed_goes_on_where_it_was(place: Place, left: Nodes, serial: dict[str, str]) -> None:
    run = place.start("killed", "--ray", left.address)
    begun = place.wait_for("killed", lambda begun: len(begun) >= 8)
    run.send_signal(signal.SIGKILL)
    run.wait()
    # its actors end with it
    for pid in {int(pid) for pid, _ in begun}:
        ends = time.monotonic() + 30
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < ends
            time.sleep(0.05)
    place.run("killed", "--ray", left.address)
    assert differences(files_of(place, "killed"), serial) == []
    # one for each actor that ended with the driver
    assert repeated(place.begun("killed")) <= 3
