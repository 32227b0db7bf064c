"""The limits of the design: sizes, no **kwargs, cheap imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = sorted((ROOT / "evalharness").rglob("*.py"))
EVERYTHING = [*PACKAGE, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 400, 50, 6
HEAVY = ("torch", "transformers", "mteb", "datasets", "sklearn", "scipy", "pandas", "pyarrow", "numpy")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def is_command(function: Function) -> bool:
    """A typer command has a parameter per flag; there is no other way to declare one."""
    return any(isinstance(mark, ast.Call) and "command" in ast.unparse(mark.func) for mark in function.decorator_list)


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_and_function_sizes(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    for function in functions(path):
        lines = (function.end_lineno or 0) - function.body[0].lineno + 1
        assert lines <= MAX_FUNCTION_LINES, function.name


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_parameters(path: Path) -> None:
    for function in functions(path):
        arguments = function.args
        own = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if a.arg != "self"]
        assert arguments.kwarg is None, f"{function.name} takes **{arguments.kwarg}"
        assert is_command(function) or len(own) <= MAX_PARAMETERS, function.name


def imported_by(code: str) -> set[str]:
    show = f"import sys; {code}; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout.split())


def command(*arguments: str) -> str:
    start = f"sys.argv[1:] = {list(arguments)!r}"
    return f"{start}\ntry:\n    from evalharness.cli.main import main; main()\nexcept SystemExit: pass"


@pytest.mark.parametrize(
    "code",
    [
        "import evalharness",
        "import evalharness.cli.main",
        "import evalharness.results.records",
        "import evalharness.reports",
    ],
)
def test_imports_are_light(code: str) -> None:
    assert imported_by(code) & set(HEAVY) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list", "suites"],
        ["list", "models"],
        ["list", "benchmarks"],
        ["list", "tasks", "--task-types", "STS"],
        ["report", "nowhere"],
        ["report", str(ROOT / "results" / "measured"), "--benchmark", "MTEB(eng, v1)"],
    ],
    ids=" ".join,
)
def test_listing_and_reporting_import_nothing_heavy(arguments: list[str]) -> None:
    code = f"import sys\n{command(*arguments)}\nprint('modules', *{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()) & set(HEAVY) == set()


def test_help_imports_few_modules() -> None:
    # what keeps it below the 0.3 s of the design, which benchmarks/starts.py measures
    command = [sys.executable, "-X", "importtime", "-m", "evalharness", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert "evalharness.cli.main" in imported
    assert len(imported) < 220, sorted({name.partition(".")[0] for name in imported})
