"""The limits of the design: sizes, no **kwargs, cheap imports without circles."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from importlib.metadata import EntryPoint
from pathlib import Path

import grimp
import pytest
from support.processes import Pythons, out_of_reach

from evalharness.cli.main import main
from evalharness.compare import formats as compare_formats
from evalharness.models.opening import file_of
from evalharness.models.registry import BACKENDS, KINDS
from evalharness.reports import formats as report_formats
from evalharness.reports.plots import plots
from evalharness.tasks import files_of_types

ROOT = Path(__file__).parents[2]
PACKAGE = sorted((ROOT / "evalharness").rglob("*.py"))
EVERYTHING = [*PACKAGE, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 400, 50, 6
MAIN = (ROOT / "evalharness" / "cli" / "main.py").read_text(encoding="utf-8")
# a method of a callback, which transformers calls with whatever it has
CALLED_BY_OTHERS = {
    "evalharness/run/callback.py": "hear",
    "evalharness/models/engines/torch_attention.py": "attend",
    "evalharness/models/pool/connecting.py": "_log_it",
}
HEAVY = ("torch", "transformers", "mteb", "datasets", "sklearn", "scipy", "pandas", "pyarrow", "numpy", "matplotlib")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def is_command(function: Function) -> bool:
    """A typer command has a parameter per flag; there is no other way to declare one."""
    marks = [ast.unparse(mark.func) for mark in function.decorator_list if isinstance(mark, ast.Call)]
    return any("command" in mark for mark in marks) or f"\napp.command()({function.name})\n" in MAIN


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
        if CALLED_BY_OTHERS.get(path.relative_to(ROOT).as_posix()) != function.name:
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
        "import evalharness.reports.formats",
        "import evalharness.reports.plots",
        "import evalharness.compare.formats",
        *(f"import evalharness.compare.formats.{file}" for file in compare_formats.files_of_formats()),
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
        ["power", "nowhere"],
        ["power", "--tasks", "nope"],
        ["ranks", "nowhere"],
        ["baseline", "show", "nowhere"],
        ["baseline", "save", str(ROOT / "results" / "measured"), "--to", "nowhere", "--tasks", "none"],
        ["report", str(ROOT / "results" / "measured"), "--benchmark", "MTEB(eng, v1)"],
    ],
    ids=" ".join,
)
def test_listing_and_reporting_import_nothing_heavy(arguments: list[str]) -> None:
    code = f"import sys\n{command(*arguments)}\nprint('modules', *{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()) & set(HEAVY) == set()


@pytest.mark.parametrize("arguments", [["report", "--published-table", "bge"]], ids=" ".join)
def test_published_scores_import_what_reads_their_file_alone(arguments: list[str]) -> None:
    code = f"import sys\n{command(*arguments)}\nprint('modules', *{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()) & set(HEAVY) <= {"pyarrow", "numpy"}


# numpy and pyarrow read files; anything else is a second that a command waits for which computes nothing
READING = {"numpy", "pyarrow"}


def modules_of(*arguments: str, environment: Mapping[str, str] | None = None) -> set[str]:
    code = f"import sys\n{command(*arguments)}\nprint('modules', *{{m.partition('.')[0] for m in sys.modules}})"
    whole = {**os.environ, **(environment or {})}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=whole)
    # it came to what it is for
    assert "StarterSTSEng" in done.stdout
    return set(done.stdout.splitlines()[-1].split()) & {*HEAVY, "httpx", "httpx2", "huggingface_hub", "polars"}


def test_checking_data_imports_nothing_that_computes() -> None:
    files = map(str, sorted((ROOT / "tasks" / "starter").glob("*.toml")))
    assert modules_of("check-data", *files) <= READING


@pytest.mark.parametrize("file", files_of_types())
def test_task_types_are_looked_up_without_what_computes_their_scores(file: str) -> None:
    assert imported_by(f"import evalharness.tasks.{file}") & set(HEAVY) <= {"numpy"}


@dataclass(frozen=True)
class Finished:
    """A command whose jobs are all done, of a model whose speed has been measured."""

    arguments: list[str]
    environment: dict[str, str]

    def modules(self, *added: str) -> set[str]:
        return modules_of(*self.arguments, *added, environment=self.environment)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, pythons: Pythons) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    environment = out_of_reach(folder)
    tasks = ["StarterSTSEng", "StarterClassificationEng", "StarterRetrievalEng"]
    arguments = ["run", "--model", "all-MiniLM-L6-v2", "--tasks", *tasks, "--output", str(folder), "--no-store"]
    # short texts are soon encoded
    arguments += ["--max-length", "8"]
    for added in ([], ["--dry-run", "--output", str(folder / "other")]):
        done = pythons.run(["-m", "evalharness", *arguments, *added], folder, environment)
        assert done.returncode == 0, done.stderr
    return Finished(arguments, environment)


@pytest.mark.parametrize("added", [[], ["--dry-run"]], ids=["again", "dry"])
def test_a_finished_run_imports_nothing_that_computes(finished: Finished, added: list[str]) -> None:
    # the jobs' items are looked at, whether they are whole
    assert finished.modules(*added) <= READING


def test_a_dry_run_of_what_is_not_done_imports_nothing_that_computes(finished: Finished, tmp_path: Path) -> None:
    assert finished.modules("--dry-run", "--output", str(tmp_path)) <= {"numpy"}


def test_help_imports_few_modules() -> None:
    # what keeps it below the 0.3 s of the design, which benchmarks/starts.py measures
    command = [sys.executable, "-X", "importtime", "-m", "evalharness", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert "evalharness.cli.main" in imported
    assert len(imported) < 220, sorted({name.partition(".")[0] for name in imported})


def arrows_by_name() -> dict[str, set[str]]:
    """What files import by names that are made on use, which no linter sees."""
    engines = {backend.engine for backend in BACKENDS.values() if backend.engine is not None}
    opened = {file_of(name) for name, backend in BACKENDS.items() if backend.engine is None}
    opened |= {f"engines.{engine}" for engine in engines} | {f"kinds.{kind}" for kind in KINDS} | {"forward.pipeline"}
    return {
        "evalharness.models.opening": {f"evalharness.models.{file}" for file in opened},
        "evalharness.compare.formats": {
            f"evalharness.compare.formats.{file}" for file in compare_formats.files_of_formats()
        },
        "evalharness.reports.formats": {
            f"evalharness.reports.formats.{file}" for file in report_formats.files_of_formats()
        },
        "evalharness.reports.plots": {f"evalharness.reports.plots.{file}" for file in plots()},
        "evalharness.tasks": {f"evalharness.tasks.{file}" for file in files_of_types()},
    }


def test_no_module_imports_what_imports_it() -> None:
    graph = grimp.build_graph("evalharness", exclude_type_checking_imports=True, cache_dir=None)
    imported = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    for module, by_name in arrows_by_name().items():
        assert by_name <= graph.modules
        imported[module] |= by_name
    # raises where there is a circle, and names it
    assert set(TopologicalSorter(imported).static_order()) == graph.modules


def test_the_files_that_import_by_a_name_are_known() -> None:
    calling = set()
    for path in PACKAGE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__"))
            if named and "evalharness" in ast.unparse(node):
                calling.add(path.relative_to(ROOT).as_posix().removesuffix(".py").removesuffix("/__init__"))
    # at the door of the package are its public names, from every room
    assert {place.replace("/", ".") for place in calling} == {"evalharness", *arrows_by_name()}


def test_the_installed_command_is_the_command_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (target,) = project["scripts"].values()
    assert EntryPoint("evalharness", target, "console_scripts").load() is main
