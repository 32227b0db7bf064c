"""What a task type is: how rows become records, which texts are encoded, how vectors become scores.

Files of types import this, and the room's `__init__`, where types are looked up by name, imports them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from evalharness.catalog.tasks import TaskSpec
from evalharness.errors import DataError
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
        texts: (records, number of an item, its columns) -> its texts, by what they are called; what its columns lead
            to, such as the translation that was found, is among them. Left out where items are queries, or no texts.
        items_version: raised whenever the items get other columns, so that results without them are made again.
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
    texts: Callable[[Records, int, Mapping[str, float]], Mapping[str, str]] | None = None
    items_version: int = 1


def side_of(prompt_type: Any) -> Side:  # noqa: ANN401 -- mteb's enum or None
    """The side that an mteb task gives a column; None for a symmetric one."""
    return None if prompt_type is None else cast("Side", prompt_type.value)


def settings_of(spec: TaskSpec, model: type[Settings]) -> Settings:
    """What a local task sets of its type's parameters; defaults for the rest.

    Raises:
        DataError: it sets what does not exist, or a wrong value.
    """
    return validated(model, spec.settings, f"{spec.origin} [settings]")
