from __future__ import annotations

from pathlib import Path

from conftest import Cli

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_example_task_runs_without_a_hub(cli: Cli) -> None:
    command = (EXAMPLES / "README.md").read_text(encoding="utf-8").splitlines()[-1].strip()
    assert command.startswith("python -m evalharness run ")
    arguments = command.replace("examples/", f"{EXAMPLES}/").split()[3:]
    done = cli(*arguments)
    assert done.returncode == 0, done.stderr
    assert "MyPairs" in done.stdout
