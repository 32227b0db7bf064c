"""How many different texts of which length the jobs of mteb's tasks encode, and what is fitted on them: what they cost.

`TaskSpec.sizes` says what mteb's statistics count of a split. A run encodes less, for texts that occur twice go through
a model once, and more, for classifiers are fitted on texts of another split.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from pydantic_core import from_json

from evalharness.catalog.tasks import tasks_folder

AMOUNTS = "amounts.jsonl"


@dataclass(frozen=True, slots=True)
class Amount:
    """Some texts that are encoded alike.

    Attributes:
        texts: how many different ones.
        characters: of all of them.
        longest: characters of the longest.
    """

    texts: int
    characters: int
    longest: int


@dataclass(frozen=True, slots=True)
class JobAmounts:
    """What one job encodes and computes.

    Attributes:
        columns: texts by what they are: `queries` and `corpus` where a task has sides.
        labels: different labels, or groups of a clustering; 0 where there are none.
        fits: classifiers or clusterings that are fitted.
        rows: texts that each of them is fitted on.
        candidates: documents that the task gives to its queries, all together; 0 where each query has the corpus.
    """

    columns: Mapping[str, Amount] = field(default_factory=dict)
    labels: int = 0
    fits: int = 0
    rows: int = 0
    candidates: int = 0


@cache
def _lines() -> Mapping[str, str]:
    lines = (tasks_folder() / "mteb" / AMOUNTS).read_text(encoding="utf-8").splitlines()
    # few of them are wanted, so few are parsed: a line begins with the task's name
    return {json.loads(line[1 : line.index(":{")]): line for line in lines}


@cache
def _task(name: str) -> Mapping[str, Mapping[str, JobAmounts]]:
    if (line := _lines().get(name)) is None:
        return {}
    found = from_json(line)[name]
    return {split: {subset: _read(one) for subset, one in subsets.items()} for split, subsets in found.items()}


def _read(entry: dict[str, object]) -> JobAmounts:
    fields = dict(entry)
    columns = fields.pop("columns")
    if not isinstance(columns, dict):
        raise TypeError(f"{AMOUNTS}: columns are an object")
    return JobAmounts({name: Amount(*numbers) for name, numbers in columns.items()}, **fields)  # type: ignore[arg-type]  # their types are those of the file


def mteb_amounts(task: str, split: str, subset: str) -> JobAmounts | None:
    """What mteb's statistics say of one job; None where they say nothing, or the task has too many subsets to say it.

    Args:
        task: name of one of mteb's tasks.
        split: one that mteb evaluates.
        subset: as in mteb.
    """
    return _task(task).get(split, {}).get(subset)
