"""Names to specs: mteb's tasks and benchmarks, our suites, local task files. Data only, nothing heavy."""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from evalharness.catalog.task_file import LocalData, LocalTaskFile, same_name
from evalharness.errors import DataError, UsageError
from evalharness.reading import checked, read_toml, validated
from evalharness.types import Frozen, TaskContext

_CHINESE = ("zho", "cmn")


class TaskSpec(Frozen):
    """All that planning and reports need to know of a task.

    Attributes:
        name, type, main_score, revision: as in mteb; a local task's revision is a hash of its files.
        splits: those that are evaluated.
        languages: subset -> mteb language codes.
        sizes: split -> subset -> [texts, characters], where known.
        items: split -> subset -> how many items the score is made of (queries, pairs, texts, draws), where known.
        parts: names of the sub-tasks of an aggregate.
        superseded_by: name of the newer version.
        scored_as: where it is not the task's own type, the type by which it is scored; `mteb` for mteb's own code.
        dataset: Hub id of the data set of mteb's task, at `revision`; empty for others and for aggregates.
        instruction: what the task tells models that take instructions, on queries and on texts without a side.
        data: only for local tasks.
        settings: what a local task sets of its type's parameters.
        origin: file of a local task; None for mteb's.
    """

    name: str
    type: str
    main_score: str
    revision: str
    splits: tuple[str, ...]
    languages: dict[str, tuple[str, ...]]
    sizes: dict[str, dict[str, tuple[int, int]]] = {}
    items: dict[str, dict[str, int]] = {}
    parts: tuple[str, ...] = ()
    superseded_by: str | None = None
    scored_as: str | None = None
    dataset: str = ""
    instruction: str = ""
    data: LocalData | None = None
    settings: dict[str, Any] = {}
    origin: Path | None = None

    @property
    def scoring(self) -> str:
        """The type by which it is scored."""
        return self.scored_as or self.type

    def context(self) -> TaskContext:
        """What a prompt may depend on."""
        return TaskContext(name=self.name, type=self.type, instruction=self.instruction)


class Member(Frozen):
    """A task inside a suite or benchmark; no subsets means all of them."""

    task: str
    splits: tuple[str, ...] | None = None
    subsets: tuple[str, ...] | None = None


class TaskList(Frozen):
    """A benchmark (defined by mteb) or a suite (ours); `categories` are a suite's expected counts by task type.

    `note` is a footnote of its tables: what its means and ranks are not.
    """

    name: str
    tasks: tuple[Member, ...]
    aliases: tuple[str, ...] = ()
    description: str = ""
    note: str = ""
    categories: dict[str, int] = {}


def tasks_folder() -> Path:
    """The folder `tasks/`: inside an installed package, or beside it in a checkout."""
    bundled = Path(__file__).parents[1] / "bundled_tasks"
    return bundled if bundled.is_dir() else Path(__file__).parents[2] / "tasks"


@cache
def _mteb_lines() -> Mapping[str, str]:
    """The line of JSON of each task. Every short command waits for this, and wants few of them parsed."""
    lines = (tasks_folder() / "mteb" / "tasks.jsonl").read_text(encoding="utf-8").splitlines()
    return {_text_in(line, "name"): line for line in lines}


def _text_in(line: str, field: str) -> str:
    """The text of a field of a task's line, which has no other of that name."""
    start = line.index(f'"{field}": "') + len(f'"{field}": "')
    return line[start : line.index('"', start)]


def mteb_task_names() -> list[str]:
    """Names of all text tasks of the pinned mteb."""
    return list(_mteb_lines())


@cache
def mteb_task(name: str) -> TaskSpec | None:
    """A text task of the pinned mteb; None if there is none of this name."""
    line = _mteb_lines().get(name)
    return None if line is None else TaskSpec.model_validate_json(line)


@cache
def _type_instructions() -> Mapping[str, str]:
    text = (tasks_folder() / "mteb" / "instructions.json").read_text(encoding="utf-8")
    found: dict[str, str] = json.loads(text)
    return found


@cache
def usual_main_score(task_type: str) -> str:
    """The main score of most of mteb's tasks of a type; empty for a type that mteb has not."""
    of_type = (line for line in _mteb_lines().values() if _text_in(line, "type") == task_type)
    scores = Counter(_text_in(line, "main_score") for line in of_type)
    return scores.most_common(1)[0][0] if scores else ""


@cache
def benchmarks() -> Mapping[str, TaskList]:
    """mteb's text benchmarks by name; aliases are resolved by `benchmark`."""
    lines = (tasks_folder() / "mteb" / "benchmarks.jsonl").read_text(encoding="utf-8").splitlines()
    return {item.name: item for line in lines if (item := TaskList.model_validate(json.loads(line)))}


@cache
def suites() -> Mapping[str, TaskList]:
    """Our own lists, from tasks/suites.toml."""
    return read_lists(tasks_folder() / "suites.toml")


def read_lists(path: Path) -> dict[str, TaskList]:
    """Lists of tasks by name, from a file in the form of tasks/suites.toml.

    Raises:
        DataError: it is none; of a member, only the form is looked at.
    """
    found = {}
    for name, value in read_toml(path).items():
        where = f"{path} [{name}]"
        table = checked(value, dict, where)
        members = checked(table.get("tasks"), list, f"{where}: tasks")
        tasks = [{"task": item} if isinstance(item, str) else item for item in members]
        found[name] = validated(TaskList, {"name": name, **table, "tasks": tasks}, where)
    if not found:
        raise DataError(f"{path}: holds no list; expected [a name] and tasks = [...] below it")
    return found


def _local_revision(path: Path, data: LocalData) -> str:
    """Revision of a Hub data set; else a content hash of the task file and all its data: 40 digits, as a commit."""
    if data.format == "hub":
        return str(data.revision)
    digest = sha256(path.read_bytes())
    files = [path.parent / name for name in data.files.values()]
    if data.path is not None:
        files += sorted(item for item in (path.parent / data.path).rglob("*") if item.is_file())
    for item in files:
        try:
            if not stat.S_ISREG(item.stat().st_mode):
                raise DataError(f"{path}: the data file {item} is no regular file")
            with item.open("rb") as handle:
                content = file_digest(handle, "sha256").digest()
        except OSError as error:
            raise DataError(f"{path}: the data file {item} cannot be read ({error.strerror})") from None
        digest.update(f"\0{item.name}\0".encode() + content)
    return digest.hexdigest()[:40]


def local_task(path: Path) -> TaskSpec:
    """Read a task file.

    Raises:
        DataError: the file or a data file it names is missing or wrong, or its name is that of another task.
    """
    parsed = validated(LocalTaskFile, read_toml(path), str(path))
    taken = _catalogue_names().get(same_name(parsed.name))
    if taken is not None and not _is_bundled(path, taken):
        whose = "evalharness" if taken in bundled_files() else "mteb"
        raise DataError(
            f"{path}: {taken} is the name of a task of {whose}, and results go by names; choose another name"
        )
    return TaskSpec(
        name=parsed.name,
        type=parsed.type,
        main_score=usual_main_score(parsed.type) if parsed.main_score is None else parsed.main_score,
        revision=_local_revision(path, parsed.data),
        splits=parsed.splits,
        languages={"default": parsed.languages},
        data=parsed.data,
        settings=parsed.settings,
        instruction=_type_instructions().get(parsed.type, "") if parsed.instruction is None else parsed.instruction,
        origin=path,
    )


@cache
def bundled_files() -> Mapping[str, Path]:
    """Task files that come with evalharness, by task name."""
    paths = (path for folder in ("starter", "custom") for path in sorted((tasks_folder() / folder).glob("*.toml")))
    return {str(read_toml(path)["name"]): path for path in paths}


@cache
def _catalogue_names() -> Mapping[str, str]:
    return {same_name(name): name for name in all_task_names()}


def _is_bundled(path: Path, name: str) -> bool:
    bundled = bundled_files().get(name)
    return bundled is not None and bundled.resolve() == path.resolve()


def task_types() -> list[str]:
    """All task types that occur, in alphabetical order."""
    return sorted({_text_in(line, "type") for line in _mteb_lines().values()})


def task_files(path: Path) -> list[Path]:
    """A task file, or all task files in a folder.

    Raises:
        UsageError: the folder has none.
    """
    if not path.is_dir():
        return [path]
    if found := sorted(path.glob("*.toml")):
        return found
    raise UsageError(f"the folder {path} holds no task files: expected *.toml")


def name_of(named: str) -> str:
    """A task's name, which results have, also if it was named by its file.

    Raises:
        UsageError: there is no such task file, or it is no task.
    """
    spec = find_task(named) if named.endswith(".toml") else None
    return named if spec is None else spec.name


def find_task(name: str) -> TaskSpec | None:
    """A task by name or by path of its task file; None if there is none."""
    if name.endswith(".toml"):
        return local_task(Path(name))
    bundled = bundled_files().get(name)
    return local_task(bundled) if bundled else mteb_task(name)


def needs_hub(spec: TaskSpec) -> bool:
    """Whether a task's data come from the Hub."""
    return spec.data is None or spec.data.format == "hub"


def benchmark(name: str) -> TaskList | None:
    """A benchmark by name or alias, letter case and spaces ignored; None if there is none."""

    def plain(text: str) -> str:
        return re.sub(r"\s+", "", text.lower())

    return next(
        (item for item in benchmarks().values() if plain(name) in map(plain, (item.name, *item.aliases))),
        None,
    )


def quick_suite(languages: Iterable[str]) -> str:
    """The quick suite of a model that speaks these languages: Chinese only for models without English."""
    codes = {code[:3] for code in languages}
    return "quick-zh" if codes & set(_CHINESE) and "eng" not in codes else "quick-en"


def benchmark_names() -> list[str]:
    """Names and aliases of all benchmarks."""
    return [label for item in benchmarks().values() for label in (item.name, *item.aliases)]


def all_task_names() -> list[str]:
    """Names of the tasks that come with evalharness and of mteb's text tasks."""
    return [*bundled_files(), *mteb_task_names()]
