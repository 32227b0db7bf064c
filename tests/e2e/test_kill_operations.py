"""Killed before any kind of file operation: the next run finishes, and no file is lost or another."""

from __future__ import annotations

import json
from pathlib import Path

from support.small_runs import run_forked, small_command

KILLS = 100
# what a run does to files below its folders
KINDS = ("open to write", "open to read", "os.rename", "os.remove", "os.mkdir")


def test_kills_at_each_kind_of_file_operation(tmp_path: Path) -> None:
    (tmp_path / "command.json").write_text(json.dumps(small_command(tmp_path / "given")))
    found = run_forked("kills", str(tmp_path), str(KILLS))
    assert found["wrong"] == []
    assert sum(found["kills"].values()) == KILLS
    kinds = {name.partition(" of ")[0] for name in found["kills"]}
    assert kinds >= set(KINDS)
