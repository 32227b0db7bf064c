"""Something else than a folder where a store or results are to be: it is said what it is, not what the system says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli
from support.lookup import LookupBackend, smooth

from evalharness.errors import StorageError
from evalharness.results.records import append_log
from evalharness.store.storing import StoringEncoder
from evalharness.types import Encoding, ignore_event

ENCODING = Encoding(pooling="cls", normalize=False, max_length=512, dtype="float32", prompt="")


@pytest.mark.parametrize("command", ["info", "verify", "gc"])
def test_a_store_that_is_not_there(here: Cli, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link", "none", "file/none"):
        done = here("store", command, "--store", name)
        assert (done.returncode, done.stderr) == (2, f"error: no such store: {tmp_path / name}\n")
    # the one in the cache folder may never have been used
    done = here("store", command)
    assert done.returncode == 0, done.stderr
    assert command != "info" or done.stdout == f"{tmp_path / 'cache' / 'evalharness' / 'store'}: 0 B\n"
    (tmp_path / "cache").touch()
    assert here("store", command).returncode == 0
    (tmp_path / "cache").unlink()
    (tmp_path / "cache" / "evalharness").mkdir(parents=True)
    (tmp_path / "cache" / "evalharness" / "store").symlink_to("nowhere")
    assert "no such store" in here("store", command).stderr


@pytest.mark.parametrize("option", ["--store", "--output"])
def test_a_folder_to_write_that_is_none(here: Cli, tmp_path: Path, option: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name, what in (("file", "no folder"), ("link", "a link that leads nowhere"), ("link/below", "a link")):
        done = here("run", "--model", "bm25", "--tasks", "StarterRetrievalEng", option, name)
        assert done.returncode == 2
        assert f"{name.partition('/')[0]} is {what}" in done.stderr
        assert "Free space" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.parametrize("kind", ["a file", "a link to nothing"])
def test_what_stands_in_the_way_meanwhile(tmp_path: Path, kind: str) -> None:
    make: dict[str, Callable[[Path], object]] = {
        "a file": Path.touch, "a link to nothing": lambda path: path.symlink_to("nowhere")
    }  # fmt: skip
    make[kind](tmp_path / "x")
    with pytest.raises(StorageError, match=r"cannot be used: .*x is (no folder|a link that leads nowhere)\. Rem"):
        StoringEncoder(LookupBackend(smooth), tmp_path / "x", {"model": "a/b"}, "cosine").encode(
            ["a text"], ENCODING, ignore_event
        )
    with pytest.raises(StorageError, match=r"cannot be written to .*: .*x is .*another with --output"):
        append_log(tmp_path / "x" / "model", {})
