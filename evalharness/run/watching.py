"""A folder in which a training writes checkpoints is watched: each new one is evaluated, in the order of the steps.

Nobody says when a checkpoint is whole. It is taken for whole once it holds a model's config.json or modules.json and
all names, sizes and times of its files are the same at two looks, some seconds apart; no earlier checkpoint may still
be changing. What cannot be loaded all the same is said, and tried again when its files change.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from evalharness.errors import EvalHarnessError, ModelError, UsageError
from evalharness.models.layout import MODULES
from evalharness.results.checkpoints import step_of
from evalharness.results.evaluation import Evaluation
from evalharness.run.following import Checkpoint, Training

_OF_A_MODEL = ("config.json", MODULES)
SETTLED_SECONDS = 5.0

# name -> what tells whether a file is another one than before
_Signature: TypeAlias = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Until:
    """When the watch ends.

    Attributes:
        checkpoints: after so many in the series, those of before included; None for no number.
        once: once all that are there are evaluated.
        every: seconds from look to look.
        settled: seconds without a change after which a checkpoint is taken for whole.
    """

    checkpoints: int | None = None
    once: bool = False
    every: float = 30.0
    settled: float = SETTLED_SECONDS


@dataclass(frozen=True, slots=True)
class Watched:
    """What came of a checkpoint.

    Attributes:
        checkpoint: which.
        evaluation: its results; None if it could not be evaluated.
        error: why not; empty if it was.
    """

    checkpoint: Checkpoint
    evaluation: Evaluation | None
    error: str = ""


def find_checkpoints(folder: Path) -> list[Checkpoint]:
    """Checkpoints of a training, by step: folders with a model's files whose names end in a number.

    Raises:
        UsageError: there is no such folder, or it cannot be read.
    """
    try:
        found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be read ({error.strerror or error}); name the folder of checkpoints"
        ) from None
    steps = {path: step for path in found if (step := step_of(path.name)) is not None}
    named = [
        Checkpoint(step, path) for path, step in steps.items() if any((path / name).is_file() for name in _OF_A_MODEL)
    ]
    return sorted(named, key=lambda checkpoint: (checkpoint.step, checkpoint.name))


def watch(training: Training, until: Until, wait: Callable[[float], None] = time.sleep) -> Iterator[Watched]:
    """Evaluate each checkpoint that is there or comes, until the watch ends or nobody asks for more.

    Args:
        training: which; its series says what is shown.
        until: when the watch ends.
        wait: for so many seconds.

    Raises:
        EvalHarnessError: what is not of a checkpoint but of what was asked: tasks, data, disk.
    """
    before: dict[str, _Signature] = {}
    done: dict[str, _Signature] = {}
    while True:
        checkpoints = find_checkpoints(training.folder)
        now = {checkpoint.name: _signature(checkpoint.folder) for checkpoint in checkpoints}
        left = [checkpoint for checkpoint in checkpoints if done.get(checkpoint.name) != now[checkpoint.name]]
        for checkpoint in left:
            if before.get(checkpoint.name) != now[checkpoint.name]:
                break
            done[checkpoint.name] = now[checkpoint.name]
            yield _evaluated(training, checkpoint)
            if until.checkpoints is not None and len(training.names) >= until.checkpoints:
                return
        is_changing = any(done.get(checkpoint.name) != now[checkpoint.name] for checkpoint in checkpoints)
        if until.once and not is_changing:
            return
        before = now
        wait(min(until.settled, until.every) if is_changing else until.every)


def _evaluated(training: Training, checkpoint: Checkpoint) -> Watched:
    try:
        return Watched(checkpoint, training.add(checkpoint))
    except ModelError as error:
        return Watched(checkpoint, None, str(error))
    except EvalHarnessError:
        # trainings delete old checkpoints
        if checkpoint.folder.is_dir():
            raise
        return Watched(checkpoint, None, "it was deleted before it was evaluated")


def _signature(folder: Path) -> _Signature:
    found = {}
    for place, _, names in os.walk(folder):
        for path in (Path(place) / name for name in names):
            try:
                stat = path.stat()
            except OSError:
                continue
            found[str(path)] = (stat.st_size, stat.st_mtime_ns)
    return found
