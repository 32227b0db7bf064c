"""Golden files of reports: `PYTHONPATH=tests python -m support.golden` writes them anew; look at what changed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from evalharness.reports.formats import render
from support.boards import boards

FOLDER = Path(__file__).parents[1] / "golden"
NAMES = ("report.md", "report.csv", "report.tex", "report.json")


def golden(name: str) -> str:
    """What this file has to hold."""
    shown = [replace(board, shows_subsets=True) for board in boards()]
    return render(shown, name.rpartition(".")[2])


def main() -> None:
    """Write all of them."""
    for name in NAMES:
        (FOLDER / name).write_text(golden(name), encoding="utf-8", newline="")
        sys.stdout.write(f"{FOLDER / name}\n")


if __name__ == "__main__":
    main()
