"""Names to specs: mteb's tasks and benchmarks, our suites, local task files. Data only, nothing heavy."""

from __future__ import annotations

import codecs
import json
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from evalharness.errors import DataError, UsageError, clip, shorten, unknown_names
from evalharness.reading import described, read_toml
from evalharness.types import Frozen, TaskContext

Model = TypeVar("Model", bound=BaseModel)

_CHINESE = ("zho", "cmn")
# what a key needs, by pydantic's names of types
_EXPECTED = {
    "string": "a text",
    "int": "a whole number",
    "int_from_float": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple": "a list",
    "list": "a list",
    "dict": "a table",
    "model": "a table",
}


# all names that a task type gives to a column; a task file maps them to the names in its data
Column: TypeAlias = Literal[
    "_id", "title", "text", "instruction", "query-id", "corpus-id", "score", "label", "sentence1", "sentence2",
    "query", "positive", "negative", "human_summaries", "machine_summaries", "relevance", "texts", "labels",
]  # fmt: skip


# in UTF-8, so that every file that is named after them has a name that every file system takes
_LONGEST_NAME, _LONGEST_SPLIT = 200, 100
# of a path's parts, by every usual file system
_LONGEST_PART = 255
_BESIDE_LETTERS = " ._()-"
# files and folders beside a task's results, and names that Windows keeps for devices
_OURS = ("model_meta", "run", "run.log", "jobs", "experiments")
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


def _plain_name(name: str, longest: int) -> str:
    """A name in the one form of its characters (NFC) that file systems do not change.

    Raises:
        ValueError: it cannot be part of a file's name everywhere.
    """
    name = unicodedata.normalize("NFC", name)
    wrong = [mark for mark in name if mark not in _BESIDE_LETTERS and unicodedata.category(mark)[0] not in "LMN"]
    if wrong or not name or not name[0].isalnum() or name[-1] in " .":
        raise ValueError(
            f"{clip(name)} is no name here: expected letters and digits of any script with {_BESIDE_LETTERS!r} between "
            "them, a letter or digit first, no space or point last"
        )
    if (size := len(name.encode())) > longest:
        raise ValueError(f"{clip(name)} has {size} bytes in UTF-8; expected at most {longest}")
    if _DEVICES.fullmatch(folded := name.casefold()) or folded in _OURS:
        raise ValueError(f"{clip(name)} is the name of a file that we or Windows use; choose another")
    return name


def same_name(name: str) -> str:
    """What two names have in common that may stand for one file: letter case and the form of characters play no part.

    >>> same_name("STSBenchmark") == same_name("stsbenchmark")
    True
    """
    return unicodedata.normalize("NFC", name).casefold()


TaskName: TypeAlias = Annotated[str, AfterValidator(lambda name: _plain_name(name, _LONGEST_NAME))]
SplitName: TypeAlias = Annotated[str, AfterValidator(lambda name: _plain_name(name, _LONGEST_SPLIT))]


def _file_name(path: str) -> str:
    if not path.strip() or "\0" in path or any(len(part.encode()) > _LONGEST_PART for part in Path(path).parts):
        raise ValueError(f"{clip(path)} is no name of a file")
    return path


FileName: TypeAlias = Annotated[str, AfterValidator(_file_name)]


class LocalData(Frozen):
    """Where a local task's rows are.

    Attributes:
        format: `beir` (corpus.jsonl, queries.jsonl, qrels/<split>.tsv in `path`); `jsonl`, `json` (a list of objects),
            `csv`, `tsv` or `parquet` (one file per split or part); `trec` (judgements and candidates without a header,
            `query 0 document grade`; corpus and queries as their file's ending says); or `hub` (a data set of the
            Hugging Face Hub).
        path: folder of a `beir` task, relative to the task file.
        files: split or part -> file, relative to the task file; with `hub`, -> `config:split`, where these differ.
        columns: our column name -> the name in the files, where they differ.
        allow_empty: whether texts may be empty; else that is an error, for it mostly is one.
        delimiter: what is between the cells of a csv or tsv file, if not a comma or a tab.
        encoding: of text files.
        quoting: whether a cell of a csv or tsv file that begins with a quote is quoted.
        dataset, revision: id of a `hub` data set, and a commit, or a branch whose commit a run looks up.
    """

    format: Literal["beir", "jsonl", "json", "csv", "tsv", "parquet", "trec", "hub"]
    path: FileName | None = None
    files: dict[str, FileName] = {}
    columns: dict[Column, str] = {}
    allow_empty: bool = False
    delimiter: str | None = None
    encoding: str = "utf-8"
    quoting: bool = True
    dataset: str | None = None
    revision: str | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> LocalData:
        needed = {"beir": ("path",), "hub": ("dataset", "revision")}.get(self.format, ("files",))
        if missing := [name for name in needed if not getattr(self, name)]:
            raise ValueError(f'format = "{self.format}" needs {" and ".join(missing)}')
        useless = [name for name, formats in _ONLY_FOR.items() if getattr(self, name) and self.format not in formats]
        if useless:
            raise ValueError(f'format = "{self.format}" has no {" and no ".join(useless)}')
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n\0'):
            raise ValueError(f"delimiter must be one character, no quote and no line break, got {clip(self.delimiter)}")
        if not _is_text_encoding(self.encoding):
            raise ValueError(f"{clip(self.encoding)} is no encoding of texts; expected utf-8, gb18030, latin-1 ...")
        return self


# keys of [data] that say nothing in other formats
_ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    "path": ("beir",),
    "files": ("jsonl", "json", "csv", "tsv", "parquet", "trec", "hub"),
    "delimiter": ("beir", "csv", "tsv", "trec"),
    "dataset": ("hub",),
    "revision": ("hub",),
}


def _is_text_encoding(name: str) -> bool:
    try:
        return isinstance("".encode(name), bytes) and codecs.lookup(name).name != "undefined"
    except (LookupError, ValueError):
        return False


class TaskSpec(Frozen):
    """All that planning and reports need to know of a task.

    Attributes:
        name, type, main_score, revision: as in mteb; a local task's revision is a hash of its files.
        splits: those that are evaluated.
        languages: subset -> mteb language codes.
        sizes: split -> subset -> [texts, characters], where known.
        parts: names of the sub-tasks of an aggregate.
        superseded_by: name of the newer version.
        scored_as: where it is not the task's own type, the type by which it is scored; `mteb` for mteb's own code.
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
    parts: tuple[str, ...] = ()
    superseded_by: str | None = None
    scored_as: str | None = None
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


class LocalTaskFile(Frozen):
    """A task file (TOML) as a user writes it.

    Without a main score, the one that most of mteb's tasks of the type have; without an instruction, models get the one
    that mteb has for the type.
    """

    name: TaskName
    type: str
    languages: tuple[str, ...] = Field(min_length=1)
    main_score: str | None = None
    data: LocalData
    splits: tuple[SplitName, ...] = Field(default=("test",), min_length=1)
    settings: dict[str, Any] = {}
    instruction: str | None = None
    description: str = ""
    license: str = ""

    @model_validator(mode="after")
    def _splits_differ(self) -> LocalTaskFile:
        if len(set(map(same_name, self.splits))) < len(self.splits):
            raise ValueError(f"splits must differ in more than letter case, got {shorten(self.splits)}")
        return self


class Member(Frozen):
    """A task inside a suite or benchmark; no subsets means all of them."""

    task: str
    splits: tuple[str, ...] | None = None
    subsets: tuple[str, ...] | None = None


class TaskList(Frozen):
    """A benchmark (defined by mteb) or a suite (ours); `categories` are a suite's expected counts by task type."""

    name: str
    tasks: tuple[Member, ...]
    aliases: tuple[str, ...] = ()
    description: str = ""
    categories: dict[str, int] = {}


def tasks_folder() -> Path:
    """The folder `tasks/`: inside an installed package, or beside it in a checkout."""
    bundled = Path(__file__).parent / "bundled_tasks"
    return bundled if bundled.is_dir() else Path(__file__).parents[1] / "tasks"


def validated(model: type[Model], value: object, where: str) -> Model:
    """Parse into a spec; a wrong or misspelt key becomes one readable DataError."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = (_problem(item, model) for item in error.errors())
        raise DataError(f"{where}: " + "; ".join(dict.fromkeys(problems))) from None


def _problem(item: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong with one key: what was expected, and what is there, with its type."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return unknown_names("key", [key], model.model_fields)
    if item["type"] == "missing":
        return f"{key} is missing"
    kind = item["type"].removesuffix("_type").removesuffix("_parsing")
    expected = f"expected {_EXPECTED[kind]}" if kind in _EXPECTED else item["msg"].removeprefix("Value error, ")
    # a rule over several keys is about a whole table
    found = "" if isinstance(item["input"], Mapping) else f", got {described(item['input'])}"
    return (f"{key}: " if key else "") + expected + found


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
def _type_instructions() -> Mapping[str, str]:
    text = (tasks_folder() / "mteb" / "instructions.json").read_text(encoding="utf-8")
    found: dict[str, str] = json.loads(text)
    return found


@cache
def usual_main_score(task_type: str) -> str:
    """The main score of most of mteb's tasks of a type; empty for a type that mteb has not."""
    scores = Counter(entry["main_score"] for entry in _mteb_entries().values() if entry["type"] == task_type)
    return scores.most_common(1)[0][0] if scores else ""


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
    for name, table in read_toml(path).items():
        members = [{"task": item} if isinstance(item, str) else item for item in table.pop("tasks")]
        found[name] = validated(TaskList, {"name": name, "tasks": members, **table}, f"{path} [{name}]")
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
        main_score=parsed.main_score or usual_main_score(parsed.type),
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
    return sorted({entry["type"] for entry in _mteb_entries().values()})


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
