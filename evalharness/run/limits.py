"""When a run ends before its time."""

from __future__ import annotations

import time
from collections.abc import Callable

from evalharness.errors import StoppedError
from evalharness.types import Frozen


class Limits(Frozen):
    """When a run ends before its time.

    Attributes:
        seconds: ends at the next batch after so many; None for no limit.
        ends: when that is, by `time.monotonic`; None if the seconds count from the first job on.
        fail_fast: whether the first failed job ends it.
    """

    seconds: float | None = None
    ends: float | None = None
    fail_fast: bool = False


NO_LIMITS = Limits()


def stop_after(limits: Limits) -> Callable[[], None]:
    """What raises StoppedError once the time is up, which begins to count now if it has not yet."""
    ends = limits.ends
    if ends is None and limits.seconds is not None:
        ends = time.monotonic() + limits.seconds

    def stop() -> None:
        if ends is not None and time.monotonic() >= ends:
            raise StoppedError(f"the time budget of {limits.seconds:g} s is used up")

    return stop
