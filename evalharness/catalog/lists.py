"""Lists of tasks by name: suites, benchmarks, files of own lists; and tasks by whatever names them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from evalharness.catalog import tasks as catalog
from evalharness.catalog.tasks import TaskList, TaskSpec, read_lists
from evalharness.errors import UsageError, unknown_names

# names of lists that are nobody's: of what results have, and of single tasks
STORED, NAMED = "all stored tasks", "the named tasks"
_FILE = ".toml"


def task_lists(suites: Sequence[str], benchmarks: Sequence[str]) -> list[TaskList]:
    """The named lists, suites first, each once.

    Args:
        suites: names of suites, or files of lists in the form of tasks/suites.toml; a file stands for all in it.
        benchmarks: names or aliases of mteb's benchmarks.

    Raises:
        UsageError: some do not exist; all are named. Or two have the same name.
        DataError: a file is wrong.
    """
    found: dict[str, TaskList] = {}
    wrong: dict[str, list[str]] = {"suite": [], "benchmark": []}
    for kind, name in [*(("suite", name) for name in suites), *(("benchmark", name) for name in benchmarks)]:
        items = _suites(name) if kind == "suite" else [catalog.benchmark(name)]
        wrong[kind] += [name for item in items if item is None]
        for item in items:
            if item is not None and found.setdefault(item.name, item) != item:
                raise UsageError(f"{name}: two lists have the name {item.name}; give them different ones")
    known = {"suite": catalog.suites(), "benchmark": catalog.benchmark_names()}
    if problems := [unknown_names(kind, names, known[kind]) for kind, names in wrong.items() if names]:
        raise UsageError("\n".join(problems))
    return list(found.values())


def _suites(name: str) -> list[TaskList | None]:
    return list(read_lists(Path(name)).values()) if name.endswith(_FILE) else [catalog.suites().get(name)]


def named_tasks(names: Sequence[str], stored: Collection[str]) -> dict[str, TaskSpec | None]:
    """Tasks by name, by task file, or as results have them, with what the catalogue knows of each.

    Args:
        names: of tasks, or paths of task files.
        stored: names of tasks that results have.

    Raises:
        UsageError: some do not exist; all are named.
    """
    found, wrong = {}, []
    for name in names:
        spec = catalog.find_task(name)
        if spec is None and name not in stored:
            wrong.append(name)
        else:
            found[name if spec is None else spec.name] = spec
    if wrong:
        raise UsageError(unknown_names("task", wrong, [*catalog.all_task_names(), *stored]))
    return found
