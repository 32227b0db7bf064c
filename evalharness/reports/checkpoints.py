"""Which rows are checkpoints of one training: series of steps."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from evalharness.reports.board import Row

_STEP = "*"
# what is left of a checkpoint's name beside its number and says nothing of the training
_CHECKPOINT = re.compile(
    rf"[/_\-. ]*(?:checkpoint|ckpt|global[_-]?step|step)?[/_\-. ]*{re.escape(_STEP)}$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class CheckpointSeries:
    """The checkpoints of a training.

    Attributes:
        name: what tells it from the board's other series, for people; empty where there is nothing to tell.
        rows: by step; all have one.
    """

    name: str
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class _Key:
    """What checkpoints of one training have in common; `place` only where it takes that to tell trainings apart."""

    name: str
    second_stage: str
    experiment: str
    place: str = ""


def checkpoint_series(rows: Sequence[Row]) -> list[CheckpointSeries]:
    """Put the rows that have a step together, a series for each training.

    Checkpoints of one training have the same settings and names that differ in the step alone (`run-a/checkpoint-500`).
    Where that puts two rows of one step together, the folders that their results are in tell trainings apart.

    Returns:
        Series in the order of their names.
    """
    groups: dict[_Key, list[Row]] = defaultdict(list)
    for row in rows:
        if row.step is not None:
            groups[_Key(_without_step(row), row.second_stage, row.experiment)].append(row)
    apart: dict[_Key, list[Row]] = defaultdict(list)
    for key, members in groups.items():
        is_one = len({row.step for row in members}) == len(members)
        for row in members:
            place = "" if is_one else _place(row)
            apart[_Key(key.name, key.second_stage, key.experiment, place)].append(row)
    keys = sorted(apart, key=lambda key: (key.name, key.second_stage, key.experiment, key.place))
    names = _names(keys)
    return [
        CheckpointSeries(name, sorted(apart[key], key=lambda row: (row.step or 0, row.model, row.revision)))
        for name, key in zip(names, keys, strict=True)
    ]


def _without_step(row: Row) -> str:
    """The model's name with a mark where its step is, the last time it is there."""
    found = list(re.finditer(rf"(?<!\d)0*{row.step}(?!\d)", row.model))
    return f"{row.model[: found[-1].start()]}{_STEP}{row.model[found[-1].end() :]}" if found else row.model


def _place(row: Row) -> str:
    """The folder that results of a training are in: as far as the checkpoint has no part in its name."""
    if row.folder is None:
        return ""
    own = row.model.rpartition("/")[2]
    parts = row.folder.parts
    until = next((number for number, part in enumerate(parts) if own and own in part), max(len(parts) - 2, 0))
    return "/".join(parts[:until])


def _names(keys: Sequence[_Key]) -> list[str]:
    """What people call series: the training, then whatever else they differ in."""
    shared = Counter(_CHECKPOINT.sub("", key.name) for key in keys)
    names = []
    for key in keys:
        training = _CHECKPOINT.sub("", key.name)
        more = [key.second_stage, key.experiment, key.place] if shared[training] > 1 else []
        names.append(", ".join(part for part in (training, *more) if part))
    twice = Counter(names)
    # trainings that only differ in what was taken for the name of a checkpoint
    return [key.name if twice[name] > 1 else name for name, key in zip(names, keys, strict=True)]
