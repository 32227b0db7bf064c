"""Ray, imported so that it prints no stack at SIGTERM and leaves the environment alone; others take it from here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# read by the import alone: later only the main thread could take the handler away, and jobs reach Ray from others
_NO_HANDLER = "RAY_DISABLE_FAILURE_SIGNAL_HANDLER"


@contextmanager
def without_handler() -> Iterator[None]:
    """Have Ray imported without its own handler of signals; what it sets in the environment goes with it."""
    before = set(os.environ)
    os.environ.setdefault(_NO_HANDLER, "1")
    try:
        yield
    finally:
        for name in set(os.environ) - before:
            del os.environ[name]


with without_handler():
    import ray
    from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

__all__ = [
    "ActorDiedError",
    "ActorUnavailableError",
    "NodeAffinitySchedulingStrategy",
    "RayError",
    "RayTaskError",
    "ray",
    "without_handler",
]
