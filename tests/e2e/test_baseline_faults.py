"""Baselines on disks that are full or read-only, and under SIGKILL: the old one or the new one, whole, or a refusal."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import Cli
from support.baselines import TASKS, content, put, save_all, score
from support.processes import Pythons, out_of_reach
from support.small_runs import SOAK

from evalharness.compare.baseline import check_baseline
from evalharness.results.stored import read_runs

SCRIPT = Path(__file__).parents[1] / "support" / "killed_at.py"
UPDATE = ("baseline", "update", "base", "more")
SAVE = ("baseline", "save", "more", "--to", "base")
# most of the operations only read; the last ones put the new folder into its place and remove the old one
STEP, LAST = (1, 0) if SOAK else (32, 24)


def prepare(place: Path) -> Path:
    """A baseline, and results of the same model with another score of one of its tasks and one more."""
    put(place / "results", TASKS)
    save_all(place / "results", place / "base")
    put(place / "more", {**TASKS, "STS12": 0.6, "STS14": 0.1})
    return place / "base"


@pytest.mark.parametrize("command", [UPDATE, SAVE], ids=["update", "save"])
def test_killed_at_any_operation_the_old_one_or_the_new_one_is_whole(
    tmp_path: Path, pythons: Pythons, here: Cli, monkeypatch: pytest.MonkeyPatch, command: Sequence[str]
) -> None:
    place, pristine, log = tmp_path / "place", tmp_path / "pristine", tmp_path / "log"
    prepare(pristine)

    def run(fatal: int) -> int:
        arguments = [str(SCRIPT), str(place), str(fatal), str(log), *command]
        return pythons.run(arguments, place, out_of_reach(tmp_path)).returncode

    shutil.copytree(pristine, place)
    assert run(-1) == 0
    count = len(log.read_text().splitlines())
    old, new = (content(folder / "base") for folder in (pristine, place))
    for files in (old, new):
        del files["baseline.json"]  # says when it was saved
    seen = set()
    for fatal in sorted({*range(0, count, STEP), *range(count - LAST, count, 3)}):
        shutil.rmtree(place)
        shutil.copytree(pristine, place)
        assert run(fatal) == -signal.SIGKILL, fatal
        check_baseline(place / "base")
        found = content(place / "base")
        del found["baseline.json"]
        assert found in (old, new), fatal
        seen.add(found == new)
        # what it left is no results of anybody
        assert sorted(path.folder.relative_to(place).parts[0] for path in read_runs([place])) == [
            "base", "more", "results",
        ]  # fmt: skip
        # whoever comes next need not be a process of its own
        monkeypatch.chdir(place)
        assert here(*command).returncode == 0
        assert score(place / "base", "STS12") == 0.6
    # a kill before the new one is there, and one after
    assert seen == {False, True}


def test_disks_that_are_too_small_keep_the_old_one(tmp_path: Path, here: Cli) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"this machine lets a test mount no file system ({made.stderr.strip()})")
    try:
        base = prepare(disk)
        before = content(base)
        used = sum(-(-path.stat().st_size // 4096) * 4096 for path in disk.rglob("*") if path.is_file())
        codes = []
        for more in (0, 4, 16, 24, 64, 256):
            subprocess.run(["mount", "-o", f"remount,size={used // 1024 + more}k", str(disk)], check=True)
            done = here("baseline", "update", str(base), str(disk / "more"))
            codes.append(done.returncode)
            check_baseline(base)
            if done.returncode:
                assert "the baseline cannot be written to" in done.stderr
                assert "No space left on device" in done.stderr
                assert content(base) == before
                assert sorted(path.name for path in disk.iterdir()) == ["base", "more", "results"]
        assert codes[0] == 2
        assert codes[-1] == 0
        assert score(base, "STS12") == 0.6
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_file_system_that_is_read_only_is_read_and_refused(tmp_path: Path, here: Cli) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"this machine lets a test mount no file system ({made.stderr.strip()})")
    try:
        base = prepare(disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        shown = here("baseline", "show", str(base))
        assert shown.returncode == 0, shown.stderr
        for command in (
            ("update", str(base), str(disk / "more")),
            ("save", str(disk / "more"), "--to", str(base)),
            ("save", str(disk / "more"), "--to", str(disk / "deep" / "new")),
        ):
            done = here("baseline", *command)
            assert done.returncode == 2
            assert "the baseline cannot be written to" in done.stderr
            assert "Read-only file system" in done.stderr
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_folder_that_cannot_be_moved_is_refused_whole(tmp_path: Path, here: Cli) -> None:
    base = prepare(tmp_path)
    before = content(base)
    made = subprocess.run(
        ["mount", "--bind", str(base), str(base)], capture_output=True, text=True, check=False
    )  # as a container has it
    if made.returncode:
        pytest.skip(f"this machine lets a test mount no file system ({made.stderr.strip()})")
    try:
        done = here(*UPDATE)
        assert done.returncode == 2
        assert "the baseline cannot be written to base" in done.stderr
        assert content(base) == before
    finally:
        subprocess.run(["umount", "-l", str(base)], check=True)


@pytest.mark.parametrize(
    "name", ["a b", "中文 基线", "-dash", "with:colon", "q'uote\"s", "x" * 200, "%2e", "[a]*?", "new\nline"]
)
def test_names_of_folders_that_are_odd(tmp_path: Path, here: Cli, name: str) -> None:
    put(tmp_path / name / "results", TASKS)
    base = f"{name}/base {name[:50]}"
    done = here("baseline", "save", "--to", base, "--", f"{name}/results")
    assert done.returncode == 0, done.stderr
    done = here("baseline", "update", "--", base, f"{name}/results:me/model")
    assert done.returncode == 0, done.stderr
    assert here("baseline", "show", "--", base).returncode == 0
