"""Names to specs: mteb's tasks and benchmarks, our suites, local task files, model cards. Data only, nothing heavy."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from evalharness.errors import DataError, unknown_names
from evalharness.types import Frozen, Pooling, Similarity

Model = TypeVar("Model", bound=BaseModel)

_CHINESE = ("zho", "cmn")


class LocalData(Frozen):
    """Where a local task's rows are.

    Attributes:
        format: `beir` (corpus.jsonl, queries.jsonl, qrels/<split>.tsv in `path`) or `jsonl` (one file per split).
        path: folder of a `beir` task, relative to the task file.
        files: split -> file of a `jsonl` task, relative to the task file.
        columns: our column name -> the name in the files, where they differ.
    """

    format: Literal["beir", "jsonl"]
    path: str | None = None
    files: dict[str, str] = {}
    columns: dict[str, str] = {}


class TaskSpec(Frozen):
    """All that planning and reports need to know of a task.

    Attributes:
        name, type, main_score, revision: as in mteb; a local task's revision is a hash of its files.
        splits: those that are evaluated.
        languages: subset -> mteb language codes.
        sizes: split -> subset -> [texts, characters], where known.
        parts: names of the sub-tasks of an aggregate.
        superseded_by: name of the newer version.
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
    parts: tuple[str, ...] = ()
    superseded_by: str | None = None
    data: LocalData | None = None
    settings: dict[str, Any] = {}
    origin: Path | None = None


class LocalTaskFile(Frozen):
    """A task file (TOML) as a user writes it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._()-]*$")
    type: str
    languages: tuple[str, ...]
    main_score: str
    data: LocalData
    splits: tuple[str, ...] = ("test",)
    settings: dict[str, Any] = {}
    description: str = ""
    license: str = ""


class Member(Frozen):
    """A task inside a suite or benchmark; no subsets means all of them."""

    task: str
    splits: tuple[str, ...] | None = None
    subsets: tuple[str, ...] | None = None


class TaskList(Frozen):
    """A benchmark (defined by mteb) or a suite (ours)."""

    name: str
    tasks: tuple[Member, ...]
    aliases: tuple[str, ...] = ()
    description: str = ""


class ModelCard(Frozen):
    """Facts of one model, from `evalharness/models/cards.toml`. See `ModelSpec` for the fields."""

    name: str
    revision: str
    pooling: Pooling
    normalize: bool
    max_length: int
    prompts: dict[str, str] = {}
    similarity: Similarity = "cosine"
    languages: tuple[str, ...] = ()


def tasks_folder() -> Path:
    """The folder `tasks/`: inside an installed package, or beside it in a checkout."""
    bundled = Path(__file__).parent / "bundled_tasks"
    return bundled if bundled.is_dir() else Path(__file__).parents[1] / "tasks"


def _validated(model: type[Model], value: object, where: str) -> Model:
    """Parse into a spec; a wrong or misspelt key becomes one readable DataError."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            key = ".".join(str(part) for part in item["loc"])
            if item["type"] == "extra_forbidden":
                lines.append(unknown_names("key", [key], model.model_fields))
            else:
                lines.append(f"{key}: {item['msg']}")
        raise DataError(f"{where}: " + "; ".join(lines)) from None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give the path of an existing TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is not valid TOML in UTF-8: {error}") from None


@cache
def _mteb_entries() -> Mapping[str, dict[str, Any]]:
    lines = (tasks_folder() / "mteb" / "tasks.jsonl").read_text(encoding="utf-8").splitlines()
    return {entry["name"]: entry for entry in map(json.loads, lines)}


def mteb_task_names() -> list[str]:
    """Names of all text tasks of the pinned mteb."""
    return list(_mteb_entries())


@cache
def mteb_task(name: str) -> TaskSpec | None:
    """A text task of the pinned mteb; None if there is none of this name."""
    entry = _mteb_entries().get(name)
    return None if entry is None else TaskSpec.model_validate(entry)


@cache
def benchmarks() -> Mapping[str, TaskList]:
    """mteb's text benchmarks by name; aliases are resolved by `benchmark`."""
    lines = (tasks_folder() / "mteb" / "benchmarks.jsonl").read_text(encoding="utf-8").splitlines()
    return {item.name: item for line in lines if (item := TaskList.model_validate(json.loads(line)))}


@cache
def suites() -> Mapping[str, TaskList]:
    """Our own lists, from tasks/suites.toml."""
    path = tasks_folder() / "suites.toml"
    found = {}
    for name, table in _toml(path).items():
        members = [{"task": item} if isinstance(item, str) else item for item in table.pop("tasks")]
        found[name] = _validated(TaskList, {"name": name, "tasks": members, **table}, f"{path} [{name}]")
    return found


def _local_revision(path: Path, data: LocalData) -> str:
    """Content hash of the task file and all its data: 40 digits, as a commit."""
    digest = sha256(path.read_bytes())
    files = [path.parent / name for name in data.files.values()]
    if data.path is not None:
        files += sorted(item for item in (path.parent / data.path).rglob("*") if item.is_file())
    for item in files:
        try:
            content = item.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: the data file {item} cannot be read ({error.strerror})") from None
        digest.update(f"\0{item.relative_to(path.parent).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:40]


def local_task(path: Path) -> TaskSpec:
    """Read a task file.

    Raises:
        DataError: the file or a data file it names is missing or wrong.
    """
    parsed = _validated(LocalTaskFile, _toml(path), str(path))
    return TaskSpec(
        name=parsed.name,
        type=parsed.type,
        main_score=parsed.main_score,
        revision=_local_revision(path, parsed.data),
        splits=parsed.splits,
        languages={"default": parsed.languages},
        data=parsed.data,
        settings=parsed.settings,
        origin=path,
    )


@cache
def starter_files() -> Mapping[str, Path]:
    """Files of the tasks that come with evalharness and need no download, by task name."""
    return {str(_toml(path)["name"]): path for path in sorted((tasks_folder() / "starter").glob("*.toml"))}


def task_types() -> list[str]:
    """All task types that occur, in alphabetical order."""
    return sorted({entry["type"] for entry in _mteb_entries().values()})


def find_task(name: str) -> TaskSpec | None:
    """A task by name or by path of its task file; None if there is none."""
    if name.endswith(".toml"):
        return local_task(Path(name))
    starter = starter_files().get(name)
    return local_task(starter) if starter else mteb_task(name)


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
    """Names of the starter tasks and of mteb's text tasks."""
    return [*starter_files(), *mteb_task_names()]


@cache
def cards() -> Mapping[str, ModelCard]:
    """All model cards by name."""
    path = Path(__file__).parent / "models" / "cards.toml"
    tables = _toml(path)
    families = tables.pop("families", {})
    found = {}
    for name, table in tables.items():
        family = families[table.pop("family")] if "family" in table else {}
        found[name] = _validated(ModelCard, {"name": name, **family, **table}, f"{path.name} [{name}]")
    return found


def find_card(name: str) -> ModelCard | None:
    """A card by Hub id, letter case ignored; None if there is none."""
    return next((card for key, card in cards().items() if key.lower() == name.lower()), None)
