"""docs/scale.md: its commands and options exist, its figures are those of results/measured/schedule.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from schedule import options
from support.commands import flags_of, parsed

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
SCRIPT = "examples/slurm/evalharness.sbatch"
# what stands in a line of code or in a block of commands
CODE = re.findall(r"`([^`\n]+)`", PAGE) + re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
STARTS = ("python -m evalharness ", "sbatch ", "... ")
COMMANDS = [code for code in CODE if code.startswith(STARTS)]


def arguments(command: str) -> list[str]:
    """What our command is told by a command of the page; values that the page leaves out are made up."""
    words = shlex.split(
        command.replace("\\\n", " ").replace("--model ...", "--model me/m").replace("--benchmark ...", "--benchmark b")
    )
    if words[0] == "sbatch":
        return ["run", *words[words.index(SCRIPT) + 1 :]]
    return ["run", "--model", "me/m", *words[1:]] if words[0] == "..." else words[3:]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_ours(command: str) -> None:
    assert parsed(arguments(command)) == "evalharness run"


def test_options_exist() -> None:
    assert len(COMMANDS) >= 6
    script = (ROOT / SCRIPT).read_text(encoding="utf-8")
    known = flags_of("run") | set(options()) | set(re.findall(r"--[a-z-]+", script))
    named = [flag for code in CODE if not code.startswith(STARTS) for flag in re.findall(r"(?<!\S)--[a-z-]+", code)]
    assert len(named) > 10
    assert [flag for flag in named if flag not in known] == []


def test_variables_are_those_of_the_script() -> None:
    script = (ROOT / SCRIPT).read_text(encoding="utf-8")
    named = [code for code in CODE if re.fullmatch(r"[A-Z][A-Z_]+", code)]
    assert len(named) >= 2
    # what it takes from outside, and what it hands on
    assert [name for name in named if f"${{{name}:-" not in script and f"export {name}\n" not in script] == []


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert [link for link in links if "://" not in link and not (ROOT / "docs" / link).exists()] == []


def test_figures_are_those_of_the_simulation() -> None:
    written = (ROOT / "results" / "measured" / "schedule.md").read_text(encoding="utf-8").splitlines()
    tables = PAGE.partition("<!-- of schedule.md -->")[2].partition("<!-- end -->")[0]
    rows = [line for line in tables.splitlines() if line.startswith("|")]
    assert len(rows) > 30
    assert [row for row in rows if row not in written] == []
