"""Folders that are replaced in a single step, or in two where the system knows no better."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from evalharness import files
from evalharness.files import atomic_folder, restore_folder, swap_folders


class KilledError(BaseException):
    pass


def fill(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("a", "b"):
        (folder / name).write_text(text)
    return folder


def replace(folder: Path) -> None:
    with atomic_folder(folder) as place:
        fill(place, "new")


def content(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.iterdir())]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def no_swap(one: Path, other: Path) -> bool:
    del one, other
    return False


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "a full one"])
@pytest.mark.parametrize("swaps", [True, False])
def test_it_takes_the_place_of_what_is_there(
    tmp_path: Path, there: str, swaps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not swaps:
        monkeypatch.setattr(files, "swap_folders", no_swap)
    if there == "an empty folder":
        (tmp_path / "it").mkdir()
    elif there == "a full one":
        fill(tmp_path / "it", "old")
        (tmp_path / "it" / "c").write_text("old")
    replace(tmp_path / "it")
    assert content(tmp_path / "it") == ["new", "new"]
    assert names(tmp_path) == ["it"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may know no swap")
def test_two_folders_change_places(tmp_path: Path) -> None:
    one, other = fill(tmp_path / "one", "1"), fill(tmp_path / "other", "2")
    assert swap_folders(one, other)
    assert (content(one), content(other)) == (["2", "2"], ["1", "1"])
    with pytest.raises(FileNotFoundError):
        swap_folders(one, tmp_path / "nowhere")


def test_what_fails_leaves_the_old_one(tmp_path: Path) -> None:
    fill(tmp_path / "it", "old")

    def broken() -> None:
        with atomic_folder(tmp_path / "it") as place:
            fill(place, "new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert content(tmp_path / "it") == ["old", "old"]
    assert names(tmp_path) == ["it"]


def test_a_rename_that_fails_puts_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "it", "old")
    rename = Path.rename

    def fails(path: Path, target: Path) -> Path:
        if path.name.endswith(".tmp"):
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(files, "swap_folders", no_swap)
    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="No space left"):
        replace(tmp_path / "it")
    assert content(tmp_path / "it") == ["old", "old"]
    assert names(tmp_path) == ["it"]


@pytest.mark.parametrize("fatal", range(4))
def test_without_a_swap_a_kill_leaves_what_can_be_put_back(
    tmp_path: Path, fatal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before and after each of the two renames; nothing is cleaned up after."""
    fill(tmp_path / "it", "old")
    left, rename = [fatal], Path.rename

    def step() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KilledError

    def killed(path: Path, target: Path) -> Path:
        step()
        done = rename(path, target)
        step()
        return done

    with monkeypatch.context() as patch:
        patch.setattr(files, "swap_folders", no_swap)
        patch.setattr(Path, "rename", killed)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KilledError):
            replace(tmp_path / "it")
    restore_folder(tmp_path / "it")
    assert content(tmp_path / "it") == [["old"] * 2, ["old"] * 2, ["old"] * 2, ["new"] * 2][fatal]
    replace(tmp_path / "it")
    assert content(tmp_path / "it") == ["new", "new"]
    assert [name for name in names(tmp_path) if name.endswith(".replaced")] == []


def test_what_dead_processes_left_goes_when_nobody_can_be_at_it(tmp_path: Path) -> None:
    left = [fill(tmp_path / name, "x") for name in (".it.old.tmp", ".it.fresh.tmp", ".that.old.tmp")]
    for path in left:
        if "old" in path.name:
            os.utime(path, (0, time.time() - files.STALE_SECONDS - 1))
    replace(tmp_path / "it")
    assert names(tmp_path) == [".it.fresh.tmp", ".that.old.tmp", "it"]
