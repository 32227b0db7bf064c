"""Faults from outside: a flaky Hub, a full disk, signals, limits. What was done is kept, and the user is told."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, StartHub
from support.local_tasks import jsonl_task
from support.processes import Pythons, out_of_reach
from support.small_runs import small_command
from support.tiny import save_sentence_model

TASKS = ["--tasks", "StarterSTSEng", "StarterClassificationEng"]
STARTER = ["run", "--model", "all-MiniLM-L6-v2", *TASKS]


def tiny_starter(folder: Path) -> list[str]:
    """The same run of a tiny model."""
    return ["run", "--model", str(save_sentence_model(folder / "model")), *TASKS]


def scores(folder: Path) -> dict[str, Any]:
    paths = [path for path in folder.rglob("*.json") if "jobs" not in path.parts]
    return {p.name: json.loads(p.read_text())["scores"] for p in paths if p.name != "model_meta.json"}


# as many tries with the pauses between them, which are a hundredth as long
IMPATIENT = """
from evalharness import hub
from evalharness.cli.main import main
hub._PAUSES = tuple(pause / 100 for pause in hub._PAUSES)
main()
"""


@pytest.mark.hub
def test_a_flaky_hub_gives_equal_scores(tmp_path: Path, start_hub: StartHub, pythons: Pythons) -> None:
    folder = save_sentence_model(tmp_path / "model")
    served = ["--model", f"some/model={folder}"]
    command = ["run", "--model", "some/model", "--tasks", "PoemSentimentClassification", "--no-store"]
    # one file breaks off, too
    faults = ["--fail-rate", "0.2", "--seed", "8", "--truncate-after", "2"]
    for name, options in (("calm", served), ("flaky", [*served, *faults])):
        with start_hub(*options) as address:
            online = {**out_of_reach(tmp_path), "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / f"{name}-home")}
            done = pythons.run(["-c", IMPATIENT, *command, "--output", name], tmp_path, online)
            assert done.returncode == 0, done.stderr
            assert ("trying again" in done.stderr) == (name == "flaky")
    assert scores(tmp_path / "calm") == scores(tmp_path / "flaky") != {}


LIMITED = """
import resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from evalharness.cli.main import main
main()
"""


@pytest.mark.parametrize("limit", [2_000, 500])
def test_a_disk_that_is_full(cli: Cli, tmp_path: Path, pythons: Pythons, limit: int) -> None:
    # with the first limit no shard fits, with the second no result does either
    small = small_command(tmp_path / "given")
    stored = [*small[: small.index("--store")], "--no-store"] if limit < 1000 else small
    done = pythons.run(["-c", LIMITED, str(limit), *stored], tmp_path, out_of_reach(tmp_path))
    assert done.returncode == 2, done.stderr
    assert ("the embedding store" if limit > 1000 else "results cannot be written") in done.stderr
    assert "File too large" in done.stderr
    assert "Free space" in done.stderr
    assert "Traceback" not in done.stderr
    # a later run believes nothing of it
    again = cli(*small)
    assert again.returncode == 0, again.stderr
    assert "SmallLabels" in again.stdout
    cli(*small[: small.index("--store")], "--no-store", "--output", "whole")
    assert scores(tmp_path / "results") == scores(tmp_path / "whole") != {}


def test_folders_that_cannot_be_written(here: Cli, tmp_path: Path) -> None:
    done = here(*STARTER, "--output", "/proc/nowhere")
    assert done.returncode == 2
    assert "results cannot be written to /proc/nowhere" in done.stderr
    done = here(*STARTER, "--store", "/proc/nowhere")
    assert done.returncode == 2
    assert "the embedding store /proc/nowhere cannot be used" in done.stderr
    assert "--no-store" in done.stderr
    assert not list((tmp_path / "results").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("number", "code", "fresh"),
    [(signal.SIGINT, 130, False), (signal.SIGTERM, 143, False), (signal.SIGINT, 130, True)],
)
def test_a_signal_ends_the_run_within_two_seconds_and_says_how_to_go_on(
    tmp_path: Path, pythons: Pythons, number: signal.Signals, code: int, *, fresh: bool
) -> None:
    command = ["-m", "evalharness", *STARTER, "--output", "my results"]
    process = pythons.start(command, tmp_path, out_of_reach(tmp_path), fresh=fresh)
    if fresh:
        # among the imports
        assert isinstance(process, subprocess.Popen)
        while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8"):
            assert process.poll() is None, "it ended among the imports"
            time.sleep(0.05)
    else:
        ends = time.monotonic() + 60
        while not list((tmp_path / "cache").rglob("*")):
            assert time.monotonic() < ends, "it encodes nothing"
            time.sleep(0.01)
    process.send_signal(number)
    sent = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - sent < 2.5
    assert process.returncode == code
    assert "To go on: evalharness run --model all-MiniLM-L6-v2" in errors
    assert "--output 'my results'" in errors
    assert "Traceback" not in errors


def test_a_time_budget_ends_cleanly(here: Cli, tmp_path: Path) -> None:
    starter = tiny_starter(tmp_path)
    done = here(*starter, "--time-budget", "0s")
    assert done.returncode == 3
    assert "2 jobs are not done; the same command goes on with them" in done.stderr
    done = here(*starter, "--time-budget", "2 weeks")
    assert done.returncode == 2
    assert "'2 weeks' is no duration; expected something like 90s, 30m or 2h" in done.stderr
    assert here(*starter, "--time-budget", "1h").returncode == 0
    lines = [json.loads(line) for line in next(tmp_path.rglob("run.log")).read_text().splitlines()]
    assert [line["job"]["task"] for line in lines] == ["StarterSTSEng", "StarterClassificationEng"]
    first = lines[0]
    assert set(first["seconds"]) == {"load", "encode", "score"}
    assert 0 < first["texts_encoded"] <= first["texts"] < first["tokens"] < first["bytes"] < first["peak_memory_bytes"]


def test_the_first_failed_job_may_end_the_run(here: Cli, tmp_path: Path) -> None:
    for name, score in (("bad", 9), ("good", 1)):
        rows = [{"sentence1": "a", "sentence2": "b", "score": score}, {"sentence1": "c", "sentence2": "d", "score": 2}]
        jsonl_task(tmp_path / f"{name}.toml", "STS", rows)
    model = save_sentence_model(tmp_path / "model")
    command = ["run", "--model", str(model), "--tasks", "bad.toml", "good.toml"]
    done = here(*command, "--fail-fast")
    assert done.returncode == 3
    assert "1 jobs are not done" in done.stderr
    assert here(*command).returncode == 3
    assert len(list((tmp_path / "results").rglob("good.json"))) == 1


def test_the_store_command(here: Cli, tmp_path: Path) -> None:
    starter = tiny_starter(tmp_path)
    assert here(*starter).returncode == 0
    told = here("store", "info").stdout
    assert "local/model (64 tokens)" in told
    assert "StarterSTSEng: " in told
    assert "are whole, 0 are damaged" in here("store", "verify").stdout
    path = next((tmp_path / "cache").rglob("*.shard"))
    path.write_bytes(path.read_bytes()[:-1])
    damaged = here("store", "verify")
    assert damaged.returncode == 3
    assert "has" in damaged.stdout
    again = here(*starter, "--overwrite")
    assert again.returncode == 0
    assert again.stderr.count("its texts are encoded again") == 1
    wrong = here("store", "gc", "--max-size", "much")
    assert wrong.returncode == 2
    assert "'much' is no size; expected something like 500MB or 50GB" in wrong.stderr
    assert "removed 0 shards" in here("store", "gc", "--keep-days", "1").stdout
    assert "removed" in here("store", "gc", "--model", "local/model").stdout
    assert not list((tmp_path / "cache").rglob("*.shard"))
    both = here(*starter, "--no-store", "--store", "x")
    assert both.returncode == 2
    assert "--store and --no-store contradict each other" in both.stderr
