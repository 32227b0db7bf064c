"""Real file systems that are too small: the run says so, and with more room the same command gives the same bytes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from support.small_runs import run_forked, small_command

HUB_TASK = "PoemSentimentClassification"


@pytest.fixture(scope="module", autouse=True)
def _mounts(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("mount")
    made = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"this machine lets a test mount no file system ({made.stderr.strip()})")
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("what", ["store", "results"])
def test_ten_sizes_of_disk_for_what_we_write(tmp_path: Path, what: str) -> None:
    (tmp_path / "command.json").write_text(json.dumps(small_command(tmp_path / "given")))
    found = run_forked("disks", str(tmp_path), what)
    assert found["wrong"] == []
    codes = list(found["codes"].values())
    assert len(codes) == 10
    # the smallest disks are too small, or nothing was tried
    assert codes.count(2) >= 3


@pytest.mark.hub
def test_ten_sizes_of_disk_for_the_hubs_cache(tmp_path: Path, hub: str) -> None:
    command = small_command(tmp_path / "given")
    place = command.index("--tasks")
    command[place + 1 : command.index("--store")] = [HUB_TASK]
    (tmp_path / "command.json").write_text(json.dumps(command))
    home = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    found = run_forked("disks", str(tmp_path), "hub", environment=home)
    assert found["wrong"] == []
    assert sum(code != 0 for code in found["codes"].values()) >= 3
