"""How far apart the items of two similar models are as a rule, by task type and metric: from `typical.toml`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from evalharness.reading import read_toml, validated
from evalharness.types import Frozen

FILE = Path(__file__).with_name("typical.toml")


class Typical(Frozen):
    """What was measured of one task type and metric.

    Attributes:
        type: of the tasks.
        metric: their main score.
        sd: standard deviation of the paired difference per item, 0-1; the median over tasks.
        ratio: that by the standard deviation of one model's items; the median over tasks.
        tasks: how many tasks.
        pairs: how many pairs of models, over all tasks.
    """

    type: str
    metric: str
    sd: float
    ratio: float
    tasks: int
    pairs: int


class _Table(Frozen):
    typical: tuple[Typical, ...]


@cache
def typical_values() -> tuple[Typical, ...]:
    """All that was measured."""
    return validated(_Table, read_toml(FILE), str(FILE)).typical


def typical_of(task_type: str, metric: str) -> Typical | None:
    """What is typical of such tasks: of their metric, else of another metric of their type; None if nothing is known.

    Args:
        task_type: by which the task is scored.
        metric: its main score.
    """
    of_type = [value for value in typical_values() if value.type == task_type]
    return next((value for value in of_type if value.metric == metric), of_type[0] if of_type else None)
