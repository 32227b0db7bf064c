"""How long the texts of mteb's tasks are, and which shards they make.

mteb says how many different texts a column has, and the least, mean and greatest length. Lengths are drawn from a
log-normal distribution above the least: its mean is mteb's, and its spread is that with which the longest of so many
texts is expected to be as long as the longest there is; 1 at most, since one text that is far longer than all others
says little about them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from evalharness.catalog.tasks import Member
from evalharness.store import shards as plan

SEED = 0
_LEAST_SPREAD, _MOST_SPREAD = 0.05, 1.0
_BISECTIONS = 45
_COLUMN = "_statistics"
# columns of these have prompts of their own, so that a call of the encoder has one of them
_SIDES = ("queries", "documents")


@dataclass(frozen=True, slots=True)
class Column:
    """What mteb says of the different texts of a column.

    Attributes:
        rows: texts, as often as they stand there.
        texts: different ones.
        least, mean, most: of their lengths, in characters.
    """

    rows: int
    texts: int
    least: int
    mean: float
    most: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of texts, longest first.

    Attributes:
        characters: each length once, falling.
        texts: how many texts are so long.
    """

    characters: NDArray[np.int64]
    texts: NDArray[np.int64]

    def total(self) -> int:
        """Characters of all texts."""
        return int((self.characters * self.texts).sum())


@lru_cache
def _statistics_files() -> Mapping[str, Path]:
    """Name of a task -> its file of statistics in the installed mteb, which takes seconds to import."""
    folder = Path(str(distribution("mteb").locate_file("mteb/descriptive_stats")))
    return {path.stem: path for path in folder.glob("*/*.json")}


def calls_of(member: Member) -> list[list[Column]]:
    """The columns of each call of the encoder that a task makes, over its splits and subsets.

    What a classifier is trained on is not among them, for mteb does not say how many texts are drawn.
    """
    statistics = json.loads(_statistics_files()[member.task].read_text(encoding="utf-8"))
    calls = []
    for split in member.splits or tuple(statistics):
        whole = statistics[split]
        by_subset = whole.get("hf_subset_descriptive_stats") or {"default": whole}
        for subset, part in by_subset.items():
            if member.subsets is None or subset in member.subsets:
                calls += _calls(part)
    return calls


def _calls(part: Mapping[str, Any]) -> list[list[Column]]:
    """Of a split of a subset: queries, then documents; or all columns together."""
    columns = {
        name.removesuffix(_COLUMN).removesuffix("_text"): _column(value)
        for name, value in part.items()
        if name.endswith(_COLUMN) and isinstance(value, dict) and "unique_texts" in value
    }
    if set(columns) == set(_SIDES):
        return [[columns[side]] for side in _SIDES]
    return [list(columns.values())]


def _column(value: Mapping[str, Any]) -> Column:
    mean = value["average_text_length"]
    rows = round(value["total_text_length"] / mean)
    return Column(rows, value["unique_texts"], value["min_text_length"], mean, value["max_text_length"])


@lru_cache
def draw(column: Column, seed: int = SEED) -> Lengths:
    """Lengths of the texts of a column; their number is exact, their mean is so but for chance."""
    span = np.arange(column.most - column.least + 1)
    if len(span) == 1 or not column.texts:
        return Lengths(np.array([column.most]), np.array([column.texts]))
    spread = _spread(column)
    above = column.mean - column.least
    low, high = np.log(above + 1) - 10, np.log(above + 1) + 10
    # texts that would be longer than the longest are left out, so that a greater mean is needed than that of the rest
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _shares(len(span), middle, spread) @ span < above else (low, middle)
    texts = np.random.default_rng(seed).multinomial(column.texts, _shares(len(span), low, spread))
    there = np.flatnonzero(texts)[::-1]
    return Lengths(column.least + there, texts[there])


def _spread(column: Column) -> float:
    """Standard deviation of the logarithm of the length above the least."""
    above = max(column.mean - column.least, 1.0)
    ratio = float(np.log(max((column.most - column.least) / above, 1.0)))
    # of the standard normal distribution, where the greatest of so many is expected
    greatest = float(ndtri(1 - 1 / (column.texts + 1)))
    found = greatest - float(np.sqrt(max(greatest**2 - 2 * ratio, 0.0)))
    return float(np.clip(found, _LEAST_SPREAD, _MOST_SPREAD))


def _shares(lengths: int, middle: float, spread: float) -> NDArray[np.float64]:
    """How likely each length above the least is, from none to one less than so many."""
    borders = np.log(np.arange(lengths) + 0.5)
    below = np.concatenate([[0.0], ndtr((borders - middle) / spread)])
    shares = np.diff(below)
    # where hardly any would be short enough, rounding leaves none
    whole = shares.sum()
    found: NDArray[np.float64] = shares / whole if whole else np.append(np.zeros(lengths - 1), 1.0)
    return found


def together(parts: Sequence[Lengths]) -> Lengths:
    """The texts of several columns."""
    every = np.concatenate([part.characters for part in parts])
    characters, places = np.unique(-every, return_inverse=True)
    texts = np.bincount(places, weights=np.concatenate([part.texts for part in parts])).astype(np.int64)
    return Lengths(-characters, texts)


def borders(lengths: Lengths) -> NDArray[np.int64]:
    """Where shards begin and end among texts, longest first: those of `store.shards.plan_shards`."""
    texts = np.concatenate([[0], np.cumsum(lengths.texts)])
    characters = np.concatenate([[0], np.cumsum(lengths.texts * lengths.characters)])
    total, found = int(texts[-1]), [0]
    # characters of all texts before the last border
    before = 0
    while found[-1] < total:
        most = before + plan.SHARD_CHARACTERS
        run = int(np.searchsorted(characters, most, side="right")) - 1
        # from there on texts may be empty, so that all of them fit
        fitting = total
        if run < len(lengths.texts):
            fitting = int(texts[run] + (most - characters[run]) // lengths.characters[run])
        end = max(found[-1] + 1, min(found[-1] + plan.SHARD_TEXTS, fitting))
        run = int(np.searchsorted(texts, end, side="left")) - 1
        before = int(characters[run] + (end - texts[run]) * lengths.characters[run])
        found.append(end)
    return np.array(found)


def shard_seconds(lengths: Lengths, seconds: Callable[[NDArray[np.int64]], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Seconds of each shard, in the order of the plan.

    Args:
        lengths: of the texts.
        seconds: of a text of so many characters.
    """
    texts = np.concatenate([[0], np.cumsum(lengths.texts)])
    spent = np.concatenate([[0.0], np.cumsum(lengths.texts * seconds(lengths.characters))])
    return np.diff(np.interp(borders(lengths), texts, spent))
