"""`evalharness compare`: exit codes, files, and what is wrong with a command line."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.stored import StoredScores, random_ndcg, spec_of, write_results

from evalharness.cli.main import execute

QUICK = ("--draws", "1000")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A base, and candidates that are the same, worse, noisy, and without a task."""
    jobs: dict[str, dict[str, StoredScores]] = {
        "base": {"A": random_ndcg(1), "B": random_ndcg(2)},
        "same": {"A": random_ndcg(1), "B": random_ndcg(2)},
        "worse": {"A": random_ndcg(1, lower=0.2), "B": random_ndcg(2)},
        "noisy": {"A": random_ndcg(3), "B": random_ndcg(4)},
        "fewer": {"A": random_ndcg(1)},
        "other": {"C": random_ndcg(1)},
    }
    for name, stored in jobs.items():
        of_jobs = {(task, "test", "default"): scores for task, scores in stored.items()}
        write_results(tmp_path / name, of_jobs, spec_of(f"me/{name}"))
    return tmp_path


@pytest.mark.parametrize(
    ("candidate", "regression", "non_inferiority"),
    [("same", 0, 0), ("worse", 1, 1), ("noisy", 0, 1), ("fewer", 3, 3), ("other", 2, 2)],
)
def test_exit_codes(
    folders: Path, candidate: str, regression: int, non_inferiority: int, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(folders / "base"), str(folders / candidate)]
    for gate, code in (("regression", regression), ("non-inferiority", non_inferiority)):
        assert execute(["compare", *paths, "--gate", gate, *QUICK]) == code, gate
    # without a gate nothing but an error is told by the code
    assert execute(["compare", *paths, *QUICK]) == (2 if candidate == "other" else 0)
    told = capsys.readouterr()
    assert told.err if candidate == "other" else told.out


def test_a_series_fails_if_one_of_it_does(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(folders / name) for name in ("base", "same", "worse", "noisy")]
    assert execute(["compare", *names, "--gate", "regression", "--format", "json", *QUICK]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [one["gate"]["passes"] for one in found["comparisons"]] == [True, False, True]
    # three candidates are three chances for a false alarm
    assert found["comparisons"][0]["settings"]["alpha"] == pytest.approx(0.05 / 3)


def test_all_formats_are_written(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: folders / f"out.{name}" for name in ("md", "json", "junit", "summary", "github", "terminal")}
    wanted = [argument for name, path in files.items() for argument in ("--write", f"{name}={path}")]
    paths = [str(folders / "base"), str(folders / "worse")]
    assert execute(["compare", *paths, "--gate", "regression", *wanted, *QUICK]) == 1
    assert files["md"].read_text(encoding="utf-8").startswith("## Fails the regression gate")
    assert json.loads(files["json"].read_text(encoding="utf-8"))["passes"] is False
    assert ET.parse(files["junit"]).getroot().get("failures") != "0"  # noqa: S314 -- we wrote it
    assert files["github"].read_text(encoding="utf-8").startswith("::error title=")
    assert capsys.readouterr().out == files["terminal"].read_text(encoding="utf-8")


def test_rules_and_tolerances(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = folders / "gate.toml"
    paths = [str(folders / "base"), str(folders / "worse")]
    rules.write_text("[tasks.A]\ntolerance = 50\n[types.Retrieval]\ntolerance = 50\n[means.tasks]\ntolerance = 50\n"
                     "[means.types]\ntolerance = 50\n", encoding="utf-8")  # fmt: skip
    assert execute(["compare", *paths, "--gate", "regression", "--rules", str(rules), *QUICK]) == 0
    assert execute(["compare", *paths, "--gate", "regression", "--tolerance", "50", *QUICK]) == 0
    rules.write_text("[tasks.B]\nminimum = 99\n", encoding="utf-8")
    same = [str(folders / "base"), str(folders / "same")]
    assert execute(["compare", *same, "--gate", "regression", "--rules", str(rules), *QUICK]) == 1
    assert "the rules ask for 99" in capsys.readouterr().out
    rules.write_text("required = ['Z']\n", encoding="utf-8")
    assert execute(["compare", *same, "--gate", "regression", "--rules", str(rules), *QUICK]) == 3
    rules.write_text("[tasks.B]\nmay_be_missing = true\n", encoding="utf-8")
    fewer = [str(folders / "base"), str(folders / "fewer")]
    assert execute(["compare", *fewer, "--gate", "regression", "--rules", str(rules), *QUICK]) == 0


def test_tasks_that_are_named_decide(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(folders / "base"), str(folders / "worse")]
    assert execute(["compare", *paths, "--gate", "regression", "--tasks", "B", *QUICK]) == 0
    assert execute(["compare", *paths, "--gate", "regression", "--tasks", "A,B", *QUICK]) == 1
    # a task that is named must be there
    assert execute(["compare", *paths, "--gate", "regression", "--tasks", "B,Z", *QUICK]) == 3
    assert "Z" in capsys.readouterr().out


def test_a_task_may_be_named_by_its_file(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(folders / "base"), str(folders / "worse")]
    file = folders / "task of mine.toml"
    (folders / "pairs.jsonl").write_text('{"sentence1": "a", "sentence2": "b", "score": 1}\n', encoding="utf-8")
    data = '[data]\nformat = "jsonl"\nfiles = { test = "pairs.jsonl" }\n'
    file.write_text(f'name = "B"\ntype = "STS"\nlanguages = ["eng-Latn"]\n{data}', encoding="utf-8")
    assert execute(["compare", *paths, "--gate", "regression", "--tasks", str(file), *QUICK]) == 0
    assert "1 task: 1 no worse" in capsys.readouterr().out
    assert execute(["compare", *paths, "--gate", "regression", "--tasks", f"{file}x.toml", *QUICK]) == 2
    saved = folders / "saved"
    assert execute(["baseline", "save", paths[0], "--to", str(saved), "--tasks", str(file)]) == 0
    assert "1 task" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gate", "regresion"], "unknown gate 'regresion': did you mean regression"),
        (["--format", "htm"], "unknown format 'htm'"),
        (["--write", "md"], "--write md: expected FORMAT=FILE"),
        (["--write", "nmd=x"], "unknown format 'nmd'"),
        (["--adjust", "bonferroni"], "unknown adjustment 'bonferroni'"),
        (["--rules", "nowhere.toml"], "nowhere.toml"),
        (["--suite", "quick-fr"], "unknown suite 'quick-fr'"),
    ],
)
def test_wrong_usage(folders: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["compare", str(folders / "base"), str(folders / "same"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told_and_nothing_is_lost(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders / "taken").mkdir()
    paths = [str(folders / "base"), str(folders / "same")]
    assert execute(["compare", *paths, "--write", f"md={folders / 'taken'}", *QUICK]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert list((folders / "taken").iterdir()) == []


def test_a_pipe_or_device_is_not_replaced(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(folders / "pipe")
    paths = [str(folders / "base"), str(folders / "same")]
    assert execute(["compare", *paths, "--write", f"md={folders / 'pipe'}", *QUICK]) == 2
    assert "is a device or a pipe" in capsys.readouterr().err
    assert (folders / "pipe").is_fifo()


def test_a_base_with_an_error_in_one_task(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {("A", "test", "default"): replace(random_ndcg(1), error="out of memory")}
    write_results(folders / "base", failed, spec_of("me/base"))
    paths = [str(folders / "base"), str(folders / "same")]
    assert execute(["compare", *paths, "--gate", "regression", *QUICK]) == 3
    assert "out of memory" in capsys.readouterr().out
