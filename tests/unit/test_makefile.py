"""`make demo` and `make test` take whichever Python fits, and say so where none does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE, SHELL = shutil.which("make"), shutil.which("sh")

pytestmark = pytest.mark.skipif(MAKE is None or SHELL is None, reason="needs make and a POSIX shell")


def pythons(folder: Path, answers: Mapping[str, str]) -> str:
    """A PATH with Pythons that say this of themselves; `real` is the one that runs the tests."""
    path = folder / "bin"
    path.mkdir()
    for name, answer in answers.items():
        file = path / name
        if answer == "real":
            file.symlink_to(sys.executable)
            continue
        makes = '[ "$1" = -m ] && { /bin/mkdir -p "$3/bin"; : > "$3/bin/python"; exit 0; }'
        file.write_text(f"#!{SHELL}\n{makes}\necho '{answer}'\nexit {int(not answer)}\n", encoding="utf-8")
        file.chmod(0o755)
    return str(path)


def make(folder: Path, answers: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    venv = folder / "venv"
    return subprocess.run(
        [str(MAKE), "-s", f"VENV={venv}", f"{venv}/bin/python", *arguments],
        cwd=ROOT,
        env={"PATH": pythons(folder, answers)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("answers", "chosen"),
    [
        ({"python3": "fits 3.13.1"}, "python3"),
        ({"python": "fits 3.12.0"}, "python"),
        ({"python3": "fits 3.12.0", "python3.11": "fits 3.11.2"}, "python3.11"),
        ({"python3.11": "", "python3.13": "fits 3.13.0"}, "python3.13"),
        ({"python3": "old 3.9.2", "python3.12": "fits 3.12.3"}, "python3.12"),
        ({"python3.11": "bare 3.11.2", "python3": "fits 3.12.3"}, "python3"),
    ],
)
def test_the_first_python_that_fits_is_taken(tmp_path: Path, answers: dict[str, str], chosen: str) -> None:
    done = make(tmp_path, answers)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{chosen} -m venv {tmp_path}/venv\n"
    assert (tmp_path / "venv" / "bin" / "python").exists()


@pytest.mark.parametrize(
    ("answers", "messages"),
    [
        ({}, ["No Python 3.11 or newer was found", "PYTHON=/path/to/python3", "Found: nothing"]),
        ({"python3": "old 3.9.2"}, ["No Python 3.11 or newer was found", "python3 is Python 3.9.2, too old"]),
        ({"python3": "bare 3.12.3"}, ["venv is missing", "apt install python3.12-venv", "3.12.3, without venv"]),
        ({"python3.11": ""}, ["No Python 3.11 or newer was found", "python3.11 does not run"]),
    ],
)
def test_where_none_fits_it_is_said(tmp_path: Path, answers: dict[str, str], messages: list[str]) -> None:
    done = make(tmp_path, answers)
    assert done.returncode != 0
    for message in messages:
        assert message in done.stderr
    assert not (tmp_path / "venv").exists()


def test_the_python_that_is_named_is_taken_and_checked(tmp_path: Path) -> None:
    answers = {"python3": "fits 3.12.0", "mine": "fits 3.13.0", "theirs": "old 3.8.1"}
    assert make(tmp_path, answers, "PYTHON=mine").stdout == f"mine -m venv {tmp_path}/venv\n"
    done = subprocess.run(
        [str(SHELL), "find-python.sh", str(tmp_path / "bin" / "theirs")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "theirs is Python 3.8.1, too old" in done.stderr


TOOL = """#!{shell}
case "$*" in *"{fails}"*) echo "{fails} is unhappy"; exit 1;; esac
case "$*" in *pytest*) /bin/sleep 0.3;; esac
echo "$*" >> {log}
"""
PARTS = ("ruff check", "ruff format --check", "mypy", "lint-imports", "pytest")


@pytest.mark.parametrize("target", ["test", "check"])
@pytest.mark.parametrize("fails", [*PARTS, "nothing"])
def test_each_part_of_a_check_can_fail_it_and_types_are_told_of_last(tmp_path: Path, target: str, fails: str) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("python", "lint-imports"):
        # the name is put among the arguments
        script = TOOL.replace("$*", f"{name} $*").format(shell=SHELL, fails=fails, log=tmp_path / "log")
        (tools / name).write_text(script, encoding="utf-8")
        (tools / name).chmod(0o755)
    (tmp_path / ".installed-dev").touch()
    done = subprocess.run(
        [str(MAKE), "-s", f"VENV={tmp_path}", target],
        cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    log = (tmp_path / "log").read_text(encoding="utf-8") if (tmp_path / "log").exists() else ""
    if fails == "nothing":
        assert done.returncode == 0, done.stderr
        assert all(part in log for part in PARTS)
        assert ("tests/unit" in log) == (target == "check")
        return
    assert done.returncode != 0
    assert f"{fails} is unhappy" in done.stdout
    assert fails not in log
    if fails == "mypy":
        assert done.stdout.splitlines()[-1] == "mypy is unhappy"
        # the tests run to their end all the same
        assert "pytest" in log


def test_a_real_python_is_understood(tmp_path: Path) -> None:
    path = pythons(tmp_path, {"python": "real"})
    done = subprocess.run(
        [str(SHELL), "find-python.sh"], cwd=ROOT, env={"PATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "python\n"), done.stderr


BASH = shutil.which("bash")


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize(("has_browser", "fails", "asked", "ends"), [
    (True, "", ["environment", "test"], 0),
    (True, "environment", ["environment"], 1),
    (True, "test", ["environment", "test"], 1),
    (False, "", ["chromium", "environment", "test"], 0),
    (False, "chromium", ["chromium", "environment"], 1),
])  # fmt: skip
def test_ci_installs_a_browser_beside_the_environment_and_fails_without(
    tmp_path: Path, *, has_browser: bool, fails: str, asked: list[str], ends: int
) -> None:
    tools, log = tmp_path / "bin", tmp_path / "log"
    tools.mkdir()
    # the last word is what is asked for; a list of packages is fetched where the first attempt fails
    says = f'for last; do :; done; [ "$last" = update ] || echo "$last" >> {log}; [ "$last" != "{fails}" ]'
    scripts = {"make": says, "apt-get": says, "id": "echo 0", **({"chromium": ":"} if has_browser else {})}
    for name, script in scripts.items():
        (tools / name).write_text(f"#!{SHELL}\n{script}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    for name in ("dirname", "bash"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        [str(BASH), str(ROOT / ".ci" / "run")], env={"PATH": str(tools)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == ends, done.stderr
    assert sorted(set(log.read_text(encoding="utf-8").split())) == asked
