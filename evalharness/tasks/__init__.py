"""Task types. A file here is a type: `PairClassification` is run by `pair_classification.py`, imported on use.

Each file defines TASK_TYPE: how mteb's data or local files become records, which texts of the records are encoded,
and how embeddings become scores. The last is a pure function: no model, no file, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from evalharness.catalog import TaskSpec, task_types
from evalharness.errors import UsageError, shorten, unknown_names
from evalharness.types import Embeddings, Scores, TextColumn

Records = TypeVar("Records")


@dataclass(frozen=True, slots=True)
class TaskType(Generic[Records]):
    """One task type.

    Attributes:
        score_version: raised whenever the same data and vectors would give other numbers; part of the resume key.
        from_mteb: (mteb task object with data, split, subset) -> records. Raises DataError.
        from_files: (local task, split) -> records. Raises DataError.
        columns: records -> texts to encode.
        score: (records, column name -> embeddings) -> scores.
    """

    score_version: int
    from_mteb: Callable[[Any, str, str], Records]
    from_files: Callable[[TaskSpec, str], Records]
    columns: Callable[[Records], Sequence[TextColumn]]
    score: Callable[[Records, Mapping[str, Embeddings]], Scores]


def _module_name(task_type: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", task_type).lower()


def native_types() -> list[str]:
    """Task types that can be run, by mteb's names."""
    files = {path.stem for path in Path(__file__).parent.glob("*.py")}
    return [name for name in task_types() if _module_name(name) in files]


def require_native(specs: Sequence[TaskSpec]) -> None:
    """Check that all tasks can be run.

    Raises:
        UsageError: some cannot; all of them are named.
    """
    native = native_types()
    if foreign := [f"{spec.name} ({spec.type})" for spec in specs if spec.type not in native]:
        raise UsageError(
            f"these tasks are of a type that cannot be run yet: {shorten(foreign)}. "
            f"Choose tasks of type {', '.join(native)}, or add --task-types {' '.join(native)}"
        )


def task_type(name: str) -> TaskType[Any]:
    """The type of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in native_types():
        raise UsageError(unknown_names("task type", [name], native_types()))
    found: TaskType[Any] = import_module(f"evalharness.tasks.{_module_name(name)}").TASK_TYPE
    return found
