"""`report --plot`: which plots, where they go, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Cli
from support.stored import StoredScores, spec_of, write_results

from evalharness import report
from evalharness.errors import UsageError
from evalharness.types import ItemScores

MEASURED = str(Path(__file__).parents[2] / "results" / "measured")


def test_plots_go_into_their_folder_and_the_table_stays_alone_on_stdout(here: Cli, tmp_path: Path) -> None:
    table = here("report", MEASURED, "--suite", "quick-en", "--no-intervals").stdout
    done = here("report", MEASURED, "--suite", "quick-en", "--no-intervals", "--plot", "types", "--plots", "my/figures")
    assert (done.returncode, done.stdout) == (0, table)
    assert done.stderr.splitlines()[-2:] == ["plot: my/figures/types.svg", "plot: my/figures/types.png"]
    assert sorted(path.name for path in (tmp_path / "my" / "figures").iterdir()) == ["types.png", "types.svg"]


def test_plots_stand_beside_the_report(here: Cli, tmp_path: Path) -> None:
    lists = ("--suite", "quick-en", "--suite", "starter", "--no-intervals")
    done = here("report", MEASURED, *lists, "--output", "new/report.md", "--plot", "types")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert "report.md" in names
    assert done.stdout.splitlines()[0] == "report: new/report.md"
    assert sorted(line for line in done.stdout.splitlines()[1:]) == [
        f"plot: new/{name}" for name in names if name != "report.md"
    ]
    assert {name.partition("-")[0] for name in names if name != "report.md"} == {"types"}


def test_what_cannot_be_drawn_is_told_before_anything_is_written(here: Cli, tmp_path: Path) -> None:
    done = here("report", "nowhere", "--plot", "curves,radar")
    assert done.returncode == 2
    assert "unknown plot 'curves': did you mean curve?" in done.stderr
    assert "unknown plot 'radar'" in done.stderr
    done = here("report", MEASURED, "--suite", "quick-en", "--no-intervals", "--plot", "curve", "--output", "report.md")
    assert done.returncode == 2
    assert "no row with a training step; give results of checkpoints" in done.stderr
    done = here("report", MEASURED, "--plots", "figures")
    assert done.returncode == 2
    assert "--plots figures without --plot; say which: --plot curve,pareto,types" in done.stderr
    (tmp_path / "file").write_text("")
    done = here("report", MEASURED, "--plot", "types", "--plots", "file/figures")
    assert done.returncode == 2
    assert "choose another with --plots" in done.stderr
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["file"]


def checkpoints(folder: Path) -> Path:
    """Results of two trainings of three checkpoints."""
    random = np.random.default_rng(0)
    for run in ("slow", "fast"):
        for step in (500, 1000, 1500):
            right = (random.random(200) < 0.5 + step / 5000).astype(float)
            items = ItemScores([str(number) for number in range(200)], {"accuracy": right.tolist()})
            jobs = {("Mine", "test", "default"): StoredScores(items, "accuracy", "Classification")}
            write_results(folder, jobs, spec_of(f"{run}/checkpoint-{step}"))
    return folder


def test_results_of_checkpoints_make_a_curve_with_bands(here: Cli, tmp_path: Path) -> None:
    checkpoints(tmp_path / "results")
    done = here("report", "--plot", "curve", "--output", "report.md")
    assert done.stdout.splitlines() == ["report: report.md", "plot: curve.svg", "plot: curve.png"], done.stderr
    svg = (tmp_path / "curve.svg").read_text(encoding="utf-8")
    for part in ("line-0-0", "line-0-1", "band-0-0", "band-0-1", ">slow<", ">fast<", ">Classification (1)<"):
        assert part in svg


def test_python_draws_what_the_command_draws(here: Cli, tmp_path: Path) -> None:
    found = report(checkpoints(tmp_path / "results"))
    done = found.plot(["curve", "types"], tmp_path / "mine")
    assert not done.left_out
    assert here("report", "--plot", "curve,types", "--plots", "theirs", "--quiet").returncode == 0
    for path in done.files:
        assert path.read_bytes() == (tmp_path / "theirs" / path.name).read_bytes()
    with pytest.raises(UsageError, match="unknown plot 'radar'"):
        found.plot("radar", tmp_path)
