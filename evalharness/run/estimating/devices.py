"""How work is divided over devices: shards as the store plans them, the longest first to whoever is free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace

from evalharness.store.shards import SHARD_CHARACTERS, SHARD_TEXTS


@dataclass(frozen=True, slots=True)
class Alike:
    """So many texts of a length in characters."""

    count: float
    length: float


def shard_costs(texts: Iterable[Alike], seconds: Callable[[float], float]) -> list[float]:
    """Seconds of each shard of a plan, as `store.shards` cuts it.

    Args:
        texts: of one encoding, in any order.
        seconds: of one text, by its length.
    """
    found: list[float] = []
    count = characters = cost = 0.0
    for alike in sorted(texts, key=lambda one: -one.length):
        left, length, each = alike.count, max(alike.length, 1.0), seconds(alike.length)
        whole = min(float(SHARD_TEXTS), max(1.0, SHARD_CHARACTERS // length))
        while left > 0:
            if not count and left >= whole:
                full = int(left // whole)
                found += [whole * each] * full
                left -= full * whole
                continue
            fitting = min(left, SHARD_TEXTS - count, (SHARD_CHARACTERS - characters) / length)
            count, characters, cost = count + fitting, characters + fitting * length, cost + fitting * each
            left -= fitting
            if left > 0:
                found.append(cost)
                count = characters = cost = 0.0
    return [*found, cost] if cost else found


def longest_first(costs: Sequence[float], devices: int) -> float:
    """Seconds until all is done, where each device that is free takes the longest of what is left.

    >>> longest_first([3.0, 3.0, 2.0, 2.0, 2.0], 2)
    7.0
    """
    if devices == 1 or not costs:
        return sum(costs)
    # more devices than shards change nothing
    busy = [0.0] * min(devices, len(costs))
    heapify(busy)
    for cost in sorted(costs, reverse=True):
        heapreplace(busy, busy[0] + cost)
    return max(busy)
