"""`report`: which lists, which folders, and where it is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Cli

MEASURED = str(Path(__file__).parents[2] / "results" / "measured")


def titles(text: str) -> list[str]:
    return [line.removeprefix("# ").partition(" (protocol")[0] for line in text.splitlines() if line.startswith("# ")]


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        (["--suite", "quick-en", "--suite", "starter"], ["quick-en", "starter"]),
        (["--suite", "starter,quick-en"], ["starter", "quick-en"]),
        (["--benchmark", "MTEB(eng, v2)", "--benchmark", "mteb(ENG,v1)"], ["MTEB(eng, v2)", "MTEB(eng, v1)"]),
        (["--benchmark", "MTEB(eng, v2)", "--suite", "starter", "--suite", "starter"], ["starter", "MTEB(eng, v2)"]),
        ([], ["all stored tasks"]),
    ],
)
def test_each_list_has_its_own_leaderboard(here: Cli, lists: list[str], expected: list[str]) -> None:
    done = here("report", MEASURED, *lists)
    assert done.returncode == 0, done.stderr
    assert list(dict.fromkeys(titles(done.stdout))) == expected


def test_all_wrong_lists_are_told_at_once(here: Cli) -> None:
    done = here("report", MEASURED, "--suite", "quik-en,startr", "--benchmark", "BIER")
    assert done.returncode == 2
    for part in ("unknown suite 'quik-en': did you mean quick-en", "unknown suite 'startr': did you mean starter",
                 "unknown benchmark 'BIER': did you mean BEIR"):  # fmt: skip
        assert part in done.stderr


def test_folders_that_are_not_there_are_named_by_where_they_were_looked_for(here: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = here("report", "nope", "../else/where", "file", "file/inside")
    assert done.returncode == 2
    assert f"no such folder: {tmp_path / 'nope'};" in done.stderr
    assert f"no such folder: {tmp_path / '../else/where'};" in done.stderr
    assert f"{tmp_path / 'file'} is no folder" in done.stderr
    assert f"{tmp_path / 'file/inside'} cannot be read (Not a directory)" in done.stderr
    assert f"no such folder: {tmp_path / 'results'};" in here("report").stderr
    (tmp_path / "empty").mkdir()
    assert "no results below empty" in here("report", "empty").stderr


def test_where_a_report_is_written(here: Cli, tmp_path: Path) -> None:
    done = here("report", MEASURED, "--suite", "quick-en", "--output", "new/dir/report.md")
    assert (done.returncode, done.stdout) == (0, "report: new/dir/report.md\n")
    assert (tmp_path / "new" / "dir" / "report.md").read_text(encoding="utf-8").startswith("# quick-en")
    done = here("report", MEASURED, "--output", "new")
    assert done.returncode == 2
    assert f"--output new is a folder ({tmp_path / 'new'}); give a file, for example new/report.md" in done.stderr
    (tmp_path / "file").write_text("")
    for wrong in ("file/report.md", "x" * 300, f"{'x' * 300}/report.md"):
        done = here("report", MEASURED, "--output", wrong)
        assert done.returncode == 2
        assert "cannot be written to" in done.stderr
        assert "--output" in done.stderr


def test_a_pipe_is_not_replaced(here: Cli, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = here("report", MEASURED, "--output", str(pipe))
    assert done.returncode == 2
    assert "is a device or a pipe; give a file" in done.stderr
    assert pipe.is_fifo()


def test_what_a_link_leads_to_is_replaced_and_not_the_link(here: Cli, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "report.md"
    link.symlink_to(Path("there", "report.md"))
    for _ in range(2):
        assert here("report", MEASURED, "--suite", "quick-en", "--output", "report.md").returncode == 0
        assert link.is_symlink()
        assert (tmp_path / "there" / "report.md").read_text(encoding="utf-8").startswith("# quick-en")


def test_the_output_itself_is_not_replaced(tmp_path: Path) -> None:
    # as /dev/stdout is one
    link = tmp_path / "stdout"
    link.symlink_to("/proc/self/fd/1")
    taken = tmp_path / "taken.md"
    taken.write_text("before\n")
    with taken.open("a") as handle:
        command = [sys.executable, "-m", "evalharness", "report", MEASURED, "--output", str(link)]
        done = subprocess.run(command, stdout=handle, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "is where the terminal's text goes; leave --output out" in done.stderr
    assert link.is_symlink()
    assert taken.read_text() == "before\n"


def test_values_that_stand_for_folders_are_told_from_values_of_options(here: Cli) -> None:
    done = here("report", MEASURED, "--tasks", "STS12", "STS13")
    assert done.returncode == 2
    assert "no such folder" in done.stderr
    assert "Several values of an option are given with commas: --tasks A,B" in done.stderr
    assert "with commas" not in here("report", "nowhere").stderr


def test_what_is_shown_can_be_chosen(here: Cli, tmp_path: Path) -> None:
    done = here("report", MEASURED, "--tasks", "STS12,STS13", "--tasks", "NFCorpus", "--task-types", "sts")
    assert titles(done.stdout)[0] == "the named tasks, only 2 of its 3 tasks, only STS"
    assert "| STS13 |" in done.stdout
    assert "NFCorpus" not in done.stdout
    (tmp_path / "mine.toml").write_text('[short]\ntasks = ["STS12"]\n[other]\ntasks = ["STS13"]\n', encoding="utf-8")
    done = here("report", MEASURED, "--suite", "mine.toml,quick-en", "--sort", "STS13", "--common")
    assert list(dict.fromkeys(titles(done.stdout))) == ["short", "other", "quick-en"]
    assert "has no STS13" in done.stdout
    wrong = here("report", MEASURED, "--models", "minilm", "--languages", "klingonn", "--sort", "men")
    assert wrong.returncode == 2
    assert "unknown model 'minilm': " in wrong.stderr
    assert "unknown language 'klingonn'" in wrong.stderr
    assert "unknown order 'men': did you mean mean" in wrong.stderr


def test_the_format_is_named_or_follows_from_the_output(here: Cli, tmp_path: Path) -> None:
    for name, start in {"r.json": "{", "r.md": "# ", "r.MD": "# ", "r": "# ", "r.txt": "# "}.items():
        done = here("report", MEASURED, "--suite", "starter", "--output", name)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)
    done = here("report", MEASURED, "--suite", "starter", "--output", "r.pdf", "--format", "md")
    assert (done.returncode, (tmp_path / "r.pdf").read_text(encoding="utf-8")[:2]) == (0, "# ")
    done = here("report", MEASURED, "--suite", "starter", "--output", "r2.pdf")
    assert done.returncode == 2
    assert "--output r2.pdf: unknown format 'pdf'" in done.stderr
    assert "Name the format with --format" in done.stderr
    assert not (tmp_path / "r2.pdf").exists()


def test_files_that_give_no_score_are_counted_and_those_that_nobody_asked_for_are_not_read(
    here: Cli, tmp_path: Path
) -> None:
    folder = tmp_path / "results" / "a__b" / "1"
    folder.mkdir(parents=True)
    (folder / "model_meta.json").write_text('{"name": "a/b", "revision": "1"}')
    (folder / "STS12.json").write_text("{")
    (folder / "STS13.json").write_text("[]")
    (folder / "notes.json").write_text("{}")
    done = here("report")
    assert done.returncode == 0
    assert done.stderr == "3 files or folders are odd or damaged and were left out; the footnotes say which and why\n"
    assert done.stdout.count("damaged: ") == 3
    done = here("report", "--tasks", "STS13")
    assert done.stderr == "1 file or folder is odd or damaged and was left out; the footnotes say which and why\n"
    assert "STS12" not in done.stdout
    assert here("report", "--tasks", "STS14").stderr == ""
    assert here("report", "--quiet").stderr == ""
