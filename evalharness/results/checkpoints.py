"""Checkpoints of a training by their names."""

from __future__ import annotations

import re

_STEP = re.compile(r".*?(\d+)")
# what folders of checkpoints are called; a number alone is the version of a model as often
_CHECKPOINT = re.compile(r"(?:.*[._-])?(?:checkpoint|ckpt|step)s?[._-]?(\d+)", re.IGNORECASE)
# Python itself reads no longer numbers
_MOST_DIGITS = 18


def step_of(folder: str) -> int | None:
    """The step that a folder of a training is named after: the number at its end.

    Args:
        folder: its name.

    >>> step_of("checkpoint-2000"), step_of("epoch3"), step_of("final")
    (2000, 3, None)
    """
    return _number(_STEP.fullmatch(folder))


def checkpoint_step(model: str) -> int | None:
    """The step of a model that is named as checkpoints are; None of any other, also where its name ends in a number.

    Args:
        model: its name in results, such as training/checkpoint-2000.

    >>> checkpoint_step("bge-tuned/checkpoint-2000"), checkpoint_step("BAAI/bge-m3")
    (2000, None)
    """
    return _number(_CHECKPOINT.fullmatch(model.rpartition("/")[2]))


def _number(match: re.Match[str] | None) -> int | None:
    return int(match[1]) if match and len(match[1]) <= _MOST_DIGITS else None
