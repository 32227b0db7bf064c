"""What a task file of a user's may say: names that make files everywhere, and where the rows are."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from evalharness.errors import clip, shorten
from evalharness.types import Frozen

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
