"""The notebooks run from top to bottom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.processes import Pythons, out_of_reach

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def test_there_are_at_most_three() -> None:
    assert 1 <= len(NOTEBOOKS) <= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_and_is_stored_without_output(
    path: Path, tmp_path: Path, common_cache: Path, pythons: Pythons
) -> None:
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] for cell in cells)
    code = "\n".join("".join(cell["source"]) for cell in cells)
    environment = {**out_of_reach(tmp_path), "XDG_CACHE_HOME": str(common_cache)}
    done = pythons.run(["-c", code], tmp_path, environment)
    assert done.returncode == 0, done.stderr
