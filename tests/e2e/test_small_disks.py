"""Real file systems that are too small: the run says so, and with more room the same command gives the same bytes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.processes import Pythons, out_of_reach
from support.small_runs import SOAK, contents, differences, small_command

HUB_TASK = "PoemSentimentClassification"
# in kilobytes, in steps of pages; the last one of ten is large enough for all that is written
SIZES = (4, 8, 12, 16, 24, 32, 48, 64, 96, 160) if SOAK else (4, 12, 48)
HUB_SIZES = (4, 16, 32, 64, 96, 128, 192, 256, 384, 512) if SOAK else (4, 64, 192)
ENOUGH = "64m"


@pytest.fixture(scope="module", autouse=True)
def _mounts(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("mount")
    made = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"this machine lets a test mount no file system ({made.stderr.strip()})")
    subprocess.run(["umount", str(place)], check=True)


@contextmanager
def disk(place: Path, kilobytes: int) -> Iterator[None]:
    """A file system of its own at a place."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@dataclass(frozen=True)
class Disturbed:
    """A command whose folder `work` is made anew for each disk, and the place in or beside it that is a disk."""

    command: Sequence[str]
    folder: Path
    place: Path
    environment: dict[str, str]
    pythons: Pythons

    def run(self) -> subprocess.CompletedProcess[str]:
        return self.pythons.run(["-m", "evalharness", *self.command], self.folder, self.environment)

    def anew(self) -> None:
        for folder in (self.folder, self.place):
            shutil.rmtree(folder, ignore_errors=True)
        self.folder.mkdir()


def codes_of_disks(disturbed: Disturbed, sizes: Sequence[int]) -> list[int]:
    """Exit codes on disks of these sizes; each is then made larger, and the same command has to finish."""
    disturbed.anew()
    whole = disturbed.run()
    assert whole.returncode == 0, whole.stderr
    wanted = contents(disturbed.folder / "results")
    codes = []
    for size in sizes:
        disturbed.anew()
        with disk(disturbed.place, size):
            small = disturbed.run()
            subprocess.run(["mount", "-o", f"remount,size={ENOUGH}", str(disturbed.place)], check=True)
            again = disturbed.run()
            found = contents(disturbed.folder / "results")
        assert small.returncode in (0, 2, 3), (size, small.stderr)
        assert small.returncode == 0 or "No space left on device" in small.stdout + small.stderr, (size, small.stderr)
        assert again.returncode == 0, (size, again.stderr)
        assert "Traceback" not in small.stderr + again.stderr
        assert differences(found, wanted) == [], size
        codes.append(small.returncode)
    return codes


@pytest.mark.parametrize("what", ["store", "results"])
def test_disks_for_what_we_write(tmp_path: Path, what: str, pythons: Pythons) -> None:
    work = tmp_path / "work"
    command = small_command(tmp_path / "given")
    codes = codes_of_disks(Disturbed(command, work, work / what, out_of_reach(tmp_path), pythons), SIZES)
    # the smallest disks are too small, or nothing was tried
    assert codes.count(2) >= (3 if SOAK else 2)


@pytest.mark.hub
def test_disks_for_the_hubs_cache(tmp_path: Path, hub: str, pythons: Pythons) -> None:
    command = small_command(tmp_path / "given")
    place = command.index("--tasks")
    command[place + 1 : command.index("--store")] = [HUB_TASK]
    home = tmp_path / "hf"
    environment = {"HF_ENDPOINT": hub, "HF_HOME": str(home), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    codes = codes_of_disks(Disturbed(command, tmp_path / "work", home, environment, pythons), HUB_SIZES)
    assert sum(code != 0 for code in codes) >= (3 if SOAK else 2)
