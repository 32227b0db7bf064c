"""Task types. A file here is a type: `PairClassification` is run by `pair_classification.py`, imported on use.

Each file defines TASK_TYPE (a `definition.TaskType`): how mteb's data or local files become records, which texts of
the records are encoded, and how embeddings become scores. The last is a pure function: no model, no file, no clock. A
type that is another by another name is a row of a table; types that are neither are scored by mteb itself
(`mteb_bridge.py`). What types of pairs have in common is in `pairs.py`, where classifiers and clusters are fitted in
`fitting.py`; scores that single tasks of mteb have beside those of their type are in `mteb_hooks.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from evalharness.catalog.tasks import TaskSpec
from evalharness.errors import UsageError, shorten, unknown_names
from evalharness.tasks.definition import TaskType, settings_of


def _module_name(task_type: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", task_type).lower()


def files_of_types() -> list[str]:
    """The files here that are types; all of them may be imported."""
    return [path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _OTHERS]


@cache
def native_types() -> tuple[str, ...]:
    """Task types that are scored here, by mteb's names."""
    named = [_TYPE_NAMES.get(name) or "".join(map(str.title, name.split("_"))) for name in files_of_types()]
    return tuple(sorted([*named, *_SAME_AS], key=_module_name))


_OTHERS = ("__init__", "definition", "fitting", "mteb_bridge", "mteb_hooks", "pairs")
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
