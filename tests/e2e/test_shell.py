"""The program as a shell sees it: flags, pipes, encodings, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Cli

BROKEN = """
import sys
from evalharness.catalog import tasks as catalog
from evalharness.cli import main as cli
def suites():
    {what}
catalog.suites = suites
sys.argv = ["evalharness", "list", "suites", *{flags}]
cli.main()
"""


def broken(what: str, *flags: str) -> subprocess.CompletedProcess[str]:
    code = BROKEN.format(what=what, flags=list(flags))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_defect_is_no_traceback_unless_it_is_asked_for() -> None:
    done = broken("raise KeyError('x\\x1b[31m')")
    assert done.returncode == 70
    assert "error: internal error (KeyError: 'x\\x1b[31m'). This is a defect of evalharness" in done.stderr
    assert "--debug" in done.stderr
    assert "Traceback" not in done.stderr
    for flag in ("--debug", "-v"):
        done = broken("raise KeyError('x')", flag)
        assert done.returncode == 70
        assert done.stderr.count("Traceback") == 1


def test_what_the_system_says_is_no_defect() -> None:
    done = broken("open('/no/such/file')")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: the system says: No such file or directory (/no/such/file)" in done.stderr
    assert "Traceback" not in done.stderr


def test_code_that_ends_the_program_is_named() -> None:
    done = broken("sys.exit(0)")
    assert done.returncode == 70
    assert "the module __main__ ended the program" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs a shell with pipes")
@pytest.mark.parametrize("command", ["list tasks", "list models", "-q list suites", "run --help"])
def test_a_reader_may_leave(command: str) -> None:
    script = f"{sys.executable} -m evalharness {command} | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in ("0", "141")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_every_encoding_of_a_terminal_will_do(fresh_cli: Cli, encoding: str) -> None:
    done = fresh_cli("list", "models", "BAAI/bge-base-zh-v1.5", environment={"PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    done = fresh_cli("run", "--model", "中文", "--tasks", "任务", environment={"PYTHONIOENCODING": encoding})
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_output_is_an_error() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m evalharness list tasks >/dev/full"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_version_and_completion(fresh_cli: Cli) -> None:
    for arguments in (["-h"], ["--help"]):
        shown = fresh_cli(*arguments).stdout
        for flag in ("--version", "--install-completion", "-q, --quiet", "-v, --verbose", "--debug", "-h, --help"):
            assert flag in shown
    words = {
        "_EVALHARNESS_COMPLETE": "complete_bash",
        "COMP_WORDS": "evalharness run --model x --sui",
        "COMP_CWORD": "4",
    }
    assert fresh_cli(environment=words).stdout.split() == ["--suite"]
    # the shell is named, not looked for among the processes above, where CI may have none
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    assert "_evalharness_completion" in fresh_cli("--show-completion", "bash", environment=named).stdout
