"""SIGKILL at any moment: the next run goes on, nothing is lost but a shard's work, and no score is another."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from support.killed_run import SHARD_TEXTS
from support.small_runs import run_forked, small_command

from evalharness.store.shards import open_shard

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TASKS = ["STS13", "PoemSentimentClassification", "StarterRetrievalEng"]
SCRIPT = Path(__file__).parents[1] / "support" / "killed_run.py"
# whole processes on data of the Hub, which take ten seconds each
KILLS = int(os.environ.get("EVALHARNESS_KILLS", "8"))
# forked ones on small tasks of our own
FORKED_KILLS = 100
# what a run does to files below its folders
KINDS = ("open to write", "open to read", "os.rename", "os.remove", "os.mkdir")


class Workplace:
    """A folder with a store, results and a count of the work."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.environment = environment

    def start(self, output: str = "results") -> subprocess.Popen[bytes]:
        command = [sys.executable, str(SCRIPT), str(self.folder / "work"), "run", "--model", MODEL]
        options = ["--tasks", *TASKS, "--languages", "eng", "--store", "store", "--output", output]
        return subprocess.Popen(
            [*command, *options],
            cwd=self.folder,
            env={**os.environ, **self.environment, "PYTHONPATH": str(SCRIPT.parents[2])},
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "stderr").open("ab"),
        )

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        assert process.wait(300) == 0, (self.folder / "stderr").read_text()[-2000:]

    def scores(self, output: str = "results") -> dict[str, Any]:
        """Everything that must not depend on kills: scores and per-item scores, byte for byte."""
        found: dict[str, Any] = {}
        for path in sorted((self.folder / output).rglob("*")):
            name = str(path.relative_to(self.folder / output))
            if path.suffix == ".parquet":
                found[name] = path.read_bytes()
            elif path.suffix == ".json":
                value = json.loads(path.read_text())
                found[name] = json.dumps(value.get("scores", value.get("metrics")))
        return found

    def texts_begun(self) -> int:
        return sum(int(line.split()[1]) for line in (self.folder / "work").read_text().splitlines())

    def texts_stored(self) -> int:
        return sum(open_shard(path).arrays["vectors"].shape[0] for path in self.folder.rglob("*.shard"))

    def temporaries(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.suffix in (".tmp", ".claim")]


@pytest.fixture(scope="module")
def environment(hub: str, hub_home: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub, "HF_HOME": str(hub_home)}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> tuple[dict[str, Any], float]:
    """Scores of a run that nobody disturbs, and how long it takes."""
    place = Workplace(tmp_path_factory.mktemp("undisturbed"), environment)
    place.finish(place.start())  # fetches model and data
    place = Workplace(tmp_path_factory.mktemp("timed"), environment)
    started = time.monotonic()
    place.finish(place.start())
    assert place.texts_begun() == place.texts_stored()
    return place.scores(), time.monotonic() - started


def test_kills_at_each_kind_of_file_operation_and_at_any_moment(tmp_path: Path) -> None:
    (tmp_path / "command.json").write_text(json.dumps(small_command(tmp_path / "given")))
    found = run_forked("kills", str(tmp_path), str(FORKED_KILLS))
    assert found["wrong"] == []
    kills = found["kills"]
    # a run may end before its moment comes
    assert kills.pop("any moment") >= FORKED_KILLS // 10
    assert sum(kills.values()) == 2 * FORKED_KILLS // 3
    assert {name.partition(" of ")[0] for name in kills} >= set(KINDS)


@pytest.mark.hub
def test_kills_at_random_times(
    tmp_path: Path, cli: Cli, environment: dict[str, str], reference: tuple[dict[str, Any], float]
) -> None:
    wanted, seconds = reference
    rng = random.Random(11)
    kills = rounds = 0
    while kills < KILLS:
        place = Workplace(tmp_path / str(rounds), environment)
        here = 0
        while True:
            started, process = time.monotonic(), place.start()
            try:
                # the first seconds are imports; a kill there is as good as any, but seldom interesting
                process.wait(rng.uniform(0.1, 0.8) * seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                here += 1
                if kills + here >= KILLS:
                    place.finish(place.start())
                    break
            else:
                assert process.returncode == 0, (place.folder / "stderr").read_text()[-2000:]
                if not here:
                    # the machine was busier when the time was taken
                    seconds = min(seconds, time.monotonic() - started)
                break
        assert place.scores() == wanted
        assert place.texts_begun() <= place.texts_stored() + here * SHARD_TEXTS
        time.sleep(2)
        done = cli("store", "gc", "--store", str(place.folder / "store"))
        assert done.returncode == 0, done.stderr
        assert [path for path in place.temporaries() if "store" in path.parts] == []
        assert cli("store", "verify", "--store", str(place.folder / "store")).returncode == 0
        kills, rounds = kills + here, rounds + 1


@pytest.mark.hub
def test_one_of_two_processes_with_one_store_is_killed(
    tmp_path: Path, environment: dict[str, str], reference: tuple[dict[str, Any], float]
) -> None:
    wanted, seconds = reference
    place = Workplace(tmp_path, environment)
    first, second = place.start("one"), place.start("two")
    time.sleep(0.6 * seconds)
    first.send_signal(signal.SIGKILL)
    first.wait()
    place.finish(second)
    assert place.scores("two") == wanted
    place.finish(place.start("one"))
    assert place.scores("one") == wanted
    assert place.texts_begun() <= place.texts_stored() + SHARD_TEXTS
