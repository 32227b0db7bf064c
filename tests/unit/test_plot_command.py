"""`report --plot`: which plots, where they go, and what is said of them."""

from __future__ import annotations

from pathlib import Path

from conftest import Cli

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
