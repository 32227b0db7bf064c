"""Work that is begun before its result is asked for: one thread, two results at most."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

Texts = TypeVar("Texts")
How = TypeVar("How")
Result = TypeVar("Result")

# that of the work under way, and that of the next
_MOST = 2


@dataclass(frozen=True, slots=True)
class _Begun(Generic[Texts, How, Result]):
    texts: Texts
    how: How
    result: Future[Result]


class Ahead(Generic[Texts, How, Result]):
    """Results for texts, found by the very same list of texts; what is not asked for is dropped.

    All work is done one after the other, so that what it uses needs not bear threads.
    """

    def __init__(self, work: Callable[[Texts, How], Result]) -> None:
        """See the class.

        Args:
            work: from texts, and how it is done, to the result.
        """
        self._work = work
        self._busy = Lock()
        self._begun: list[_Begun[Texts, How, Result]] = []
        self._thread: ThreadPoolExecutor | None = None

    def begin(self, texts: Texts, how: How) -> None:
        """Begin in the background, unless it has begun already; errors come when the result is asked for."""
        if any(self._is_of(item, texts, how) for item in self._begun):
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
        self._begun.append(_Begun(texts, how, self._thread.submit(self._done, texts, how)))
        for dropped in self._begun[:-_MOST]:
            dropped.result.cancel()
        del self._begun[:-_MOST]

    def take(self, texts: Texts, how: How) -> Result:
        """The result, which is done now if it was not begun; may be had once."""
        for place, item in enumerate(self._begun):
            if self._is_of(item, texts, how):
                del self._begun[place]
                return item.result.result()
        return self._done(texts, how)

    def forget(self) -> None:
        """Drop what was begun, and wait until no thread is left."""
        self._begun.clear()
        if self._thread is not None:
            thread, self._thread = self._thread, None
            thread.shutdown(wait=True, cancel_futures=True)

    @staticmethod
    def _is_of(item: _Begun[Texts, How, Result], texts: Texts, how: How) -> bool:
        return item.texts is texts and item.how == how

    def _done(self, texts: Texts, how: How) -> Result:
        with self._busy:
            return self._work(texts, how)
