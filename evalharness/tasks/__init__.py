"""Task types. A file here is a type: `PairClassification` is run by `pair_classification.py`, imported on use.

Each file defines TASK_TYPE: how mteb's data or local files become records, which texts of the records are encoded,
and how embeddings become scores. The last is a pure function: no model, no file, no clock. A type that is another by
another name is a row of a table; types that are neither are scored by mteb itself (`mteb_bridge.py`). What types of
pairs have in common is in `pairs.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from evalharness.catalog.tasks import TaskSpec
from evalharness.errors import DataError, UsageError, shorten, unknown_names
from evalharness.reading import validated
from evalharness.types import Embeddings, Frozen, Scores, Side, TextColumn

Records = TypeVar("Records")
Settings = TypeVar("Settings", bound=Frozen)


class NoSettings(Frozen):
    """Settings of a type that has none."""


def _not_in_mteb(task: Any, split: str, subset: str) -> Any:  # noqa: ANN401 -- an mteb task object
    raise DataError(f"{task.metadata.name} [{split}, {subset}]: mteb has no tasks of this type")


def _no_notes(records: object) -> tuple[str, ...]:
    del records
    return ()


@dataclass(frozen=True, slots=True)
class TaskType(Generic[Records]):
    """One task type.

    Attributes:
        score_version: raised whenever the same data and vectors would give other numbers; part of the resume key.
        from_files: (local task, split) -> records. Raises DataError.
        columns: records -> texts to encode.
        score: (records, column name -> embeddings) -> scores.
        counts: records -> what there is of it, for people.
        metric_names: the metrics that can be a main score.
        from_mteb: (mteb task object with data, split, subset) -> records; left out where mteb has no such type. Raises
            DataError.
        settings: what a local task may set.
        draws_in_order: whether random draws for one subset depend on the splits and subsets before it in the same run;
            then `from_mteb` gets a task with all of them loaded, and they are part of the resume key.
        ranks: whether its records are `RetrievalRecords`, of which all that is scored is a ranking; then what makes no
            vectors can be scored, too.
        parts: what a local task's files may hold beside its splits.
        notes: records -> what a reader of the scores must know of the data.
    """

    score_version: int
    from_files: Callable[[TaskSpec, str], Records]
    columns: Callable[[Records], Sequence[TextColumn]]
    score: Callable[[Records, Mapping[str, Embeddings]], Scores]
    counts: Callable[[Records], Mapping[str, int]]
    metric_names: Sequence[str]
    from_mteb: Callable[[Any, str, str], Records] = _not_in_mteb
    settings: type[Frozen] = NoSettings
    draws_in_order: bool = False
    ranks: bool = False
    parts: tuple[str, ...] = ()
    notes: Callable[[Records], Sequence[str]] = _no_notes


def side_of(prompt_type: Any) -> Side:  # noqa: ANN401 -- mteb's enum or None
    """The side that an mteb task gives a column; None for a symmetric one."""
    return None if prompt_type is None else cast("Side", prompt_type.value)


def settings_of(spec: TaskSpec, model: type[Settings]) -> Settings:
    """What a local task sets of its type's parameters; defaults for the rest.

    Raises:
        DataError: it sets what does not exist, or a wrong value.
    """
    return validated(model, spec.settings, f"{spec.origin} [settings]")


def _module_name(task_type: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", task_type).lower()


@cache
def native_types() -> tuple[str, ...]:
    """Task types that are scored here, by mteb's names."""
    files = [path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _OTHERS]
    named = [_TYPE_NAMES.get(name) or "".join(map(str.title, name.split("_"))) for name in files]
    return tuple(sorted([*named, *_SAME_AS], key=_module_name))


_OTHERS = ("__init__", "mteb_bridge", "pairs")
_TYPE_NAMES = {"sts": "STS"}
# queries carry an instruction; robustness, paired accuracy and p-MRR come with mteb's tasks
_SAME_AS = {"InstructionRetrieval": "Retrieval", "InstructionReranking": "Retrieval"}


def is_native(spec: TaskSpec) -> bool:
    """Whether a task is scored here, not by mteb."""
    return spec.scoring in native_types()


def check_runnable(specs: Sequence[TaskSpec]) -> None:
    """See that local tasks are of a type that there is, with a main score and settings that it has.

    Raises:
        UsageError: some are not; all of them are named.
        DataError: settings are wrong.
    """
    problems = []
    for spec in specs:
        if spec.data is None:
            continue
        if spec.type not in native_types():
            problems.append(f"{spec.origin}: {unknown_names('type', [spec.type], native_types())}")
            continue
        kind = task_type(spec.type)
        settings_of(spec, kind.settings)
        problems += _file_problems(spec, kind)
        if spec.main_score not in kind.metric_names:
            wrong = unknown_names("main_score", [spec.main_score], kind.metric_names)
            problems.append(f"{spec.origin}: {wrong}\nThe metrics of {spec.type} are {', '.join(kind.metric_names)}")
    if problems:
        raise UsageError("\n".join(problems))


def unused_splits(spec: TaskSpec) -> list[str]:
    """Splits for which a local task names files and which it does not evaluate."""
    named = spec.data.files if spec.data else ()
    return [part for part in named if part in _USUAL_SPLITS and part not in (*spec.splits, *task_type(spec.type).parts)]


def _file_problems(spec: TaskSpec, kind: TaskType[Any]) -> list[str]:
    """A message for each split without a file, and for each file that is of no split or part."""
    data, known = spec.data, (*spec.splits, *kind.parts)
    if data is None:
        return []
    unknown = [part for part in data.files if part not in (*known, *_USUAL_SPLITS)]
    problems = [f"{spec.origin} [data.files]: {unknown_names('split or part', unknown, known)}"] if unknown else []
    if data.format not in ("beir", "hub"):
        found = shorten(list(data.files))
        problems += [
            f"{spec.origin}: [data.files] names no file for the split {split!r} (found files for {found})"
            for split in spec.splits
            if split not in data.files
        ]
    return problems


# a data set may come with files that a task does not use
_USUAL_SPLITS = ("train", "dev", "validation", "test")


def task_type(name: str) -> TaskType[Any]:
    """The type of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in native_types():
        raise UsageError(unknown_names("task type", [name], native_types()))
    module = _module_name(_SAME_AS.get(name, name))
    found: TaskType[Any] = import_module(f"evalharness.tasks.{module}").TASK_TYPE
    return found
