"""SIGKILL at any moment: the next run goes on, nothing is lost but a shard's work, and no score is another."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import pytest
from conftest import Cli
from support.killed_run import SHARD_TEXTS
from support.processes import Process, Pythons, out_of_reach
from support.small_runs import SOAK, contents, differences, small_command
from support.tiny import save_sentence_model

from evalharness.store.shard_files import open_shard

SUPPORT = Path(__file__).parents[1] / "support"
KILLED = -signal.SIGKILL
# on small tasks of our own, with jobs side by side and one by one: before operations of every kind, at any moment
OPERATION_KILLS, MOMENT_KILLS = (33, 17) if SOAK else (8, 2)
# what a run does to files below its folders
KINDS = ("open to write", "open to read", "os.rename", "os.remove", "os.mkdir")
# on data of the Hub: real weights, or tiny ones that wait
MODEL = "sentence-transformers/all-MiniLM-L6-v2" if SOAK else ""
PAUSE = 0 if SOAK else 0.02
TASKS = ["PoemSentimentClassification", "StarterRetrievalEng", *(["STS13"] if SOAK else [])]
HUB_KILLS = 60 if SOAK else 4


class SmallRun:
    """The same command in a folder of its own."""

    def __init__(self, folder: Path, command: Sequence[str], pythons: Pythons, caches: Path | None = None) -> None:
        self.folder = folder
        # exported models and the like, of this run alone where none is named
        self._caches = caches or folder
        self._place = folder / "place"
        self._place.mkdir(parents=True)
        self._command = command
        self._pythons = pythons
        self.told = ""

    def start(self, fatal: int = -1) -> Process:
        script = [str(SUPPORT / "killed_at.py"), str(self._place), str(fatal), str(self.folder / "operations")]
        return self._pythons.start([*script, *self._command], self._place, out_of_reach(self._caches))

    def run(self, fatal: int = -1, seconds: float | None = None) -> int:
        """Run it until it ends, or until it dies: at an operation or after some seconds."""
        process = self.start(fatal)
        if seconds is not None:
            time.sleep(seconds)
            # it may have ended already
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
        self.told += process.communicate(timeout=300)[1]
        assert process.returncode is not None
        return process.returncode

    def operations(self) -> list[str]:
        return (self.folder / "operations").read_text(encoding="utf-8").splitlines()

    def results(self) -> dict[str, str]:
        return contents(self._place / "results")


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody kills."""

    command: list[str]
    caches: Path
    operations: list[str]
    results: dict[str, str]
    seconds: float


# with jobs side by side and one by one, on every engine
@pytest.fixture(scope="module", params=["torch --overlap", "onnx --no-overlap", "openvino --overlap"])
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pythons: Pythons
) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    command = [*small_command(folder / "given"), "--engine", *str(request.param).split()]
    # starts the server that forks, where nobody has yet, so that its seconds are not the run's
    assert pythons.run(["-c", ""], folder, out_of_reach(folder)).returncode == 0
    whole, started = SmallRun(folder / "whole", command, pythons), time.monotonic()
    assert whole.run() == 0, whole.told
    seconds = time.monotonic() - started
    return Undisturbed(command, whole.folder, whole.operations(), whole.results(), seconds)


def spread(operations: Sequence[str], count: int, rng: random.Random) -> list[int]:
    """Numbers of operations: each kind, then each kind of file, as far as the count goes, then any."""
    kinds: dict[str, dict[str, list[int]]] = {}
    for number, operation in enumerate(operations):
        kinds.setdefault(operation.partition("\t")[0], {}).setdefault(operation, []).append(number)
    # in an order of its own for each engine, so that together they meet more kinds of files
    drawn = [[rng.choice(places) for places in files.values()] for files in kinds.values()]
    for numbers in drawn:
        rng.shuffle(numbers)
    rounds = zip_longest(*drawn)
    chosen = [number for numbers in rounds for number in numbers if number is not None][:count]
    others = [number for number in range(len(operations)) if number not in chosen]
    return chosen + rng.sample(others, min(len(others), count - len(chosen)))


def check_resumed(place: SmallRun, undisturbed: Undisturbed) -> None:
    """The next run finishes, and has the same bytes."""
    assert place.run() == 0, place.told
    assert differences(place.results(), undisturbed.results) == [], place.told
    shutil.rmtree(place.folder)


def test_a_kill_before_an_operation_on_files_changes_nothing(
    tmp_path: Path, pythons: Pythons, undisturbed: Undisturbed
) -> None:
    rng = random.Random(" ".join(undisturbed.command[-2:]))
    operations = undisturbed.operations
    fatal = spread(operations, OPERATION_KILLS, rng)
    assert {operations[number].partition("\t")[0] for number in fatal} >= set(KINDS)
    for round_, number in enumerate(fatal):
        # no operation on files is one in the caches, so the model is not exported for each
        place = SmallRun(tmp_path / str(round_), undisturbed.command, pythons, undisturbed.caches)
        assert place.run(number) == KILLED, (operations[number], place.told)
        if round_ % 4 == 0:
            # what goes on may be killed, too
            place.run(rng.randrange(len(operations) // 2))
        check_resumed(place, undisturbed)


def test_jobs_side_by_side_and_one_by_one_write_the_same_bytes(
    tmp_path: Path, pythons: Pythons, undisturbed: Undisturbed
) -> None:
    *command, way = undisturbed.command
    command.append({"--overlap": "--no-overlap"}.get(way, "--overlap"))
    other = SmallRun(tmp_path, command, pythons, undisturbed.caches)
    assert other.run() == 0, other.told
    assert differences(other.results(), undisturbed.results) == []


def test_a_kill_at_any_moment_changes_nothing(tmp_path: Path, pythons: Pythons, undisturbed: Undisturbed) -> None:
    rng, seconds = random.Random(8), undisturbed.seconds
    killed = rounds = 0
    while killed < MOMENT_KILLS and rounds < 3 * MOMENT_KILLS:
        place = SmallRun(tmp_path / str(rounds), undisturbed.command, pythons)
        if place.run(seconds=rng.uniform(0.05, 0.6) * seconds) == KILLED:
            killed += 1
        else:
            # the machine was busier when the time was taken
            seconds /= 2
        rounds += 1
        check_resumed(place, undisturbed)
    assert killed == MOMENT_KILLS


@dataclass(frozen=True)
class Online:
    """Where the Hub is, a tiny model, and the model of the runs that are killed."""

    environment: dict[str, str]
    tiny: str
    model: str


class Workplace:
    """A folder with a store, results and a count of the work."""

    def __init__(self, folder: Path, online: Online, pythons: Pythons) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._online = online
        self._pythons = pythons

    def start(self, output: str = "results", pause: float = PAUSE, model: str = "") -> Process:
        script = [str(SUPPORT / "killed_run.py"), str(self.folder / "work"), str(pause)]
        command = [*script, "run", "--model", model or self._online.model]
        options = ["--tasks", *TASKS, "--languages", "eng", "--store", "store", "--output", output]
        return self._pythons.start([*command, *options], self.folder, self._online.environment)

    def finish(self, process: Process) -> None:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-2000:]

    def scores(self, output: str = "results") -> dict[str, str]:
        return contents(self.folder / output)

    def texts_begun(self) -> int:
        return sum(int(line.split()[1]) for line in (self.folder / "work").read_text().splitlines())

    def texts_stored(self) -> int:
        return sum(open_shard(path).arrays["vectors"].shape[0] for path in self.folder.rglob("*.shard"))

    def temporaries(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.suffix in (".tmp", ".claim")]


@pytest.fixture(scope="module")
def online(hub: str, hub_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Online:
    folder = tmp_path_factory.mktemp("online")
    environment = {"HF_ENDPOINT": hub, "HF_HOME": str(hub_home), "XDG_CACHE_HOME": str(folder / "cache")}
    tiny = str(save_sentence_model(folder / "model"))
    return Online(environment, tiny, MODEL or tiny)


@dataclass(frozen=True)
class Reference:
    """Scores of a run on data of the Hub that nobody disturbs, and how long it takes."""

    scores: dict[str, str]
    seconds: float


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, online: Online, pythons: Pythons) -> Reference:
    place = Workplace(tmp_path_factory.mktemp("fetched"), online, pythons)
    # fetches the data; the models are on the disk already
    place.finish(place.start(pause=0, model=online.tiny))
    place = Workplace(tmp_path_factory.mktemp("timed"), online, pythons)
    started = time.monotonic()
    place.finish(place.start())
    assert place.texts_begun() == place.texts_stored()
    return Reference(place.scores(), time.monotonic() - started)


@pytest.mark.hub
def test_kills_at_random_times(
    tmp_path: Path, here: Cli, online: Online, reference: Reference, pythons: Pythons
) -> None:
    seconds = reference.seconds
    rng = random.Random(11)
    kills = rounds = 0
    while kills < HUB_KILLS:
        place = Workplace(tmp_path / str(rounds), online, pythons)
        killed = 0
        while True:
            started, process = time.monotonic(), place.start()
            try:
                process.wait(rng.uniform(0.1, 0.8) * seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
                if kills + killed >= HUB_KILLS:
                    place.finish(place.start())
                    break
            else:
                place.finish(process)
                if not killed:
                    # the machine was busier when the time was taken
                    seconds = min(seconds, time.monotonic() - started)
                break
        assert place.scores() == reference.scores
        assert place.texts_begun() <= place.texts_stored() + killed * SHARD_TEXTS
        done = here("store", "gc", "--store", str(place.folder / "store"))
        assert done.returncode == 0, done.stderr
        assert [path for path in place.temporaries() if "store" in path.parts] == []
        assert here("store", "verify", "--store", str(place.folder / "store")).returncode == 0
        kills, rounds = kills + killed, rounds + 1


@pytest.mark.hub
def test_one_of_two_processes_with_one_store_is_killed(
    tmp_path: Path, online: Online, reference: Reference, pythons: Pythons
) -> None:
    place = Workplace(tmp_path, online, pythons)
    first, second = place.start("one"), place.start("two")
    time.sleep(0.6 * reference.seconds)
    # where the reference ran on a busier machine, it has ended already
    with suppress(ProcessLookupError):
        first.send_signal(signal.SIGKILL)
    first.wait()
    place.finish(second)
    assert place.scores("two") == reference.scores
    place.finish(place.start("one"))
    assert place.scores("one") == reference.scores
    assert place.texts_begun() <= place.texts_stored() + SHARD_TEXTS
