from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
from support.processes import Pythons, out_of_reach

from evalharness.cli.main import execute
from evalharness.models.options import BATCH_TOKENS_VARIABLE

# a budget that is measured would make last bits a matter of how busy the machine is
os.environ.setdefault(BATCH_TOKENS_VARIABLE, "2048")

SHARED = Path(__file__).parents[2] / "shared"
SERVER = SHARED / "hub" / "serve.py"

# most tests have a model of their own and are about other things than its export
os.environ.setdefault("EVALHARNESS_ENGINE", "torch")

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
StartHub = Callable[..., AbstractContextManager[str]]


def pytest_xdist_auto_num_workers() -> int:
    """One more than processors: some of the tests wait for processes, servers and clusters."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1


@contextmanager
def serve(*arguments: str) -> Iterator[str]:
    """The stand-in Hub on a free port; gives its address."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER), "--port", "0", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def start_hub() -> StartHub:
    if not SERVER.is_file():
        pytest.skip("needs the stand-in Hub (../shared/hub), which a user's checkout does not have")
    return serve


@pytest.fixture(scope="session")
def hub(start_hub: StartHub) -> Iterator[str]:
    with start_hub() as address:
        yield address


@pytest.fixture(scope="session")
def hub_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HF_HOME of the session: empty at first, then shared by the tests."""
    return tmp_path_factory.mktemp("hf-home")


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all of the suite's processes."""
    base = tmp_path_factory.getbasetemp()
    # that of each of them is in it
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def common_cache(common: Path) -> Path:
    """Caches of tests that need a real model's vectors of the starter tasks: whichever comes first encodes."""
    folder = common / "common-cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, for what is kept in the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "evalharness"


@pytest.fixture(scope="session")
def pythons(common: Path) -> Iterator[Pythons]:
    """Starts programs as processes of their own, without seconds of imports for each."""
    folder = common / "pythons-stand"
    folder.mkdir(exist_ok=True)
    with closing(Pythons(folder)) as started:
        yield started


def command_line(pythons: Pythons, folder: Path, *, fresh: bool) -> Cli:
    def run(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        whole = {**out_of_reach(folder), **(environment or {})}
        return pythons.run(["-m", "evalharness", *arguments], folder, whole, fresh=fresh)

    return run


@pytest.fixture
def cli(tmp_path: Path, pythons: Pythons) -> Cli:
    """Run the real command line in an empty folder, out of reach of any Hub unless told otherwise."""
    return command_line(pythons, tmp_path, fresh=False)


@pytest.fixture
def fresh_cli(tmp_path: Path, pythons: Pythons) -> Cli:
    """As `cli`, but from the start of the interpreter on, where imports are a part of what is tested."""
    return command_line(pythons, tmp_path, fresh=True)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """As `cli`, but in this process, which has imported everything; for what asks no Hub and needs no clean start."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        code = execute(arguments)
        shown = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, shown.out, shown.err)

    return run
