"""Scores of models from their results, with the items of tasks that all of them have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evalharness.catalog.tasks import Member, TaskList, find_task
from evalharness.compare.clusters import cluster_candidate
from evalharness.compare.pairing import PairedTask, pair_task
from evalharness.compare.ranks.boards import Scores
from evalharness.compare.sides import Results
from evalharness.errors import UsageError
from evalharness.metrics.forms import Values

_COMMON = "tasks that all have"


def scores_of(results: Sequence[Results], tasks: TaskList | None) -> Scores:
    """The models that have all of the tasks, each compared with the first of them.

    Args:
        results: of the models.
        tasks: which; of None, those that all models have.

    Raises:
        UsageError: no task is common to all.
    """
    tasks = tasks or _common(results)
    members = [(member, find_task(member.task)) for member in tasks.tasks]
    names = _names(results)
    first: Results | None = None
    kept: dict[str, list[_Scored]] = {}
    left_out: dict[str, str] = {}
    for name, result in zip(names, results, strict=True):
        if first is not None and result.side.protocol != first.side.protocol:
            left_out[name] = f"follows the protocol {result.side.protocol!r}"
            continue
        pairs = [pair_task(member, spec, first or result, result) for member, spec in members]
        if lost := [pair for pair in pairs if not pair.is_comparable]:
            left_out[name] = f"{len(lost)} of {len(pairs)} tasks, first {lost[0].name}: {lost[0].why}"
            continue
        first = first or result
        kept[name] = [_scored(pair) for pair in pairs]
    items = {
        member.task: values
        for place, (member, _) in enumerate(members)
        if (values := _together([found[place].items for found in kept.values()])) is not None
    }
    scores = np.array([[task.score for task in found] for found in kept.values()]).reshape(len(kept), len(members))
    return Scores(tasks.name, list(kept), [member.task for member, _ in members], scores, items, left_out)


@dataclass(frozen=True, slots=True)
class _Scored:
    """A model's score of a task, and what each independent item says of it; None without items."""

    score: float
    items: Values | None


def _scored(pair: PairedTask) -> _Scored:
    return _Scored(pair.candidate or 0.0, cluster_candidate(pair.jobs).linear if pair.jobs else None)


def _together(items: Sequence[Values | None]) -> Values | None:
    """Of all models, shape (models, items); None if one has none, or others than the first."""
    found = [values for values in items if values is not None]
    if not found or len(found) < len(items) or len({len(values) for values in found}) > 1:
        return None
    return np.array(found)


def _common(results: Sequence[Results]) -> TaskList:
    there = set.intersection(*({*result.tasks} for result in results))
    if not there:
        raise UsageError("no task is in all of the results; name tasks, a suite or a benchmark")
    return TaskList(name=_COMMON, tasks=tuple(Member(task=name) for name in sorted(there)))


def _names(results: Sequence[Results]) -> list[str]:
    """Models with what was changed of them; with their place where that is not enough."""
    names = [str(result.side) for result in results]
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{name} in {result.side.place}"
        for name, result in zip(names, results, strict=True)
    ]
