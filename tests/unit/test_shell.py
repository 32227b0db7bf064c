"""The flags that every command has, wherever they stand."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import warnings
from pathlib import Path

import pytest
from conftest import Cli

from evalharness.cli import main
from evalharness.cli.main import repeat_lists

MODEL = "python:makes_vectors:Lengths"
SOURCE = """
class Lengths:
    def encode(self, texts):
        return [[1.0, float(len(text)), 1 / (1 + len(text))] for text in texts]
class Fails:
    def encode(self, texts):
        raise ValueError("out of luck")
class Ends:
    def encode(self, texts):
        raise SystemExit(0)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "makes_vectors.py").write_text(SOURCE, encoding="utf-8")


@pytest.mark.parametrize("command", [["list", "suites"], ["run", "--model", "x"], ["store", "info"], ["report"], []])
def test_every_command_has_a_short_help(here: Cli, command: list[str]) -> None:
    done = here(*command, "-h")
    assert done.returncode == 0
    for flag in ("-q, --quiet", "-v, --verbose", "--debug", "-h, --help"):
        assert flag in done.stdout


def test_lists_end_at_short_flags() -> None:
    assert repeat_lists(["-q", "run", "--tasks", "a", "b", "-v", "--suite", "c"]) == [
        "-q", "run", "--tasks", "a", "--tasks", "b", "-v", "--suite", "c",
    ]  # fmt: skip
    assert repeat_lists(["--debug", "list", "--tasks", "a", "b"]) == ["--debug", "list", "--tasks", "a", "b"]


def test_quiet_leaves_results_and_errors(here: Cli) -> None:
    run = ["run", "--model", MODEL, "--tasks", "StarterSTSEng", "--overwrite"]
    assert "loading" in here(*run).stderr
    for quiet in (["-q", *run], [*run, "-q"], [*run, "--quiet"]):
        done = here(*quiet)
        assert (done.returncode, done.stderr) == (0, "")
        assert "StarterSTSEng" in done.stdout
    assert "unknown task" in here("-q", "run", "--model", MODEL, "--tasks", "nope").stderr


def test_a_failure_is_told_once_and_with_its_traceback_on_request(here: Cli) -> None:
    run = ["run", "--model", "python:makes_vectors:Fails", "--tasks", "StarterSTSEng"]
    done = here(*run)
    assert done.returncode == 3
    assert (done.stdout + done.stderr).count("out of luck") == 1
    assert "Traceback" not in done.stderr
    for flag in ("-v", "--debug"):
        done = here(*run, flag)
        assert done.returncode == 3
        assert 'raise ValueError("out of luck")' in done.stderr
    assert here("-q", *run).stderr.count("out of luck") == 1


def test_an_object_that_ends_the_program_is_a_failed_job(here: Cli) -> None:
    done = here("run", "--model", "python:makes_vectors:Ends", "--tasks", "StarterSTSEng", "StarterSTSCmn")
    assert done.returncode == 3
    assert done.stderr.count("failed with SystemExit") == 2


def test_errors_have_their_traceback_on_request(here: Cli) -> None:
    assert "Traceback" not in here("list", "models", "nope").stderr
    assert "Traceback" in here("list", "models", "nope", "--debug").stderr
    assert "Traceback" in here("--debug", "list", "models", "nope").stderr


def test_a_command_leaves_logs_and_warnings_as_they_were(here: Cli) -> None:
    before = (logging.getLogger().level, list(logging.getLogger().handlers), list(warnings.filters))
    here("list", "suites", "--debug")
    assert (logging.getLogger().level, list(logging.getLogger().handlers), list(warnings.filters)) == before


@pytest.mark.parametrize("flags", [["--device", "cpu"], ["--batch-tokens", "5"]])
def test_a_device_without_effect_is_refused(here: Cli, tmp_path: Path, flags: list[str]) -> None:
    done = here("run", "--model", MODEL, "--tasks", "StarterSTSEng", *flags)
    assert done.returncode == 2
    assert f"{' '.join(flags)}: without effect on python/makes_vectors.Lengths" in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "option",
    [
        "--output",
        "--store",
        "--cards",
        "--reranker",
        "--model",
        "--like",
        "--url",
        "--onnx-file",
        "--backend",
        "--name",
    ],
)
def test_options_without_a_value_are_refused(here: Cli, option: str) -> None:
    for given in ([option, ""], [f"{option}="]):
        done = here("run", "--model", MODEL, "--tasks", "StarterSTSEng", *given)
        assert done.returncode == 2
        assert done.stderr == f"error: {option} is empty; give a value, or leave it out\n"
    assert here("check-data", "").stderr == "error: an argument is empty; give a value, or leave it out\n"


def test_prompts_may_be_empty(here: Cli) -> None:
    done = here("run", "--model", MODEL, "--tasks", "StarterSTSEng", "--query-prompt", "", "--document-prompt=")
    assert done.returncode == 0, done.stderr


def test_arguments_that_are_no_texts_are_refused(here: Cli) -> None:
    done = here("run", "--model", MODEL, "--tasks", "StarterSTSEng", "--output", "r\udcff")
    assert done.returncode == 2
    assert done.stderr == "error: the argument 'r\\udcff' is not UTF-8; type it anew, or rename the file\n"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("HF_HUB_DOWNLOAD_TIMEOUT", "abc", "a whole number of seconds"),
        ("HF_HUB_ETAG_TIMEOUT", "1.5", "a whole number of seconds"),
        ("HF_HUB_ETAG_TIMEOUT", "-1", "a whole number of seconds"),
        ("HF_HUB_ETAG_TIMEOUT", "", "a whole number of seconds"),
        ("HF_DATASETS_IN_MEMORY_MAX_SIZE", "2GB", "a number of bytes"),
    ],
)
def test_numbers_in_the_environment(
    here: Cli, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    done = here("list", "suites")
    assert done.returncode == 2
    assert done.stderr == f"error: the environment has {name}={value!r}; expected {expected}, or leave it out\n"
    monkeypatch.setenv(name, "10")
    assert here("list", "suites").returncode == 0


def test_what_is_not_noticed_of_a_python_object_is_told_where_results_are_used_again(here: Cli) -> None:
    run = ["run", "--model", MODEL, "--tasks", "StarterSTSEng"]
    told = "is known by its module's own file: changes of what that imports or loads are not noticed"
    assert told not in here(*run).stderr
    again = here(*run).stderr
    assert "1 of 1 jobs are done already; --overwrite does them again" in again
    assert f"python/makes_vectors.Lengths {told}" in again


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("run --model m --output 'a b'", "; finished jobs and shards are kept. To go on: evalharness run --model m"),
        ("run --model m --dry-run", ". To start again: evalharness run --model m --dry-run"),
        ("report results", ". To start again: evalharness report results"),
    ],
)
def test_whoever_is_interrupted_is_told_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, said: str
) -> None:
    monkeypatch.setattr(main, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(os, "_exit", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["evalharness", *shlex.split(command)])
    with pytest.raises(main._SignalledError):
        main._end_soon(signal.SIGINT, None)
    assert f"interrupted{said}" in capsys.readouterr().err
