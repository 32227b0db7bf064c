"""Work that is started before its turn, in threads: a device computes a batch while the next one is prepared."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Done(Generic[Item, Result]):
    """An item, and what came of it."""

    item: Item
    result: Result


def worked_ahead(items: Iterable[Item], work: Callable[[Item], Result], at_once: int) -> Iterator[Done[Item, Result]]:
    """Results in the order of the items.

    Args:
        items: are taken as they are needed.
        work: what is done with each; from 2 at once on it runs in threads.
        at_once: how many items are in work at the same time; with 1 it runs here.

    Raises:
        Exception: whatever `work` raises, at the item's turn.
    """
    if at_once == 1:
        yield from (Done(item, work(item)) for item in items)
        return
    left = iter(items)
    with ThreadPoolExecutor(at_once, "batch") as pool:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        while True:
            waiting.extend((item, pool.submit(work, item)) for item in islice(left, at_once - len(waiting)))
            if not waiting:
                return
            item, future = waiting.popleft()
            yield Done(item, future.result())
